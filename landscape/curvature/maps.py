"""Where on a plane the loss bends which way: the ends of the Hessian's spectrum at every point."""

from __future__ import annotations

import time
import warnings
from functools import partial
from typing import Any

import numpy as np
import torch

from landscape.arguments import check_kind, check_objective
from landscape.curvature.hessian import Hessian
from landscape.curvature.results import CurvatureMap
from landscape.curvature.unfinished import ConvergenceWarning, InterruptedWarning, whole
from landscape.errors import NonFiniteError
from landscape.objective import Objective
from landscape.progress import progress_bar
from landscape.surface import grid
from landscape.surface.planes import Plane


def curvature_map(
    objective: Objective,
    plane: Plane,
    *,
    extent: grid.Extents = 1.0,
    points: int | tuple[int, int] = (11, 11),
    tol: float = 1e-2,
    seed: int = 0,
    memory_limit: int | None = None,
    progress: bool = True,
) -> CurvatureMap:
    """Compute the ends of the Hessian's spectrum on a grid over a plane.

    A surface shows two dimensions of many: a valley in the picture may be a saddle. Where ``|lowest / highest|`` is
    small everywhere, what looks convex is convex (Li et al., section 6). Each point begins with the eigenvectors of
    the one before it, along a path on which neighbors follow each other.

    Args:
        objective: Whose loss. Its model is not changed.
        plane: Where; through its origin, or else the model's present weights.
        extent: As in :func:`landscape.surface.evaluate_surface`. Default 1.0.
        points: (A, B), or one number for both. Default (11, 11): each costs about 20 products.
        tol: Relative residual of the eigenpairs. Default 1e-2: errors of 1e-4 in well separated eigenvalues.
        seed: Names the first start vector.
        memory_limit: Bytes that a product may take; see :class:`Hessian`.
        progress: Whether a progress bar is shown.

    Returns:
        The map. After Ctrl-C, what was done by then.

    Raises:
        ConfigError: An option is out of range.
        MismatchError: The plane belongs to another model.

    Warns:
        ConvergenceWarning: Once, where pairs at some points did not converge; their residuals say how far they came.
        InterruptedWarning: After Ctrl-C.

    Example:
        The loss a**2 - b**2 has the eigenvalues 2 and -2 everywhere.

        >>> from landscape.surface import Direction
        >>> saddle = lambda outputs, targets: outputs.prod(dim=1)
        >>> class Saddle(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.w = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        ...     def forward(self, x):
        ...         return torch.stack([self.w[0] - self.w[1], self.w[0] + self.w[1]]).expand(len(x), 2)
        >>> data = torch.zeros(1, 1).double(), torch.zeros(1, 1).double()
        >>> axes = [Direction(vector=torch.eye(2)[i].double(), kind="mine", norm="none") for i in range(2)]
        >>> found = curvature_map(Objective(Saddle(), data, saddle), Plane(*axes), points=3, progress=False)
        >>> [round(float(value), 3) for value in (found.lowest.min(), found.highest.max(), found.ratio.min())]
        [-2.0, 2.0, 1.0]

    References:
        H. Li et al., Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018, section 6.
    """
    begun = time.perf_counter()
    check_objective(objective, "curvature_map")
    what, fix = "The plane of curvature_map is none.", "Build one: random_plane(objective), or Plane(one, other)."
    check_kind(plane, Plane, what, fix=fix)
    counts, extents = grid.both(points), grid.both_extents(extent)
    alpha, beta = (grid.axis(reach, count) for reach, count in zip(extents, counts, strict=True))
    center = objective.weights() if plane.origin is None else objective.check_vector(plane.origin)
    axes = [objective.check_vector(direction.vector) for direction in plane.directions]
    values, converged = np.full((3, *counts), np.nan), np.ones(counts, dtype=bool)
    walk = _Walk(objective, tol, seed, memory_limit)
    complete = True
    with progress_bar(counts[0] * counts[1], desc="curvature map", unit="point", enabled=progress) as bar:
        try:
            for row, a in enumerate(alpha):
                for column in range(counts[1]) if row % 2 == 0 else reversed(range(counts[1])):
                    values[:, row, column] = walk.to(center + float(a) * axes[0] + float(beta[column]) * axes[1])
                    converged[row, column] = walk.converged
                    bar.update()
        except KeyboardInterrupt:
            complete = False
    walk.warn(complete, int(np.isfinite(values[0]).sum()), counts)
    settings = {"tol": tol, "seed": seed, "seconds": round(time.perf_counter() - begun, 3)}
    directions = [direction.record() for direction in plane.directions]
    return CurvatureMap(
        alpha=alpha,
        beta=beta,
        lowest=values[0],
        highest=values[1],
        residuals=values[2],
        complete=complete,
        provenance={**objective.provenance(), "directions": directions, "plane": plane.record(), **settings},
        converged=converged,
    )


class _Walk:
    """From point to point, with the eigenvectors of the last one."""

    def __init__(self, objective: Objective, tol: float, seed: int, memory_limit: int | None) -> None:
        self.objective, self.tol, self.seed, self.memory_limit = objective, tol, seed, memory_limit
        self.known: dict[str, Any] = {"SA": None, "LA": None}
        self.missed, self.converged = 0, True

    def to(self, weights: torch.Tensor) -> tuple[float, float, float]:
        """Return the smallest eigenvalue, the largest, and the larger residual; NaN where there is no Hessian."""
        try:
            hessian = Hessian(self.objective, weights=weights, memory_limit=self.memory_limit)
        except NonFiniteError:
            self.converged = True  # there is nothing to converge to
            return (np.nan, np.nan, np.nan)
        with hessian, warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            for end, start in self.known.items():
                ask = partial(hessian.top, 1, which=end, tol=self.tol, seed=self.seed, start=start)
                self.known[end] = whole(ask)
        lowest, highest = self.known["SA"], self.known["LA"]
        self.converged = bool(lowest.converged.all() and highest.converged.all())
        self.missed += not self.converged
        residual = max(float(lowest.residuals[0]), float(highest.residuals[0]))
        return float(lowest.values[0]), float(highest.values[0]), residual

    def warn(self, complete: bool, done: int, counts: tuple[int, int]) -> None:
        """Say what is not as it was asked for."""
        if self.missed:
            text = f"At {self.missed} points an eigenpair did not converge; see the residuals."
            warnings.warn(text, ConvergenceWarning, stacklevel=3)
        if not complete:
            text = f"Interrupted after {done} of {counts[0] * counts[1]} points; the others are NaN."
            warnings.warn(text, InterruptedWarning, stacklevel=3)
