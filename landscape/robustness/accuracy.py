"""How many examples a classifier still gets right when each may be changed a little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.datasets import Dataset
from landscape.robustness.attacks import Attack, break_within, effort_of
from landscape.robustness.nearest import nearest_mistakes
from landscape.robustness.pixels import PixelModel, wrong
from landscape.robustness.results import RobustAccuracy
from landscape.robustness.settings import (
    BATCH,
    OVERSHOOT,
    check_data,
    checked,
    over_batches,
    radii_of,
    streams,
)


def robust_accuracy(
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
    seed: int = 0,
    batch_size: int = BATCH,
    progress: bool = True,
) -> RobustAccuracy:
    """Attack every example and count those that hold.

    Definition: ``1/N sum_i [ no x' with ||x' - x_i|| <= epsilon and x' an image is found with argmax f(x') != y_i ]``,
    in units of pixels from 0 to 1, whatever the normalization. What is misclassified unchanged is broken at every
    radius. An example that is broken within one radius is broken within all larger ones, so the accuracy never rises
    with the radius; nor does it with more steps of one size, or with more starts.

    Args:
        model: The classifier; it is not changed, and looked at in evaluation mode.
        data: The examples, N of them; ``run.dataset("test")`` for a run's.
        attack: One of :data:`ATTACKS`.
        epsilon: One radius or several, at least 0, in units of pixels from 0 to 1 (of the inputs themselves, where
            they are no uint8 images).
        steps: Steps of each start, at least 1; by default the attack's (40 for PGD, 100 for Auto-PGD and FAB, 5000
            forward passes for Square). The parts of AutoAttack take theirs in proportion. More steps of Auto-PGD or
            Square are other steps, which may also find less.
        step_size: Their length in the attack's norm and units; by default 2.5 epsilon / steps for attacks of many steps
            (Madry et al. 2018), epsilon for those of one.
        starts: Starts, or draws of noise, at least 1; by default the attack's (1; 10 draws of noise).
        loss: What is climbed: "cross_entropy", "margin" (to the second class only), or "dlr" (the same in proportion to
            the spread of the logits); none has a gradient that vanishes where a network is very sure, see
            :func:`landscape.robustness.pixels.losses_of`. Targeted Auto-PGD takes "dlr".
        overshoot: How far DeepFool goes beyond a border, as a share of the way. Default 0.02 (its paper).
        seed: Names the random starts.
        batch_size: Examples at a time.
        progress: Show a progress bar.

    Returns:
        What was broken, at each radius in ascending order. After Ctrl-C, of the examples done by then.

    Raises:
        ConfigError: The attack or loss is unknown, or a setting is out of range.
        DataError: There are no classes to confuse.
        ModelError: The model is no classifier of these inputs, or cannot be differentiated by them.

    Example:
        >>> points, labels = torch.tensor([[0.5], [2.0], [-1.0]]), torch.tensor([1, 1, 0])
        >>> data = Dataset(name="line", inputs=points, targets=labels, classes=2, mean=(0.0,), std=(1.0,))
        >>> model = nn.Linear(1, 2, bias=False)
        >>> with torch.no_grad(): _ = model.weight.copy_(torch.tensor([[-1.0], [1.0]]))  # class 1 above 0
        >>> found = robust_accuracy(model, data, attack="fgm", epsilon=[0.0, 0.6, 1.5], progress=False)
        >>> found.accuracy.round(3).tolist()
        [1.0, 0.667, 0.333]

    References:
        A. Bietti et al., A Kernel Perspective for Regularizing Deep Neural Networks, ICML 2019, section 4 (its PGD);
        and :data:`ATTACKS` for each attack.
    """
    epsilons = radii_of(epsilon)
    chosen = checked(attack, steps, step_size, starts, loss, overshoot, batch_size, seed)
    check_data(data)
    pixel_model = PixelModel(model, data)
    settings = {"attack": attack, "steps": steps or chosen.steps, "step_size": step_size, "loss": loss}
    settings |= {"seed": int(seed), "starts": starts or chosen.starts}
    settings |= {"overshoot": overshoot if chosen.overshoots else None}
    found = over_batches(
        lambda part: _batch(pixel_model, part, chosen, epsilons, settings),
        len(data), batch_size, name=attack, progress=progress,
    )  # fmt: skip
    sizes = torch.cat(found, dim=1).double().cpu().numpy()
    return RobustAccuracy(
        attack=attack,
        norm=chosen.norm,
        epsilons=np.array(epsilons),
        sizes=sizes,
        settings=settings,
        provenance=pixel_model.objective.provenance(),
        complete=sizes.shape[1] == len(data),
        images=pixel_model.high is not None,
    )


def _batch(model: PixelModel, part: slice, attack: Attack, epsilons: list[float], settings: dict[str, Any]) -> Tensor:
    """Attack some examples at all radii; return the sizes of the changes found, (E, B), NaN where none was."""
    clean, labels = model.pixels(part), model.labels(part)
    with torch.no_grad():
        missed = wrong(model(clean), labels)
    found = torch.full((len(epsilons), len(clean)), torch.nan, dtype=clean.dtype, device=clean.device)
    found[:, missed] = 0.0
    left = (~missed).nonzero().squeeze(1)
    if attack.minimal:
        sizes = left.to(clean)
        if len(left):
            sizes, _ = nearest_mistakes(model, clean[left], labels[left], attack, settings)
        for row, epsilon in enumerate(epsilons):
            found[row, left] = torch.where(sizes <= epsilon, sizes, torch.nan)
        return found
    stream = streams(settings["attack"], part.start, settings["seed"], clean.device)
    for row, epsilon in enumerate(epsilons):
        if row:
            found[row] = found[row - 1]
        left = left[found[row, left].isnan()]
        if epsilon == 0.0 or not len(left):
            continue
        keys = ("steps", "step_size", "starts", "loss")
        effort = effort_of(attack, epsilon, **{key: settings[key] for key in keys})
        found[row, left] = break_within(model, clean, labels, left, epsilon, attack, effort, stream)
    return found
