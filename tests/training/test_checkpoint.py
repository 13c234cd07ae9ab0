"""Checkpoints: whole round trip, every kind of damage found, fall back to the one before."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape.errors import CorruptFileError, StorageError
from landscape.seeding import generator
from landscape.training.checkpoint import (
    Checkpoint,
    StorageWarning,
    checkpoint_path,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)


def example(step: int = 7) -> Checkpoint:
    weight = torch.randn(5, 3, generator=generator(step, "weight"))
    return Checkpoint(
        step=step,
        epoch=2,
        batch=3,
        model={
            "w": weight,
            "half": weight.bfloat16(),
            "empty": torch.zeros(0),
            "tied": weight,
            "count": torch.tensor(4),
        },
        optimizer={
            "state": {0: {"momentum_buffer": weight * 2, "step": torch.tensor(3.0)}},
            "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0], "foreach": None, "nesterov": False}],
            "generators": {"cpu": generator(1, "x").get_state()},
        },
        sums={"loss": 0.1 + 0.2, "right": 3.0, "examples": 5.0, "seconds": 0.5},
    )


def assert_equal(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    else:
        assert a == b


def test_everything_comes_back(tmp_path):
    saved = example()
    found = load_checkpoint(save_checkpoint(tmp_path, saved))
    assert_equal(found.model, saved.model)
    assert_equal(found.optimizer, saved.optimizer)
    assert (found.step, found.epoch, found.batch, found.sums) == (7, 2, 3, saved.sums)


def test_what_cannot_be_stored_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(StorageError, match="model/odd cannot be stored"):
        save_checkpoint(tmp_path, Checkpoint(step=1, epoch=0, batch=0, model={"odd": object()}, optimizer={}))
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_or_harmless(tmp_path_factory, position, bit):
    folder = tmp_path_factory.mktemp("flip")
    path = save_checkpoint(folder, example())
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 1 << bit
    path.write_bytes(bytes(data))
    try:
        found = load_checkpoint(path)
    except CorruptFileError as error:
        assert str(path) in str(error)
    else:
        assert_equal(found.model, example().model)
        assert_equal(found.optimizer, example().optimizer)


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 0.999))
def test_truncation_at_any_length_is_found(tmp_path_factory, share):
    folder = tmp_path_factory.mktemp("cut")
    path = save_checkpoint(folder, example())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CorruptFileError, match="checkpoint"):
        load_checkpoint(path)


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    from safetensors.torch import save_file

    path = checkpoint_path(tmp_path, 1)
    save_file({"w": torch.ones(2)}, str(path))
    with pytest.raises(CorruptFileError, match="checksum"):
        load_checkpoint(path)


def test_the_newest_whole_checkpoint_is_found_with_a_warning(tmp_path):
    save_checkpoint(tmp_path, example(1))
    newest = save_checkpoint(tmp_path, example(2))
    (tmp_path / ".step_00000003.safetensors.x.1.y.landscape-tmp").write_bytes(b"half")
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.warns(StorageWarning, match="step_00000002"):
        found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1
    assert [step for step, _ in list_checkpoints(tmp_path)] == [1, 2]


def test_all_damaged_is_an_error_and_none_is_none(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, example(1)).write_bytes(b"")
    with pytest.warns(StorageWarning), pytest.raises(CorruptFileError, match="No checkpoint"):
        latest_checkpoint(tmp_path)
    with pytest.raises(StorageError, match="no checkpoint"):
        load_checkpoint(tmp_path / "missing.safetensors")


def test_a_folder_with_a_checkpoints_name_is_no_checkpoint(tmp_path):
    save_checkpoint(tmp_path, example(1))
    checkpoint_path(tmp_path, 2).mkdir()
    assert latest_checkpoint(tmp_path).step == 1
    with pytest.raises(StorageError, match="a folder.*move it away"):
        save_checkpoint(tmp_path, example(2))
