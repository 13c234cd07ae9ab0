"""The plane of strongest curvature."""

from __future__ import annotations

from landscape.curvature.hessian import Hessian
from landscape.surface.directions import Direction, weights_checksum
from landscape.surface.planes import Plane


def eigen_plane(hessian: Hessian, *, which: str = "LA", tol: float = 1e-3, seed: int = 0) -> Plane:
    """Build the plane of the Hessian's two outermost eigenvectors.

    The directions have norm 1 over all weights together, so ``L(w + alpha * d1)`` begins as
    ``L + alpha * g.d1 + alpha**2 * lambda_1 / 2``.

    Args:
        hessian: At the weights that the plane is for.
        which: "LA" largest, "SA" smallest, "LM" largest in size.
        tol: Relative residual of the eigenpairs.
        seed: Names the start vector.

    Returns:
        The plane, the outermost eigenvector first.

    Raises:
        ConfigError: An option is out of range, or there is one weight only.
        NonFiniteError: A product is NaN or infinite.

    Warns:
        ConvergenceWarning: The eigenvectors did not converge.

    Example:
        >>> import torch
        >>> from landscape.objective import Objective
        >>> model = torch.nn.Linear(2, 1, bias=False).double()
        >>> data = (torch.tensor([[1.0, 0.0], [0.0, 2.0]]).double(), torch.zeros(2, 1).double())
        >>> plane = eigen_plane(Hessian(Objective(model, data, torch.nn.functional.mse_loss)))
        >>> [round(abs(x), 6) for x in plane.direction1.vector.tolist()]
        [0.0, 1.0]
    """
    pairs = hessian.top(2, which=which, tol=tol, seed=seed)
    objective = hessian.objective
    checksum = weights_checksum(objective.weights())
    first, second = (
        Direction(
            vector=pairs.vectors[:, axis].contiguous(),
            kind="eigen",
            norm="unit",
            seed=seed,
            layout=objective.layout.fingerprint,
            weights=checksum,
        )
        for axis in (0, 1)
    )
    return Plane(first, second)
