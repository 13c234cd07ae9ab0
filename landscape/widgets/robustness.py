"""Change an input within a radius, move the weights within another, and see what a classifier makes of both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from landscape.errors import DataError, MismatchError
from landscape.plotting.attacked import AttackedView, attacked
from landscape.plotting.units import loss_label
from landscape.widgets.controls import Control, choice, menu, slider
from landscape.widgets.panel import Panel
from landscape.widgets.robustness_words import (
    accuracy_said,
    answer,
    change_said,
    class_name,
    drawable,
    radius_name,
    unit_factor,
    written,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from landscape.robustness import PerturbedInputs, RobustAccuracy
    from landscape.surface import Profile

Result = TypeVar("Result")
Several = Mapping[str, Result | Sequence[Result]]
_NORMS = {"l2": "L2 ball: all pixels together", "linf": "L∞ box: each pixel"}
_DIRECTION = "sam"


class RobustnessExplorer(Panel):
    """Weight-space sharpness beside input-space robustness: an example under attack, and the loss of moved weights.

    Above are an example as it is, the change that an attack found within a radius epsilon, and the changed example,
    with what the network says of it. Below are the accuracy within each radius over many examples, and the loss where
    all weights are moved by rho along the gradient, as SAM moves them. Everything was computed before: sliders only
    choose.

    Args:
        inputs: Label -> changed inputs of a few examples, from :func:`landscape.robustness.perturbed`; or several of
            them, one for each norm. All labels have the same examples and radii.
        accuracy: Label -> accuracy over many examples, from :func:`landscape.robust_accuracy`, of the same norms, at
            these radii and perhaps more.
        profiles: Label -> the loss of moved weights, from :func:`landscape.surface.perturbation_profile` with the kind
            "sam".
        epsilon: Where the slider of the first norm starts; the middle radius by default.
        rho: Where the slider of the weights' move starts; the middle length by default.
        example: Which example is shown first, counted from 0; by default one that the first network gets right as it is
            and wrong within the first radius, and that most others get right there.

    Raises:
        DataError: There is nothing to explore, or a profile has no kind "sam".
        MismatchError: Labels, examples, norms, radii or lengths differ.
        ConfigError: A start is not among the radii or lengths.

    References:
        A. Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018. P. Foret et al.,
        Sharpness-Aware Minimization, ICLR 2021. D. Stutz, M. Hein, B. Schiele, Relating Adversarially Robust
        Generalization to Flat Minima, ICCV 2021.
    """

    note_takes_values = True

    def __init__(
        self,
        inputs: Several[PerturbedInputs],
        accuracy: Several[RobustAccuracy],
        profiles: Mapping[str, Profile],
        *,
        epsilon: float | None = None,
        rho: float | None = None,
        example: int | None = None,
    ) -> None:
        if not inputs:
            raise DataError("There is nothing to explore.", expected="the changed inputs of at least one network")
        self.inputs, self.accuracy, self.profiles = _by_norm(inputs), _by_norm(accuracy), dict(profiles)
        _check(self.inputs, self.accuracy, self.profiles)
        self._first = next(iter(self.inputs.values()))
        self._loss_name = loss_label(profile.provenance for profile in self.profiles.values())
        super().__init__(
            self._view,
            attacked,
            controls=self._controls(epsilon, rho, example),
            note=self._note,
            hint="Try: move ε until the network changes its mind, then choose another network, then another example; "
            "then move ρ. Notice: how little of the change an eye can see, and that the network whose loss rises least "
            "with ρ need not be the one that keeps its accuracy with ε.",
        )

    def _controls(self, epsilon: float | None, rho: float | None, example: int | None) -> list[Control]:
        norms, one = list(self._first), next(iter(self._first.values()))
        starts = {norm: float(found.epsilons[len(found.epsilons) // 2]) for norm, found in self._first.items()}
        starts[norms[0]] = starts[norms[0]] if epsilon is None else float(epsilon)
        sliders = []
        for norm, found in self._first.items():
            name = radius_name(one.images, norm, "ε, radius of the change")
            only = ("norm", (norm,)) if len(norms) > 1 else None
            look = {"text": written(one.images, norm), "only": only}
            sliders.append(slider(f"epsilon_{norm}", name, found.epsilons, value=starts[norm], **look))
        lengths = next(iter(self.profiles.values())).radii
        start = float(lengths[len(lengths) // 2] if rho is None else rho)
        sliders.append(slider("rho", "ρ, length of the weights' move (L2 norm of all weights)", lengths, value=start))
        classes = [class_name(one, label) for label in one.labels]
        examples = {f"{k + 1} of {one.examples}: labelled {name}": k for k, name in enumerate(classes)}
        shown = self._telling(norms[0], starts[norms[0]]) if example is None else example
        menus = [menu("network", "network", self.inputs)]
        menus.append(choice("example", "example", examples, value=shown, kind="menu"))
        if len(norms) > 1:
            menus.append(choice("norm", "changed within", {_NORMS[norm]: norm for norm in norms}, value=norms[0]))
        return [*menus, *sliders]

    def _telling(self, norm: str, epsilon: float) -> int:
        """Choose an example that the first network loses within the radius, and as many others as possible keep."""
        first = self._first[norm]
        row, right = list(first.epsilons).index(epsilon), first.clean_logits.argmax(axis=1) == first.labels
        broken = np.array([found[norm].broken[row] for found in self.inputs.values()])
        lost = broken[0] & right
        return int(np.argmax(np.where(lost, (~broken).sum(axis=0), -1) if lost.any() else right))

    # What is drawn --------------------------------------------------------------------------------------------------

    def _at(self, values: Mapping[str, Any]) -> tuple[PerturbedInputs, RobustAccuracy, int, int]:
        """Find the changed inputs and the accuracy where the controls stand, and the radius in each."""
        label, norm = values["network"], values.get("norm", next(iter(self._first)))
        found, over = self.inputs[label][norm], self.accuracy[label][norm]
        epsilon = values[f"epsilon_{norm}"]
        row, other = (int(np.argmin(np.abs(one.epsilons - epsilon))) for one in (found, over))
        return found, over, row, other

    def _view(self, **values: Any) -> AttackedView:
        found, over, row, other = self._at(values)
        label, k, norm = values["network"], values["example"], found.norm
        factor = unit_factor(found.images, norm)
        clean, every = found.clean[k], [each[norm].inputs[:, k] for each in self.inputs.values()]
        reach = max(float(np.abs(each[row] - clean).max()) for each in every)
        curves = {name: each[norm] for name, each in self.accuracy.items()}
        profiles = {name: np.array([one.radii, one.loss[_DIRECTION]]) for name, one in self.profiles.items()}
        at = int(np.argmin(np.abs(profiles[label][0] - values["rho"])))
        radius = written(found.images, norm)(found.epsilons[row])
        return AttackedView(
            title=f"{label}: an input changed within ε = {radius}, the weights moved by ρ = {values['rho']:g}",
            caption=accuracy_said(over, other, radius),
            said=self._headings(found, row, k),
            clean=drawable(clean),
            changed=drawable(found.inputs[row, k]),
            reach=reach,
            span=(min(float(each.min()) for each in every), max(float(each.max()) for each in every)),
            selected=label,
            radius_name=radius_name(found.images, norm, "ε"),
            accuracy={name: _rows(one, factor) for name, one in curves.items()},
            mark=(factor * float(over.epsilons[other]), 100 * float(over.accuracy[other])),
            length_name="ρ = ‖δ‖₂, length of the weights' move along the gradient",
            loss=profiles,
            loss_name=self._loss_name,
            loss_mark=(float(profiles[label][0][at]), float(profiles[label][1][at])),
        )

    def _headings(self, found: PerturbedInputs, row: int, k: int) -> tuple[str, str, str]:
        size = written(found.images, found.norm)(found.sizes[row, k])
        below = "in units of the signal" if not found.images else "pixels run from 0 to 1"
        below += ", mean of the channels" * (drawable(found.clean[k]).ndim == 3)
        return (
            f"As it is (label {class_name(found, found.labels[k])})<br>{answer(found, None, k)}",
            f"Its change, of norm {size}<br>{below}",
            f"Changed<br>{answer(found, row, k)}",
        )

    def _note(self, view: AttackedView, **values: Any) -> str:
        found, _, row, _ = self._at(values)
        k, label = values["example"], view.selected
        number = f"Example {k + 1} of {found.examples}, labelled {class_name(found, found.labels[k])}"
        profile, (length, loss) = self.profiles[label], view.loss_mark
        ratio = f" (×{loss / profile.base_loss:.3g})" if profile.base_loss > 0 and math.isfinite(loss) else ""
        examples = profile.provenance.get("examples")
        basis = f", over {examples:,} examples" if examples else ""
        moved = f"loss {profile.base_loss:.4g} → {loss:.4g}{ratio}{basis}"
        return "\n".join([
            f"{number}: as it is, {label} {answer(found, None, k)}. {change_said(found, row, k)}",
            f"{view.caption} What the attack missed would lower these numbers: they are upper bounds.",
            f"Weights of {label} moved by ρ = {length:g} along the gradient: {moved}.",
        ])  # fmt: skip

    def static_parts(self) -> list[tuple[go.Figure, str]]:
        """Return a figure with a slider over the radius and one over the length, and where they start in words."""
        words, start = self.result(), self.values()
        norm = start.get("norm", next(iter(self._first)))
        over = (f"epsilon_{norm}", "rho")
        return [(self.figure_with_frames(over=name), self.at_start(words)) for name in over]


# ---------------------------------------------------------------------------------------------------------------- parts


def _by_norm(found: Several[Any]) -> dict[str, dict[str, Any]]:
    """Return label -> norm -> result."""
    lists = {label: list(one) if isinstance(one, Sequence) else [one] for label, one in found.items()}
    return {label: {one.norm: one for one in several} for label, several in lists.items()}


def _check(inputs: Mapping[str, Any], accuracy: Mapping[str, Any], profiles: Mapping[str, Any]) -> None:
    """Refuse what does not belong together."""
    for name, other in (("accuracy", accuracy), ("profiles", profiles)):
        if set(other) != set(inputs):
            raise MismatchError(f"{name} has other labels.", expected=list(inputs), got=list(other))
    first, lengths = next(iter(inputs.values())), next(iter(profiles.values())).radii
    for label, found in inputs.items():
        if list(found) != list(first) or not set(found) <= set(accuracy[label]):
            raise MismatchError(
                "The norms differ.", expected=list(first), got=f"{list(found)} and {list(accuracy[label])}"
            )
        for norm, one in found.items():
            same = np.array_equal(one.epsilons, first[norm].epsilons) and np.array_equal(one.clean, first[norm].clean)
            if not same or not np.isin(one.epsilons, accuracy[label][norm].epsilons).all():
                raise MismatchError(
                    f"The inputs of {label} do not go with the others.",
                    expected="the same examples and radii for all labels, and accuracies at these radii",
                    got=f"{one!r} and {accuracy[label][norm]!r}",
                )
        if _DIRECTION not in profiles[label].kinds:
            raise DataError(f"The profile of {label} has no kind 'sam'.", got=profiles[label].kinds)
        if not np.array_equal(profiles[label].radii, lengths):
            raise MismatchError("The lengths differ.", expected=lengths.tolist(), got=profiles[label].radii.tolist())


def _rows(one: RobustAccuracy, factor: float) -> np.ndarray:
    return np.array([factor * one.epsilons, 100 * one.accuracy, *(100 * one.interval.T)])
