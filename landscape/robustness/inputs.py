"""The changed inputs themselves: what a classifier sees within a radius, and what it says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from landscape.balls import broadcast
from landscape.datasets import Dataset
from landscape.robustness.attacks import Attack, effort_of, visits
from landscape.robustness.nearest import nearest_mistakes
from landscape.robustness.pixels import PixelModel, losses_of, wrong
from landscape.robustness.settings import (
    BATCH,
    OVERSHOOT,
    check_data,
    checked,
    over_batches,
    radii_of,
    streams,
)
from landscape.robustness.visit import Visit
from landscape.surface.archive import StoredResult, frozen_array


@dataclass(frozen=True, eq=False, kw_only=True)
class PerturbedInputs(StoredResult):
    """The strongest point that an attack found for each example within each radius.

    Attributes:
        attack: Its name.
        norm: "l2" or "linf": of the pixels' change, where pixels run from 0 to 1.
        epsilons: (E,) the radii, ascending.
        clean: (N, ...) the inputs as they are, pixels from 0 to 1 where they are images.
        inputs: (E, N, ...) the changed inputs.
        labels: (N,) the true classes.
        clean_logits: (N, K) what the model says of ``clean``.
        logits: (E, N, K) what it says of ``inputs``.
        broken: (E, N) bool: misclassified within the radius, as :class:`RobustAccuracy` counts it.
        settings: The attack's (plain JSON values).
        provenance: What was attacked (plain JSON values).
        images: Whether the inputs are images, with pixels from 0 to 1; else they stand for themselves, without limits.
        class_names: K names; "0" to "K-1" where there are none.
        complete: False where Ctrl-C ended it early: it is then of the examples done by then.

    Example:
        >>> found = PerturbedInputs(attack="fgm", norm="l2", epsilons=[1.0], clean=[[0.0, 0.0]], inputs=[[[0.6, 0.8]]],
        ...     labels=[0], clean_logits=[[1.0, 0.0]], logits=[[[0.0, 0.0]]], broken=[[False]], settings={},
        ...     provenance={})
        >>> found.sizes.tolist(), found.probabilities(0)[0].tolist()
        ([[1.0]], [0.5, 0.5])
    """

    attack: str
    norm: str
    epsilons: np.ndarray
    clean: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray
    clean_logits: np.ndarray
    logits: np.ndarray
    broken: np.ndarray
    settings: dict[str, Any]
    provenance: dict[str, Any]
    images: bool = True
    class_names: tuple[str, ...] = ()
    complete: bool = True
    _names: ClassVar[tuple[str, ...]] = (
        "epsilons", "clean", "inputs", "labels", "clean_logits", "logits", "broken",
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Check the shapes, and make the arrays read-only."""
        epsilons, clean = frozen_array("epsilons", self.epsilons, (-1,)), np.asarray(self.clean)
        clean = frozen_array("clean", clean, (-1, *clean.shape[1:]))
        logits = np.asarray(self.clean_logits)
        arrays = {
            "epsilons": epsilons,
            "clean": clean,
            "inputs": frozen_array("inputs", self.inputs, (len(epsilons), *clean.shape)),
            "labels": frozen_array("labels", self.labels, (len(clean),), np.int64),
            "clean_logits": frozen_array("clean_logits", logits, (len(clean), *logits.shape[1:2])),
            "logits": frozen_array("logits", self.logits, (len(epsilons), len(clean), *logits.shape[1:2])),
            "broken": frozen_array("broken", self.broken, (len(epsilons), len(clean)), np.bool_),
        }
        for name, array in arrays.items():
            object.__setattr__(self, name, array)
        names = tuple(map(str, self.class_names or range(logits.shape[1])))
        object.__setattr__(self, "class_names", names)

    @property
    def examples(self) -> int:
        """The number of examples N."""
        return len(self.clean)

    @property
    def sizes(self) -> np.ndarray:
        """(E, N) the norm of each change, in units of pixels from 0 to 1."""
        change = (self.inputs - self.clean[None]).reshape(len(self.epsilons), self.examples, -1)
        return np.linalg.norm(change, 2 if self.norm == "l2" else np.inf, axis=2)

    def probabilities(self, row: int | None = None) -> np.ndarray:
        """Return what the model gives each class, (N, K): softmax of the logits.

        Args:
            row: Which radius, counted from 0; None is the inputs as they are.
        """
        logits = self.clean_logits if row is None else self.logits[row]
        with np.errstate(invalid="ignore"):
            raised = np.exp(logits - logits.max(axis=1, keepdims=True))
            return raised / raised.sum(axis=1, keepdims=True)

    def __repr__(self) -> str:
        """One line: the attack, and how many are broken at each radius."""
        told = ", ".join(f"{e:g}: {n} broken" for e, n in zip(self.epsilons, self.broken.sum(axis=1), strict=True))
        return f"PerturbedInputs({self.attack}, {self.norm}, {self.examples} examples; {told})"

    def _packed(self) -> tuple[Mapping[str, np.ndarray], Any]:
        names = ("attack", "norm", "settings", "provenance", "images", "class_names", "complete")
        text = {name: getattr(self, name) for name in names}
        return {name: getattr(self, name) for name in self._names}, text

    @classmethod
    def _unpacked(cls, arrays: dict[str, np.ndarray], text: Any) -> dict[str, Any]:
        return {**arrays, **text}


def perturbed(
    model: nn.Module,
    data: Dataset,
    *,
    attack: str = "pgd-l2",
    epsilon: float | Sequence[float],
    steps: int | None = None,
    step_size: float | None = None,
    starts: int | None = None,
    loss: str = "cross_entropy",
    overshoot: float = OVERSHOOT,
    beyond: bool = False,
    seed: int = 0,
    batch_size: int = BATCH,
    progress: bool = True,
) -> PerturbedInputs:
    """Attack every example as :func:`robust_accuracy` does, and return the inputs that the attack ends with.

    Definition: of all points that the attack comes by within the radius, and the example itself, the one that is
    misclassified, and of several the one with the largest loss. An example that is broken within one radius is broken
    within all larger ones. With the same settings the same examples are broken as :func:`robust_accuracy` counts, and
    without ``beyond`` by the same changes. What is misclassified unchanged stays unchanged.

    All inputs are kept: E times as many as the data have. Take a few examples.

    Args:
        model: The classifier; it is not changed, and looked at in evaluation mode.
        data: The examples, N of them.
        attack: One of :data:`ATTACKS`. DeepFool and FAB, which look for the smallest change, leave examples
            unchanged that they do not break within the radius.
        epsilon: One radius or several, as in :func:`robust_accuracy`.
        steps: As there.
        step_size: As there.
        starts: As there.
        loss: As there.
        overshoot: As there.
        beyond: Whether examples that are misclassified somewhere are followed further, to where the loss is largest;
            else the first mistake ends the attack. Default False, as :func:`robust_accuracy` does.
        seed: Names the random starts.
        batch_size: Examples at a time.
        progress: Show a progress bar.

    Returns:
        The changed inputs and what the model says of them. After Ctrl-C, of the examples done by then.

    Raises:
        ConfigError: The attack or loss is unknown, or a setting is out of range.
        DataError: There are no classes to confuse.
        ModelError: The model is no classifier of these inputs, or cannot be differentiated by them.

    Example:
        >>> points, labels = torch.tensor([[0.5], [2.0]]), torch.tensor([1, 1])
        >>> data = Dataset(name="line", inputs=points, targets=labels, classes=2, mean=(0.0,), std=(1.0,))
        >>> model = nn.Linear(1, 2, bias=False)
        >>> with torch.no_grad(): _ = model.weight.copy_(torch.tensor([[-1.0], [1.0]]))  # class 1 above 0
        >>> found = perturbed(model, data, attack="fgm", epsilon=1.0, progress=False)
        >>> found.inputs[0].tolist(), found.broken[0].tolist()
        ([[-0.5], [1.0]], [True, False])

    References:
        As of :func:`robust_accuracy` and :data:`ATTACKS`.
    """
    epsilons = radii_of(epsilon)
    chosen = checked(attack, steps, step_size, starts, loss, overshoot, batch_size, seed)
    check_data(data)
    pixel_model = PixelModel(model, data)
    settings = {"attack": attack, "steps": steps or chosen.steps, "step_size": step_size, "loss": loss}
    settings |= {"seed": int(seed), "starts": starts or chosen.starts}
    settings |= {"overshoot": overshoot if chosen.overshoots else None, "beyond": beyond}
    found = over_batches(
        lambda part: _batch(pixel_model, part, chosen, epsilons, settings),
        len(data), batch_size, name=attack, progress=progress,
    )  # fmt: skip
    joined = {name: torch.cat([one[name] for one in found], dim=axis) for name, axis in _AXES.items()}
    arrays = {name: values.cpu().numpy() for name, values in joined.items()}
    return PerturbedInputs(
        attack=attack,
        norm=chosen.norm,
        epsilons=np.array(epsilons),
        settings=settings,
        provenance=pixel_model.objective.provenance(),
        images=pixel_model.high is not None,
        class_names=data.class_names,
        complete=len(arrays["labels"]) == len(data),
        **arrays,
    )


_AXES = {"clean": 0, "labels": 0, "clean_logits": 0, "inputs": 1, "logits": 1, "broken": 1}


class _Strongest:
    """The strongest point of each example so far: a mistake before anything else, then the largest loss."""

    def __init__(self, clean: Tensor, logits: Tensor, labels: Tensor, loss: str) -> None:
        self.labels, self.name = labels, loss
        self.change, self.logits = torch.zeros_like(clean), logits
        self.missed, self.loss = wrong(logits, labels), self._losses(logits, labels)

    def _losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        return losses_of(logits, labels, self.name).nan_to_num(torch.inf)

    def see(self, visit: Visit) -> None:
        """Take over what is stronger."""
        rows, losses = visit.rows, self._losses(visit.logits, self.labels[visit.rows])
        stronger = (visit.missed & ~self.missed[rows]) | (
            (visit.missed == self.missed[rows]) & (losses > self.loss[rows])
        )
        self._take(rows, stronger, visit.change, visit.logits, visit.missed, losses)

    def fall_back(self, other: _Strongest) -> None:
        """Take over what was broken within a smaller radius, and here was not."""
        rows = torch.arange(len(self.labels), device=self.labels.device)
        self._take(rows, other.missed & ~self.missed, other.change, other.logits, other.missed, other.loss)

    def _take(self, rows: Tensor, which: Tensor, *values: Tensor) -> None:
        for mine, theirs in zip((self.change, self.logits, self.missed, self.loss), values, strict=True):
            mine[rows] = torch.where(broadcast(which, theirs), theirs, mine[rows])


def _batch(
    model: PixelModel, part: slice, attack: Attack, epsilons: list[float], settings: dict[str, Any]
) -> dict[str, Tensor]:
    """Attack some examples at all radii."""
    clean, labels = model.pixels(part), model.labels(part)
    with torch.no_grad():
        logits = model(clean)
    search = _nearest if attack.minimal else _within
    found = list(search(model, clean, labels, logits, attack, epsilons, settings, part.start))
    return {
        "clean": clean,
        "labels": labels,
        "clean_logits": logits,
        "inputs": torch.stack([model.inside(clean + one.change) for one in found]),  # inside: for rounding
        "logits": torch.stack([one.logits for one in found]),
        "broken": torch.stack([one.missed for one in found]),
    }


def _within(
    model: PixelModel,
    clean: Tensor,
    labels: Tensor,
    logits: Tensor,
    attack: Attack,
    epsilons: list[float],
    settings: dict[str, Any],
    first: int,
) -> Iterable[_Strongest]:
    """Yield what an attack with a radius finds within each."""
    stream, before = streams(settings["attack"], first, settings["seed"], clean.device), None
    options = {key: settings[key] for key in ("steps", "step_size", "starts", "loss")}
    for epsilon in epsilons:
        found = _Strongest(clean, logits.clone(), labels, settings["loss"])
        followed = ~found.missed
        if before is not None and not settings["beyond"]:
            followed &= ~before.missed
        rows = followed.nonzero().squeeze(1)
        if epsilon > 0.0 and len(rows):
            effort = effort_of(attack, epsilon, **options)
            given = (model, clean, labels, rows, epsilon, attack, effort, stream)
            for visit in visits(*given, beyond=settings["beyond"]):
                found.see(visit)
        if before is not None:
            found.fall_back(before)
        before = found
        yield found


def _nearest(
    model: PixelModel,
    clean: Tensor,
    labels: Tensor,
    logits: Tensor,
    attack: Attack,
    epsilons: list[float],
    settings: dict[str, Any],
    first: int,
) -> Iterable[_Strongest]:
    """Yield what DeepFool or FAB finds, where it is within each radius."""
    rows = (~wrong(logits, labels)).nonzero().squeeze(1)
    sizes, changes = torch.full_like(logits[:, 0], torch.nan), torch.zeros_like(clean)
    if len(rows):
        sizes[rows], changes[rows] = nearest_mistakes(model, clean[rows], labels[rows], attack, settings)
    with torch.no_grad():
        changed = model(clean + changes)
    for epsilon in epsilons:
        found = _Strongest(clean, logits.clone(), labels, settings["loss"])
        near = (sizes <= epsilon).nonzero().squeeze(1)
        found.see(Visit(near, changes[near], changed[near], torch.ones_like(near, dtype=torch.bool)))
        yield found
