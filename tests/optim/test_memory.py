"""How much memory a step takes beyond weights, gradients and the base optimizer's state, counted tensor by tensor."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.optim.methods import build

SIDE = 300


class Memory(TorchDispatchMode):
    """Counts the bytes of storages that came into being within the block, and their peak."""

    def __init__(self, known: list[torch.Tensor]) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.holders: dict[int, int] = {}
        self.sizes: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._hold(tensor)
        self.peak = max(self.peak, sum(self.sizes.values()))
        return result

    def _hold(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage.data_ptr()
        if key in self.known or not storage.nbytes():
            return
        self.sizes[key] = storage.nbytes()
        self.holders[key] = self.holders.get(key, 0) + 1
        weakref.finalize(tensor, self._release, key)

    def _release(self, key: int) -> None:
        self.holders[key] -= 1
        if not self.holders[key]:
            self.sizes.pop(key, None)


@pytest.mark.parametrize(
    ("method", "copies"),
    [("sam", 1.0), ("amp-global", 1.0), ("lpf", 1.0 + 1.0), ("smoothout", 1.0), ("gsam", 2.0), ("fsam", 3.0)],
)
def test_the_peak_of_extra_memory_in_copies_of_the_weights(method, copies):
    """SAM and AMP: the backup. Several draws: their mean too. GSAM: the first gradient; F-SAM: the mean, twice."""
    model = nn.Sequential(*[nn.Linear(SIDE, SIDE) for _ in range(6)])
    optimizer = build(method, model.parameters(), momentum=0.0)
    gradients = [torch.randn_like(p) for p in model.parameters()]

    def closure() -> None:
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient  # no passes: only what the optimizer itself does is counted

    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    with Memory([*model.parameters(), *gradients]) as memory:
        for _ in range(3):
            optimizer.step(closure)
    # one layer at a time may be worked on, and some scalars
    slack = 2.5 * SIDE * SIDE * 4 / weights
    assert copies - 0.01 <= memory.peak / weights <= copies + slack
