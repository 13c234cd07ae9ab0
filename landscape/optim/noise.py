"""Methods that look at randomly moved weights: where the random numbers come from, and how they are averaged."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from landscape.optim.engine import PerturbedOptimizer
from landscape.optim.norms import global_norm
from landscape.optim.options import BaseOptimizer, nonnegative
from landscape.seeding import derive_seed, generator


class NoisyOptimizer(PerturbedOptimizer):
    """The mean gradient over random perturbations of the weights; no pass at the clean weights.

    Each draw is named by the seed, the step, its number within the step and, where processes perturb on their own, the
    process: a run that is resumed draws what it would have drawn, and no generator's state has to be saved.

    Args:
        params: Parameters or parameter groups.
        lr: The base optimizer's learning rate.
        base_optimizer: An optimizer class, or a built one with ``params=None``.
        size: The option of the groups that holds the noise's size, and its value.
        draws: Perturbations a step for ``step(closure)``.
        model: The module the closure runs.
        seed: Names the noise.
        **options: The engine's and the base optimizer's.

    Raises:
        ConfigError: An option is out of range or unknown.
    """

    clean_pass = False

    def __init__(
        self,
        params: Iterable[Any] | None,
        lr: float,
        base_optimizer: BaseOptimizer,
        size: tuple[str, float],
        draws: int,
        /,
        *,
        model: nn.Module | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        self._size = size[0]
        nonnegative(lr=lr, **dict([size]))
        derive_seed(seed)  # raises where it is no integer
        self.draws, self.seed = draws, seed
        self._generators: dict[torch.device, torch.Generator] = {}
        built = isinstance(base_optimizer, torch.optim.Optimizer)
        options = options if built else {"lr": lr, **options}
        super().__init__(params, base_optimizer, dict([size]), options, model=model)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        nonnegative(**{self._size: group[self._size]})

    def _forget_buffers(self) -> None:
        super()._forget_buffers()
        self._drawn = 0
        self._scales: list[list[Tensor | None]] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**{k: v for k, v in super().__getstate__().items() if k != "_scales"}, "_generators": {}}

    @abstractmethod
    def _scale_of(self, weight: Tensor, group: dict[str, Any]) -> Tensor | None:
        """What the noise of a weight is multiplied by beside the group's size; None for 1."""

    @abstractmethod
    def _fill(self, noise: Tensor, stream: torch.Generator, group: dict[str, Any]) -> None:
        """Draw into a tensor, with a standard size of 1."""

    def noise_scale(self) -> float:
        """Return the present multiple of the noise's size."""
        return 1.0

    def _sign(self, draw: int) -> tuple[int, float]:
        """The number that names a draw, and its sign."""
        return draw, 1.0

    def _extra_passes(self) -> int:
        return 1

    def _active(self) -> bool:
        return any(group[self._size] > 0 for group in self.param_groups)

    def _begin_step(self) -> None:
        self._drawn = 0

    def _looks(self, closures: int) -> int:
        return self.draws if closures == 1 else 1

    def _stream(self, device: torch.device, number: int) -> torch.Generator:
        """The generator of a draw; within a CUDA graph's capture the registered one goes on by itself."""
        capturing = device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        if device not in self._generators:
            self._generators[device] = generator(self.seed, "noise", device=device)
        if not capturing:
            alone = self.engine.sync == "replica" and torch.distributed.is_available()
            rank = torch.distributed.get_rank() if alone and torch.distributed.is_initialized() else 0
            seed = derive_seed(self.seed, type(self).__name__, self.steps_done, number, rank)
            self._generators[device].manual_seed(seed)
        return self._generators[device]

    def _perturb(self, index: int) -> None:
        sets = [(group, [p for p in group["params"] if p.requires_grad]) for group in self.param_groups]
        if self._drawn == 0 or not self._scales:
            self._scales = [[self._scale_of(w, group) for w in weights] for group, weights in sets]
        number, sign = self._sign(self._drawn)
        self._drawn += 1
        streams: dict[torch.device, torch.Generator] = {}
        moves: list[Tensor] = []
        for (group, weights), scales in zip(sets, self._scales, strict=True):
            size = sign * group[self._size] * self.noise_scale()
            if size == 0 or not weights:
                continue
            for weight, scale in zip(weights, scales, strict=True):  # the backup has the weight: draw in its place
                if weight.device not in streams:  # one stream for all weights: each goes on where the last one ended
                    streams[weight.device] = self._stream(weight.device, number)
                self._draw(weight, streams[weight.device], group)
                if scale is not None:
                    weight.mul_(scale)
            torch._foreach_mul_(weights, size)
            moves += weights
        if moves:
            self.stats["eps_norm"] = global_norm(moves)
            torch._foreach_add_(moves, self._backup.of(moves))

    def _draw(self, weight: Tensor, stream: torch.Generator, group: dict[str, Any]) -> None:
        """Fill a weight with noise; which number lies where does not depend on how it lies in memory."""
        if weight.is_contiguous():
            self._fill(weight, stream, group)
            return
        noise = torch.empty_like(weight, memory_format=torch.contiguous_format)
        self._fill(noise, stream, group)
        weight.copy_(noise)


def filter_norms(weight: Tensor) -> Tensor:
    """Return the norm of each row of dimension 0, shaped to multiply the weight; one norm for 0 or 1 dimensions."""
    if weight.ndim < 2:
        return torch.linalg.vector_norm(weight) + 1e-16
    rows = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    return rows.view(-1, *[1] * (weight.ndim - 1))
