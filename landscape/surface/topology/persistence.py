"""Persistence of a grid by union-find: basins from below, rings around hills from above."""

from __future__ import annotations

from typing import Any

import numpy as np

from landscape.arguments import check_kind
from landscape.errors import DataError
from landscape.surface.results import MISSING, Surface
from landscape.surface.topology.results import Topology

_EDGES = ((0, 1), (1, 0))
_DIAGONALS = ((1, 1), (1, -1))


def surface_topology(surface: Surface) -> Topology:
    """Find the minima, saddles and maxima of a surface, which belong together, and how basins merge.

    Definition: points are added in the order of their loss. Points of the set so far are neighbors where they touch
    along an edge or at a corner of the grid's cells (8-connected), as a way down may go along a diagonal; points that
    are not in it yet, where they touch along an edge (4-connected). The two belong together: a set that is closed along
    diagonals leaves none for what it encloses. Every point has one place in the order, (loss, index), so that plateaus
    and ties need no rule of their own (simulation of simplicity); pairs born and dying at one loss are left out.

    - A minimum begins a new connected part; a saddle joins parts, and all but the one with the lowest minimum die; or
      it closes a ring. A maximum is the last point inside a ring.
    - With minima m, maxima k and the pairs' saddles s (each counted as often as it stands in a pair), m - s + k is the
      Euler characteristic of the points that have a loss: 1 for a whole grid.

    Points without a finite loss belong to no set, at no level, and are counted. In O(n log n) for n points; 501 x 501
    points take about a second.

    Args:
        surface: Loss (A, B). An interpolated one as well: pairs of less persistence than twice its error mean nothing.

    Returns:
        All pairs with a positive persistence. :meth:`Topology.simplified` keeps the large ones.

    Raises:
        DataError: It is no surface.

    Example:
        >>> loss = np.array([[2, 0, 3, 1, 2]])
        >>> surface = Surface(
        ...     alphas=[0], betas=range(5), loss=loss, accuracy=loss, status=loss * 0 + 1, directions=(), provenance={}
        ... )
        >>> topology = surface_topology(surface)
        >>> topology.minima.tolist(), topology.birth.tolist(), topology.death.tolist()
        ([[0, 1], [0, 3]], [0.0, 1.0], [inf, 3.0])

    References:
        Edelsbrunner, Harer. Computational Topology. AMS 2010, chapter VII. Edelsbrunner, Muecke. Simulation of
        simplicity. ACM Trans. Graphics 9, 1990.
    """
    fix = "Use evaluate_surface(objective, plane), Surface.load(path) or interpolate(surface)."
    check_kind(surface, Surface, "This is no surface.", fix=fix, error=DataError)
    loss = surface.loss
    finite, missing = np.isfinite(loss), surface.status == MISSING
    basins = _basins(loss, finite)
    rings = _rings(loss, finite)
    pairs: dict[str, Any] = {name: np.concatenate([basins[name], rings[name]]) for name in basins}
    return Topology(
        alphas=surface.alphas,
        betas=surface.betas,
        **pairs,
        non_finite=int((~finite & ~missing).sum()),
        missing=int((~finite & missing).sum()),
        provenance=surface.provenance,
    )


def _basins(loss: np.ndarray, finite: np.ndarray) -> dict[str, np.ndarray]:
    """The pairs of dimension 0."""
    order = np.flatnonzero(finite)
    order = order[np.argsort(loss.flat[order], kind="stable")]
    rank = np.full(loss.size, len(order))
    rank[order] = np.arange(len(order))
    born, died, parent = _branches(rank.reshape(loss.shape), len(order), (*_EDGES, *_DIAGONALS))
    birth = loss.flat[order[born]]
    death = np.where(died < 0, np.inf, loss.flat[order[died]])
    kept = death > birth  # and with it its parent, which was born no later and dies no earlier
    number = np.append(np.cumsum(kept) - 1, -1)
    return {
        "dimension": np.zeros(kept.sum(), dtype=np.int64),
        "birth": birth[kept],
        "death": death[kept],
        "birth_point": _points(order[born[kept]], loss.shape),
        "death_point": np.where(died[kept, None] < 0, -1, _points(order[died[kept]], loss.shape)),
        "parent": number[parent[kept]],
    }


def _rings(loss: np.ndarray, finite: np.ndarray) -> dict[str, np.ndarray]:
    """The pairs of dimension 1: parts of what is not in the set yet, in reverse order, the outside being the eldest."""
    value = np.pad(np.where(finite, loss, np.inf), 1, constant_values=np.inf)
    inside = np.pad(finite, 1)
    outside = np.ones_like(inside)
    outside[1:-1, 1:-1] = False
    within = np.flatnonzero(inside)
    within = within[np.argsort(value.flat[within], kind="stable")][::-1]
    order = np.concatenate([np.flatnonzero(outside), np.flatnonzero(~inside & ~outside), within])
    rank = np.empty(value.size, dtype=np.int64)
    rank[order] = np.arange(len(order))
    born, died, _ = _branches(rank.reshape(value.shape), len(order), _EDGES)
    born, died = born[died >= 0], died[died >= 0]  # the outside itself is no hole
    death, birth = value.flat[order[born]], value.flat[order[died]]
    kept = death > birth
    born, died, death, birth = born[kept], died[kept], death[kept], birth[kept]
    maxima = _points(order[born], value.shape) - 1
    return {
        "dimension": np.ones(len(born), dtype=np.int64),
        "birth": birth,
        "death": death,
        "birth_point": _points(order[died], value.shape) - 1,
        "death_point": np.where(np.isfinite(death)[:, None], maxima, -1),
        "parent": np.full(len(born), -1),
    }


def _points(flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(np.unravel_index(flat, shape), axis=1)


# ------------------------------------------------------------------------------------------------- the union-find


def _branches(
    rank: np.ndarray, count: int, offsets: tuple[tuple[int, int], ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join points in the order of their rank (those of rank ``count`` never) and follow each part to its end.

    Every point first flows to the lowest point around it, and on to the minimum of its basin, all at once; only the
    places where two basins touch are then joined one by one.

    Returns:
        For each part the rank at which it was born, ascending; that at which it met an elder one, or -1; and the number
        of the part that it then belonged to, or -1.
    """
    down = np.arange(count + 1)
    edges = [_neighbors(rank, count, offset) for offset in offsets]
    for first, second in edges:
        np.minimum.at(down, np.maximum(first, second), np.minimum(first, second))
    while not np.array_equal(further := down[down], down):
        down = further
    born = np.flatnonzero(down[:count] == np.arange(count))
    number = np.empty(count + 1, dtype=np.int64)
    number[born] = np.arange(len(born))
    basin = number[down[:count]]
    first, second = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    died, parent = _join(basin[first], basin[second], np.maximum(first, second), len(born))
    return born, died, parent


def _neighbors(rank: np.ndarray, count: int, offset: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The ranks at both ends of all steps of one kind between points that are joined at some time."""
    rows, columns = offset
    height, width = rank.shape
    left, right = max(0, -columns), max(0, columns)
    first = rank[: height - rows, left : width - right].reshape(-1)
    second = rank[rows:, left + columns : width - right + columns].reshape(-1)
    present = np.maximum(first, second) < count
    return first[present], second[present]


def _join(first: np.ndarray, second: np.ndarray, level: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Join basins where they touch, lowest place first; the one with the lower number, the elder, goes on."""
    apart = first != second
    low, high, level = np.minimum(first, second)[apart], np.maximum(first, second)[apart], level[apart]
    by_level = np.argsort(level, kind="stable")
    _, lowest = np.unique(low[by_level] * count + high[by_level], return_index=True)
    steps = by_level[np.sort(lowest)]
    root, died, parent = list(range(count)), [-1] * count, [-1] * count
    for one, other, at in zip(low[steps].tolist(), high[steps].tolist(), level[steps].tolist(), strict=True):
        elder, younger = sorted((_find(root, one), _find(root, other)))
        if elder != younger:
            root[younger] = parent[younger] = elder
            died[younger] = at
    for part in range(count):  # of parts that meet in one point, all flow into the eldest
        while (above := parent[part]) >= 0 and died[above] == died[part]:
            parent[part] = parent[above]
    return np.array(died, dtype=np.int64), np.array(parent, dtype=np.int64)


def _find(root: list[int], part: int) -> int:
    while root[part] != part:
        root[part] = part = root[root[part]]
    return part
