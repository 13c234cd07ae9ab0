"""The largest loss in a box around the weights, by steps along the sign of the gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from landscape.progress import Progress

ValueAndGradient = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A point (P,) to the loss there, 0-d, and its gradient, (P,)."""


def largest_in_box(
    value_and_gradient: ValueAndGradient, center: Tensor, widths: Tensor, *, steps: int, bar: Progress
) -> tuple[Tensor, Tensor]:
    """Look for the largest loss within ``|w_i - center_i| <= widths_i``.

    From the best point so far, each step goes along the sign of its gradient, ``step * widths`` in each weight, and is
    cut off at the box. At first it is the whole box, so it goes to the corner where the linearized loss is largest:
    for a loss that is convex in the box each such step is one up. A step that does not lead up is taken back, and the
    next one is half as long. It ends where a step leads nowhere else.

    As for every search, what is found is a lower bound of the largest loss.

    Args:
        value_and_gradient: The loss and its gradient.
        center: (P,).
        widths: (P,) half-widths of the box, not negative.
        steps: The most steps; each takes one gradient.
        bar: Counts steps.

    Returns:
        The loss at the center, and the largest one found: 0-d tensors. The second is NaN where the first one is.

    Example:
        >>> from landscape.progress import progress_bar
        >>> with progress_bar(5, desc="", unit="", enabled=False) as bar:
        ...     center, widths = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 1.0])
        ...     first, best = largest_in_box(lambda w: ((w**2).sum(), 2 * w), center, widths, steps=5, bar=bar)
        >>> first.item(), best.item()  # 1.5**2 + 3**2
        (5.0, 11.25)
    """
    place = center
    first, gradient = value_and_gradient(center)
    best, size = first, 2.0
    for taken in range(steps):
        moved = place + size * widths * gradient.sign()
        trial = torch.minimum(torch.maximum(moved, center - widths), center + widths)
        if torch.equal(trial, place):
            bar.update(steps - taken)
            break
        loss, slope = value_and_gradient(trial)
        if bool(loss > best):  # NaN is not
            place, best, gradient = trial, loss, slope
        else:
            size /= 2
        bar.update()
    return first, best
