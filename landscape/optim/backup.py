"""A copy of the weights that is made once and refilled, and the statistics of normalization layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from landscape.optim.sharding import is_sharded, local

Buffers = Literal["norm", "all"]


class Backup:
    """Weights saved and put back by copy: exact in every precision, at fixed addresses, in two multi-tensor calls."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self._live: list[Tensor] = []
        self._ids: list[int] = []
        self._copies: dict[int, Tensor] = {}
        self._kinds: tuple[list[Any], ...] = ()
        self._sharded = False

    def save(self, parameters: Sequence[Tensor]) -> None:
        """Copy the parameters; the copies are allocated anew only where shapes, dtypes or devices changed."""
        ids = [id(parameter) for parameter in parameters]
        if ids != self._ids or self._sharded:
            self._ids, self._copies = [], {}  # the new ones last: after an interrupt all of this is done again
            self._sharded = any(is_sharded(parameter) for parameter in parameters)
            self._live = [local(parameter) for parameter in parameters] if self._sharded else list(parameters)
        kinds = ([p.dtype for p in self._live], [p.device for p in self._live], [p.shape for p in self._live])
        if kinds != self._kinds:
            self.weights = [torch.empty_like(p, memory_format=torch.preserve_format) for p in self._live]
            self._kinds, self._copies = kinds, {}
        self._ids = ids
        if self._live:
            torch._foreach_copy_(self.weights, self._live)

    def restore(self) -> None:
        """Put the weights back."""
        if self._live:
            torch._foreach_copy_(self._live, self.weights)

    def put(self, parameters: Sequence[Tensor]) -> None:
        """Put some of the weights back."""
        if parameters:
            torch._foreach_copy_([local(parameter) for parameter in parameters], self.of(parameters))

    def of(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return the saved copies of some of the parameters; of sharded ones this process's part."""
        copies = self.by_id()
        return [copies[id(parameter)] for parameter in parameters]

    def by_id(self) -> dict[int, Tensor]:
        """Return the saved copies by their parameter's id."""
        if not self._copies:
            self._copies = dict(zip(self._ids, self.weights, strict=True))
        return self._copies


class Statistics:
    """Running statistics of a model, saved after the pass that may change them and put back after the others."""

    def __init__(self) -> None:
        self._live: list[Tensor] = []
        self._copies: list[Tensor] = []
        self._saved, self._norm_only = False, True

    def save(self, model: nn.Module | None, which: Buffers = "norm") -> None:
        """Copy the buffers of the normalization layers ("norm") or of all modules ("all"), at fixed addresses."""
        if model is None:
            return
        if which == "all":
            live = list(model.buffers())
        else:
            layers = [layer for layer in model.modules() if isinstance(layer, _NormBase)]
            live = [buffer for layer in layers for buffer in layer.buffers(recurse=False)]
        fits = len(live) == len(self._copies) and all(
            c.shape == b.shape and c.dtype == b.dtype and c.device == b.device
            for c, b in zip(self._copies, live, strict=True)
        )
        self._live = live
        if not fits:
            self._copies = [torch.empty_like(buffer) for buffer in live]
        for copy, buffer in zip(self._copies, live, strict=True):
            copy.copy_(buffer)
        self._saved, self._norm_only = True, which == "norm"

    def restore(self) -> None:
        """Put the buffers back, once; nothing where none were saved since."""
        if not self._saved:
            return
        for buffer, copy in zip(self._live, self._copies, strict=True):
            # .data: graphs of passes within the block stay usable; they read no statistics that a pass changes.
            (buffer.data if self._norm_only else buffer).copy_(copy)
        self._saved = False


@contextmanager
def frozen_statistics(model: nn.Module, which: Buffers = "norm") -> Iterator[None]:
    """Put a model's running statistics back after a block: for a second pass that you write yourself.

    May be nested, and comes back exactly after an exception too.

    Args:
        model: Its normalization layers may be updated inside the block; nothing of it stays.
        which: "norm", or "all" buffers.

    Example:
        >>> import torch
        >>> norm = nn.BatchNorm1d(1)
        >>> with frozen_statistics(norm):
        ...     _ = norm(torch.randn(8, 1))
        >>> norm.num_batches_tracked.item()
        0
    """
    statistics = Statistics()
    with torch.no_grad():
        statistics.save(model, which)
    try:
        yield
    finally:
        with torch.no_grad():
            statistics.restore()
