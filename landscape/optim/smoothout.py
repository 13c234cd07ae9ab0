"""SmoothOut and ASO: the mean gradient over a uniform cube around the weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from landscape.errors import ConfigError
from landscape.optim.noise import NoisyOptimizer, filter_norms
from landscape.optim.options import BaseOptimizer

Adapt = Literal["none", "weight", "filter", "tensor"]


class SmoothOut(NoisyOptimizer):
    r"""SmoothOut, and with ``adapt`` its adaptive forms (ASO, AdaSmoothOut).

    Definition, with u uniform in [-1, 1], drawn anew for every weight and step::

        w <- base_step(w, gradient at w + tau)
        adapt="none"     tau = a * u
        adapt="weight"   tau = a * |w| * u                   each weight by its own size
        adapt="filter"   tau = a * ||w_f|| * u_f / ||u_f||   each filter (row of dimension 0) by a times its norm
        adapt="tensor"   tau = a * ||w|| * u                 each tensor's norm: what ASO means to do

    A tensor with one dimension is one filter. Cost: one forward-backward pass a step and one copy of the weights; more
    draws by ``step([closure_1, ..., closure_M])``.

    Args:
        params: Parameters or parameter groups; a group may carry its own ``a``.
        lr: The base optimizer's learning rate.
        a: Half-width of the cube, absolute or relative as above. Default 0.009, which the ASO runs of the LPF-SGD
            study used; these drew plain uniform noise, ``adapt="none"``, as their code drops the norm.
        adapt: "none", "weight", "filter" or "tensor".
        base_optimizer: An optimizer class. Default SGD.
        **options: ``model``, ``seed``, the engine's and the base optimizer's: all as in
            :class:`landscape.optim.LPFSGD`.

    Raises:
        ConfigError: An option is out of range or unknown.

    Example:
        With a = 0 it is the base optimizer.

        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor([1.0, 1.0], dtype=torch.float64))
        >>> optimizer = SmoothOut([w], lr=0.1, a=0.0)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = (w**2).sum() / 2
        ...     loss.backward()
        ...     return loss
        >>> optimizer.step(closure).item(), w.tolist()
        (1.0, [0.9, 0.9])

    References:
        W. Wen et al., SmoothOut: Smoothing Out Sharp Minima to Improve Generalization in Deep Learning, 2018.
        D. Bisla et al., Low-Pass Filtering SGD for Recovering Flat Optima, AISTATS 2022 (as a baseline, ASO).
    """

    def __init__(
        self,
        params: Iterable[Any] | None,
        lr: float,
        a: float = 0.009,
        adapt: Adapt = "none",
        base_optimizer: BaseOptimizer = torch.optim.SGD,
        **options: Any,
    ) -> None:
        if adapt not in get_args(Adapt):
            raise ConfigError("adapt is out of range.", expected=" or ".join(get_args(Adapt)), got=repr(adapt))
        self.adapt = adapt
        super().__init__(params, lr, base_optimizer, ("a", a), 1, **options)

    def _scale_of(self, weight: Tensor, group: dict[str, Any]) -> Tensor | None:
        if self.adapt == "none":
            return None
        if self.adapt == "weight":
            return weight.abs()
        return filter_norms(weight) if self.adapt == "filter" else torch.linalg.vector_norm(weight)

    def _fill(self, noise: Tensor, stream: torch.Generator, group: dict[str, Any]) -> None:
        noise.uniform_(-1.0, 1.0, generator=stream)
        if self.adapt == "filter":
            noise.div_(filter_norms(noise))
