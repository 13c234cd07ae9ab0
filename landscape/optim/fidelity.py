"""What a lower precision leaves of a perturbation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from landscape.errors import ConfigError
from landscape.optim.engine import PerturbedOptimizer
from landscape.optim.norms import dot, global_norm


@dataclass(frozen=True)
class Fidelity:
    """What is left of a perturbation after rounding the weights.

    Attributes:
        unchanged: Fraction of the perturbed weights that rounding leaves where they were.
        cosine: Between the perturbation and what rounding makes of it.
        length: Norm after rounding / norm before.
    """

    unchanged: float
    cosine: float
    length: float


@torch.no_grad()
def perturbation_fidelity(
    optimizer: PerturbedOptimizer,
    dtype: torch.dtype | Literal["tf32"],
    *,
    closure: Callable[[], Any] | None = None,
) -> Fidelity:
    """Measure what a lower precision makes of the perturbation, from the gradients present or from a closure's.

    Under autocast the forward pass sees the weights rounded: with w and eps exact, it is perturbed by
    ``round(w + eps) - round(w)``. Small radii are mostly swallowed by bfloat16's 8 bits; then prefer float16 with a
    gradient scaler, or TF32. Waits for the device; meant for a look now and then.

    Args:
        optimizer: With gradients present, where its method needs them and there is no closure.
        dtype: The precision of the matrix products, for example ``torch.bfloat16``; "tf32" for float32 with 10 bits
            after the leading one, to the nearest.
        closure: As in ``step``; needed by methods that look more than once before their last pass.

    Returns:
        The comparison, over all weights together.

    Raises:
        OptimizerError: The method needs gradients and there are none.
        ConfigError: Nothing is perturbed.

    Example:
        1 + 0.001 is no bfloat16 number; it rounds to 1.

        >>> import torch
        >>> from landscape.optim import SAM
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = SAM([weight], torch.optim.SGD, rho=0.001, lr=0.1)
        >>> weight.grad = torch.ones(1)
        >>> perturbation_fidelity(optimizer, torch.bfloat16).unchanged
        1.0
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    before = [p.detach().clone() for p in parameters]
    with optimizer.perturbed(closure):
        after = [p.detach().clone() for p in parameters]
    exact = [a - b for a, b in zip(after, before, strict=True)]
    rounded = [_rounded(a, dtype) - _rounded(b, dtype) for a, b in zip(after, before, strict=True)]
    moved = sum(int((e != 0).sum()) for e in exact)
    if not moved:
        raise ConfigError("Nothing is perturbed.", expected="a radius above 0", got="no weight that moves")
    still = sum(int(((e != 0) & (r == 0)).sum()) for e, r in zip(exact, rounded, strict=True))
    length, kept = global_norm(exact), global_norm(rounded)
    cosine = float(dot(exact, rounded) / (length * kept)) if float(kept) else 0.0
    return Fidelity(unchanged=still / moved, cosine=cosine, length=float(kept / length))


def _rounded(values: Tensor, dtype: torch.dtype | Literal["tf32"]) -> Tensor:
    if dtype != "tf32":
        return values.to(dtype).to(values)
    bits = values.to(torch.float32).view(torch.int32)
    ties_to_even = (bits >> 13) & 1
    short = (bits + 0xFFF + ties_to_even) & ~0x1FFF
    return torch.where(torch.isfinite(values), short.view(torch.float32).to(values), values)
