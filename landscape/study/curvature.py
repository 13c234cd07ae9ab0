"""The two numbers of a minimum's curvature that networks are compared by: the largest eigenvalue and the trace."""

from __future__ import annotations

from landscape.curvature import Eigenpairs, Estimate, Hessian
from landscape.objective import Objective


def top_eigenpair(objective: Objective, *, tol: float = 1e-3, seed: int = 0) -> Eigenpairs:
    """Compute the largest eigenvalue of the Hessian, and its vector.

    Args:
        objective: The loss, at its model's present weights.
        tol: Relative residual; default of :meth:`landscape.curvature.CurvatureOperator.top`.
        seed: Names the start vector.

    Returns:
        One pair.

    Raises:
        NonFiniteError: A product is NaN or infinite.
        ModelError: An operation of the model or the loss has no second derivative.

    Example:
        >>> import torch
        >>> data = torch.tensor([[1.0], [2.0]]).double(), torch.zeros(2, 1).double()
        >>> objective = Objective(torch.nn.Linear(1, 1, bias=False).double(), data, torch.nn.functional.mse_loss)
        >>> round(float(top_eigenpair(objective).values[0]), 6)  # the mean of 2 x**2
        5.0
    """
    with Hessian(objective) as hessian:
        return hessian.top(1, tol=tol, seed=seed)


def top_and_trace(
    objective: Objective, *, probes: int, tol: float = 1e-3, seed: int = 0
) -> dict[str, float | Estimate]:
    """Compute the largest eigenvalue of the Hessian and estimate its trace: a row of a comparison.

    Args:
        objective: The loss, at its model's present weights.
        probes: Products for Hutchinson's estimate of the trace.
        tol: Relative residual of the eigenvalue, whose error is about the residual's square; 1e-2 is enough where
            networks differ by more than a percent.
        seed: Names the start vector and the probes.

    Returns:
        "top_eigenvalue", a number, and "trace" with its standard error.

    Raises:
        ConfigError: An option is out of range.
        NonFiniteError: A product is NaN or infinite.
        ModelError: An operation of the model or the loss has no second derivative.

    Example:
        >>> import torch
        >>> data = torch.tensor([[1.0], [2.0]]).double(), torch.zeros(2, 1).double()
        >>> objective = Objective(torch.nn.Linear(1, 1, bias=False).double(), data, torch.nn.functional.mse_loss)
        >>> found = top_and_trace(objective, probes=2)  # the mean of 2 x**2, alone on the diagonal
        >>> round(found["top_eigenvalue"], 6), found["trace"].value, found["trace"].stderr
        (5.0, 5.0, 0.0)
    """
    with Hessian(objective) as hessian:
        top, trace = hessian.top(1, tol=tol, seed=seed), hessian.trace(probes=probes, seed=seed, progress=False)
    return {"top_eigenvalue": float(top.values[0]), "trace": trace}
