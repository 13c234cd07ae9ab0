"""LPF-SGD: descent on the loss convolved with a Gaussian that is as wide as the filters are long."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import ConfigError
from landscape.optim.noise import NoisyOptimizer, filter_norms
from landscape.optim.options import BaseOptimizer, nonnegative, positive_integer


class LPFSGD(NoisyOptimizer):
    r"""Low-pass-filter SGD, or LPF on any base optimizer.

    Definition: the gradient of the smoothed loss, estimated by M draws::

        w <- base_step(w, (1/M) * sum_i gradient at w + n_i)
        n_i = std_t * ||filter of w|| * N(0, 1)     for each weight of the filter (row of dimension 0)
        std_t = std * (1 + (inc - 1) * (1 - cos(pi * t / total_steps)) / 2)

    A tensor with one dimension is one filter. ``std`` is a standard deviation relative to the filter's norm, as in the
    authors' code (the paper's formula reads it as a variance); the noise's length is about std * sqrt(fan-in) filter
    norms. Only the optimizer's own parameters are perturbed.

    Cost: M forward-backward passes a step with ``step(closure)``; one pass over the data with
    ``step([closure_1, ..., closure_M])``, each closure on its share of the batch, as the authors train.

    Args:
        params: Parameters or parameter groups; a group may carry its own ``std``.
        lr: The base optimizer's learning rate.
        std: Noise level. Default 5e-4: the authors' for CIFAR with M = 8 and inc = 15 (2e-3 for their ResNets, M = 1).
        M: Number of draws for ``step(closure)``. Default 1.
        inc: Final multiple of ``std``; 1 keeps it constant. The authors use 15.
        total_steps: T, the number of steps over which the noise grows; needed where inc is not 1.
        base_optimizer: An optimizer class. Default SGD.
        model: The module the closure runs. There is no pass at the clean weights: the running statistics of the first
            pass of each closure are kept; use ``torch.optim.swa_utils.update_bn`` before evaluation where that matters.
        seed: Seed of the noise. Each draw is named by seed, step and number, so that a resumed run draws the same.
        **options: The engine's (:class:`~landscape.optim.options.EngineOptions`) and the base optimizer's.

    Raises:
        ConfigError: An option is negative or unknown, M is no positive integer, or ``total_steps`` is missing.

    Example:
        With std = 0 it is the base optimizer.

        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor([1.0, 1.0], dtype=torch.float64))
        >>> optimizer = LPFSGD([w], lr=0.1, std=0.0)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = (w**2).sum() / 2
        ...     loss.backward()
        ...     return loss
        >>> optimizer.step(closure).item(), w.tolist()
        (1.0, [0.9, 0.9])

    References:
        D. Bisla et al., Low-Pass Filtering SGD for Recovering Flat Optima, AISTATS 2022, Algorithm 1.
    """

    def __init__(
        self,
        params: Iterable[Any] | None,
        lr: float,
        std: float = 5e-4,
        M: int = 1,
        inc: float = 1.0,
        total_steps: int | None = None,
        base_optimizer: BaseOptimizer = torch.optim.SGD,
        *,
        model: nn.Module | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        nonnegative(inc=inc)
        if inc != 1 and total_steps is None:
            raise ConfigError("inc needs total_steps.", expected="the number of steps of the run", got="nothing")
        self.M, self.inc = positive_integer("M", M), inc
        self.total_steps = None if total_steps is None else positive_integer("total_steps", total_steps)
        super().__init__(params, lr, base_optimizer, ("std", std), self.M, model=model, seed=seed, **options)

    def noise_scale(self) -> float:
        """Return the present multiple of ``std``: 1 at first, ``inc`` at ``total_steps`` and after."""
        if self.total_steps is None or self.inc == 1:
            return 1.0
        done = min(self.steps_done / self.total_steps, 1.0)
        return 1.0 + (self.inc - 1.0) * (1.0 - math.cos(math.pi * done)) / 2.0

    def _scale_of(self, weight: Tensor, group: dict[str, Any]) -> Tensor | None:
        return filter_norms(weight)

    def _fill(self, noise: Tensor, stream: torch.Generator, group: dict[str, Any]) -> None:
        noise.normal_(generator=stream)
