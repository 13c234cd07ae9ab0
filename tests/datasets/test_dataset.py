"""A Dataset refuses every unusable value, and what it hands out is what its definition says."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import landscape
from landscape.datasets import Dataset, channel_statistics
from landscape.errors import DataError
from landscape.seeding import generator


def images(count=6, shape=(3, 4, 5)):
    stream = generator(0, "tests", "images")
    return torch.randint(256, (count, *shape), dtype=torch.uint8, generator=stream)


def make(**changes):
    values = {"name": "toy", "inputs": images(), "targets": torch.tensor([0, 1, 2, 0, 1, 2]), "classes": 3}
    return Dataset(**values | changes)


def test_what_is_not_given_is_filled_in():
    ds = make()
    assert (len(ds), ds.input_shape, ds.class_names) == (6, (3, 4, 5), ("0", "1", "2"))
    assert torch.equal(ds.clean_targets, ds.targets)
    assert (ds.mean, ds.std) == channel_statistics(ds.inputs)
    assert "6 examples of 3x4x5" in repr(ds)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ds.name = "other"


def test_statistics_are_numpys():
    pixels = images(50).numpy() / 255
    mean, std = channel_statistics(images(50))
    # Both in float64, sums of at most 1000 terms of size 1: 1e-12 leaves a factor of 10.
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std((0, 2, 3)), rtol=1e-12)
    signals = torch.randn(30, 2, 7, dtype=torch.float64, generator=generator(0, "tests"))
    np.testing.assert_allclose(channel_statistics(signals).std, signals.numpy().std((0, 2)), rtol=1e-12)


def test_statistics_of_many_images_are_summed_exactly():
    pixels = torch.zeros(
        5000, 1, 1, 2, dtype=torch.uint8
    )  # more than one chunk, and the last one is not like the first
    pixels[4000:] = 255
    assert channel_statistics(pixels).mean == (0.2,)
    assert channel_statistics(pixels).std == pytest.approx((0.4,), rel=1e-15)  # one rounding of the root


def test_a_constant_channel_normalizes_to_zero():
    ds = make(inputs=torch.full((6, 1, 2, 2), 7, dtype=torch.uint8))
    assert ds.std == (1.0,)
    assert float(ds.normalized(dtype=torch.float64).abs().max()) < 1e-15  # one rounding of 7/255


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_normalized_is_its_definition(dtype):
    ds = make(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    mean, std = (torch.tensor(v, dtype=torch.float64).reshape(1, 3, 1, 1) for v in (ds.mean, ds.std))
    exact = (ds.inputs.double() / 255 - mean) / std
    found = ds.normalized(dtype=dtype)
    assert found.dtype == dtype
    # Values up to 8: a few roundings of the result's own precision.
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=8 * 4 * torch.finfo(dtype).eps)
    chosen = torch.tensor([4, 0])
    assert torch.equal(ds.normalized(chosen, dtype=dtype), found[chosen])
    assert torch.equal(ds.normalize(ds.inputs[chosen], dtype), found[chosen])


def test_floating_point_inputs_stand_for_themselves():
    signals = torch.randn(6, 1, 8, generator=generator(0, "tests"))
    ds = make(inputs=signals, mean=(0.0,), std=(1.0,))
    assert torch.equal(ds.normalized(), signals)


def test_subset_keeps_classes_and_statistics():
    ds = make(clean_targets=torch.tensor([2, 1, 2, 0, 1, 2]))
    part = ds.subset([5, 0])
    assert torch.equal(part.inputs, ds.inputs[[5, 0]])
    assert (part.targets.tolist(), part.clean_targets.tolist()) == ([2, 0], [2, 2])
    assert (part.mean, part.std, part.classes) == (ds.mean, ds.std, 3)
    assert part.checksum != ds.checksum
    mask = ds.targets == 1
    assert ds.subset(mask).targets.tolist() == [1, 1]


@pytest.mark.parametrize("indices", [[6], [-1], [], [0.5], [[0, 1]], torch.zeros(6, dtype=torch.bool), [True]])
def test_subset_refuses_what_is_not_there(indices):
    with pytest.raises(DataError):
        make().subset(indices)


def test_the_checksum_follows_inputs_and_targets():
    assert make().checksum == make().checksum
    changed = images()
    changed[0, 0, 0, 0] ^= 1
    others = [make(inputs=changed), make(targets=torch.tensor([1, 1, 2, 0, 1, 2]))]
    assert len({make().checksum, *(ds.checksum for ds in others)}) == 3
    assert len(make().checksum) == 64


def test_to_the_same_device_is_the_same_set():
    ds = make()
    assert ds.to("cpu") is ds


@pytest.mark.gpu
def test_to_cuda_and_back_keeps_everything():
    ds = make()
    there = ds.to("cuda")
    assert there.device.type == "cuda" and there.to("cuda") is there
    assert there.checksum == ds.checksum
    # CPU and GPU may fuse multiply and add differently: one rounding of values up to 4.
    torch.testing.assert_close(there.normalized().cpu(), ds.normalized(), rtol=0, atol=1e-6)


def nan_signals():
    signals = torch.zeros(6, 2, 3)
    signals[4, 1, 2] = float("nan")
    signals[5] = float("inf")
    return signals


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs": nan_signals()}, "7 values that are NaN or infinite.*nan first, at position .4, 1, 2"),
        ({"targets": torch.tensor([0, 1, 2, 0, 1, 3])}, "out of range.*3 at position 5"),
        ({"targets": torch.tensor([0, 1, -1, 0, 1, 2])}, "out of range.*-1 at position 2"),
        ({"targets": torch.tensor([0, 1])}, "do not match"),
        ({"targets": torch.zeros(6)}, "no class labels"),
        ({"clean_targets": torch.tensor([9] * 6)}, "clean_targets.*out of range"),
        ({"inputs": images().to(torch.int32)}, "dtype"),
        ({"inputs": images()[:0], "targets": torch.zeros(0, dtype=torch.int64)}, "empty"),
        ({"inputs": images().reshape(6, 60)}, "shape that cannot be used"),
        ({"inputs": torch.zeros(6)}, "shape that cannot be used"),
        ({"inputs": np.zeros((6, 3))}, "no tensor"),
        ({"class_names": ("a", "b")}, "class names"),
        ({"mean": (0.5,), "std": (1.0, 1.0, 1.0)}, "mean.*3 numbers"),
        ({"mean": (0.0,) * 3, "std": (1.0, 0.0, 1.0)}, "not positive"),
        ({"mean": (0.0,) * 3, "std": (1.0, float("nan"), 1.0)}, "not positive"),
    ],
)
def test_unusable_values_are_refused(changes, words):
    with pytest.raises(DataError, match=f"(?s){words}"):
        make(**changes)


def test_importing_loads_no_heavy_package():
    """The registry knows torchvision, scikit-learn and mnist1d only by name."""
    heavy = ["torchvision", "sklearn", "scipy", "matplotlib", "mnist1d", "PIL"]
    code = (
        "import sys, types, json; package = types.ModuleType('landscape'); "
        f"package.__path__ = [{str(Path(landscape.__file__).parent)!r}]; sys.modules['landscape'] = package; "
        f"import landscape.datasets, landscape.models; print(json.dumps([m for m in {heavy!r} if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
