"""AMP, adversarial model perturbation: the gradient after a few clipped ascent steps of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from landscape.errors import ConfigError
from landscape.optim.engine import PerturbedOptimizer
from landscape.optim.gradients import GradientCopy
from landscape.optim.norms import global_norm, multiply, radius_factor, tensor_norms
from landscape.optim.options import BaseOptimizer, nonnegative, positive_integer


class AMP(PerturbedOptimizer):
    r"""Adversarial model perturbation.

    Definition, with d = 0 at first and N = ``inner_iter``::

        N times:   d <- d + inner_lr * gradient at w + d
                   d <- d * min(1, epsilon / ||d||)
        w <- base_step(w, gradient at w + d)

    With ``ball="tensor"`` the norm is taken tensor by tensor, as in the authors' code, from which the published
    figures came: the perturbation's global norm is up to epsilon * sqrt(number of tensors). With ``ball="global"`` it
    is over all weights together, as in Algorithm 1. The ball acts only where it binds; unlike SAM's, the perturbation
    depends on the loss's scale. Cost: N + 1 forward-backward passes a step (the authors measured 1.8 for N = 1).

    Args:
        params: Parameters or parameter groups; a group may carry its own ``epsilon`` and ``inner_lr``.
        lr: The base optimizer's learning rate.
        epsilon: Radius of the ball, an L2 norm in the weights' unit. The authors used 0.5 for PreActResNet-18 and
            recommend the range 0.05 to 0.5.
        inner_lr: Step size zeta of the ascent. Default 1: the authors' advice.
        inner_iter: Number N of ascent steps, at least 1. Default 1: all published figures.
        base_optimizer: An optimizer class. Default SGD.
        ball: "tensor" or "global".
        model: The module the closure runs; keeps running statistics right.
        **options: The engine's (:class:`~landscape.optim.options.EngineOptions`) and the base optimizer's:
            ``momentum``, ``weight_decay``, ...

    Raises:
        ConfigError: ``epsilon`` or ``inner_lr`` is negative, ``inner_iter`` is no positive integer, ``ball`` or an
            option is unknown.

    Example:
        On w^2 / 2 from w = 1: ascent by 1 * 1, clipped to 0.5; the gradient at 1.5 is 1.5, so w = 1 - 0.1 * 1.5.

        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        >>> optimizer = AMP([w], lr=0.1, epsilon=0.5)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = w**2 / 2
        ...     loss.backward()
        ...     return w.detach(), loss
        >>> outputs, loss = optimizer.step(closure)
        >>> round(w.item(), 9), loss.item()
        (0.85, 0.5)

    References:
        Y. Zheng et al., Regularizing Neural Networks via Adversarial Model Perturbation, CVPR 2021, Algorithm 1.
    """

    def __init__(
        self,
        params: Iterable[Any] | None,
        lr: float,
        epsilon: float,
        inner_lr: float = 1.0,
        inner_iter: int = 1,
        base_optimizer: BaseOptimizer = torch.optim.SGD,
        *,
        ball: Literal["tensor", "global"] = "tensor",
        model: nn.Module | None = None,
        **options: Any,
    ) -> None:
        nonnegative(lr=lr, epsilon=epsilon, inner_lr=inner_lr)
        if ball not in ("tensor", "global"):
            raise ConfigError("ball is out of range.", expected="'tensor' or 'global'", got=repr(ball))
        own = {"epsilon": epsilon, "inner_lr": inner_lr}
        built = isinstance(base_optimizer, torch.optim.Optimizer)
        self.inner_iter, self.ball = positive_integer("inner_iter", inner_iter), ball
        options = options if built else {"lr": lr, **options}
        super().__init__(params, base_optimizer, own, options, model=model)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        nonnegative(epsilon=group["epsilon"], inner_lr=group["inner_lr"])

    def _takes_sharded_weights(self) -> bool:
        return self.inner_iter == 1

    def _forget_buffers(self) -> None:
        super()._forget_buffers()
        self._deviations = GradientCopy()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__getstate__().items() if k != "_deviations"}

    def _extra_passes(self) -> int:
        return self.inner_iter

    def _active(self) -> bool:
        return any(group["epsilon"] > 0 and group["inner_lr"] > 0 for group in self.param_groups)

    def _perturb(self, index: int) -> None:
        if index == 0 and self.inner_iter > 1:
            self._deviations.fit(self._parameters())
            self._deviations.zero()
        sets = [(group, *self._moving(group)) for group in self.param_groups]
        sets = [
            (group, weights, self._ascend(group, weights, gradients)) for group, weights, gradients in sets if weights
        ]
        if not sets:
            return
        if self.ball == "tensor":
            norms = [tensor_norms(deviations) for _, _, deviations in sets]
        else:
            norm = global_norm([d for _, _, deviations in sets for d in deviations])
            norms = [[norm.to(d.device) for d in deviations] for _, _, deviations in sets]
        for (group, weights, deviations), lengths in zip(sets, norms, strict=True):
            factors = [radius_factor(group["epsilon"], length).clamp(max=1.0) for length in lengths]
            for deviation, factor in zip(deviations, factors, strict=True):
                multiply([deviation], factor)
            self._backup.put(weights)
            torch._foreach_add_(weights, deviations)
        self.stats["eps_norm"] = global_norm([d for _, _, deviations in sets for d in deviations])

    def _ascend(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Return deviation + inner_lr * gradient, in memory that stays where it is where there are more rounds."""
        torch._foreach_mul_(gradients, group["inner_lr"])
        if self.inner_iter == 1:
            return gradients
        deviations = self._deviations.of(weights)
        torch._foreach_add_(deviations, gradients)
        return deviations

    def radius(self) -> float:
        """Return the largest global L2 norm that the perturbation can have: epsilon, or epsilon * sqrt(tensors)."""
        if self.ball == "global":
            return max(group["epsilon"] for group in self.param_groups)
        return math.sqrt(sum(group["epsilon"] ** 2 * len(group["params"]) for group in self.param_groups))


AdversarialModelPerturbation = AMP
