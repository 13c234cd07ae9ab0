"""Small parts for training loops: micro-batches, averaged weights, statistics left alone, what half precision keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from landscape.errors import ConfigError
from landscape.optim.backup import Buffers, Statistics
from landscape.optim.engine import PerturbedOptimizer
from landscape.optim.norms import dot, global_norm


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
        if type(value) is not int or value < 1:
            raise ConfigError(f"{name} is out of range.", expected="an integer of at least 1", got=value)
    parts = [slice(start, min(start + m, examples)) for start in range(0, examples, m)]
    return [lambda part=part: closure(part) for part in parts], [float(part.stop - part.start) for part in parts]


def averaged_model(model: nn.Module, decay: float | None = None) -> AveragedModel:
    """Make a model whose weights are the mean of this one's over the steps: torch's own ``AveragedModel``.

    Call ``averaged.update_parameters(model)`` after ``optimizer.step()``, when the weights are the true ones, and
    ``torch.optim.swa_utils.update_bn(loader, averaged)`` before evaluation where the model has running statistics.

    Args:
        model: Copied.
        decay: None for the plain mean (SWA); else that of an exponential mean (EMA), 0 to 1, for example 0.999.

    Returns:
        The averaged model.

    Raises:
        ConfigError: The decay is out of range.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> averaged = averaged_model(model)
        >>> for value in (1.0, 3.0):
        ...     _ = nn.init.constant_(model.weight, value)
        ...     averaged.update_parameters(model)
        >>> averaged.module.weight.item()
        2.0

    References:
        P. Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, UAI 2018.
    """
    if decay is None:
        return AveragedModel(model)
    if not 0 <= decay <= 1:
        raise ConfigError("decay is out of range.", expected="from 0 to 1, or None for the plain mean", got=decay)
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))


@contextmanager
def frozen_statistics(model: nn.Module, which: Buffers = "norm") -> Iterator[None]:
    """Put a model's running statistics back after a block: for a second pass that you write yourself.

    May be nested, and comes back exactly after an exception too.

    Args:
        model: Its normalization layers may be updated inside the block; nothing of it stays.
        which: "norm", or "all" buffers.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> with frozen_statistics(norm):
        ...     _ = norm(torch.randn(8, 1))
        >>> norm.num_batches_tracked.item()
        0
    """
    statistics = Statistics()
    with torch.no_grad():
        statistics.save(model, which)
    try:
        yield
    finally:
        with torch.no_grad():
            statistics.restore()


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
def perturbation_fidelity(optimizer: PerturbedOptimizer, dtype: torch.dtype) -> Fidelity:
    """Measure what a lower precision makes of the perturbation, from the gradients present.

    Under autocast the forward pass sees the weights rounded: with w and eps exact, it is perturbed by
    ``round(w + eps) - round(w)``. Small radii are mostly swallowed by bfloat16's 8 bits; then prefer float16 with a
    gradient scaler, or TF32. Waits for the device; meant for a look now and then.

    Args:
        optimizer: With gradients present, where its method needs them.
        dtype: The precision of the matrix products, for example ``torch.bfloat16``.

    Returns:
        The comparison, over all weights together.

    Raises:
        OptimizerError: The method needs gradients and there are none.
        ConfigError: Nothing is perturbed.

    Example:
        1 + 0.001 is no bfloat16 number; it rounds to 1.

        >>> from landscape.optim import SAM
        >>> weight = nn.Parameter(torch.ones(1))
        >>> optimizer = SAM([weight], torch.optim.SGD, rho=0.001, lr=0.1)
        >>> weight.grad = torch.ones(1)
        >>> perturbation_fidelity(optimizer, torch.bfloat16).unchanged
        1.0
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    before = [p.detach().clone() for p in parameters]
    with optimizer.perturbed():
        after = [p.detach().clone() for p in parameters]
    exact = [a - b for a, b in zip(after, before, strict=True)]
    rounded = [a.to(dtype).to(a) - b.to(dtype).to(b) for a, b in zip(after, before, strict=True)]
    moved = sum(int((e != 0).sum()) for e in exact)
    if not moved:
        raise ConfigError("Nothing is perturbed.", expected="a radius above 0", got="no weight that moves")
    still = sum(int(((e != 0) & (r == 0)).sum()) for e, r in zip(exact, rounded, strict=True))
    length, kept = global_norm(exact), global_norm(rounded)
    cosine = float(dot(exact, rounded) / (length * kept)) if float(kept) else 0.0
    return Fidelity(unchanged=still / moved, cosine=cosine, length=float(kept / length))
