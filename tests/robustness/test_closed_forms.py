"""On linear models every attack has a closed form: (float64, 1e-8)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from landscape.datasets import Dataset
from landscape.robustness import ATTACKS, robust_accuracy
from landscape.seeding import generator

MEAN, STD = (0.4, 0.7), (0.2, 0.5)
GRADIENT = [name for name, attack in ATTACKS.items() if not (attack.noise or attack.search)]


def linear(seed: int = 0, classes: int = 4, examples: int = 40) -> tuple[nn.Module, Dataset]:
    """A linear classifier of points without limits, and labels that it gets mostly right."""
    draws = generator(seed, "tests", "robust")
    points = torch.randn(examples, 2, 3, generator=draws, dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, classes)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws, dtype=torch.float64))
    data = Dataset(
        name="points", inputs=points, targets=torch.zeros(examples).long(), classes=classes, mean=MEAN, std=STD
    )
    labels = model(data.normalized(dtype=torch.float64)).argmax(1)
    labels[:3] = (labels[:3] + 1) % classes  # three mistakes
    return model, Dataset(name="points", inputs=points, targets=labels, classes=classes, mean=MEAN, std=STD)


def distances(model: nn.Module, data: Dataset, norm: str) -> np.ndarray:
    """The exact distance of each point to the nearest border: min_k |f_k - f_y| / ||w_k - w_y||_dual; 0 where wrong."""
    weights = model[1].weight / torch.tensor(STD, dtype=torch.float64).repeat_interleave(3)
    logits = model(data.normalized(dtype=torch.float64)).detach()
    own = logits.gather(1, data.targets[:, None])
    slopes = (weights[None] - weights[data.targets][:, None]).norm(2 if norm == "l2" else 1, dim=2).detach()
    ways = torch.where(slopes > 0, (own - logits).abs() / slopes, torch.inf).amin(1)
    return torch.where(logits.argmax(1) == data.targets, ways, 0.0).numpy()


@pytest.mark.parametrize("name", ["deepfool-l2", "deepfool-linf"])
def test_deepfool_finds_the_distance_to_the_nearest_border(name: str) -> None:
    model, data = linear()
    found = robust_accuracy(model, data, attack=name, epsilon=1e9, overshoot=1e-6, progress=False)
    expected = distances(model, data, found.norm)
    np.testing.assert_allclose(found.sizes[0], (1 + 1e-6) * expected, rtol=1e-8)


@pytest.mark.parametrize("name", GRADIENT)
def test_with_two_classes_robust_accuracy_is_the_share_of_larger_distances(name: str) -> None:
    """There the steepest step goes straight to the border, so that every attack is exact."""
    model, data = linear(seed=1, classes=2)
    expected = distances(model, data, ATTACKS[name].norm)
    radii = np.quantile(expected, [0.2, 0.5, 0.8]) * (1 + 1e-3)  # between the distances
    options = {"overshoot": 1e-6} if ATTACKS[name].minimal else {"steps": 25} if ATTACKS[name].parts else {}
    if "step_size" in ATTACKS[name].reads:  # long steps: from a random start, short ones come near the border only
        options["step_size"] = float(radii.max())
    found = robust_accuracy(model, data, attack=name, epsilon=[0.0, *radii], progress=False, **options)
    assert found.broken.tolist() == [(expected <= radius * (1 - 1e-6)).tolist() for radius in (1e-12, *radii)]
    np.testing.assert_allclose(found.accuracy, [(expected > radius).mean() for radius in (0.0, *radii)])


@pytest.mark.parametrize("name", ["fgsm", "fgm", "bim", "pgd-l2", "pgd-linf"])
def test_steps_have_the_length_that_was_asked_for(name: str) -> None:
    """One step of half the radius from the example, or from a point of the ball, and nothing beyond it."""
    model, data = linear(seed=2, classes=2)
    expected = distances(model, data, ATTACKS[name].norm)
    radius = float(expected.max()) * 2
    found = robust_accuracy(model, data, attack=name, epsilon=radius, progress=False)
    sizes = found.sizes[0][expected > 0]
    assert found.broken.all() and (sizes <= radius * (1 + 1e-12)).all()
    assert (sizes >= expected[expected > 0] * (1 - 1e-12)).all()  # nothing nearer than the border breaks
    if name in ("fgsm", "fgm"):
        np.testing.assert_allclose(sizes, radius, rtol=1e-12)


def test_radii_are_in_pixels_whatever_the_normalization() -> None:
    pixels = torch.tensor([[[[100]]], [[[200]]]], dtype=torch.uint8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    for mean, std in ((0.5, 0.25), (0.5, 2.0)):
        with torch.no_grad():
            model[1].weight.copy_(torch.tensor([[-1.0], [1.0]]))  # the border is where pixels are 0.5
        data = Dataset(name="two", inputs=pixels, targets=torch.tensor([0, 1]), classes=2, mean=(mean,), std=(std,))
        found = robust_accuracy(model, data, attack="deepfool-l2", epsilon=1.0, overshoot=1e-5, progress=False)
        np.testing.assert_allclose(found.sizes[0], [127.5 / 255 - 100 / 255, 200 / 255 - 127.5 / 255], rtol=1e-4)


def test_wilsons_interval_is_the_textbooks() -> None:
    """5 of 10: 0.237 to 0.763 (Brown, Cai, DasGupta, Statistical Science 2001)."""
    model, data = linear(seed=3, classes=2, examples=10)
    radius = float(np.median(distances(model, data, "l2")))
    found = robust_accuracy(model, data, attack="fgm", epsilon=radius, progress=False)
    assert found.accuracy[0] == 0.5
    assert found.interval[0].round(3).tolist() == [0.237, 0.763]
    assert math.isclose(found.stderr[0], math.sqrt(0.025))
