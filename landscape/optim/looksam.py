"""LookSAM: SAM every k steps, and its direction reused in between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from landscape.errors import OptimizerError
from landscape.optim.combined import CombinedOptimizer
from landscape.optim.norms import TINY_SQUARE, dot, global_norm, multiply
from landscape.optim.options import BaseOptimizer, nonnegative, positive_integer
from landscape.optim.passes import Closure


class LookSAM(CombinedOptimizer):
    r"""SAM at every k-th step; in between, the gradient plus SAM's last orthogonal part.

    Definition, with g the gradient at w, h the one at ``w + rho g / ||g||``, and t the number of steps done::

        t % k == 0:   v = h - (<g, h> / ||g||^2) g;      w <- base_step(w, h)
        else:                                            w <- base_step(w, g + alpha * (||g|| / ||v||) v)

    v, the part of SAM's gradient that the plain gradient does not contain, changes slowly. It is part of the
    optimizer's checkpoint. Cost: 1 + 1/k forward-backward passes a step and three copies of the weights.

    Args:
        params: Parameters or parameter groups; a group may carry its own ``rho`` and ``adaptive``.
        base_optimizer: An optimizer class, or a built one with ``params=None``.
        rho: Radius of the ball, a global L2 norm. Default 0.05: SAM's.
        k: Steps from one SAM step to the next, at least 1; 1 is SAM. Default 5: the paper's.
        alpha: Weight of the reused part, at least 0. Default 0.7: the paper's.
        **options: ``adaptive``, ``norm_over``, ``model``, the engine's and the base optimizer's: all as in
            :class:`landscape.optim.SAM`.

    Raises:
        ConfigError: An option is out of range or unknown.

    Example:
        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        >>> optimizer = LookSAM([w], torch.optim.SGD, rho=1.0, k=2, lr=0.1)
        >>> passes = []
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     passes.append(round(w.item(), 9))
        ...     loss = w**2 / 2
        ...     loss.backward()
        ...     return loss
        >>> for _ in range(2):
        ...     _ = optimizer.step(closure)
        >>> passes
        [1.0, 2.0, 0.8]

    References:
        Y. Liu et al., Towards Efficient and Scalable Sharpness-Aware Minimization, CVPR 2022, Algorithm 1.
    """

    def __init__(
        self,
        params: Iterable[Any] | None,
        base_optimizer: BaseOptimizer,
        rho: float = 0.05,
        k: int = 5,
        alpha: float = 0.7,
        **options: Any,
    ) -> None:
        nonnegative(alpha=alpha)
        self.k, self.alpha = positive_integer("k", k), alpha
        super().__init__(params, base_optimizer, rho, **options)

    def _extra_passes(self) -> int:
        return 1 if self.steps_done % self.k == 0 else 0

    def _check_closures(self, closure: Closure | Sequence[Closure] | None) -> list[Closure]:
        closures = super()._check_closures(closure)
        if len(closures) > 1:
            raise OptimizerError(
                "LookSAM takes one closure: it has one direction to remember.",
                got=f"{len(closures)} closures",
                fix="Loop over the micro-batches inside the closure, or use SAM.",
            )
        return closures

    def _finish(self, passes: int) -> None:
        if passes:
            self._remember()
            return
        known = [p for p in self._parameters() if p.grad is not None and "orthogonal" in self.memory.get(p, {})]
        if not known:
            return
        gradients = [p.grad for p in known if p.grad is not None]
        reused = [self.memory[p]["orthogonal"].clone() for p in known]
        everything = [p.grad for p in self._parameters() if p.grad is not None]
        multiply(reused, self.alpha * global_norm(everything) / (global_norm(reused) + 1e-12))
        torch._foreach_add_(gradients, reused)

    def _remember(self) -> None:
        parameters = [p for p in self._parameters() if p.grad is not None]
        first, last = self._pairs()
        along = dot(first, last) / (dot(first, first) + TINY_SQUARE)
        for parameter, clean, gradient in zip(parameters, first, last, strict=True):
            fresh = gradient - along.to(device=gradient.device, dtype=gradient.dtype) * clean
            entry = self.memory.setdefault(parameter, {})
            if "orthogonal" not in entry:
                entry["orthogonal"] = torch.zeros_like(fresh)
            # an overflow under a gradient scaler must not stay for k steps
            entry["orthogonal"].copy_(torch.where(torch.isfinite(along), fresh, entry["orthogonal"]))
