"""F-SAM and VaSSO: SAM along a direction that a running mean of the gradients has a say in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from landscape.errors import ConfigError
from landscape.optim.ascent import AscentOptimizer
from landscape.optim.norms import global_norm
from landscape.optim.options import BaseOptimizer, nonnegative


class MeanOptimizer(AscentOptimizer):
    """SAM with a running mean of the first gradients, kept per parameter in :attr:`memory` as "mean".

    Under DistributedDataParallel each process has a mean of its own unless ``sync="global"``.

    Args:
        params: Parameters or parameter groups.
        base_optimizer: An optimizer class, or a built one with ``params=None``.
        rho: Radius of the ball.
        decay: How much of the old mean stays each step.
        **options: As in :class:`landscape.optim.SAM`.
    """

    def __init__(
        self, params: Iterable[Any] | None, base_optimizer: BaseOptimizer, rho: float, decay: float, /, **options: Any
    ) -> None:
        self._decay = decay
        super().__init__(params, base_optimizer, rho, **options)

    def _means(self, weights: list[Tensor], gradients: list[Tensor]) -> tuple[list[Tensor], list[Tensor | None]]:
        """Return the means with these gradients in them, and those without (None where there was none)."""
        before = [self.memory.get(w, {}).get("mean") for w in weights]
        seen = [self.memory.get(w, {}).get("seen") for w in weights]
        after = [self._mean(g, m, s) for g, m, s in zip(gradients, before, seen, strict=True)]
        return after, before

    def _mean(self, gradient: Tensor, mean: Tensor | None, seen: Tensor | None) -> Tensor:
        if mean is None:
            return gradient.clone()
        both = torch.lerp(gradient, mean, self._decay)
        return both if seen is None else torch.where(seen, both, gradient)

    def _finite(self, gradients: list[Tensor]) -> Tensor | None:
        """Whether no gradient overflowed; None where there is no gradient scaler to make one overflow."""
        return None if self._unscale is None or not gradients else torch.isfinite(global_norm(gradients))

    def _keep(self, weights: list[Tensor], means: list[Tensor], finite: Tensor | None) -> None:
        if self._looking:
            return
        for weight, mean in zip(weights, means, strict=True):
            entry = self.memory.setdefault(weight, {})
            old = entry.get("mean")
            # an overflow under a gradient scaler must not enter the mean, nor begin it
            if old is None:
                entry["mean"] = mean if finite is None else torch.where(finite, mean, torch.zeros_like(mean))
                if finite is not None:
                    entry["seen"] = finite.clone()
            else:
                old.copy_(mean if finite is None else torch.where(finite, mean, old))
                if "seen" in entry:
                    entry["seen"].fill_(True) if finite is None else entry["seen"].logical_or_(finite)


class FriendlySAM(MeanOptimizer):
    r"""F-SAM: SAM along the part of the gradient that is special to the batch.

    Definition, with g_t the gradient at w and m the running mean of these::

        d   = g_t - sigma * m_{t-1}                         (d = g_1 at the first step)
        m_t = lmbda * m_{t-1} + (1 - lmbda) * g_t           (m_1 = g_1)
        w  <- base_step(w, gradient at w + rho * d / ||d||)

    Subtracting m_t instead gives the same direction where sigma = 1. The mean is of the raw gradients; under
    DistributedDataParallel each process has its own unless ``sync="global"``. Cost: 2 forward-backward passes a step
    and two copies of the weights, three at the peak.

    Args:
        params: Parameters or parameter groups; a group may carry its own ``rho`` and ``adaptive``.
        base_optimizer: An optimizer class, or a built one with ``params=None``.
        rho: Radius of the ball, a global L2 norm. Default 0.05: SAM's. The authors' runs on CIFAR-100 use 0.2.
        sigma: How much of the mean is taken away, at least 0; 0 is SAM. Default 1: the authors'.
        lmbda: What stays of the mean each step, 0 to below 1. Default 0.6: the authors' runs.
        **options: ``adaptive``, ``norm_over``, ``model``, the engine's and the base optimizer's: all as in
            :class:`landscape.optim.SAM`.

    Raises:
        ConfigError: An option is out of range or unknown.

    Example:
        The first step is SAM's: the gradient at 1 + 1 is 2, so w = 1 - 0.1 * 2. At 0.8 the gradient is below the mean,
        1: the direction is down, to -0.2, whose gradient is -0.2; so w = 0.8 + 0.1 * 0.2.

        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        >>> optimizer = FriendlySAM([w], torch.optim.SGD, rho=1.0, lr=0.1)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = w**2 / 2
        ...     loss.backward()
        ...     return loss
        >>> for _ in range(2):
        ...     _ = optimizer.step(closure)
        ...     print(round(w.item(), 9))
        0.8
        0.82

    References:
        T. Li et al., Friendly Sharpness-Aware Minimization, CVPR 2024, Algorithm 1.
    """

    def __init__(
        self,
        params: Iterable[Any] | None,
        base_optimizer: BaseOptimizer,
        rho: float = 0.05,
        sigma: float = 1.0,
        lmbda: float = 0.6,
        **options: Any,
    ) -> None:
        nonnegative(sigma=sigma)
        if not 0 <= lmbda < 1:
            raise ConfigError("lmbda is out of range.", expected="from 0 to below 1", got=lmbda)
        self.sigma, self.lmbda = sigma, lmbda
        super().__init__(params, base_optimizer, rho, lmbda, **options)

    def _direct(self, weights: list[Tensor], gradients: list[Tensor]) -> None:
        after, before = self._means(weights, gradients)
        finite = self._finite(gradients)
        for gradient, mean in zip(gradients, before, strict=True):
            if mean is not None:
                gradient.sub_(mean, alpha=self.sigma)
        self._keep(weights, after, finite)


class VaSSO(MeanOptimizer):
    r"""Variance-suppressed SAM: SAM along a running mean of the gradients, a steadier adversary.

    Definition, with g_t the gradient at w::

        d_t = (1 - theta) * d_{t-1} + theta * g_t           (d_1 = g_1)
        w  <- base_step(w, gradient at w + rho * d_t / ||d_t||)

    The opposite choice to :class:`FriendlySAM`, which takes the mean away. Under DistributedDataParallel each process
    has a mean of its own unless ``sync="global"``. Cost: 2 forward-backward passes a step and two copies of the
    weights, three at the peak.

    Args:
        params: Parameters or parameter groups; a group may carry its own ``rho`` and ``adaptive``.
        base_optimizer: An optimizer class, or a built one with ``params=None``.
        rho: Radius of the ball, a global L2 norm. Default 0.05: SAM's.
        theta: Share of the new gradient, above 0 to 1; 1 is SAM. Default 0.9: the default of the authors' code.
        **options: ``adaptive``, ``norm_over``, ``model``, the engine's and the base optimizer's: all as in
            :class:`landscape.optim.SAM`.

    Raises:
        ConfigError: An option is out of range or unknown.

    Example:
        In one dimension a mean of positive gradients points where the gradient does: VaSSO is SAM.

        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        >>> optimizer = VaSSO([w], torch.optim.SGD, rho=1.0, lr=0.1)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = w**2 / 2
        ...     loss.backward()
        ...     return loss
        >>> _ = optimizer.step(closure)
        >>> round(w.item(), 9)
        0.8

    References:
        B. Li, G. Giannakis, Enhancing Sharpness-Aware Optimization Through Variance Suppression, NeurIPS 2023.
    """

    def __init__(
        self,
        params: Iterable[Any] | None,
        base_optimizer: BaseOptimizer,
        rho: float = 0.05,
        theta: float = 0.9,
        **options: Any,
    ) -> None:
        if not 0 < theta <= 1:
            raise ConfigError("theta is out of range.", expected="above 0, up to 1", got=theta)
        self.theta = theta
        super().__init__(params, base_optimizer, rho, 1.0 - theta, **options)

    def _direct(self, weights: list[Tensor], gradients: list[Tensor]) -> None:
        if not weights:
            return
        after, _ = self._means(weights, gradients)
        self._keep(weights, after, self._finite(gradients))
        torch._foreach_copy_(gradients, after)
