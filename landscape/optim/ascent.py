"""One step up the gradient, to the edge of a ball: what SAM and its relatives share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from landscape.errors import ConfigError
from landscape.optim.engine import PerturbedOptimizer
from landscape.optim.norms import add_scaled, global_norm, radius_factor
from landscape.optim.options import BaseOptimizer, nonnegative

Adaptive = bool | Literal["official"]

_ETA = 0.01  # ASAM, Kwon et al. 2021, section 5


class AscentOptimizer(PerturbedOptimizer):
    r"""Move to ``w + rho * T^2 d / ||T d||``, where d is the gradient or what a method makes of it.

    T is 1, ``|w|`` (``adaptive=True``) or ``|w| + 0.01`` for tensors of two or more dimensions (``"official"``).

    Args:
        params: Parameters or parameter groups; a group may carry its own ``rho`` and ``adaptive``.
        base_optimizer: An optimizer class, or a built one with ``params=None``.
        rho: Radius of the ball, an L2 norm.
        adaptive: False, True or "official".
        norm_over: Whose gradients the norm counts: "all" parameters, or only the "perturbed" ones (``rho > 0``).
        model: The module the closure runs.
        **options: The engine's and the base optimizer's.

    Raises:
        ConfigError: An option is out of range or unknown.
    """

    takes_fresh_gradients = True

    def __init__(
        self,
        params: Iterable[Any] | None,
        base_optimizer: BaseOptimizer,
        rho: float = 0.05,
        adaptive: Adaptive = False,
        *,
        norm_over: Literal["all", "perturbed"] = "all",
        model: nn.Module | None = None,
        **options: Any,
    ) -> None:
        nonnegative(rho=rho)
        if norm_over not in ("all", "perturbed"):
            raise ConfigError("norm_over is out of range.", expected="'all' or 'perturbed'", got=repr(norm_over))
        self.norm_over = norm_over
        super().__init__(params, base_optimizer, {"rho": rho, "adaptive": adaptive}, options, model=model)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        nonnegative(rho=group["rho"])
        adaptive = group["adaptive"]
        if not isinstance(adaptive, bool) and not (isinstance(adaptive, str) and adaptive == "official"):
            raise ConfigError("adaptive is out of range.", expected="False, True or 'official'", got=repr(adaptive))

    def _extra_passes(self) -> int:
        return 1

    def _active(self) -> bool:
        return any(group["rho"] > 0 for group in self.param_groups)

    def _direct(self, weights: list[Tensor], gradients: list[Tensor]) -> None:
        """Turn gradients into the direction d, in place; they stay gradients by default."""

    def _perturb(self, index: int) -> None:
        sets = [(group, *self._moving(group)) for group in self.param_groups]
        for _, weights, gradients in sets:
            self._direct(weights, gradients)
        counted = [s for s in sets if self.norm_over == "all" or s[0]["rho"] > 0]
        scaled = [_scaled(group["adaptive"], weights, gradients) for group, weights, gradients in counted]
        everything = [tensor for tensors in scaled for tensor in tensors]
        if not everything:
            return
        norm = global_norm(everything)
        lengths: list[Tensor] = []
        for group, weights, gradients in sets:
            if not weights or group["rho"] == 0:
                continue
            _to_ascent(group["adaptive"], weights, gradients)
            factor = radius_factor(group["rho"], norm)
            known = group["adaptive"] is False and len(gradients) == len(everything)
            lengths.append(factor * (norm if known else global_norm(gradients)))
            add_scaled(weights, gradients, factor)
        self.stats["grad_norm"] = norm
        self.stats["eps_norm"] = torch.linalg.vector_norm(torch.stack(lengths)) if lengths else torch.zeros_like(norm)


def _scaled(adaptive: Adaptive, weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
    """Return T g, the gradients themselves where T = 1."""
    if adaptive is False:
        return gradients
    return [g if t is None else t * g for t, g in zip(_scales(adaptive, weights), gradients, strict=True)]


def _to_ascent(adaptive: Adaptive, weights: list[Tensor], gradients: list[Tensor]) -> None:
    """Turn the gradients, which are dead after this, into T^2 g in place."""
    if adaptive is False:
        return
    for scale, gradient in zip(_scales(adaptive, weights), gradients, strict=True):
        if scale is not None:
            gradient.copy_(torch.pow(scale, 2) * gradient)


def _scales(adaptive: Adaptive, weights: list[Tensor]) -> list[Tensor | None]:
    if adaptive == "official":
        return [w.abs() + _ETA if w.ndim >= 2 else None for w in weights]
    return [w.abs() for w in weights]
