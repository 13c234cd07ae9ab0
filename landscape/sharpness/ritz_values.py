"""What published tables hold for the largest eigenvalue, the trace and the effective dimension: plain Ritz values."""

from __future__ import annotations

import numpy as np

from landscape.curvature import Estimate
from landscape.curvature.unfinished import whole
from landscape.sharpness.definitions import Parameter, Published
from landscape.sharpness.estimates import exact
from landscape.sharpness.workbench import Workbench

RITZ = {
    "draws": Parameter(default=2, meaning="Random start vectors.", source="the code of Bisla et al. (2022)"),
    "steps": Parameter(default=100, meaning="Steps of Lanczos for each.", source="the code of Bisla et al. (2022)"),
}


def averaged_ritz_values(bench: Workbench, draws: int, steps: int) -> tuple[np.ndarray, int]:
    """Return Ritz values, each averaged over the draws by its rank, and the number of Hessian products.

    Quadrature weights are left out, as the published code does. It ends with an error where a draw's vectors span an
    invariant space, as those of a matrix with few different eigenvalues do; what is returned here then has no
    counterpart.

    Args:
        bench: What is measured.
        draws: Random start vectors.
        steps: Steps of Lanczos for each, at most P.
    """

    def compute() -> tuple[np.ndarray, int]:
        options = {"seed": bench.seed, "grid": 2, "progress": bench.progress}
        found = whole(lambda: bench.hessian.density(probes=draws, steps=steps, **options))
        reached = found.weights > 0  # what is filled up has the weight 0
        return np.sort(np.where(reached, found.nodes, 0), axis=1).mean(axis=0), found.nodes.size

    return bench.once(("ritz", draws, steps), compute)


def _lambda_max(bench: Workbench, *, draws: int, steps: int) -> Estimate:
    values, matvecs = averaged_ritz_values(bench, draws, steps)
    return exact(values.max(), matvecs=matvecs)


def _trace(bench: Workbench, *, draws: int, steps: int) -> Estimate:
    values, matvecs = averaged_ritz_values(bench, draws, steps)
    return exact(values.sum(), matvecs=matvecs)


def _dimension(bench: Workbench, *, draws: int, steps: int) -> Estimate:
    values, matvecs = averaged_ritz_values(bench, draws, steps)
    return exact((values / (values + 1)).sum(), matvecs=matvecs)


published_lambda_max = Published(
    differs="The mean over the draws of the largest Ritz value after so many steps of Lanczos, without a look at how "
    "far it has converged.",
    compute=_lambda_max,
    parameters=RITZ,
)
published_trace = Published(
    differs="The plain sum of the Ritz values after so many steps, averaged over the draws: the quadrature weights are "
    "left out, so it is no trace, and grows with the number of steps.",
    compute=_trace,
    parameters=RITZ,
)
published_dimension = Published(
    differs="The plain sum of theta / (theta + 1) over the Ritz values after so many steps, averaged over the draws: "
    "the quadrature weights are left out, so it is at most the number of steps, and negative values count.",
    compute=_dimension,
    parameters=RITZ,
)
