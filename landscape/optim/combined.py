"""GSAM and GNP: SAM's two gradients, mixed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from landscape.errors import ConfigError
from landscape.optim.ascent import AscentOptimizer
from landscape.optim.norms import TINY_SQUARE, dot
from landscape.optim.options import BaseOptimizer, nonnegative


class CombinedOptimizer(AscentOptimizer):
    """SAM's perturbation, with the first gradient kept for the end of the step (one more copy of the weights)."""

    keeps_gradient = True

    def _pairs(self) -> tuple[list[Tensor], list[Tensor]]:
        """The first gradients and the last ones, of all parameters that have a last one."""
        parameters = [p for p in self._parameters() if p.grad is not None]
        last: list[Tensor] = [p.grad for p in parameters]  # pyright: ignore[reportAssignmentType]
        return self._kept.of(parameters), last


class GSAM(CombinedOptimizer):
    r"""Surrogate-gap guided SAM: SAM, and against the part of the gradient that SAM's does not contain.

    Definition, with g the gradient at w and h the one at ``w + rho g / ||g||``::

        w <- base_step(w, h - alpha * (g - (<g, h> / ||h||^2) h))

    The bracket is orthogonal to h: moving against it leaves the perturbed loss unchanged to first order and lowers
    the gap between it and the loss. Cost: 2 forward-backward passes a step and two copies of the weights. The paper
    couples rho to the learning rate: see :class:`landscape.optim.ProportionalRho`.

    Args:
        params: Parameters or parameter groups; a group may carry its own ``rho`` and ``adaptive``.
        base_optimizer: An optimizer class, or a built one with ``params=None``.
        rho: Radius of the ball, a global L2 norm. Default 0.05: SAM's.
        alpha: Weight of the orthogonal part, at least 0; 0 is SAM. Default 0.4: the default of the authors' code.
        **options: ``adaptive``, ``norm_over``, ``model``, the engine's and the base optimizer's: all as in
            :class:`landscape.optim.SAM`.

    Raises:
        ConfigError: An option is out of range or unknown.

    Example:
        In one dimension nothing is orthogonal: GSAM is SAM. The gradient at 1 + 1 is 2, so w = 1 - 0.1 * 2.

        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        >>> optimizer = GSAM([w], torch.optim.SGD, rho=1.0, lr=0.1)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = w**2 / 2
        ...     loss.backward()
        ...     return loss
        >>> _ = optimizer.step(closure)
        >>> round(w.item(), 9)
        0.8

    References:
        J. Zhuang et al., Surrogate Gap Minimization Improves Sharpness-Aware Training, ICLR 2022, Algorithm 1.
    """

    def __init__(
        self,
        params: Iterable[Any] | None,
        base_optimizer: BaseOptimizer,
        rho: float = 0.05,
        alpha: float = 0.4,
        **options: Any,
    ) -> None:
        nonnegative(alpha=alpha)
        self.alpha = alpha
        super().__init__(params, base_optimizer, rho, **options)

    def _finish(self, passes: int) -> None:
        first, last = self._pairs()
        along = dot(first, last) / (dot(last, last) + TINY_SQUARE)
        for clean, gradient in zip(first, last, strict=True):
            share = along.to(device=gradient.device, dtype=gradient.dtype)
            gradient.mul_(1 + self.alpha * share).sub_(clean, alpha=self.alpha)


class GNP(CombinedOptimizer):
    r"""Gradient-norm penalty: a mixture of the gradient and SAM's.

    Definition, with g the gradient at w and h the one at ``w + rho g / ||g||``::

        w <- base_step(w, (1 - alpha) * g + alpha * h)

    To first order this is the gradient of ``L + alpha * rho * ||grad L||``. alpha = 1 is SAM, alpha = 0 the base
    optimizer (at twice its cost). Cost: 2 forward-backward passes a step and two copies of the weights.

    Args:
        params: Parameters or parameter groups; a group may carry its own ``rho`` and ``adaptive``.
        base_optimizer: An optimizer class, or a built one with ``params=None``.
        rho: Radius of the ball, a global L2 norm. Default 0.05: SAM's.
        alpha: Share of the perturbed gradient, 0 to 1. Default 0.8: the authors' CIFAR-10 script, with rho 0.1 and
            cutout.
        **options: ``adaptive``, ``norm_over``, ``model``, the engine's and the base optimizer's: all as in
            :class:`landscape.optim.SAM`.

    Raises:
        ConfigError: An option is out of range or unknown.

    Example:
        The gradients at 1 and 1 + 1 are 1 and 2, their mixture 1.5: w = 1 - 0.1 * 1.5.

        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        >>> optimizer = GNP([w], torch.optim.SGD, rho=1.0, alpha=0.5, lr=0.1)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = w**2 / 2
        ...     loss.backward()
        ...     return loss
        >>> _ = optimizer.step(closure)
        >>> round(w.item(), 9)
        0.85

    References:
        Y. Zhao et al., Penalizing Gradient Norm for Efficiently Improving Generalization in Deep Learning, ICML 2022.
    """

    def __init__(
        self,
        params: Iterable[Any] | None,
        base_optimizer: BaseOptimizer,
        rho: float = 0.05,
        alpha: float = 0.8,
        **options: Any,
    ) -> None:
        if not 0 <= alpha <= 1:
            raise ConfigError("alpha is out of range.", expected="from 0 to 1", got=alpha)
        self.alpha = alpha
        super().__init__(params, base_optimizer, rho, **options)

    def _finish(self, passes: int) -> None:
        first, last = self._pairs()
        if last:
            torch._foreach_lerp_(last, first, 1 - self.alpha)
