"""Augmentation against slow definitions, one image at a time; its draws come from the given generator alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape.datasets import Augmentation
from landscape.datasets.augmentation import crop, cut_squares, mirror
from landscape.errors import ConfigError, DataError
from landscape.seeding import generator


def batch(count=7, shape=(3, 6, 5), dtype=torch.uint8):
    made = torch.randint(1, 256, (count, *shape), generator=generator(0, "tests", "batch"))
    return made.to(dtype)


def padded(image, padding, fill):
    channels, height, width = image.shape
    canvas = torch.empty(channels, height + 2 * padding, width + 2 * padding, dtype=image.dtype)
    canvas[:] = fill
    canvas[:, padding : padding + height, padding : padding + width] = image
    return canvas


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
@given(padding=st.integers(0, 5), data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_crop_is_a_slice_of_the_padded_image(dtype, padding, data):
    images = batch(dtype=dtype)
    offsets = st.lists(st.integers(0, 2 * padding), min_size=7, max_size=7)
    rows, columns = data.draw(offsets), data.draw(offsets)
    fill = torch.tensor([9, 8, 7], dtype=dtype).reshape(1, 3, 1, 1)
    found = crop(images, torch.tensor(rows), torch.tensor(columns), padding, fill)
    for index, (top, left) in enumerate(zip(rows, columns, strict=True)):
        whole = padded(images[index], padding, fill[0])
        assert torch.equal(found[index], whole[:, top : top + 6, left : left + 5])


def test_every_offset_is_drawn_about_equally_often():
    images = torch.arange(1, 50, dtype=torch.uint8).reshape(1, 1, 7, 7).expand(9000, 1, 7, 7)
    found = Augmentation(crop_padding=1)(images, generator(0, "tests"))
    counts = torch.unique(found.flatten(1), dim=0, return_counts=True)[1]
    assert len(counts) == 9
    assert (counts - 1000).abs().max() < 5 * 1000**0.5  # five standard deviations of a count


def test_mirroring_twice_is_nothing():
    images, chosen = batch(), torch.tensor([True, False, True, True, False, False, True])
    once = mirror(images, chosen)
    assert torch.equal(once[0], images[0].flip(-1)) and torch.equal(once[1], images[1])
    assert torch.equal(mirror(once, chosen), images)


def test_half_of_the_images_are_mirrored():
    images = torch.arange(2, dtype=torch.uint8).reshape(1, 1, 1, 2).expand(10_000, 1, 1, 2)
    share = Augmentation(flip=True)(images, generator(0, "tests"))[:, 0, 0, 0].double().mean()
    assert abs(float(share) - 0.5) < 5 * 0.5 / 100  # five standard deviations


@given(side=st.integers(1, 9), row=st.integers(0, 5), column=st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_a_cut_square_is_the_definition(side, row, column):
    images = batch(count=1)
    fill = torch.zeros(1, 1, 1, 1, dtype=torch.uint8)
    found = cut_squares(images, torch.tensor([row]), torch.tensor([column]), side, fill)
    top, left = row - side // 2, column - side // 2
    expected = images.clone()
    expected[:, :, max(0, top) : top + side, max(0, left) : left + side] = 0
    assert torch.equal(found, expected)


def test_cutout_fills_with_the_mean():
    images = batch(shape=(3, 8, 8))
    augment = Augmentation(cutout=4, cutout_fill=(0.5, 0.25, 1.0))
    found = augment(images, generator(0, "tests"))
    cut = (found != images).any(1)
    assert cut.any() and not cut.all()
    assert {tuple(value) for value in found.permute(0, 2, 3, 1)[cut].tolist()} == {(128, 64, 255)}
    floats = Augmentation(cutout=4)(images.float(), generator(0, "tests"))
    assert torch.equal(floats == 0, cut[:, None].expand(-1, 3, -1, -1))


def test_cutout_spares_its_share():
    images = torch.ones(10_000, 1, 4, 4)
    found = Augmentation(cutout=2, cutout_probability=0.3)(images, generator(0, "tests"))
    share = (found == 0).any(3).any(2).double().mean()
    assert abs(float(share) - 0.3) < 5 * (0.3 * 0.7) ** 0.5 / 100  # five standard deviations


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_generator_alone_decides(dtype):
    augment = Augmentation(crop_padding=2, flip=True, cutout=3, cutout_probability=0.5)
    images, state = batch(64, dtype=dtype), torch.get_rng_state()
    before = images.clone()
    first, second = (augment(images, generator(5, "tests")) for _ in range(2))
    assert torch.equal(first, second) and first.dtype == dtype and first.shape == images.shape
    assert not torch.equal(first, augment(images, generator(6, "tests")))
    assert torch.equal(images, before) and torch.equal(state, torch.get_rng_state())


def test_nothing_to_do_is_the_identity_and_draws_nothing():
    stream = generator(0, "tests")
    state = stream.get_state()
    images, signals = batch(), torch.zeros(2, 1, 40)
    assert Augmentation()(images, stream) is images
    assert Augmentation()(signals, stream) is signals
    assert Augmentation(cutout=3, cutout_probability=0.0).identity
    assert torch.equal(state, stream.get_state())


def test_uint8_and_float_images_are_moved_alike():
    augment = Augmentation(crop_padding=2, flip=True)
    images = batch(32)
    assert torch.equal(augment(images, generator(1, "tests")).double(), augment(images.double(), generator(1, "tests")))


@pytest.mark.parametrize(
    "settings", [{"crop_padding": -1}, {"crop_padding": 1.5}, {"cutout": -2}, {"cutout_probability": 1.5}]
)
def test_settings_out_of_range(settings):
    with pytest.raises(ConfigError):
        Augmentation(**settings)


def test_inputs_that_are_no_images():
    with pytest.raises(DataError, match="Only images"):
        Augmentation(flip=True)(torch.zeros(4, 1, 40), torch.Generator())
    with pytest.raises(DataError, match="fill"):
        Augmentation(crop_padding=1, crop_fill=(0.0, 0.0))(batch(), torch.Generator())


@pytest.mark.gpu
def test_nothing_waits_for_the_device():
    augment = Augmentation(crop_padding=4, flip=True, cutout=16, cutout_fill=(0.5, 0.5, 0.5), cutout_probability=0.5)
    images = batch(64, (3, 32, 32)).cuda()
    stream = generator(0, "tests", device="cuda")
    augment(images, stream)
    torch.cuda.set_sync_debug_mode("error")
    try:
        augment(images, stream)
    finally:
        torch.cuda.set_sync_debug_mode("default")
