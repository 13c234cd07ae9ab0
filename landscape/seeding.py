"""Named random generators, and the global RNG state saved and put back.

Nothing in this package draws from the global generators, except inside :func:`seeded`, which puts them back.
"""

from __future__ import annotations

import hashlib
import operator
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from landscape.errors import ConfigError


def derive_seed(seed: int, *names: str | int) -> int:
    """Derive the seed of a named random stream.

    Definition: the first 8 bytes of ``SHA-256(repr((seed, *names)))``, taken modulo 2**63. Streams with other
    names are independent for all practical purposes, and the value is the same in every process and on every machine.

    Args:
        seed: The user's seed, any integer (NumPy's integers count as the same number).
        *names: What the stream is for, for example ``"order", epoch``: strings and integers.

    Returns:
        An integer in [0, 2**63).

    Raises:
        ConfigError: The seed is not an integer, or a name is neither a string nor an integer.

    Example:
        >>> derive_seed(0, "order", 1) == derive_seed(0, "order", 1)
        True
        >>> derive_seed(0, "order", 1) == derive_seed(0, "order", 2)
        False
    """
    key = (_integer(seed), *(str(name) if isinstance(name, str) else _integer(name) for name in names))
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") % 2**63


def _integer(value: object) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        fix = "Use a whole number such as 0."
        raise ConfigError("A seed is no integer.", expected="an integer", got=repr(value), fix=fix) from error


def generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Make the generator of a named random stream.

    Args:
        seed: The user's seed.
        *names: What the stream is for; see :func:`derive_seed`.
        device: Where the generator draws. CPU and CUDA streams with one seed differ.

    Returns:
        A fresh ``torch.Generator``; the global one is not touched.

    Example:
        >>> a, b = generator(0, "noise"), generator(0, "noise")
        >>> bool(torch.equal(torch.rand(3, generator=a), torch.rand(3, generator=b)))
        True
    """
    return torch.Generator(device=device).manual_seed(derive_seed(seed, *names))


@dataclass(frozen=True, kw_only=True)
class RNGState:
    """The state of Python's, NumPy's and torch's global generators (CPU and every CUDA device)."""

    python: tuple
    numpy: dict
    torch_cpu: torch.Tensor
    torch_cuda: tuple[torch.Tensor, ...]

    @classmethod
    def capture(cls) -> RNGState:
        """Read all global generators, changing none (CUDA is read only where it is already in use)."""
        cuda = tuple(torch.cuda.get_rng_state_all()) if torch.cuda.is_initialized() else ()
        state = np.random.get_state(legacy=False)
        return cls(python=random.getstate(), numpy=dict(state), torch_cpu=torch.get_rng_state(), torch_cuda=cuda)

    def drew_since(self) -> bool:
        """Whether one of torch's global generators has drawn a number since."""
        now = RNGState.capture()
        mine, theirs = (self.torch_cpu, *self.torch_cuda), (now.torch_cpu, *now.torch_cuda)
        return len(mine) != len(theirs) or any(not torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))

    def restore(self) -> None:
        """Put all global generators back."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch_cpu)
        for index, state in enumerate(self.torch_cuda):
            torch.cuda.set_rng_state(state, index)
        if not self.torch_cuda and torch.cuda.is_initialized():  # came into use since: back to its first state
            for unused in torch.cuda.default_generators:
                unused.manual_seed(unused.initial_seed())


class _Background(threading.local):
    """Whether this thread leaves the global generators to the others."""

    active = False


_BACKGROUND = _Background()


@contextmanager
def generators_left_alone() -> Iterator[None]:
    """Run a block of a background thread in which :func:`preserved_rng` does nothing.

    The global generators are the whole process's. Putting them back at the end of work in a thread would also take
    back every number that the main thread drew meanwhile, which would then draw it a second time. Only for work that
    draws nothing from them, as evaluations do.

    Example:
        >>> with generators_left_alone(), preserved_rng():
        ...     before = torch.get_rng_state()
        ...     _ = torch.rand(1)  # stands for another thread
        >>> bool(torch.equal(before, torch.get_rng_state()))
        False
    """
    before, _BACKGROUND.active = _BACKGROUND.active, True
    try:
        yield
    finally:
        _BACKGROUND.active = before


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Run a block and put every global generator back, also after an exception.

    Example:
        >>> before = torch.get_rng_state()
        >>> with preserved_rng():
        ...     _ = torch.rand(5)
        >>> bool(torch.equal(before, torch.get_rng_state()))
        True
    """
    if _BACKGROUND.active:
        yield
        return
    with _put_back():
        yield


@contextmanager
def _put_back() -> Iterator[None]:
    state = RNGState.capture()
    try:
        yield
    finally:
        state.restore()


def seed_torch(value: int) -> None:
    """Set torch's global generators, of the CPU and of CUDA where it is in use.

    ``torch.manual_seed`` gives the same numbers. But where CUDA is not in use yet it keeps the seed and a stack trace
    of every call for later: a millisecond a call, and memory that is never given back.

    Args:
        value: The seed, in [0, 2**63).
    """
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(value)


@contextmanager
def seeded(seed: int, *names: str | int) -> Iterator[None]:
    """Run a block with the global generators set to a named stream, and put them back afterwards.

    For code that can only draw from the global generators: ``nn.Module`` initializers, dropout. The generators of
    CUDA devices are set where CUDA is already in use.

    Args:
        seed: The user's seed.
        *names: What the stream is for; see :func:`derive_seed`.

    Example:
        >>> with seeded(0, "init"):
        ...     a = torch.nn.Linear(2, 2).weight
        >>> with seeded(0, "init"):
        ...     b = torch.nn.Linear(2, 2).weight
        >>> bool(torch.equal(a, b))
        True
    """
    with _put_back():
        value = derive_seed(seed, *names)
        seed_torch(value)
        np.random.seed(value % 2**32)
        random.seed(value)
        yield
