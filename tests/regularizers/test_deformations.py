"""Deformations: their size and smoothness, what they do to pixels, and the derivatives along them."""

from __future__ import annotations

import math

import pytest
import torch

from landscape.errors import ConfigError, DataError
from landscape.regularizers import Deformations
from landscape.regularizers.deformations import warped
from landscape.seeding import generator

ALL = {"rotation": 10.0, "scaling": 0.1, "shear": 0.1, "translation": 0.05}


def stream(name="deformations"):
    return generator(0, "tests", name)


def pictures(*shape):
    return torch.rand(shape, generator=stream("pictures"), dtype=torch.float64)


def test_the_displacements_have_the_same_size_everywhere_and_are_smooth():
    images = torch.zeros(3000, 1, 8, 12, dtype=torch.float64)
    deformations = Deformations(strength=0.07, smoothness=0.15)
    field = deformations.fields(images, 1, stream())[:, 0]  # (3000, 8, 12, 2)
    side = math.sqrt(8 * 12)
    spread = field.std(dim=0)
    assert torch.allclose(spread, torch.full_like(spread, 0.07 * side), rtol=0.08)  # 192 of 3000 draws: 5 deviations
    assert field.mean(dim=0).abs().max() < 5 * 0.07 * side / math.sqrt(3000)
    near = (field[:, :, 1:] * field[:, :, :-1]).mean() / field.square().mean()
    assert near.item() == pytest.approx(math.exp(-0.25 / (0.15 * side) ** 2), abs=0.01)  # of two smoothed values
    assert abs((field[..., 0] * field[..., 1]).mean() / field.square().mean()) < 0.02


def test_whole_pixels_move_images_exactly():
    images = pictures(2, 3, 5, 6)
    field = torch.zeros(2, 5, 6, 2, dtype=torch.float64)
    assert torch.allclose(warped(images, field, "border"), images, atol=1e-14)
    field[..., 0], field[..., 1] = 2.0, -1.0  # down and to the left
    moved = warped(images, field, "zeros")
    assert torch.allclose(moved[:, :, 2:, :-1], images[:, :, :-2, 1:], atol=1e-14)
    assert moved[:, :, :2].abs().max() < 1e-14
    kept = warped(images, field, "border")
    assert torch.allclose(kept[:, :, 0, :-1], images[:, :, 0, 1:], atol=1e-14)


def places(field):
    """Where each pixel comes from, from the center."""
    height, width = field.shape[-3:-1]
    down = torch.arange(height, dtype=field.dtype)[:, None] - (height - 1) / 2
    right = torch.arange(width, dtype=field.dtype)[None, :] - (width - 1) / 2
    q = torch.stack((down.expand(height, width), right.expand(height, width)), dim=-1)
    return q, q - field


@pytest.mark.parametrize("shape", [(1, 7, 7), (1, 6, 9)])
def test_turns_sizes_shears_and_shifts_are_what_they_are_called(shape):
    images = torch.zeros(50, *shape, dtype=torch.float64)

    def drawn(**settings):
        return places(Deformations(strength=0.0, **settings).fields(images, 1, stream())[:, 0])

    q, source = drawn(rotation=30.0)
    assert torch.allclose(source.norm(dim=-1), q.norm(dim=-1).expand(50, *shape[1:]), atol=1e-12)
    cosine = (q * source).sum(-1)[:, 0, 0] / q[0, 0].square().sum()
    assert math.cos(math.radians(30)) <= cosine.min() < math.cos(math.radians(27))
    q, source = drawn(scaling=0.2)
    factors = source[:, 0, 0] / q[0, 0]
    assert torch.allclose(source, factors[:, None, None, :1] * q, atol=1e-12)
    assert math.exp(-0.2) <= factors.min() < factors.max() <= math.exp(0.2)
    q, source = drawn(shear=0.2)
    lean = (source - q)[..., 1] / q[..., 0].where(q[..., 0] != 0, math.nan)
    assert torch.allclose((source - q)[..., 0], torch.zeros((), dtype=torch.float64), atol=1e-12)
    assert 0.15 < lean.nan_to_num().abs().max() <= 0.2
    q, source = drawn(translation=0.1)
    shift = (q - source)[:, 0, 0]
    assert torch.allclose(q - source, shift[:, None, None].expand_as(source), atol=1e-12)
    assert 0.08 < shift.abs().max() / math.sqrt(shape[1] * shape[2]) <= 0.1


@pytest.mark.parametrize("border", ["border", "zeros"])
@pytest.mark.parametrize("settings", [{}, {"strength": 0.0, **ALL}, ALL])
def test_tangents_are_derivatives_of_the_deformed_images(settings, border):
    images = pictures(4, 2, 7, 9)
    deformations = Deformations(border=border, **settings)
    tangents = deformations.tangents(images, stream(), 3)
    fields = deformations.fields(images, 3, stream())
    assert tangents.shape == (4, 3, 2, 7, 9)
    step = 1e-6
    for number in range(3):
        ahead, behind = (warped(images, sign * step * fields[:, number], border) for sign in (1, -1))
        assert torch.allclose((ahead - behind) / (2 * step), tangents[:, number], atol=1e-5)
    if not settings.get("rotation"):
        one = deformations.fields(images, 1, stream())[:, 0]
        assert torch.equal(deformations(images, stream()), warped(images, one, border))


def test_constant_images_stay_and_have_no_tangents():
    for value in (0.0, 0.7):
        images = torch.full((2, 3, 8, 8), value)
        assert torch.allclose(Deformations(**ALL)(images, stream()), images, atol=1e-6)
        assert not Deformations(**ALL).tangents(images, stream(), 4).any()


def test_draws_come_from_the_generator_alone_and_differ_between_images():
    images = pictures(1, 1, 8, 8).expand(3, 1, 8, 8)
    state = torch.get_rng_state()
    first, again = (Deformations(**ALL)(images, stream()) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.allclose(first[0], first[1], atol=1e-3)
    assert not torch.equal(first, Deformations(**ALL)(images, stream("others")))


def test_the_precision_of_the_images_is_kept():
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        images = pictures(2, 1, 8, 8).to(dtype)
        assert Deformations()(images, stream()).dtype == dtype
        assert Deformations().tangents(images, stream(), 2).dtype == dtype


@pytest.mark.parametrize(
    "settings",
    [
        {"strength": -0.1},
        {"strength": 1e30},
        {"smoothness": 0.0},
        {"smoothness": 1e30},
        {"smoothness": 1.5},
        {"rotation": math.nan},
        {"scaling": 100.0},
        {"translation": 10**400},
        {"border": "reflection"},
        {"shear": "much"},
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Deformations(**settings)


@pytest.mark.parametrize("inputs", [torch.zeros(2, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)])
def test_only_images_are_deformed(inputs):
    with pytest.raises(DataError, match="Only images"):
        Deformations()(inputs, stream())


def test_deformations_at_their_largest_are_finite():
    largest = Deformations(strength=1e3, smoothness=1.0, rotation=1e3, scaling=10.0, shear=1e3, translation=1e3)
    assert largest(pictures(2, 1, 8, 8).float(), stream()).isfinite().all()
    assert largest.tangents(pictures(2, 1, 8, 8).float(), stream(), 2).isfinite().all()
