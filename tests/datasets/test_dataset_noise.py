"""Both definitions of label noise have the rates they promise; noise of an example depends on nothing but itself."""

from __future__ import annotations

import math

import pytest
import torch

from landscape.datasets import noisy_inputs, noisy_labels
from landscape.errors import ConfigError

COUNT, CLASSES = 20_000, 10
LABELS = torch.arange(COUNT) % CLASSES


def wrong(kind, p, seed=0):
    return noisy_labels(LABELS, CLASSES, p, kind=kind, seed=seed) != LABELS


@pytest.mark.parametrize("p", [0.2, 0.6, 1.0])
@pytest.mark.parametrize(("kind", "share"), [("uniform", (CLASSES - 1) / CLASSES), ("uniform-other", 1.0)])
def test_the_share_of_wrong_labels(kind, share, p):
    expected = p * share
    # Five standard deviations of a binomial share; the draw is fixed, so this fails always or never.
    tolerance = 5 * math.sqrt(expected * (1 - expected) / COUNT)
    assert abs(float(wrong(kind, p).double().mean()) - expected) <= tolerance


def test_new_labels_are_uniform_over_the_classes_of_each_kind():
    ones = torch.ones(COUNT, dtype=torch.int64)
    tolerance = 5 * math.sqrt(COUNT * 0.1)  # five standard deviations of a count of about COUNT / 10
    every = torch.bincount(noisy_labels(ones, CLASSES, 1.0), minlength=CLASSES)
    assert (every - COUNT / 10).abs().max() < tolerance
    others = torch.bincount(noisy_labels(ones, CLASSES, 1.0, kind="uniform-other"), minlength=CLASSES)
    assert others[1] == 0
    assert (others[torch.arange(CLASSES) != 1] - COUNT / 9).abs().max() < tolerance


@pytest.mark.parametrize("kind", ["uniform", "uniform-other"])
def test_more_noise_changes_the_same_labels_and_more(kind):
    some, more = noisy_labels(LABELS, CLASSES, 0.2, kind=kind), noisy_labels(LABELS, CLASSES, 0.5, kind=kind)
    changed = some != LABELS
    assert torch.equal(some[changed], more[changed])
    assert int((more != LABELS).sum()) > int(changed.sum())


def test_noise_has_its_own_seed_and_leaves_the_global_generators_alone():
    state = torch.get_rng_state()
    assert torch.equal(wrong("uniform", 0.3), wrong("uniform", 0.3))
    assert not torch.equal(wrong("uniform", 0.3), wrong("uniform", 0.3, seed=1))
    noisy_inputs(torch.zeros(2, 1, 3), 1.0, positions=[0, 1])
    assert torch.equal(state, torch.get_rng_state())


def test_no_noise_changes_nothing():
    assert torch.equal(noisy_labels(LABELS, CLASSES, 0.0), LABELS)
    inputs = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    assert noisy_inputs(inputs, 0.0, positions=[0]) is inputs


def test_pixel_noise_is_gaussian_in_units_of_unit_pixels_and_not_clipped():
    gray = torch.full((200, 1, 10, 10), 51, dtype=torch.uint8)  # 0.2
    noisy = noisy_inputs(gray, 1.5, positions=range(200))
    assert noisy.dtype == torch.float32
    values = noisy.double()
    assert abs(float(values.mean()) - 0.2) < 5 * 1.5 / math.sqrt(20_000)  # five standard errors
    assert abs(float(values.std()) - 1.5) < 5 * 1.5 / math.sqrt(2 * 20_000)
    assert float(values.min()) < -3 and float(values.max()) > 3


def test_pixel_noise_belongs_to_the_example():
    signals = torch.zeros(3, 1, 4)
    together = noisy_inputs(signals, 1.0, positions=[5, 6, 7])
    alone = noisy_inputs(signals[:1], 1.0, positions=[6])
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(together[0], together[1])
    assert float(signals.abs().sum()) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: noisy_labels(LABELS, CLASSES, 1.1),
        lambda: noisy_labels(LABELS, CLASSES, float("nan")),
        lambda: noisy_labels(LABELS, CLASSES, 0.1, kind="unifrom"),
        lambda: noisy_labels(LABELS * 0, 1, 0.1, kind="uniform-other"),
        lambda: noisy_inputs(torch.zeros(1, 1, 1), -0.1, positions=[0]),
        lambda: noisy_inputs(torch.zeros(1, 1, 1), float("nan"), positions=[0]),
    ],
)
def test_settings_out_of_range(call):
    with pytest.raises(ConfigError):
        call()
