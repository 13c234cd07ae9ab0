"""Where a line or a surface is evaluated, and in which order."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from landscape.config import require_name
from landscape.errors import ConfigError, shown

ORDERS = ("coarse-to-fine", "rows")
Extent = float | tuple[float, float]
Extents = Extent | tuple[tuple[float, float], tuple[float, float]]


def axis(extent: Extent, points: int) -> np.ndarray:
    """Place points evenly on an axis.

    Definition: ``extent * (2 i - (points - 1)) / (points - 1)``, exactly symmetric, ending exactly at the extent, and
    exactly 0 in the middle where ``points`` is odd. One point is 0 itself.

    Args:
        extent: How far the axis reaches to both sides, in units of the direction's length; or (low, high).
        points: How many points.

    Returns:
        (points,) float64, ascending.

    Raises:
        ConfigError: The extent is not positive and finite, or low is not below high, or ``points`` is no positive
            integer.

    Example:
        >>> axis(1.0, 5).tolist()
        [-1.0, -0.5, 0.0, 0.5, 1.0]
        >>> axis((0.0, 1.0), 3).tolist()
        [0.0, 0.5, 1.0]
    """
    count = _count(points)
    if isinstance(extent, tuple | list):
        return _between(*_pair(extent), count)
    reach = _number(extent)
    if not (math.isfinite(reach) and reach > 0):
        raise ConfigError(
            "The extent is out of range.",
            expected="a positive number, or (low, high)",
            got=shown(extent),
            fix="Use 1.0.",
        )
    if count == 1:
        return np.zeros(1)
    return reach * (np.arange(-(count - 1), count, 2) / (count - 1))


def _between(low: float, high: float, count: int) -> np.ndarray:
    if count == 1:
        raise ConfigError(
            "One point does not make an interval.",
            expected="at least 2 points",
            got=1,
            fix="Use points=3.",
        )
    values = np.linspace(low, high, count)
    values[np.abs(values) < 1e-12 * (high - low)] = 0.0
    return values


def _count(points: Any) -> int:
    if isinstance(points, bool) or not isinstance(points, int | np.integer) or points < 1:
        raise _no_count("a positive integer", points)
    return int(points)


def _no_count(expected: str, got: object) -> ConfigError:
    fix = "An odd number, 21 for example, has the center as one of its points."
    return ConfigError("The number of points is out of range.", expected=expected, got=shown(got), fix=fix)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _pair(extent: tuple[float, float] | list[float]) -> tuple[float, float]:
    numbers = [_number(value) for value in extent]
    if len(numbers) != 2 or not all(map(math.isfinite, numbers)) or not numbers[0] < numbers[1]:
        raise ConfigError(
            "The extent is out of range.",
            expected="(low, high) with low < high",
            got=shown(extent),
            fix="For example (-1.0, 1.0); one such pair for each axis of a plane.",
        )
    return numbers[0], numbers[1]


def both(points: Any) -> tuple[int, int]:
    """Read ``points`` for two axes: a pair, or one number for both.

    Raises:
        ConfigError: It is neither.

    Example:
        >>> both(21), both((21, 11))
        ((21, 21), (21, 11))
    """
    if isinstance(points, tuple | list):
        if len(points) != 2:
            raise _no_count("a positive integer, or a pair (A, B)", points)
        return _count(points[0]), _count(points[1])
    return _count(points), _count(points)


def both_extents(extent: Any) -> tuple[Any, Any]:
    """Read ``extent`` for two axes: a pair of (low, high), one for each, or one extent for both.

    Example:
        >>> both_extents(1.0), both_extents((0, 1)), both_extents(((0, 1), (-2, 2)))
        ((1.0, 1.0), ((0, 1), (0, 1)), ((0, 1), (-2, 2)))
    """
    if isinstance(extent, tuple | list) and len(extent) == 2 and all(isinstance(each, tuple | list) for each in extent):
        return tuple(extent[0]), tuple(extent[1])
    return extent, extent


def covering(coordinates: np.ndarray, margin: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Find ranges that hold some points of a plane.

    Args:
        coordinates: (T, 2).
        margin: How much more on each side, as a share of each range.

    Returns:
        (low, high) of alpha and of beta.

    Raises:
        ConfigError: The margin is negative or not finite, or the points do not differ along an axis.

    Example:
        >>> covering(np.array([[0.0, 1.0], [4.0, 3.0]]), 0.5)
        ((-2.0, 6.0), (0.0, 4.0))
    """
    if not (math.isfinite(_number(margin)) and margin >= 0):
        raise ConfigError("The margin is out of range.", expected="0 or more", got=shown(margin), fix="Use 0.25.")
    low, high = coordinates.min(0), coordinates.max(0)
    if not (high > low).all():
        raise ConfigError(
            "The points lie on one axis of the plane, so they say nothing of how far the other should reach.",
            got=f"alpha {low[0]:.4g} to {high[0]:.4g}, beta {low[1]:.4g} to {high[1]:.4g}",
            fix="Give the extent yourself.",
        )
    low, high = low - margin * (high - low), high + margin * (high - low)
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))


def levels(count: int) -> np.ndarray:
    """Number the points of an axis by refinement: both ends, then the middle, then the middles of what is left.

    Args:
        count: How many points.

    Returns:
        (count,) the level of each point. Points up to a level are nested in those up to the next, and nearly even;
        for ``count = 2**k + 1`` they are exactly every ``2**(k - level)``-th.

    Example:
        >>> levels(9).tolist()
        [0, 3, 2, 3, 1, 3, 2, 3, 0]
    """
    found = np.zeros(count, dtype=np.int64)
    gaps, level = [(0, count - 1)], 0
    while gaps:
        level += 1
        split = [(low, (low + high) // 2, high) for low, high in gaps if high - low > 1]
        for _, middle, _ in split:
            found[middle] = level
        gaps = [gap for low, middle, high in split for gap in ((low, middle), (middle, high))]
    return found


def evaluation_order(shape: tuple[int, ...], order: str) -> np.ndarray:
    """Order the points of a grid.

    Args:
        shape: (A,) or (A, B).
        order: "coarse-to-fine": by refinement, so that an early look shows the whole plane coarsely and nothing is
            computed twice; "rows": first axis slowest.

    Returns:
        Flat indices into the grid, each once.

    Raises:
        ConfigError: ``order`` is unknown.

    Example:
        >>> evaluation_order((5,), "coarse-to-fine").tolist()
        [0, 4, 2, 1, 3]
    """
    require_name("order", order, ORDERS)
    indices = np.arange(math.prod(shape))
    if order == "rows":
        return indices
    level = np.max(np.meshgrid(*(levels(count) for count in shape), indexing="ij"), axis=0).reshape(-1)
    return indices[np.argsort(level, kind="stable")]


def star(shape: tuple[int, ...]) -> np.ndarray:
    """Choose points of a grid on rays from its middle: next to it, half-way and at the edge, on all sides.

    Args:
        shape: (A,) or (A, B).

    Returns:
        Flat indices into the grid, each once: the middle too, at most 7 for a line, and at most 25 for a plane.

    Example:
        >>> star((9,)).tolist()
        [0, 2, 3, 4, 5, 6, 8]
    """
    middle = np.array([count // 2 for count in shape])
    found = set()
    for share in (0.0, 0.5, 1.0):
        steps = np.maximum(1, np.round(share * middle)).astype(int)
        for sides in itertools.product((-1, 0, 1), repeat=len(shape)):
            place = np.clip(middle + np.array(sides) * steps, 0, np.array(shape) - 1)
            found.add(int(np.ravel_multi_index(place.tolist(), shape)))
    return np.array(sorted(found))
