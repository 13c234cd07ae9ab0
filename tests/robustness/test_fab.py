"""FAB: the nearest point of a plane in a box against linear programs, the published steps, and known borders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, linprog
from torch import nn

from landscape.balls import size
from landscape.datasets import Dataset
from landscape.robustness import ATTACKS, perturbed, robust_accuracy
from landscape.robustness.fab import fab, to_plane
from landscape.robustness.pixels import PixelModel
from landscape.seeding import generator
from tests.robustness.test_closed_forms import distances, linear

NORMS = ("l2", "linf")


def smallest(x: np.ndarray, normal: np.ndarray, value: float, norm: str) -> float:
    """The norm of the smallest change, by a linear program or by bisection; NaN where the box ends before the plane."""
    most = np.where(normal * -np.sign(value) > 0, 1 - x, x) @ np.abs(normal)
    if most < abs(value):
        return np.nan
    if norm == "l2":

        def left(way: float) -> float:
            return value + normal @ (np.clip(x - way * np.sign(value) * normal, 0, 1) - x)

        way = brentq(left, 0.0, 1e6, xtol=1e-14)
        return float(np.linalg.norm(np.clip(x - way * np.sign(value) * normal, 0, 1) - x))
    n = len(x)
    within = np.vstack([np.hstack([np.eye(n), -np.ones((n, 1))]), np.hstack([-np.eye(n), -np.ones((n, 1))])])
    found = linprog(
        np.eye(n + 1)[-1], A_ub=within, b_ub=np.zeros(2 * n), A_eq=[[*normal, 0.0]], b_eq=[-value],
        bounds=[*zip(-x, 1 - x, strict=True), (0, None)],
    )  # fmt: skip
    return float(found.fun)


@pytest.mark.parametrize("norm", NORMS)
def test_the_nearest_point_of_a_plane_within_the_box(norm):
    draws = generator(0, "tests", "plane")
    x = torch.rand(60, 2, 4, generator=draws, dtype=torch.float64)
    x[::7, 0] = 1.0  # on the sides
    normal = torch.randn(x.shape, generator=draws, dtype=torch.float64)
    normal[::5, 1, 2] = 0.0
    most = (normal.abs() * torch.where(normal > 0, 1 - x, x)).flatten(1).sum(1)  # upwards
    value = -most * torch.linspace(0.0, 1.2, 60, dtype=torch.float64)
    value[:20] *= -0.3  # and from the other side
    change = to_plane(x, normal, value, (0.0, 1.0), norm)
    assert (x + change >= 0).all()
    assert (x + change <= 1).all()
    left = value + (normal * change).flatten(1).sum(1)
    flat = x.flatten(1).numpy(), normal.flatten(1).numpy()
    expected = np.array([smallest(*each, norm) for each in zip(*flat, value.numpy(), strict=True)])
    there = torch.from_numpy(~np.isnan(expected))
    assert 30 < there.sum() < 60
    assert left[there].abs().max() < 1e-12
    np.testing.assert_allclose(size(change, norm)[there], expected[there], rtol=1e-8, atol=1e-10)
    sides = torch.where(normal > 0, 1 - x, -x) * (normal != 0) * -value.sign()[:, None, None]
    torch.testing.assert_close(change[~there & (value < 0)], sides[~there & (value < 0)])  # as far as it goes


@pytest.mark.parametrize("norm", NORMS)
def test_without_limits_it_is_the_textbooks_and_nothing_moves_where_nothing_is_known(norm):
    nothing = [[1e-39, -1e-39], [0.0, 0.0], [torch.nan, 1.0], [torch.inf, 1.0], [1.0, 1.0]]
    normal = torch.tensor([[3.0, -4.0], [3e-30, -4e-30], *nothing])
    value = torch.tensor([5.0, 5e-30, 1.0, 1.0, 1.0, 1.0, torch.nan])
    for box in ((None, None), (-100.0, 100.0)):
        found = to_plane(torch.zeros(7, 2), normal, value, box, norm)
        first = torch.tensor([-0.6, 0.8]) if norm == "l2" else torch.tensor([-5 / 7, 5 / 7])
        torch.testing.assert_close(found[:2], first.expand(2, 2))
        assert not found[2:].any()


class Curved:
    """Class 1 is inside a circle, class 2 in a corner; two dimensions, within [0, 1]."""

    low, high = 0.0, 1.0

    def inside(self, x):
        return x.clamp(0, 1)

    def __call__(self, x):
        gap = 0.3 - ((x - 0.6) ** 2).sum(1)
        corner = 1.2 * x.sum(1) - 2.0
        return torch.stack([torch.zeros_like(gap), gap + 0.1 * x[:, 0], corner], dim=1)

    def gradient(self, x, labels, loss, targets):
        assert loss == "margin"
        x = x.detach().requires_grad_()
        logits = self(x)
        own, other = (logits.gather(1, each[:, None]) for each in (labels, targets))
        return torch.autograd.grad((other - own).sum(), x)[0], logits.detach()


def as_published(clean: np.ndarray, label: int, target: int, norm: str, steps: int) -> list[np.ndarray]:
    """Algorithm 1 of arXiv 1907.02044 for one example toward one class, line by line: all points x_{i+1}."""
    model, x, points = Curved(), clean.copy(), []
    order = np.inf if norm == "linf" else 2
    labels = torch.tensor([label]), torch.tensor([target])
    for _ in range(steps):
        w, logits = model.gradient(torch.tensor(x[None]), labels[0], "margin", labels[1])
        w, f = w[0].numpy(), float(logits[0, target] - logits[0, label])
        b = f - w @ x

        def nearest(z, w=w, b=b):
            value = torch.tensor([w @ z + b])
            return to_plane(torch.tensor(z[None]), torch.tensor(w[None]), value, (0.0, 1.0), norm)[0].numpy()

        delta, original = nearest(x), nearest(clean)
        lengths = [np.linalg.norm(each, order) for each in (delta, original)]
        alpha = min(lengths[0] / sum(lengths), 0.1)
        x = np.clip((1 - alpha) * (x + 1.05 * delta) + alpha * (clean + 1.05 * original), 0, 1)
        points.append(x)
        if int(model(torch.tensor(x[None])).argmax()) != label:
            x = 0.1 * clean + 0.9 * x
    return points


@pytest.mark.parametrize("norm", NORMS)
def test_it_goes_the_published_way(norm):
    clean = torch.rand(24, 2, generator=generator(0, "tests", "circle"), dtype=torch.float64)
    model = Curved()
    labels = model(clean).argmax(1)
    targets = (labels + 1 + torch.arange(24) % 2) % 3
    options = {"norm": norm, "steps": 15, "targets": targets, "beyond": True}
    visits = [*fab(model, clean, labels, torch.arange(24), torch.zeros_like(clean), **options)]
    ways = clean + torch.stack([visit.change for visit in visits])
    for row in range(24):
        expected = np.array(as_published(clean[row].numpy(), int(labels[row]), int(targets[row]), norm, 15))
        np.testing.assert_allclose(ways[:, row].numpy(), expected, atol=1e-10)
    found = torch.stack([visit.logits.argmax(1) for visit in visits])
    assert (found == targets).any()
    assert ((found != targets) & (found != labels)).any()  # the third class


@pytest.mark.parametrize("norm", NORMS)
def test_a_mistake_beyond_the_radius_is_no_end(norm):
    clean = torch.rand(40, 2, generator=generator(1, "tests", "circle"), dtype=torch.float64)
    model = Curved()
    labels = model(clean).argmax(1)
    given = (model, clean, labels, torch.arange(40), torch.zeros_like(clean))
    options = {"norm": norm, "steps": 15, "targets": (labels + 1) % 3}
    least, first = torch.full((40,), torch.inf, dtype=torch.float64), torch.zeros(40, dtype=torch.float64)
    for visit in fab(*given, beyond=True, **options):
        sizes = torch.where(visit.missed, size(visit.change, norm), torch.inf)
        first = torch.where(first == 0, torch.where(visit.missed, sizes, 0.0), first)
        least = torch.minimum(least, sizes)
    radius = float(least.median())
    assert (first[least <= radius] > radius).any()  # these come within the radius later
    broken = torch.zeros(40, dtype=torch.bool)
    for visit in fab(*given, epsilon=radius, **options):
        broken[visit.rows[visit.missed]] = True
    assert broken.tolist() == (least <= radius).tolist()


@pytest.mark.parametrize("norm", NORMS)
def test_the_smallest_change_of_a_linear_model(norm):
    model, data = linear(seed=8)
    expected = distances(model, data, norm)
    found = robust_accuracy(model, data, attack=f"fab-{norm}", epsilon=1e9, steps=10, progress=False)
    assert (found.sizes[0] >= expected * (1 - 1e-12)).all()
    np.testing.assert_allclose(found.sizes[0], expected, rtol=1e-6)  # the final search goes 1.5e-8 beyond


def pictures(examples=10) -> tuple[nn.Module, Dataset]:
    draws = generator(0, "tests", "pictures")
    pixels = torch.randint(256, (examples, 1, 3, 4), generator=draws).to(torch.uint8)
    pixels[torch.rand(pixels.shape, generator=draws) < 0.6] = 255  # many at a side
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(2, 12, generator=draws))
        model[1].bias.zero_()
    data = Dataset(name="few", inputs=pixels, targets=torch.zeros(examples).long(), classes=2, mean=(0.5,), std=(0.5,))
    labels = model(data.normalized(dtype=torch.float64)).argmax(1)
    return model, Dataset(name="few", inputs=pixels, targets=labels, classes=2, mean=(0.5,), std=(0.5,))


@pytest.mark.parametrize("norm", NORMS)
def test_limits_of_pixels_are_part_of_the_smallest_change(norm):
    model, data = pictures()
    x = data.inputs.double().flatten(1).numpy() / 255
    slope = 2.0 * (model[1].weight[1] - model[1].weight[0]).detach().numpy()  # of pixels
    gap = model(data.normalized(dtype=torch.float64)).detach()
    values = (gap[:, 1] - gap[:, 0]).numpy()
    expected = np.array([smallest(each, slope, value, norm) for each, value in zip(x, values, strict=True)])
    found = robust_accuracy(model, data, attack=f"fab-{norm}", epsilon=1e9, progress=False)
    np.testing.assert_allclose(found.sizes[0], expected, rtol=2e-3)  # steps of 1.05 are cut at a side: another way
    plain = np.abs(values) / np.linalg.norm(slope, 2 if norm == "l2" else 1)
    assert (expected > plain * 1.01).sum() >= 3  # of a box without sides


@pytest.mark.parametrize("norm", NORMS)
def test_as_a_part_it_counts_what_is_within_the_radius_only(norm):
    model, data = linear(seed=9)
    expected = distances(model, data, norm)
    radius = float(np.median(expected))
    alone = ATTACKS[f"fab-{norm}"]
    assert f"fab-{norm}" in ATTACKS[f"autoattack-{norm}"].parts
    found = robust_accuracy(model, data, attack=f"fab-{norm}", epsilon=radius, steps=10, progress=False)
    assert found.broken[0].tolist() == (expected <= radius).tolist()
    for beyond in (False, True):
        points = perturbed(
            model, data, attack=f"autoattack-{norm}", epsilon=radius, steps=3, beyond=beyond, progress=False
        )
        assert (points.sizes <= radius * (1 + 1e-12)).all()
    assert alone.reads == {"steps"}
    assert found.settings["overshoot"] is None


def test_in_float32_on_a_network_it_finds_no_more_than_deepfool():
    draws = generator(0, "tests", "network")
    inputs = torch.randn(30, 5, generator=draws)
    model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws))
    data = Dataset(
        name="five", inputs=inputs, targets=model(inputs).argmax(1), classes=4, mean=(0.0,) * 5, std=(1.0,) * 5
    )
    for norm in NORMS:
        theirs, ours = (
            robust_accuracy(model, data, attack=f"{name}-{norm}", epsilon=1e9, progress=False).sizes[0]
            for name in ("deepfool", "fab")
        )
        assert (ours <= theirs * 1.001).mean() >= 0.9
        assert np.median(ours / theirs) < 0.99


class Saturated(nn.Module):
    """Probabilities of a network that is sure: their gradients are 0, or almost."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        upper = self.slope * x.flatten(1).sum(1, keepdim=True)
        return torch.cat((torch.zeros_like(upper), upper), dim=1).softmax(1)


@pytest.mark.parametrize("attack", [f"{name}-{norm}" for name in ("fab", "autoattack") for norm in NORMS])
def test_gradients_of_almost_nothing(attack):
    points = torch.stack((torch.linspace(-2.0, 2.0, 101), torch.zeros(101)), dim=1)
    labels = (points[:, 0] > 0).long()
    data = Dataset(name="line", inputs=points, targets=labels, classes=2, mean=(0.0,) * 2, std=(1.0,) * 2)
    for slope in (45.0, 80.0):  # exp(-90), where x = 2, is below the normal numbers of float32, exp(-160) is 0
        found = robust_accuracy(Saturated(slope), data, attack=attack, epsilon=0.5, steps=5, progress=False)
        sizes = found.sizes[0]
        assert not np.isinf(sizes).any()
        assert (sizes[found.broken[0]] <= 0.5).all()
        near = (points[:, 0].abs() < (0.03 if attack.startswith("fab") else 3 / slope)).numpy()
        assert found.broken[0][near].all()
        if attack.startswith("fab"):
            rows = torch.arange(101)
            options = {"norm": ATTACKS[attack].norm, "steps": 5, "targets": 1 - labels, "beyond": True}
            model, none = PixelModel(Saturated(slope), data), torch.zeros_like(points)
            for visit in fab(model, points, labels, rows, none, **options):
                assert len(visit.rows) == 101
                assert size(visit.change, options["norm"]).isfinite().all()
