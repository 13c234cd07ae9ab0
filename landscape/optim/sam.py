"""SAM and ASAM: the gradient at the worst point of a small ball, to first order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from landscape.errors import ConfigError
from landscape.optim.engine import PerturbedOptimizer
from landscape.optim.norms import global_norm
from landscape.optim.options import BaseOptimizer, nonnegative

_ETA = 0.01  # ASAM, Kwon et al. 2021, section 5


class SAM(PerturbedOptimizer):
    r"""Sharpness-aware minimization, and its adaptive form.

    Definition, with g the gradient at w and the norm over all parameters together::

        SAM                      eps = rho * g / (||g|| + 1e-12)
        adaptive=True            eps = rho * w^2 g / (|| |w| g || + 1e-12)
        adaptive="official"      eps = rho * T^2 g / (|| T g || + 1e-12),  T = |w| + 0.01 for weights, 1 for biases
        w <- base_step(w, gradient at w + eps)

    Weight decay and momentum act at w, in the base optimizer. Cost: 2 forward-backward passes a step. SAM's radius is
    in the weights' own unit; ASAM's is relative to them and about ten times larger.

    Args:
        params: Parameters or parameter groups; a group may carry its own ``rho`` and ``adaptive``.
        base_optimizer: An optimizer class, or a built one with ``params=None``.
        rho: Radius of the ball, a global L2 norm. Default 0.05: Foret et al. for CIFAR-10.
        adaptive: False for SAM; True for the widespread form without eta, on all tensors (weights that are exactly zero
            do not move); "official" for the paper's, which scales tensors of two or more dimensions only.
        model: The module the closure runs; see :class:`PerturbedOptimizer`. Keeps running statistics right.
        **base_options: For the base optimizer: ``lr``, ``momentum``, ...

    Raises:
        ConfigError: ``rho`` is negative, ``adaptive`` is none of the three, or an option is unknown.

    Example:
        One step on w^2 / 2 from w = 1 with rho = 1: the gradient at 1 + 1 is 2, so w = 1 - 0.1 * 2.

        >>> w = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        >>> optimizer = SAM([w], torch.optim.SGD, rho=1.0, lr=0.1)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = w**2 / 2
        ...     loss.backward()
        ...     return loss
        >>> _ = optimizer.step(closure)
        >>> round(w.item(), 9)
        0.8

    References:
        P. Foret et al., Sharpness-Aware Minimization for Efficiently Improving Generalization, ICLR 2021, eq. 2.
        J. Kwon et al., ASAM, ICML 2021, eq. 5 and section 5.
    """

    def __init__(
        self,
        params: Iterable[Any] | None,
        base_optimizer: BaseOptimizer,
        rho: float = 0.05,
        adaptive: bool | Literal["official"] = False,
        *,
        model: nn.Module | None = None,
        **base_options: Any,
    ) -> None:
        nonnegative(rho=rho)
        if adaptive not in (False, True, "official"):
            raise ConfigError("adaptive is out of range.", expected="False, True or 'official'", got=repr(adaptive))
        super().__init__(params, base_optimizer, {"rho": rho, "adaptive": adaptive}, base_options, model=model)
        for group in self.param_groups:
            nonnegative(rho=group["rho"])

    def _extra_passes(self) -> int:
        return 1

    def _active(self) -> bool:
        return any(group["rho"] > 0 for group in self.param_groups)

    def _accepts_fresh_gradients(self) -> bool:
        return True

    def _perturb(self, index: int) -> None:
        groups = [(group, *self._moving(group)) for group in self.param_groups]
        scaled = [self._scaled(group["adaptive"], weights, gradients) for group, weights, gradients in groups]
        everything = [tensor for tensors in scaled for tensor in tensors]
        if not everything:
            return
        norm = global_norm(everything)
        for group, weights, gradients in groups:
            if not weights:
                continue
            self._to_ascent(group["adaptive"], weights, gradients)
            factor = group["rho"] / (norm + 1e-12)
            _scale(gradients, factor)
            torch._foreach_add_(weights, gradients)
        self.stats["grad_norm"] = norm
        self.stats["eps_norm"] = global_norm([g for _, _, gradients in groups for g in gradients])

    @staticmethod
    def _scaled(adaptive: bool | str, weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Return T g, the gradients themselves where T = 1."""
        if adaptive is False:
            return gradients
        return [g if t is None else t * g for t, g in zip(_scales(adaptive, weights), gradients, strict=True)]

    @staticmethod
    def _to_ascent(adaptive: bool | str, weights: list[Tensor], gradients: list[Tensor]) -> None:
        """Turn the gradients, which are dead after this, into T^2 g in place."""
        if adaptive is False:
            return
        for scale, gradient in zip(_scales(adaptive, weights), gradients, strict=True):
            if scale is not None:
                gradient.copy_(torch.pow(scale, 2) * gradient)


def _scales(adaptive: bool | str, weights: list[Tensor]) -> list[Tensor | None]:
    if adaptive == "official":
        return [w.abs() + _ETA if w.ndim >= 2 else None for w in weights]
    return [w.abs() for w in weights]


def _scale(tensors: list[Tensor], factor: Tensor) -> None:
    """Multiply tensors, on whichever devices, by one factor in place."""
    if all(t.device == factor.device and t.dtype == factor.dtype for t in tensors):
        torch._foreach_mul_(tensors, factor)
        return
    for tensor in tensors:
        tensor.mul_(factor.to(tensor))
