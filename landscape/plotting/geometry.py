"""How maps are laid out: which range each panel shows, how high it is against its width, and whether panels agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FLATTEST = 0.4
"""The lowest drawn height of a map against its width, and the narrowest the other way round: thinner ones are strips
that nothing can be read from."""

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Box:
    """What one map shows: its ranges, its height over its width, and how many times a unit of y is one of x."""

    x: Range
    y: Range
    aspect: float
    stretch: float


def box_of(x: Range, y: Range) -> Box:
    """Lay out one map: to scale where it is not too flat or too narrow for that.

    Args:
        x: The smallest and the largest alpha; equal for a single column of points.
        y: The smallest and the largest beta; equal for a single row.

    Returns:
        The box. A range of one value is widened around it.

    Example:
        >>> box_of((-1, 1), (-1, 1)).aspect, box_of((-10, 10), (-1, 1)).aspect, box_of((-10, 10), (-1, 1)).stretch
        (1.0, 0.4, 4.0)
        >>> box_of((-1, 1), (0, 0)).y
        (-0.4, 0.4)
    """
    across, up = x[1] - x[0], y[1] - y[0]
    x, y = _widened(x, up), _widened(y, across)
    true = (y[1] - y[0]) / (x[1] - x[0])
    aspect = min(max(true, FLATTEST), 1 / FLATTEST)
    if 0.9 < aspect / true < 1 / 0.9:  # to scale, rather than a little off it
        aspect = true
    return Box(x=x, y=y, aspect=aspect, stretch=aspect / true)


def _widened(ends: Range, other: float) -> Range:
    if ends[1] > ends[0]:
        return ends
    half = FLATTEST / 2 * other if other > 0 else 0.5
    return ends[0] - half, ends[1] + half


def span(axes: Sequence[np.ndarray]) -> Range:
    """Return the smallest interval that holds all axes, each (A,)."""
    return min(float(axis.min()) for axis in axes), max(float(axis.max()) for axis in axes)


def comparable(axes: Sequence[np.ndarray]) -> bool:
    """Tell whether axes can be drawn with one range: each covers half of it or more, or is a single point.

    Example:
        >>> comparable([np.array([-1, 1]), np.array([-2, 2])]), comparable([np.array([-1, 1]), np.array([-9, 9])])
        (True, False)
    """
    low, high = span(axes)
    return all(len(axis) == 1 or np.ptp(axis) >= 0.5 * (high - low) for axis in axes)


def edges(centers: np.ndarray, box: Range) -> np.ndarray:
    """Return the edges of the cells around the points of an axis, (A + 1,).

    Args:
        centers: (A,).
        box: What the axis shows. A single point has a cell of 12 % of it.

    Example:
        >>> edges(np.array([0.0, 1.0]), (0, 1)).tolist(), edges(np.array([0.0]), (-1, 1)).tolist()
        ([-0.5, 0.5, 1.5], [-0.12, 0.12])
    """
    if len(centers) == 1:
        half = 0.06 * (box[1] - box[0])
        return np.array([centers[0] - half, centers[0] + half])
    middle = (centers[1:] + centers[:-1]) / 2
    return np.concatenate([[2 * centers[0] - middle[0]], middle, [2 * centers[-1] - middle[-1]]])


def size(aspect: float, side: float, widest: float) -> tuple[float, float]:
    """Return width and height of a map of about the area ``side**2``, no wider than ``widest`` and no higher than fits.

    Args:
        aspect: Height over width.
        side: Width and height of a square one.
        widest: The most that it may be wide.

    Example:
        >>> size(1.0, 4.0, 10.0), size(0.25, 4.0, 10.0), size(4.0, 4.0, 10.0)
        ((4.0, 4.0), (8.0, 2.0), (1.25, 5.0))
    """
    width = min(side / math.sqrt(aspect), widest, 1.25 * side / aspect)
    return width, width * aspect
