"""The plane that holds most of a path through weight space, and where the path lies beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.config import is_whole, require, require_name
from landscape.errors import ConfigError, MismatchError, NonFiniteError, shown
from landscape.progress import Progress, progress_bar
from landscape.surface.directions import Direction, point_of, weights_checksum
from landscape.surface.path_results import Trajectory
from landscape.surface.planes import Plane, Point

CENTERS = ("last", "mean")
_MEMORY = 2**30
_RANK = 64 * float(np.finfo(np.float64).eps)  # components below this share of the first are rounding


def trajectory_plane(
    points: Sequence[Point],
    *,
    center: str = "last",
    steps: Sequence[int] | None = None,
    memory: int = _MEMORY,
    progress: bool = True,
) -> Trajectory:
    """Find the plane of the two principal components of a path, and the path's true place on and beside it.

    Definition: with ``x_i = w_i - c`` the T points relative to the center c, the axes are the two right singular
    vectors of the matrix of rows x_i with the largest singular values, which are the unit vectors with the largest
    ``sum_i (x_i.d)**2``. They come from the eigenvectors u and eigenvalues s of the (T, T) matrix ``x_i.x_j``, in
    float64: ``d = sum_i u_i x_i / sqrt(s)``. The share of a component is ``s / sum of all s``. Each axis points where
    the path's largest coordinate along it is positive.

    Args:
        points: T models, objectives or weight vectors (P,), in order; at least three. A sequence that reads from a disk
            is read point by point.
        center: "last": c is the last point, as in Li et al., so the plane goes through the trained weights. "mean": c
            is the mean of all, so the plane is the nearest to all points. (Li et al.'s code finds its axes around the
            mean, and draws them through the last point.)
        steps: (T,) the number of each point; 0, 1, 2... by default.
        memory: Bytes that points may take in float64. What does not fit is read several times over.
        progress: Whether a progress bar is shown.

    Returns:
        The trajectory; ``trajectory.plane`` has its origin at c, and marks where the path starts and ends.

    Raises:
        ConfigError: There are fewer than three points, ``center`` is unknown, or ``steps`` has another length; or these
            are no points in an order, or no steps.
        MismatchError: The points belong to different models, or lie on one line.
        NonFiniteError: A point holds NaN or infinity.

    Example:
        >>> path = [torch.tensor([x, y, 0.0]) for x, y in [(0.0, 2.0), (3.0, 1.0), (5.0, 0.0), (0.0, 0.0)]]
        >>> found = trajectory_plane(path, progress=False)
        >>> round(found.explained_by_plane, 6), [round(abs(x), 6) for x in found.distance.tolist()]
        (1.0, [0.0, 0.0, 0.0, 0.0])

    References:
        H. Li et al., Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018, section 7.
    """
    require_name("center", center, CENTERS)
    require(is_whole(memory) and memory >= 0, "memory", "a number of bytes", memory, "Use memory=2**30.")
    count = _count(points)
    numbers = list(range(count)) if steps is None else _numbers(steps)
    if len(numbers) != count:
        raise ConfigError(
            "steps has another length than points.", expected=count, got=len(numbers), fix="Leave steps out: 0, 1, 2..."
        )
    rows = _Rows(points, memory)
    with progress_bar(rows.reads(), desc="trajectory", unit="checkpoint", enabled=progress) as rows.bar:
        shares, weights = _components(rows.products(), center)
        plane = rows.plane(weights, shares, center)
        coordinates, distance = plane.project(rows.points())
    signs = _signs(coordinates)
    coordinates = coordinates * signs
    ends = {f"start (step {numbers[0]})": coordinates[0], f"end (step {numbers[-1]})": coordinates[-1]}
    plane = replace(_flipped(plane, signs), marks={name: (float(a), float(b)) for name, (a, b) in ends.items()})
    return Trajectory(
        steps=np.array(numbers),
        coordinates=coordinates,
        distance=distance,
        explained=shares,
        center=center,
        directions=tuple(direction.record() for direction in plane.directions),
        provenance={**rows.provenance(), "center": center, "plane": plane.record()},
        plane=plane,
    )


def _count(points: object) -> int:
    listed = hasattr(points, "__len__") and hasattr(points, "__getitem__") and getattr(points, "ndim", 2) > 0
    if not listed or isinstance(points, nn.Module | Mapping | str | bytes | type):
        raise ConfigError(
            "This is no path.",
            expected="a list of models, objectives or weight vectors (P,)",
            got=shown(points),
            fix="Pass the points in order; for a run, landscape.trajectory_plane(run).",
        )
    count = len(points)  # type: ignore[arg-type]
    if count < 3:
        raise ConfigError(
            "A path of so few points has no plane.", expected="at least 3", got=count, fix="Keep more checkpoints."
        )
    return count


def _numbers(steps: object) -> list[int]:
    try:
        found: list[Any] = list(steps)  # type: ignore[call-overload]
    except TypeError:  # nothing to go through
        found = [None]
    if not all(map(is_whole, found)):
        raise ConfigError(
            "steps are no numbers of steps.",
            expected="a whole number for each point",
            got=shown(steps),
            fix="Leave steps out: 0, 1, 2...",
        )
    return [int(step) for step in found]


def _components(products: np.ndarray, center: str) -> tuple[np.ndarray, np.ndarray]:
    """Return shares (T - 1,), and (2, T) coefficients of the points that make the two axes."""
    if center == "mean":
        products = products - products.mean(0) - products.mean(1)[:, None] + products.mean()
    values, vectors = np.linalg.eigh((products + products.T) / 2)
    values, vectors = np.clip(values[::-1], 0, None), vectors[:, ::-1]
    if not values[1] > _RANK * values[0]:
        raise MismatchError(
            "The path spans no plane.",
            expected="points that do not all lie on one line",
            got=f"principal values {values[0]:.3g} and {values[1]:.3g}",
            fix="Use evaluate_line with direction_between(first, last).",
        )
    shares = values[:-1] / values[:-1].sum()
    return shares, (vectors[:, :2] / np.sqrt(values[:2])).T


def _signs(coordinates: np.ndarray) -> np.ndarray:
    largest = np.abs(coordinates).argmax(0)
    return np.where(coordinates[largest, [0, 1]] < 0, -1.0, 1.0)


def _flipped(plane: Plane, signs: np.ndarray) -> Plane:
    first, second = (
        replace(direction, vector=direction.vector * sign)
        for direction, sign in zip(plane.directions, signs.tolist(), strict=True)
    )
    return Plane(first, second, origin=plane.origin)


class _Rows:
    """The points of a path as differences to the last one, in float64, read as often as memory makes it needed."""

    bar: Progress

    def __init__(self, source: Sequence[Point], memory: int) -> None:
        self.source, self.count = source, len(source)
        self.last, self.layout = point_of(source[-1])
        self.size = len(self.last)
        self.fits = self.count * self.size * 8 <= memory
        block = self.count if self.fits else max(1, memory // (16 * self.size))
        self.blocks = [range(start, min(start + block, self.count)) for start in range(0, self.count, block)]
        self.kept: Tensor | None = None

    def reads(self) -> int:
        """Return how many points will be read."""
        pairs = sum(other.stop - other.start for number in range(len(self.blocks)) for other in self.blocks[:number])
        return pairs + self.count * (2 if self.fits else 3)

    def point(self, index: int) -> Tensor:
        """Read one point (P,), where the last one lies."""
        vector, layout = point_of(self.source[index])
        if len(vector) != self.size or (layout and self.layout and layout != self.layout):
            raise MismatchError(
                f"Point {index} of the path belongs to another model than the last one.",
                expected=f"{self.size} weights, layout {self.layout or 'unknown'}",
                got=f"{len(vector)} weights, layout {layout or 'unknown'}",
                fix="Use points of one architecture.",
            )
        self.bar.update()
        return vector.to(self.last.device)

    def _difference(self, index: int) -> Tensor:
        return self.point(index).double() - self.last.double()

    def difference(self, index: int) -> Tensor:
        """Return one point relative to the last, (P,) float64."""
        return self._difference(index) if self.kept is None else self.kept[index]

    def points(self) -> Iterator[Tensor]:
        """Yield the points one by one."""
        return (self.point(index) for index in range(self.count))

    def _stacked(self, block: range) -> Tensor:
        rows = torch.empty(len(block), self.size, dtype=torch.float64, device=self.last.device)
        for row, index in zip(rows, block, strict=True):
            row.copy_(self._difference(index))
        return rows

    def products(self) -> np.ndarray:
        """Compute all inner products of differences, (T, T)."""
        found = torch.zeros(self.count, self.count, dtype=torch.float64, device=self.last.device)
        for number, mine in enumerate(self.blocks):
            rows = self._stacked(mine)
            self.kept = rows if self.fits else None
            found[mine.start : mine.stop, mine.start : mine.stop] = rows @ rows.T
            for other in self.blocks[:number]:
                part = rows @ self._stacked(other).T
                found[mine.start : mine.stop, other.start : other.stop] = part
                found[other.start : other.stop, mine.start : mine.stop] = part.T
        products = found.cpu().numpy()
        if bad := np.flatnonzero(~np.isfinite(products.diagonal())).tolist():
            raise NonFiniteError(
                "The path leaves the finite numbers.",
                expected="finite weights at every point",
                got=f"NaN or infinity at {', '.join(map(str, bad))} (counted from 0), or at the last point",
                fix="Leave these points out.",
            )
        return products

    def plane(self, weights: np.ndarray, shares: np.ndarray, center: str) -> Plane:
        """Sum the axes up from the points, and place the origin."""
        axes = torch.zeros(2, self.size, dtype=torch.float64, device=self.last.device)
        origin = self.last.to(torch.float64, copy=True)
        for index in range(self.count):
            difference = self.difference(index)
            for axis, weight in zip(axes, weights[:, index].tolist(), strict=True):
                axis.add_(difference, alpha=weight)
            if center == "mean":
                origin.add_(difference, alpha=1 / self.count)
        directions = (
            Direction(
                vector=(axis / torch.linalg.vector_norm(axis)).to(self.last.dtype),
                kind="trajectory",
                norm="unit",
                layout=self.layout,
                weights=weights_checksum(self.last),
                details={"component": number, "explained": share},
            )
            for number, (axis, share) in enumerate(zip(axes, shares.tolist()[:2], strict=True), start=1)
        )
        return Plane(*directions, origin=origin.to(self.last.dtype))

    def provenance(self) -> dict[str, Any]:
        """Say what the path is; plain JSON values."""
        return {
            "checkpoints": self.count,
            "parameters": self.size,
            "layout": self.layout,
            "last_sha256": weights_checksum(self.last),
            "dtype": str(self.last.dtype).removeprefix("torch."),
        }
