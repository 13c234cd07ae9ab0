"""How much memory there is, and how much something takes."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_CPU_LIMIT = 4 * 2**30
_Result = TypeVar("_Result")


def free_memory(device: torch.device) -> int:
    """Return how many bytes kept graphs may take where the user does not say.

    Half of what is free on a CUDA device; a quarter of what is free on a CPU, and at most 4 GiB (containers often have
    less than the machine says); 1 GiB where nothing is known.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 2
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**30
    return min(free // 4, _CPU_LIMIT)


def peak_bytes(run: Callable[[], Any]) -> int:
    """Return how many bytes of tensors were alive at once while something ran, beyond those from before.

    What a kernel takes for itself is not seen.

    Args:
        run: What to watch.

    Example:
        >>> peak_bytes(lambda: torch.ones(100).double().sum())  # 400 + 800 bytes, while one is made from the other
        1200
    """
    watch = _Watch()
    try:
        with watch:
            run()
    finally:
        watch.end()
    return watch.peak


def held_bytes(run: Callable[[], _Result]) -> tuple[_Result, int]:
    """Return what something returns, and how many bytes of new tensors are still alive then, because it holds them.

    Args:
        run: What to watch.

    Example:
        >>> held_bytes(lambda: torch.ones(100) + torch.ones(100))[1]  # 400 bytes of the 1,200
        400
    """
    watch = _Watch()
    try:
        with watch:
            found = run()
        return found, watch.alive
    finally:
        watch.end()


class _Watch(TorchDispatchMode):
    """Adds the bytes of every new storage, and takes them away when it is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.alive, self.peak = 0, 0
        self._finalizers: list[weakref.finalize[..., Any]] = []
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {_key(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor) and _key(tensor) not in known:
                self._add(tensor)
        return found

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known.add(storage)
        self.alive += storage.nbytes()
        self.peak = max(self.peak, self.alive)
        self._finalizers.append(weakref.finalize(storage, self._remove, storage.nbytes()))

    def end(self) -> None:
        """Let go of what is still alive."""
        for finalizer in self._finalizers:
            finalizer.detach()

    def _remove(self, size: int) -> None:
        self.alive -= size


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
