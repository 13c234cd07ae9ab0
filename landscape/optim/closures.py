"""What goes into a step and comes out of it: weights of closures, gradients that are dense, values without graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from landscape.errors import OptimizerError


def refuse_sparse(gradients: list[Tensor]) -> None:
    """Raise an OptimizerError where a gradient is sparse."""
    if any(gradient.is_sparse for gradient in gradients):
        raise OptimizerError(
            "A gradient is sparse.", expected="dense gradients", fix="Build Embedding with sparse=False."
        )


def shares_of(weights: Sequence[float] | None, closures: int) -> list[float]:
    """Return the weight of each of several closures: equal ones by default.

    Raises:
        OptimizerError: There are too many or too few, one is negative, or all are zero.
    """
    shares = [1.0] * closures if weights is None else [float(weight) for weight in weights]
    if len(shares) != closures:
        raise OptimizerError("Weights and closures differ in number.", expected=closures, got=len(shares))
    if not 0 < sum(shares) < float("inf") or min(shares) < 0:
        raise OptimizerError("Weights are out of range.", expected="numbers of at least 0, not all 0", got=shares)
    return shares


def detached(value: Any) -> Any:
    """Return a value without graphs, so that the first pass's memory does not live through the second."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {key: detached(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(detached, value))
    if isinstance(value, tuple | list):
        return type(value)(detached(item) for item in value)
    return value
