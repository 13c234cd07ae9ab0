"""What goes into a step and comes out of it: closures over parts of a batch and their weights, dense gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape.config import is_whole
from landscape.errors import ConfigError, OptimizerError


def refuse_sparse(gradients: list[Tensor]) -> None:
    """Raise an OptimizerError where a gradient is sparse."""
    if any(gradient.is_sparse for gradient in gradients):
        raise OptimizerError(
            "A gradient is sparse.", expected="dense gradients", fix="Build Embedding with sparse=False."
        )


def closures_of(
    closure: Callable[[], Any] | Sequence[Callable[[], Any]] | None, method: str
) -> list[Callable[[], Any]]:
    """Return the closures that ``step`` got, as a list.

    Args:
        closure: One, or a sequence of them.
        method: The optimizer's name, for the message.

    Raises:
        OptimizerError: There is none.
    """
    if closure is None:
        raise OptimizerError(
            f"{method}.step() needs a closure: it looks at the loss more than once.",
            expected="step(closure)",
            fix="Put zero_grad, forward and backward into a function, or use first_step() and second_step().",
        )
    closures: list[Any] = list(closure) if isinstance(closure, list | tuple) else [closure]
    if not all(callable(one) for one in closures):
        raise OptimizerError(
            f"{method}.step() got what cannot be called.",
            expected="a function, or a list of them",
            got=", ".join(sorted({type(one).__name__ for one in closures})),
            fix="Put zero_grad, forward and backward into a function, and pass the function itself.",
        )
    if not closures:
        raise OptimizerError("step() got no closure.", expected="at least one", fix="Pass the closure itself.")
    return closures


def micro_batches(
    closure: Callable[[slice], Any], examples: int, m: int
) -> tuple[list[Callable[[], Any]], list[float]]:
    """Cut a batch into parts of m examples, each to be perturbed on its own (m-sharpness).

    Args:
        closure: Clears the gradients, runs forward and backward on ``inputs[part]``, and returns the mean loss there.
        examples: Number of examples in the batch.
        m: Examples in a part; the last one may have fewer, and counts for less.

    Returns:
        Closures and weights for ``optimizer.step(closures, weights=weights)``.

    Raises:
        ConfigError: A number is below 1.

    Example:
        >>> closures, weights = micro_batches(lambda part: (part.start, part.stop), examples=10, m=4)
        >>> [closure() for closure in closures], weights
        ([(0, 4), (4, 8), (8, 10)], [4.0, 4.0, 2.0])

    References:
        P. Foret et al., Sharpness-Aware Minimization, ICLR 2021, section 4.1.
    """
    for name, value in (("examples", examples), ("m", m)):
        if not is_whole(value) or value < 1:
            raise ConfigError(f"{name} is out of range.", expected="an integer of at least 1", got=value)
    parts = [slice(start, min(start + m, examples)) for start in range(0, examples, m)]
    return [lambda part=part: closure(part) for part in parts], [float(part.stop - part.start) for part in parts]


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


def forget_casts() -> None:
    """Forget the half-precision copies of weights that autocast keeps until its outermost context ends.

    Whoever opened that context around a whole step would otherwise look at the old weights in every pass.
    """
    torch.clear_autocast_cache()
