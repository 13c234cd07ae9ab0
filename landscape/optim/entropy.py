"""Entropy-SGD: a short walk of Langevin dynamics around the weights, and a step towards its mean."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import ConfigError
from landscape.optim.engine import PerturbedOptimizer
from landscape.optim.gradients import GradientCopy
from landscape.optim.norms import global_norm, multiply
from landscape.optim.options import BaseOptimizer, nonnegative, positive_integer
from landscape.seeding import generator


class EntropySGD(PerturbedOptimizer):
    r"""Entropy-SGD, or the same on any base optimizer.

    Definition, at step t, with x = mu = w and v = 0 at first::

        gamma = min(gamma0 * (1 + gamma1)^t, gamma_max)                        (scoping)
        L times:  g <- gradient at x + inner_decay * x                         (the closure brings the batch)
                  v <- inner_momentum * v + g;   g <- g + inner_momentum * v   (Nesterov)
                  x <- x - inner_lr * (g - gamma * (w - x) + noise * N(0, 1) / sqrt(inner_lr / 2))
                  mu <- alpha * mu + (1 - alpha) * x
        w <- base_step(w, gamma * (w - mu))

    The outer gradient is that of the local entropy, ``log of the integral of exp(-L(x) - gamma/2 ||w - x||^2)``: wide
    valleys attract. gamma grows with the steps, and the walk narrows; with Adam as the base it does so too. Let the
    closure draw a new batch at every call, as the authors do. Cost: L forward-backward passes a step and three copies
    of the weights. Under DistributedDataParallel every pass is averaged over the processes.

    Args:
        params: Parameters or parameter groups.
        lr: The base optimizer's learning rate. It multiplies gamma, so it is about 1/gamma0 times a plain one: 0.5 in
            the LPF-SGD study's runs.
        L: Passes of the walk, at least 1. Default 5: these runs.
        gamma0: Scope at the first step. Default 0.5: these runs.
        gamma1: Growth of the scope per step. Default 1e-4: these runs.
        gamma_max: Largest scope. Default 2.38, the cap in these runs' code; ``math.inf`` for none.
        inner_lr: Step size of the walk. Default 0.1: the authors'.
        inner_momentum: Momentum of the walk. Default 0.9: the authors'.
        inner_decay: Weight decay within the walk. Default 1e-4: the study's.
        noise: Temperature of the walk. Default 1e-4: the authors'.
        alpha: What stays of the mean each pass. Default 0.75: the authors'.
        base_optimizer: An optimizer class. Default SGD; :class:`EntropyAdam` has Adam.
        model: The module the closure runs; running statistics are those of the first pass.
        seed: Seed of the walk's noise; each draw is named by seed, step and pass.
        **options: The engine's (:class:`~landscape.optim.options.EngineOptions`) and the base optimizer's.

    Raises:
        ConfigError: An option is out of range or unknown.

    Example:
        On w^2 / 2 from w = 1 with L = 1 and no noise: x = 1 - 0.1 * 1 = 0.9, mu = 0.75 + 0.25 * 0.9 = 0.975, and the
        outer gradient is 0.5 * (1 - 0.975).

        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        >>> quiet = {"noise": 0.0, "inner_momentum": 0.0, "inner_decay": 0.0}
        >>> optimizer = EntropySGD([w], lr=1.0, L=1, **quiet)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = w**2 / 2
        ...     loss.backward()
        ...     return loss
        >>> _ = optimizer.step(closure)
        >>> round(1 - w.item(), 9)
        0.0125

    References:
        P. Chaudhari et al., Entropy-SGD: Biasing Gradient Descent Into Wide Valleys, ICLR 2017, Algorithm 1.
    """

    def __init__(
        self,
        params: Iterable[Any] | None,
        lr: float,
        L: int = 5,
        gamma0: float = 0.5,
        gamma1: float = 1e-4,
        gamma_max: float = 2.38,
        inner_lr: float = 0.1,
        inner_momentum: float = 0.9,
        inner_decay: float = 1e-4,
        noise: float = 1e-4,
        alpha: float = 0.75,
        base_optimizer: BaseOptimizer = torch.optim.SGD,
        *,
        model: nn.Module | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        nonnegative(lr=lr, gamma0=gamma0, gamma1=gamma1, inner_lr=inner_lr, inner_decay=inner_decay, noise=noise)
        if not (gamma_max >= gamma0):
            raise ConfigError("gamma_max is out of range.", expected=f"at least gamma0 = {gamma0}", got=gamma_max)
        for name, value in (("inner_momentum", inner_momentum), ("alpha", alpha)):
            if not 0 <= value < 1:
                raise ConfigError(f"{name} is out of range.", expected="from 0 to below 1", got=value)
        self.L = positive_integer("L", L)
        self.inner_lr, self.inner_momentum, self.inner_decay = inner_lr, inner_momentum, inner_decay
        self.gamma0, self.gamma1, self.gamma_max = gamma0, gamma1, gamma_max
        self.noise, self.alpha, self.seed = noise, alpha, seed
        built = isinstance(base_optimizer, torch.optim.Optimizer)
        options = {"sync": "global", **(options if built else {"lr": lr, **options})}
        super().__init__(params, base_optimizer, {}, options, model=model)
        if self.engine.sync != "global":
            raise ConfigError(
                "Entropy-SGD walks with averaged gradients.", expected="sync='global'", got=repr(self.engine.sync)
            )

    def _forget_buffers(self) -> None:
        super()._forget_buffers()
        self._mean, self._velocity = GradientCopy(), GradientCopy()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__getstate__().items() if k not in ("_mean", "_velocity")}

    def scope(self) -> float:
        """Return gamma at the present step."""
        grown = math.log1p(self.gamma1) * self.steps_done + math.log(self.gamma0) if self.gamma0 else -math.inf
        return self.gamma_max if grown > math.log(self.gamma_max or 1.0) else math.exp(grown)

    def _extra_passes(self) -> int:
        return self.L - 1

    def _perturb(self, index: int) -> None:
        self._walk_on(index)

    def _walk_on(self, index: int) -> None:
        """One move of the walk, by the gradients present, and its share in the mean."""
        everything = self._parameters()
        if index == 0:
            self._begin_walk(everything)
        streams: dict[torch.device, torch.Generator] = {}
        for group in self.param_groups:
            weights, gradients = self._moving(group)
            if not weights:
                continue
            torch._foreach_add_(gradients, weights, alpha=self.inner_decay)
            if self.inner_momentum:
                velocity = self._velocity.of(weights)
                torch._foreach_mul_(velocity, self.inner_momentum)
                torch._foreach_add_(velocity, gradients)
                torch._foreach_add_(gradients, velocity, alpha=self.inner_momentum)
            torch._foreach_add_(gradients, torch._foreach_sub(weights, self._backup.of(weights)), alpha=self.scope())
            if self.noise:
                self._shake(gradients, index, streams)
            torch._foreach_add_(weights, gradients, alpha=-self.inner_lr)
            torch._foreach_lerp_(self._mean.of(weights), weights, 1 - self.alpha)

    def _begin_walk(self, parameters: list[Tensor]) -> None:
        self._mean.fit(parameters)
        torch._foreach_copy_(self._mean.of(parameters), self._backup.of(parameters))
        self._velocity.fit(parameters)
        self._velocity.zero()

    def _shake(self, gradients: list[Tensor], index: int, streams: dict[torch.device, torch.Generator]) -> None:
        size = self.noise / math.sqrt(0.5 * self.inner_lr) if self.inner_lr else 0.0
        for gradient in gradients:
            if gradient.device not in streams:
                names = ("entropy", self.steps_done, index)
                streams[gradient.device] = generator(self.seed, *names, device=gradient.device)
            noise = torch.empty_like(gradient, memory_format=torch.contiguous_format)
            gradient.add_(noise.normal_(generator=streams[gradient.device]), alpha=size)

    def _finish(self, passes: int) -> None:
        self._walk_on(passes)
        self.stats["eps_norm"] = global_norm(
            torch._foreach_sub(list(self._parameters()), self._backup.of(self._parameters()))
        )
        for parameter in self._parameters():
            if parameter.grad is None:
                continue
            (start,), (mean,) = self._backup.of([parameter]), self._mean.of([parameter])
            parameter.grad.copy_(start).sub_(mean).mul_(self.scope())
            if self._unscale is not None:  # the scaler will divide by its scale
                multiply([parameter.grad], self._unscale.reciprocal())


class EntropyAdam(EntropySGD):
    """:class:`EntropySGD` with Adam for the outer step, its scope growing as it should.

    Args:
        params: Parameters or parameter groups.
        lr: Adam's learning rate.
        **options: As in :class:`EntropySGD`.

    Raises:
        ConfigError: An option is out of range or unknown.

    Example:
        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> type(EntropyAdam([w], lr=1e-3).base_optimizer).__name__
        'Adam'
    """

    def __init__(self, params: Iterable[Any] | None, lr: float, **options: Any) -> None:
        super().__init__(params, lr, **{"base_optimizer": torch.optim.Adam, **options})
