"""NSO: the mean gradient over pairs of opposite random moves, which penalizes the trace of the Hessian."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from landscape.errors import ConfigError
from landscape.optim.noise import NoisyOptimizer, filter_norms
from landscape.optim.options import BaseOptimizer, positive_integer


class NSO(NoisyOptimizer):
    r"""Noise-stability optimization: smoothing by Gaussian noise in antithetic pairs.

    Definition, with u_i drawn from N(0, std^2 I) for each of the k = ``pairs``::

        w <- base_step(w, 1/(2k) * sum_i (gradient at w + u_i  +  gradient at w - u_i))

    The gradient of ``E[L(w + u)] = L(w) + (std^2 / 2) tr H(w) + ...``; the pair cancels the odd terms, and with them
    most of the estimate's variance. Cost: 2k forward-backward passes a step and two copies of the weights.

    Args:
        params: Parameters or parameter groups; a group may carry its own ``std``.
        lr: The base optimizer's learning rate.
        std: Standard deviation of the noise of each weight. Default 0.01: the example in the authors' code.
        pairs: Number k of pairs. Default 1: as there.
        scale: "absolute", or "filter": std in units of each filter's norm, as in :class:`LPFSGD`.
        base_optimizer: An optimizer class. Default SGD.
        **options: ``model``, ``seed``, the engine's and the base optimizer's: all as in
            :class:`landscape.optim.LPFSGD`.

    Raises:
        ConfigError: An option is out of range or unknown.

    Example:
        On a quadratic the pair's mean is the gradient itself, whatever the noise.

        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor([1.0, 1.0], dtype=torch.float64))
        >>> optimizer = NSO([w], lr=0.1, std=0.5)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = (w**2).sum() / 2
        ...     loss.backward()
        ...     return loss
        >>> _ = optimizer.step(closure)
        >>> [round(value, 9) for value in w.tolist()]
        [0.9, 0.9]

    References:
        H. R. Zhang et al., Noise Stability Optimization for Finding Flat Minima: A Hessian-Based Regularization
        Approach, TMLR 2024, Algorithm 1.
    """

    def __init__(
        self,
        params: Iterable[Any] | None,
        lr: float,
        std: float = 0.01,
        pairs: int = 1,
        scale: Literal["absolute", "filter"] = "absolute",
        base_optimizer: BaseOptimizer = torch.optim.SGD,
        **options: Any,
    ) -> None:
        if scale not in ("absolute", "filter"):
            raise ConfigError("scale is out of range.", expected="'absolute' or 'filter'", got=repr(scale))
        self.pairs, self.scale = positive_integer("pairs", pairs), scale
        super().__init__(params, lr, base_optimizer, ("std", std), 2 * self.pairs, **options)

    def _looks(self, closures: int) -> int:
        return 2 * self.pairs  # each micro-batch by whole pairs

    def _sign(self, draw: int) -> tuple[int, float]:
        return draw // 2, -1.0 if draw % 2 else 1.0

    def _scale_of(self, weight: Tensor, group: dict[str, Any]) -> Tensor | None:
        return filter_norms(weight) if self.scale == "filter" else None

    def _fill(self, noise: Tensor, stream: torch.Generator, group: dict[str, Any]) -> None:
        noise.normal_(generator=stream)
