"""Steps up a function of the inputs, within a ball around each example."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from landscape.balls import Norm, project, steepest
from landscape.regularizers.passes import gradient_by, leaf
from landscape.regularizers.units import InputUnits


def stepped(
    inputs: Tensor, change: Tensor, gradient: Tensor, *, length: float, radius: float, norm: Norm, units: InputUnits
) -> Tensor:
    """Return a change after one more step: along the steepest direction, then back into the ball and the limits.

    Args:
        inputs: (B, ...) as the model reads them.
        change: (B, ...) in pixels.
        gradient: (B, ...) by inputs.
        length: Of the step, in pixels.
        radius: Of the ball, in pixels.
        norm: Of both.
        units: What a pixel is.

    Returns:
        (B, ...), no longer than the radius.
    """
    moved = change + length * steepest(units.by_pixels(gradient), norm)
    return units.within(inputs, project(moved, radius, norm))


def climb(
    value: Callable[[Tensor], Tensor],
    inputs: Tensor,
    change: Tensor,
    *,
    steps: int,
    length: float,
    radius: float,
    norm: Norm,
    units: InputUnits,
) -> Tensor:
    """Return a change after so many steps up a function.

    Args:
        value: From moved inputs (B, ...) to what is climbed, 0-d: a sum over examples.
        inputs: (B, ...) as the model reads them.
        change: (B, ...) in pixels, where to begin.
        steps: How many.
        length: Of a step, in pixels.
        radius: Of the ball, in pixels.
        norm: Of both.
        units: What a pixel is.
    """
    for _ in range(steps):
        moving = leaf(units.moved(inputs, change))
        gradient = gradient_by(value(moving), moving)
        change = stepped(inputs, change, gradient, length=length, radius=radius, norm=norm, units=units)
    return change
