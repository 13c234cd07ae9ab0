"""Maps side by side: whether they can share axes, what their axes mean, and what the caption must say of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape.plotting.geometry import Box, box_of, comparable, span
from landscape.plotting.units import direction_unit

Grid = tuple[np.ndarray, np.ndarray, Sequence[Mapping[str, Any]]]
"""The alphas (A,), the betas (B,), and the records of the two directions."""


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """Where maps are drawn.

    Attributes:
        boxes: What each map shows, in order.
        units: What the axes of each mean; "" where that is said once for all.
        shared: Whether all have the same axes.
        unit: What the axes of all mean, in a sentence; "" where that differs.
        caption: What a reader must know of the axes.
        scales: Which axes are stretched against each other in a map to scale; "" for none.
    """

    boxes: tuple[Box, ...]
    units: tuple[str, ...]
    shared: bool
    unit: str
    caption: str
    scales: str


def arrange(grids: Mapping[str, Grid]) -> Arrangement:
    """Give maps common axes where their units agree and none would shrink to a corner, else axes of their own.

    Args:
        grids: Label to grid.

    Returns:
        The arrangement.
    """
    alphas, betas = [grid[0] for grid in grids.values()], [grid[1] for grid in grids.values()]
    units = [axes_unit(grid[2]) for grid in grids.values()]
    lengths = [_own_length(grid[2]) for grid in grids.values()]
    alike = len(set(units)) == 1 and len(set(lengths)) == 1
    shared = alike and comparable(alphas) and comparable(betas)
    if shared:
        boxes = [box_of(span(alphas), span(betas))] * len(grids)
    else:
        boxes = [box_of(span([a]), span([b])) for a, b in zip(alphas, betas, strict=True)]
    return Arrangement(
        boxes=tuple(boxes),
        units=tuple("" if len(set(units)) == 1 else unit for unit in units),
        shared=shared,
        unit=_sentence(units[0]) if len(set(units)) == 1 else "",
        caption=" ".join(_shared(len(grids), shared, alike) + _thin(grids)),
        scales=_scales(dict(zip(grids, boxes, strict=True)), shared),
    )


def axes_unit(directions: Sequence[Mapping[str, Any]]) -> str:
    """Say what one unit of both axes is.

    Example:
        >>> axes_unit([{"norm": "model"}, {"norm": "unit"}])
        'α: 1 = the norm of all weights; β: 1 = unit L2 norm in weight space'
    """
    first, second = (direction_unit(directions, index) for index in (0, 1))
    return first if first == second else f"α: {first}; β: {second}"


def _sentence(unit: str) -> str:
    return f"{unit}." if unit.startswith("α") else f"α and β ({unit})."


def _own_length(directions: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
    """Return the lengths of directions that are units themselves, to two digits: draws of one kind differ a bit."""
    own = [d.get("length") for k, d in enumerate(directions) if direction_unit(directions, k).endswith("own length")]
    return tuple(float(f"{length:.1e}") for length in own if length is not None)


def _shared(count: int, shared: bool, alike: bool) -> list[str]:
    if count == 1:
        return []
    if shared:
        return ["All panels share the axes and the color scale."]
    why = "extents" if alike else "units"
    return [f"Each panel has its own axes, since their {why} differ; all share the color scale."]


def _scales(boxes: Mapping[str, Box], shared: bool) -> str:
    told = {}
    for name, box in boxes.items():
        if not 0.99 < box.stretch < 1.01:
            longer, other = ("β", "α") if box.stretch > 1 else ("α", "β")
            told[name] = f"{longer} is drawn {max(box.stretch, 1 / box.stretch):.3g} times as large as {other}"
    if shared:
        return f"{next(iter(told.values()))}." if told else ""
    return "".join(f"{name}: {what}. " for name, what in told.items()).strip()


def _thin(grids: Mapping[str, Grid]) -> list[str]:
    said = []
    for name, (alphas, betas, _) in grids.items():
        if len(alphas) == 1 and len(betas) == 1:
            what = "a single point"
        elif len(betas) == 1:
            what = f"a single row of points, at β = {betas[0]:.4g}"
        elif len(alphas) == 1:
            what = f"a single column of points, at α = {alphas[0]:.4g}"
        else:
            continue
        said.append(f"{name or 'This grid'} is {what}.")
    return said
