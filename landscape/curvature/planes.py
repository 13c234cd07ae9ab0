"""Planes of curvature: eigenvectors of the Hessian as axes."""

from __future__ import annotations

from functools import partial

from landscape.arguments import check_kind
from landscape.curvature.frozen import FrozenOperator
from landscape.curvature.hessian import Hessian
from landscape.curvature.results import Eigenpairs
from landscape.curvature.unfinished import whole
from landscape.errors import ConfigError, MismatchError, unknown_name
from landscape.surface.directions import Direction, weights_checksum
from landscape.surface.planes import Plane

ENDS = ("LA", "SA", "LM", "BE")


def eigen_plane(hessian: Hessian | Eigenpairs, *, which: str | None = None, tol: float = 1e-3, seed: int = 0) -> Plane:
    """Build the plane of two eigenvectors of the Hessian.

    The directions are the eigenvectors themselves, of norm 1 over all weights together and not scaled to filters (then
    they would be eigenvectors no more). So ``L(w + alpha * d1)`` begins as ``L + alpha * g.d1 + alpha**2 * lambda_1 /
    2``. Each direction's ``details`` hold eigenvalue, residual ``||H d - lambda d||`` and whether it converged.

    Args:
        hessian: At the weights that the plane is for; or eigenpairs, whose first two are taken.
        which: "LA" the two largest, "SA" the two smallest, "LM" the two largest in size, "BE" one of both ends: the
            largest, then the smallest (of a saddle: the steepest way up and down). Default "LA". Not for eigenpairs,
            which are chosen already.
        tol: Relative residual of the eigenpairs.
        seed: Names the start vector.

    Returns:
        The plane, the outermost eigenvector first.

    Raises:
        ConfigError: ``hessian`` is none, an option is out of range, there is one weight only, or ``which`` is given for
            eigenpairs.
        MismatchError: There is one eigenpair only.
        NonFiniteError: A product is NaN or infinite.
        KeyboardInterrupt: Ctrl-C came before the eigenvectors were found.

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
        >>> [round(direction.details["eigenvalue"], 6) for direction in plane.directions]
        [4.0, 1.0]
    """
    if isinstance(hessian, Eigenpairs):
        if which is not None:
            raise ConfigError(
                "Eigenpairs are chosen already.", got=f"which={which!r}", fix="Leave which out, or pass the Hessian."
            )
        return Plane(*_directions(hessian, 2, None, None, None))
    what, fix = "An eigen_plane is of something else.", "Build Hessian(objective), or pass what its top(2) returned."
    check_kind(hessian, FrozenOperator, what, expected="a Hessian, or Eigenpairs", fix=fix)
    chosen = "LA" if which is None else which
    if chosen not in ENDS:
        raise unknown_name("end of the spectrum", chosen, ENDS)
    objective = hessian.objective
    known = seed, objective.layout.fingerprint, weights_checksum(objective.weights())
    if chosen != "BE":
        return Plane(*_directions(whole(partial(hessian.top, 2, which=chosen, tol=tol, seed=seed)), 2, *known))
    pairs = (whole(partial(hessian.top, 1, which=end, tol=tol, seed=seed)) for end in ("LA", "SA"))
    return Plane(*(direction for pair in pairs for direction in _directions(pair, 1, *known)))


def _directions(
    pairs: Eigenpairs, count: int, seed: int | None, layout: str | None, weights: str | None
) -> list[Direction]:
    if len(pairs.values) < count:
        raise MismatchError(
            "One eigenpair makes no plane.", expected="at least 2", got=len(pairs.values), fix="Use hessian.top(2)."
        )
    return [
        Direction(
            vector=pairs.vectors[:, axis].contiguous(),
            kind="eigen",
            norm="unit",
            seed=seed,
            layout=layout,
            weights=weights,
            details={
                "eigenvalue": float(pairs.values[axis]),
                "residual": float(pairs.residuals[axis]),
                "converged": bool(pairs.converged[axis]),
            },
        )
        for axis in range(count)
    ]
