"""A copy of the weights that is made once and refilled, and the statistics of normalization layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class Backup:
    """Weights saved and put back by copy: exact in every precision, at fixed addresses, in two multi-tensor calls."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self._live: list[Tensor] = []
        self._statistics: list[tuple[Tensor, Tensor]] = []

    def save(self, parameters: Sequence[Tensor]) -> None:
        """Copy the parameters; the copies are allocated anew only where shapes, dtypes or devices changed."""
        self._live = list(parameters)
        fits = len(self.weights) == len(self._live) and all(
            b.shape == p.shape and b.dtype == p.dtype and b.device == p.device
            for b, p in zip(self.weights, self._live, strict=True)
        )
        if not fits:
            self.weights = [torch.empty_like(p, memory_format=torch.preserve_format) for p in self._live]
        torch._foreach_copy_(self.weights, self._live)

    def save_statistics(self, model: nn.Module | None) -> None:
        """Copy the running statistics of the model's normalization layers, to be put back by :meth:`restore`."""
        layers = [] if model is None else [m for m in model.modules() if isinstance(m, _NormBase)]
        buffers = [buffer for layer in layers for buffer in layer.buffers(recurse=False)]
        self._statistics = [(buffer, buffer.clone()) for buffer in buffers]

    def restore(self) -> None:
        """Put weights and statistics back."""
        torch._foreach_copy_(self._live, self.weights)
        for buffer, value in self._statistics:
            buffer.copy_(value)
        self._statistics = []

    def of(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return the saved copies of some of the parameters."""
        saved = {id(live): weights for live, weights in zip(self._live, self.weights, strict=True)}
        return [saved[id(parameter)] for parameter in parameters]
