"""What training adds to the loss, against its definitions; and that all passes of a step see the same thing."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.datasets import Dataset
from landscape.optim import SAM
from landscape.seeding import generator
from landscape.training import RunConfig
from landscape.training.batches import Batch, Batches, mixing_share, mixture
from landscape.training.passes import Passes
from landscape.training.regularization import InputAttack, RandomMove, batch_loss, flooded, right_answers

CPU = torch.device("cpu")


def digits(count=40, shape=(2, 4, 4)) -> Dataset:
    stream = generator(0, "tests", "regularization")
    inputs = torch.randint(0, 256, (count, *shape), generator=stream).to(torch.uint8)
    targets = torch.randint(0, 3, (count,), generator=stream)
    return Dataset(name="made", inputs=inputs, targets=targets, classes=3, mean=(0.4, 0.5), std=(0.2, 0.3))


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


class Watched(nn.Module):
    """A linear model with dropout and batch normalization that remembers what each pass saw."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop, self.linear = nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Linear(32, 3)
        self.seen = []

    def forward(self, inputs):
        hidden = self.drop(self.norm(inputs).flatten(1))
        self.seen.append((inputs.detach().clone(), hidden.detach() == 0, flat(self)))
        return self.linear(hidden)


def watched_step(optimizer="sam", steps=1, **settings):
    config = RunConfig(optimizer=optimizer, rho=0.5 if optimizer == "sam" else None, batch_size=16, **settings)
    data = digits()
    torch.manual_seed(0)
    model = Watched().train()
    base = {"lr": 0.1, "momentum": 0.0}
    made = SAM(model.parameters(), torch.optim.SGD, rho=0.5, model=model, **base) if optimizer == "sam" else None
    passes = Passes(config, model, made or torch.optim.SGD(model.parameters(), **base), data, CPU)
    batches = Batches(config, data, torch.float32)
    sums = None
    for step in range(steps):
        sums = passes.step(batches.get(batches.order(0)[0], epoch=0, step=step), step, 0.1)
    return model, sums


def test_a_mixture_is_cross_entropy_with_shared_labels():
    data = digits()
    plain = Batch(data.normalized()[:16], data.targets[:16])
    partners = torch.randperm(16, generator=generator(1, "tests"))
    mixed = mixture(plain, partners, 0.3)
    torch.testing.assert_close(mixed.inputs, 0.3 * plain.inputs + 0.7 * plain.inputs[partners])
    outputs = torch.randn(16, 3, generator=generator(2, "tests"), dtype=torch.float64)
    labels = 0.3 * F.one_hot(plain.targets, 3).double() + 0.7 * F.one_hot(plain.targets[partners], 3).double()
    assert batch_loss(outputs, mixed).item() == pytest.approx(F.cross_entropy(outputs, labels).item(), rel=1e-12)
    expected = labels[torch.arange(16), outputs.argmax(1)].sum().item()
    assert right_answers(outputs, mixed).item() == pytest.approx(expected, rel=1e-12)
    parts = mixed.chunk(3)
    assert [len(part) for part in parts] == [6, 6, 4]
    whole = sum(batch_loss(outputs[k : k + 6], part) * len(part) for k, part in zip((0, 6, 12), parts, strict=True))
    assert float(whole) / 16 == pytest.approx(batch_loss(outputs, mixed).item(), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_are_of_the_beta_distribution(alpha):
    shares = torch.tensor([mixing_share(0, step, alpha) for step in range(4000)], dtype=torch.float64)
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(float(shares.mean()) - 0.5) < 5 * math.sqrt(variance / 4000)
    assert float(shares.var()) == pytest.approx(variance, rel=0.15)  # five standard errors of a variance at most


def test_flooding_turns_descent_into_ascent():
    for value, slope in ((0.1, -1.0), (0.7, 1.0)):
        loss = torch.tensor(value, requires_grad=True)
        found = flooded(loss, 0.3)
        found.backward()
        assert found.item() == pytest.approx(abs(value - 0.3) + 0.3)
        assert loss.grad is not None and loss.grad.item() == slope
    assert flooded(loss, None) is loss


def attack(epsilon, steps, linear, batch, data):
    made = InputAttack(data, epsilon=epsilon, steps=steps, seed=0)
    return made(linear, batch, lambda b: batch_loss(linear(b.inputs.flatten(1)), b), 5)


def test_fgsm_is_a_step_along_the_sign_in_units_of_pixels():
    data = digits()
    batch = Batch(data.normalized(dtype=torch.float64), data.targets)
    linear = nn.Linear(32, 3).double()
    moved = attack(0.03, 1, linear, batch, data)
    std = torch.tensor(data.std, dtype=torch.float64).reshape(1, 2, 1, 1)
    mean = torch.tensor(data.mean, dtype=torch.float64).reshape(1, 2, 1, 1)
    probability = linear(batch.inputs.flatten(1)).softmax(1) - F.one_hot(data.targets, 3)
    sign = (probability @ linear.weight).sign().reshape(batch.inputs.shape)  # the gradient in closed form
    expected = (data.inputs.double() / 255 + 0.03 * sign).clamp(0, 1)
    torch.testing.assert_close(moved.inputs * std + mean, expected, rtol=0, atol=1e-12)
    assert all(p.grad is None for p in linear.parameters())


def test_pgd_stays_in_the_box_and_does_more_than_nothing():
    data = digits()
    batch = Batch(data.normalized(dtype=torch.float64), data.targets % 2)
    linear = nn.Linear(32, 2).double()
    std = torch.tensor(data.std, dtype=torch.float64).reshape(1, 2, 1, 1)
    mean = torch.tensor(data.mean, dtype=torch.float64).reshape(1, 2, 1, 1)
    moved = attack(0.1, 7, linear, batch, data)
    pixels = moved.inputs * std + mean
    assert ((pixels - data.inputs.double() / 255).abs() <= 0.1 + 1e-12).all()
    assert (pixels >= -1e-12).all() and (pixels <= 1 + 1e-12).all()
    corner = attack(0.1, 1, linear, batch, data)  # two classes: the direction never turns
    torch.testing.assert_close(moved.inputs, corner.inputs, rtol=0, atol=1e-9)
    assert torch.equal(attack(0.1, 7, linear, batch, data).inputs, moved.inputs)


def test_signals_have_no_limits_beside_the_box():
    signals = Dataset(
        name="s", inputs=torch.zeros(4, 1, 5), targets=torch.arange(4), classes=4, mean=(0.0,), std=(2.0,)
    )
    linear = nn.Linear(5, 4)
    moved = attack(0.5, 1, linear, Batch(signals.normalized(), signals.targets), signals)
    assert torch.equal(moved.inputs.abs(), torch.full((4, 1, 5), 0.25))


def test_a_random_move_has_its_length_and_comes_back_bit_for_bit():
    weights = [nn.Parameter(torch.randn(300, 7)), nn.Parameter(torch.randn(11))]
    before = [w.detach().clone() for w in weights]
    move = RandomMove(list(weights), radius=0.7, seed=0)
    seen = []
    for step in (4, 4, 5):
        with pytest.raises(ZeroDivisionError), move.moved(step):
            seen.append(torch.cat([(w - b).detach().flatten() for w, b in zip(weights, before, strict=True)]))
            raise ZeroDivisionError
        assert all(torch.equal(w, b) for w, b in zip(weights, before, strict=True))
    assert seen[0].norm().item() == pytest.approx(0.7, rel=1e-5)
    assert torch.equal(seen[0], seen[1])
    assert abs(float(seen[0] @ seen[2]) / 0.49) < 5 / 2111**0.5  # another step, another direction
    assert seen[0].std().item() == pytest.approx(0.7 / 2111**0.5, rel=0.1)


def test_every_pass_of_a_step_sees_the_same():
    settings = {"mixup": 0.4, "adversarial_epsilon": 0.1, "adversarial_steps": 2, "random_perturbation": 0.3}
    model, _ = watched_step(steps=2, **settings)
    steps = [model.seen[:4], model.seen[4:]]  # two of the attack, two of SAM
    for _, _, first, second in steps:
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])
        assert not torch.equal(first[2], second[2])
    assert not torch.equal(steps[0][2][1], steps[1][2][1])  # another step, other masks
    assert not torch.equal(steps[0][0][0], steps[0][3][0])  # the attack began elsewhere
    assert model.norm.num_batches_tracked.item() == 2


def test_the_random_direction_is_one_for_all_passes():
    moved, still = watched_step(random_perturbation=0.3)[0], watched_step()[0]
    assert (moved.seen[0][2] - still.seen[0][2]).norm().item() == pytest.approx(0.3, rel=1e-4)
    between = moved.seen[1][2] - moved.seen[0][2]
    assert between.norm().item() == pytest.approx(0.5, rel=1e-4)  # SAM's own move alone lies between the passes


def test_clipping_is_of_the_whole_gradient():
    start, _ = watched_step(optimizer="sgd", steps=0)
    for optimizer, precision in (("sgd", "float32"), ("sam", "float32"), ("sgd", "float16"), ("sam", "float16")):
        ended, _ = watched_step(optimizer=optimizer, clip_norm=0.01, precision=precision)
        assert (flat(ended) - flat(start)).norm().item() == pytest.approx(
            0.1 * 0.01, rel=1e-2
        )  # lr times the norm; differences of float32


def test_the_counted_loss_is_that_before_flooding():
    plain, high = watched_step(optimizer="sgd")[1], watched_step(optimizer="sgd", flooding=50.0)[1]
    assert torch.equal(plain, high)


def test_each_process_starts_its_attack_elsewhere():
    data = digits()
    batch = Batch(data.normalized(dtype=torch.float64), data.targets)
    linear = nn.Linear(32, 3).double()
    nn.init.zeros_(linear.weight)  # no direction: the starting points are left

    def start(names):
        made = InputAttack(data, epsilon=0.1, steps=2, seed=0, names=names)
        return made(linear, batch, lambda b: batch_loss(linear(b.inputs.flatten(1)), b), 5).inputs

    assert torch.equal(start((0,)), start((0,)))
    assert not torch.isclose(start((0,)), start((1,))).any(1).all()
