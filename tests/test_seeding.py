"""Named streams are independent and the same in every process; the caller's generators come back bit for bit."""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import landscape
from landscape.errors import ConfigError
from landscape.seeding import derive_seed, generator, preserved_rng, seed_torch, seeded

names = st.lists(st.one_of(st.text(max_size=5), st.integers()), max_size=3)


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def states() -> tuple:
    numpy_state = np.random.get_state(legacy=False)
    return random.getstate(), repr(numpy_state), torch.get_rng_state().tolist()


@given(st.integers(), names)
def test_derived_seeds_are_repeatable_and_in_range(seed, parts):
    value = derive_seed(seed, *parts)
    assert value == derive_seed(seed, *parts)
    assert 0 <= value < 2**63


@given(st.integers(), names, st.integers(), names)
def test_other_streams_have_other_seeds(seed, parts, other_seed, other_parts):
    same = (seed, *parts) == (other_seed, *other_parts)
    assert (derive_seed(seed, *parts) == derive_seed(other_seed, *other_parts)) == same


def test_the_value_is_the_one_of_the_definition_so_the_same_on_every_machine():
    expected = int.from_bytes(hashlib.sha256(b"(0, 'order', 1)").digest()[:8], "big") % 2**63
    assert derive_seed(0, "order", 1) == expected


def test_numpy_integers_name_the_same_stream():
    assert derive_seed(np.int64(3), "a", np.int32(4)) == derive_seed(3, "a", 4)
    assert derive_seed(3, np.str_("a")) == derive_seed(3, "a")


@pytest.mark.parametrize("bad", [1.5, "1", None])
def test_a_seed_that_is_no_integer_is_refused(bad):
    with pytest.raises(ConfigError, match="integer"):
        derive_seed(bad)


def test_a_name_that_is_neither_text_nor_integer_is_refused():
    with pytest.raises(ConfigError, match=r"2\.5"):
        derive_seed(0, 2.5)  # type: ignore[arg-type]


def test_generator_leaves_the_global_stream_alone():
    before = states()
    first = torch.rand(4, generator=generator(1, "x"))
    assert states() == before
    assert torch.equal(first, torch.rand(4, generator=generator(1, "x")))
    assert not torch.equal(first, torch.rand(4, generator=generator(1, "y")))


@pytest.mark.parametrize("context", [preserved_rng, lambda: seeded(3, "x")], ids=["preserved_rng", "seeded"])
@pytest.mark.parametrize("fails", [False, True])
def test_global_generators_come_back(context, fails):
    draw()
    random.gauss(0, 1)  # leaves a second value waiting, which is part of the state
    np.random.standard_normal()
    before = states()
    try:
        with context():
            draw()
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert states() == before


def test_seeded_blocks_repeat_and_differ_by_name():
    with seeded(0, "a"):
        first = draw()
    draw()
    with seeded(0, "a"):
        again = draw()
    with seeded(0, "b"):
        other = draw()
    assert first == again
    assert all(x != y for x, y in zip(first, other, strict=True))


def test_seeded_blocks_nest():
    with seeded(0, "outer"):
        expected = [draw(), draw()]
    with seeded(0, "outer"):
        got = [draw()]
        with seeded(0, "inner"):
            draw()
        got.append(draw())
    assert got == expected


def test_seeded_leaves_no_seed_behind_for_a_device_that_is_not_in_use_yet(monkeypatch):
    # torch.manual_seed queues a seed for CUDA's first use, which would outlive the block.
    queued = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", queued.append)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    with seeded(0, "a"):
        pass
    assert queued == []


def test_the_package_queues_no_seeds(monkeypatch):
    """torch.manual_seed keeps a stack trace of every call for a CUDA that may never come into use."""
    sources = (Path(landscape.__file__).parent).rglob("*.py")
    assert not [path for path in sources if re.search(r"torch\.manual_seed\(", path.read_text())]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    before = len(torch.cuda._queued_calls)
    with preserved_rng():
        seed_torch(5)
        expected = torch.rand(3)
    assert len(torch.cuda._queued_calls) == before
    with preserved_rng():
        torch.default_generator.manual_seed(5)
        assert torch.equal(torch.rand(3), expected)


@pytest.mark.gpu
def test_cuda_generators_come_back():
    torch.rand(1, device="cuda")
    before = torch.cuda.get_rng_state_all()
    with seeded(0, "a"):
        first = torch.rand(3, device="cuda")
    with seeded(0, "a"):
        assert torch.equal(first, torch.rand(3, device="cuda"))
    assert all(torch.equal(a, b) for a, b in zip(before, torch.cuda.get_rng_state_all(), strict=True))


@pytest.mark.gpu
def test_cuda_first_used_inside_a_block_is_as_if_never_used():
    code = """
import torch
from landscape.seeding import preserved_rng, seeded
torch.manual_seed(7)
if {inside}:
    with preserved_rng():
        torch.rand(5, device="cuda")
    with seeded(3, "x"):
        torch.rand(5, device="cuda")
print(torch.rand(3, device="cuda").tolist())
"""
    runs = [
        subprocess.run([sys.executable, "-c", code.format(inside=inside)], capture_output=True, text=True, check=True)
        for inside in (True, False)
    ]
    assert runs[0].stdout == runs[1].stdout
