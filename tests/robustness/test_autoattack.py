"""Auto-PGD and the Square attack: where plain steps fail, what they climb, and borders that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from landscape.balls import project, steepest
from landscape.datasets import Dataset
from landscape.robustness import ATTACKS, robust_accuracy
from landscape.robustness.auto_pgd import auto_pgd, checkpoints
from landscape.robustness.pixels import losses_of
from landscape.robustness.square import _moved, falling, square_share
from landscape.seeding import generator
from tests.robustness.test_closed_forms import distances, linear

OURS = [name for name, attack in ATTACKS.items() if attack.adaptive or attack.search or attack.parts]


class Masked(nn.Module):
    """The nearest other class is a dead end, and logits are huge; the border to the third class is at x = 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1e4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)[:, :1]
        return self.scale * torch.cat((0.0 * x, -1.0 - 0.1 * x, 10.0 * x - 5.0, -9.0 + 0.0 * x), dim=1)


def at_zero(examples=20):
    inputs = torch.zeros(examples, 1)
    labels = torch.zeros(examples).long()
    return Dataset(name="zero", inputs=inputs, targets=labels, classes=4, mean=(0.0,), std=(1.0,))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_plain_steps_run_into_a_dead_end_that_targets_find_the_way_out_of(norm):
    def broken(name, epsilon, **options):
        found = robust_accuracy(Masked(), at_zero(), attack=name, epsilon=epsilon, progress=False, **options)
        return found.broken[0].mean()

    x = torch.zeros(1, 1, requires_grad=True)
    torch.nn.functional.cross_entropy(Masked()(x), torch.tensor([0])).backward()
    assert not x.grad.any()  # masked: the cross-entropy of so huge logits is flat
    assert broken(f"pgd-{norm}", 0.55) < 0.5
    assert broken(f"apgd-t-{norm}", 0.55, steps=10) == 1.0
    assert broken(f"autoattack-{norm}", 0.55, steps=10) == 1.0
    assert broken(f"autoattack-{norm}", 0.49, steps=10) == 0.0  # there is nothing to find


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_targets_find_the_nearest_border_of_a_linear_model(norm, classes):
    model, data = linear(seed=4, classes=classes)
    expected = distances(model, data, norm)
    radii = np.quantile(expected, [0.3, 0.6, 0.9]) * (1 + 1e-2)
    found = robust_accuracy(model, data, attack=f"apgd-t-{norm}", epsilon=radii, steps=50, progress=False)
    assert found.broken.tolist() == [(expected < radius).tolist() for radius in radii]


@pytest.mark.parametrize("name", OURS)
def test_nothing_nearer_than_the_border_is_found(name):
    model, data = linear(seed=5)
    expected = distances(model, data, ATTACKS[name].norm)
    radius = 3 * float(np.median(expected))
    steps = 300 if ATTACKS[name].search else 10
    found = robust_accuracy(model, data, attack=name, epsilon=radius, steps=steps, progress=False)
    sizes = found.sizes[0][found.broken[0]]
    assert (sizes >= expected[found.broken[0]] * (1 - 1e-12)).all()
    assert (sizes <= radius * (1 + 1e-12)).all()
    assert found.broken[0][expected < radius / 3].mean() >= 0.8  # and what is far within is found, also by search


class Bumpy:
    """Two classes whose difference has hills and valleys but never changes its sign; it notes where it is asked."""

    def __init__(self, limits: tuple[float, float]) -> None:
        self.seen: list[torch.Tensor] = []
        self.limits = limits

    def inside(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(*self.limits)

    def value(self, x: torch.Tensor) -> torch.Tensor:
        slow = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
        return (torch.sin(9 * x) + x * slow).sum(1) - 20

    def gradient(self, x, labels, loss, targets=None):
        self.seen.append(x.detach().clone())
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.value(x).sum(), x)
        return gradient, torch.stack((torch.zeros(len(x)), self.value(x.detach())), dim=1)


def as_published(model: Bumpy, clean: torch.Tensor, change: torch.Tensor, epsilon: float, norm, steps: int):
    """Algorithm 1 of arXiv 2003.01690 for one example, line by line: all points that the loss is looked at."""

    def p(x):
        return model.inside(clean + project(x - clean, epsilon, norm))

    def f(x):
        return model.value(x).item()

    def s(x):
        return steepest(model.gradient(x, None, None)[0], norm)

    eta, x0 = 2 * epsilon, clean + change
    x = [x0, p(x0 + eta * s(x0))]
    best = max(x, key=f)
    values, w, rises = [f(each) for each in x], [0, *checkpoints(steps)], [f(x[1]) > f(x[0])]
    visited, last_eta, last_best = list(x), None, -np.inf
    for k in range(1, steps):
        if k in w:
            count = k - w[w.index(k) - 1]
            if sum(rises) < 0.75 * count or (last_eta == eta and last_best == f(best)):
                last_eta, eta, x[-1] = eta, eta / 2, best
                values[-1] = f(best)
            else:
                last_eta = eta
            rises, last_best = [], f(best)
        z = p(x[-1] + eta * s(x[-1]))
        x.append(p(x[-1] + 0.75 * (z - x[-1]) + 0.25 * (x[-1] - x[-2])))
        values.append(f(x[-1]))
        rises.append(values[-1] > values[-2])
        best = x[-1] if values[-1] > f(best) else best
        visited.append(x[-1])
    return visited, eta


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("limits", [(-9.0, 9.0), (-0.3, 0.4)])
def test_auto_pgd_goes_the_published_way(norm, limits):
    draws = generator(0, "tests", "bumpy")
    clean = 0.2 * torch.randn(9, 3, generator=draws, dtype=torch.float64).clamp(-1, 1)
    change = project(torch.randn(9, 3, generator=draws, dtype=torch.float64), 0.6, norm)
    model = Bumpy(limits)
    change = model.inside(clean + change) - clean
    labels = torch.zeros(9).long()
    options = {"epsilon": 0.6, "norm": norm, "steps": 100, "loss": "margin"}
    met = [*auto_pgd(model, clean, labels, torch.arange(9), change, **options)]
    assert len(met) == 101 and not any(visit.missed.any() for visit in met)
    ways = torch.stack(model.seen)  # (101, 9, 3)
    halved = []
    for row in range(9):
        expected, eta = as_published(Bumpy(limits), clean[row : row + 1], change[row : row + 1], 0.6, norm, 100)
        assert torch.allclose(ways[:, row : row + 1], torch.stack(expected), atol=1e-9)
        halved.append(eta < 1.2)
    assert any(halved)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_squares_need_no_gradients(norm):
    draws = generator(0, "tests", "squares")
    pixels = torch.randint(256, (12, 2, 7, 9), generator=draws).to(torch.uint8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(126, 3))
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(3, 126, generator=draws))

    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x.detach())

    data = Dataset(
        name="few", inputs=pixels, targets=torch.zeros(12).long(), classes=3, mean=(0.5,) * 2, std=(0.5,) * 2
    )
    labels = model(data.normalized()).argmax(1)
    data = Dataset(name="few", inputs=pixels, targets=labels, classes=3, mean=(0.5,) * 2, std=(0.5,) * 2)
    radius = {"l2": 1.0, "linf": 0.1}[norm]

    def broken(name, **options):
        return robust_accuracy(Rounded(), data, attack=name, epsilon=radius, progress=False, **options).broken[0]

    noise, few, many = (broken(f"noise-{norm}", starts=200), *(broken(f"square-{norm}", steps=n) for n in (2, 200)))
    assert many.mean() > noise.mean() + 0.2
    assert many.mean() >= few.mean()


def test_a_moved_square_leaves_nothing_behind_and_keeps_the_norm():
    draws = generator(0, "tests", "moved")
    images = torch.zeros(200, 2, 12, 12, dtype=torch.float64)
    change = torch.rand(images.shape, generator=draws, dtype=torch.float64) + 0.1
    change *= 0.9 / torch.linalg.vector_norm(change, dim=(1, 2, 3), keepdim=True)  # images' limits took some away
    tried = _moved(images, change, 1.0, 0.05, draws)
    assert torch.allclose(torch.linalg.vector_norm(tried, dim=(1, 2, 3)), torch.ones(200, dtype=torch.float64))
    empty = (tried == 0).all(1).flatten(1).sum(1)  # of 3 x 3 pixels; less where the two squares overlap
    assert empty.max() == 9
    assert (empty == 9).double().mean() > 0.5
    ratio = (tried / change).flatten(1)
    kept = ratio.median(dim=1).values  # all beside the two squares is as before
    assert ((ratio - kept[:, None]).abs() < 1e-9).sum(1).min() >= 2 * (144 - 18)
    assert torch.allclose(kept, torch.ones_like(kept))


def test_the_ratio_of_logits_is_as_published_and_does_not_depend_on_their_scale():
    logits = torch.tensor([[3.0, 1.0, 0.5, -2.0], [0.0, 4.0, 1.0, 3.0]], dtype=torch.float64)
    labels, targets = torch.tensor([0, 3]), torch.tensor([2, 0])
    expected = torch.tensor([-(3.0 - 1.0) / (3.0 - 0.5), -(3.0 - 4.0) / (4.0 - 1.0)], dtype=torch.float64)
    assert torch.allclose(losses_of(logits, labels, "dlr"), expected)
    expected = torch.tensor([-(3.0 - 0.5) / (3.0 - (0.5 - 2.0) / 2), -3.0 / (4.0 - 0.5)], dtype=torch.float64)
    assert torch.allclose(losses_of(logits, labels, "dlr", targets), expected)
    huge = (1e30 * logits).requires_grad_()
    losses_of(huge, labels, "dlr", targets).sum().backward()
    assert torch.allclose(losses_of(huge, labels, "dlr", targets), expected)
    assert huge.grad.any(dim=1).all()
    flat = torch.zeros(1, 4, requires_grad=True)
    losses_of(flat, labels[:1], "dlr").sum().backward()
    assert flat.grad.isfinite().all()
    few = torch.tensor([[1.0, -2.0, -3.0]])
    assert losses_of(few[:, :2], labels[:1], "dlr").item() == -3.0
    assert losses_of(few, labels[:1], "dlr", targets[:1]).item() == -4.0  # divided it were -1 everywhere


def test_the_plans_are_the_published_ones():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == [1]
    assert [square_share(query, 10000) for query in (0, 10, 11, 51, 8001)] == [0.8, 0.8, 0.4, 0.2, 0.8 / 2**9]
    for shape in ((1, 1), (3, 3), (5, 4), (1, 6), (6, 1)):
        pattern = falling(*shape)
        assert tuple(pattern.shape) == shape
        assert torch.linalg.vector_norm(pattern).item() == pytest.approx(1.0)
        assert (pattern != 0).all()


def test_more_starts_never_find_less_and_the_whole_finds_what_its_first_part_finds():
    model, data = linear(seed=6)
    options = {"epsilon": float(np.median(distances(model, data, "l2"))), "progress": False}
    one, more = (robust_accuracy(model, data, attack="apgd-l2", steps=3, starts=n, **options).broken for n in (1, 3))
    assert (more | ~one).all()
    whole = robust_accuracy(model, data, attack="autoattack-l2", steps=3, **options).broken
    assert (whole | ~one).all()
