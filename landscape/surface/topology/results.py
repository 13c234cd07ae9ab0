"""What the topology of a surface is: pairs of critical points, and the tree in which basins merge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from landscape.config import is_number
from landscape.errors import ConfigError, MismatchError, shown
from landscape.surface.archive import StoredResult, frozen_array

_PAIRS = {
    "birth": (-1,),
    "death": (-1,),
    "dimension": (-1,),
    "birth_point": (-1, 2),
    "death_point": (-1, 2),
    "parent": (-1,),
}
_INTEGERS = ("dimension", "birth_point", "death_point", "parent")


@dataclass(frozen=True, eq=False, kw_only=True)
class Topology(StoredResult):
    """How the set of points with a loss of at most t changes as t rises, as pairs of births and deaths.

    A pair of dimension 0 is a basin: it is born at its minimum and dies at the saddle over which it meets a basin with
    a lower minimum. A pair of dimension 1 is a ring around a hill: it is born at the saddle that closes it and dies at
    the hill's maximum. Basins come first, lowest minimum first; then rings, highest maximum first.

    All arrays are read-only.

    Attributes:
        alphas: (A,) float64, the grid's first axis.
        betas: (B,) float64, the grid's second axis.
        dimension: (P,) int64: 0 for a basin, 1 for a ring.
        birth: (P,) float64, the loss at the birth.
        death: (P,) float64, the loss at the death; infinite for a basin that meets no lower one, and for a ring around
            points without a loss.
        birth_point: (P, 2) int64, indices (i, j) into the grid: the minimum of a basin, the saddle of a ring.
        death_point: (P, 2) int64: the saddle of a basin, the maximum of a ring; (-1, -1) where it never dies.
        parent: (P,) int64: the merge tree. The pair of the basin into which a basin flows at its death; -1 where it
            never dies, and for rings.
        threshold: Pairs with less persistence were left out; 0 where none was.
        non_finite: How many points are left out because their loss is NaN or infinite.
        missing: How many points are left out because they were not computed.
        provenance: The surface's (plain JSON values).

    Raises:
        MismatchError: The arrays do not fit together.

    Example:
        >>> nothing = {"birth": [], "death": [], "dimension": [], "parent": []}
        >>> points = {"birth_point": np.empty((0, 2)), "death_point": np.empty((0, 2))}
        >>> topology = Topology(alphas=[0], betas=[0], **nothing, **points, non_finite=1, missing=0, provenance={})
        >>> topology
        Topology(1x1 points, 0 minima, 0 saddles, 0 maxima, 1 point left out)
    """

    alphas: np.ndarray
    betas: np.ndarray
    dimension: np.ndarray
    birth: np.ndarray
    death: np.ndarray
    birth_point: np.ndarray
    death_point: np.ndarray
    parent: np.ndarray
    non_finite: int
    missing: int
    provenance: dict[str, Any]
    threshold: float = 0.0

    def __post_init__(self) -> None:
        for name in ("alphas", "betas"):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), (-1,)))
        for name, shape in _PAIRS.items():
            dtype = np.int64 if name in _INTEGERS else np.float64
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), shape, dtype))
        counts = {name: len(getattr(self, name)) for name in _PAIRS}
        if len(set(counts.values())) > 1:
            raise MismatchError("The pairs of a topology do not fit together.", expected="as many of each", got=counts)

    def __repr__(self) -> str:
        """One line: how many points, critical points and points left out."""
        shape = f"{len(self.alphas)}x{len(self.betas)} points"
        found = f"{_count(self.minima, 'minim', 'um', 'a')}, {_count(self.saddles, 'saddle', '', 's')}"
        found += f", {_count(self.maxima, 'maxim', 'um', 'a')}"
        if self.threshold:
            found += f" of persistence {self.threshold:.4g} or more"
        if left_out := self.non_finite + self.missing:
            found += f", {left_out} point{'s' * (left_out > 1)} left out"
        return f"Topology({shape}{' interpolated' * ('interpolated' in self.provenance)}, {found})"

    @property
    def persistence(self) -> np.ndarray:
        """(P,) death minus birth: the height of the barrier of a basin, of a hill over its ring; may be infinite."""
        return self.death - self.birth

    @property
    def minima(self) -> np.ndarray:
        """(M, 2) indices of the minima, lowest first."""
        return self.birth_point[self.dimension == 0]

    @property
    def minima_on_edge(self) -> np.ndarray:
        """(M,) whether each minimum lies on the edge of the grid, where the loss may go on falling outside it."""
        last = np.array([len(self.alphas) - 1, len(self.betas) - 1])
        return ((self.minima == 0) | (self.minima == last)).any(axis=1)

    @property
    def maxima(self) -> np.ndarray:
        """(K, 2) indices of the maxima, highest first.

        A point on the edge of the grid, or beside a point without a loss, is none: the loss may rise further there.
        """
        return self.death_point[(self.dimension == 1) & np.isfinite(self.death)]

    @property
    def saddles(self) -> np.ndarray:
        """(S, 2) indices of the saddles, each once, in the order of the grid.

        One saddle can join several basins, or join basins and close a ring: it then belongs to several pairs.
        """
        joining = self.death_point[(self.dimension == 0) & np.isfinite(self.death)]
        return np.unique(np.concatenate([joining, self.birth_point[self.dimension == 1]]), axis=0)

    def components(self, level: float) -> int:
        """Count the connected parts of the set of points with a loss of at most ``level``.

        Args:
            level: In units of the loss.

        Returns:
            How many; of a simplified topology, how many of at least that persistence.
        """
        return self._alive(0, level)

    def holes(self, level: float) -> int:
        """Count the holes in the set of points with a loss of at most ``level``: hills that it surrounds.

        Args:
            level: In units of the loss.

        Returns:
            How many, holes of points without a loss included.
        """
        return self._alive(1, level)

    def _alive(self, dimension: int, level: float) -> int:
        return int(((self.dimension == dimension) & (self.birth <= level) & (level < self.death)).sum())

    def simplified(self, threshold: float) -> Self:
        """Leave out the pairs of little persistence: ripples of the surface, or its interpolation's error.

        Args:
            threshold: The least persistence that is kept, in units of the loss. Pairs that never die are kept.

        Returns:
            A new topology. The merge tree stays a tree: a basin's parent never has less persistence than itself.

        Raises:
            ConfigError: The threshold is no number, negative or NaN.
        """
        if not (is_number(threshold) and threshold >= 0):
            raise ConfigError(
                "The persistence threshold is out of range.",
                expected="0 or more, in units of the loss",
                got=shown(threshold),
                fix="Twice the max_error of an interpolated surface, for example.",
            )
        kept = self.persistence >= threshold
        number = np.append(np.cumsum(kept) - 1, -1)  # a parent of -1 stays -1
        pairs = {name: getattr(self, name)[kept] for name in _PAIRS if name != "parent"}
        parent = number[self.parent[kept]]
        return replace(self, **pairs, parent=parent, threshold=max(float(threshold), self.threshold))

    _names = ("alphas", "betas", *_PAIRS)

    def _packed(self) -> tuple[dict[str, np.ndarray], Any]:
        text = {name: getattr(self, name) for name in ("non_finite", "missing", "provenance", "threshold")}
        return {name: getattr(self, name) for name in self._names}, text

    @classmethod
    def _unpacked(cls, arrays: dict[str, np.ndarray], text: Any) -> dict[str, Any]:
        return {**arrays, **text}


def _count(points: np.ndarray, stem: str, one: str, many: str) -> str:
    return f"{len(points)} {stem}{one if len(points) == 1 else many}"
