"""What quietly went wrong once: rounding, other models, settings that are no settings."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from landscape.errors import ConfigError, DataError, MismatchError, ModelError
from landscape.regularizers import (
    AdversarialInputs,
    InputUnits,
    LossGradient,
    SpectralPenalty,
    SpectralProjection,
    TangentPenalty,
    VirtualAdversarial,
)
from landscape.seeding import generator, seeded


def nets(count: int) -> list[nn.Module]:
    with seeded(0, "tests"):
        return [nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)) for _ in range(count)]


def batch(dtype=torch.float32):
    inputs = torch.rand(6, 1, 4, 4, generator=generator(0, "tests", "inputs"), dtype=torch.float64)
    return inputs.to(dtype), torch.arange(6) % 3


def sure(factor: float) -> nn.Module:
    """A network that is sure of itself, as after training."""
    (net,) = nets(1)
    for parameter in net.parameters():
        parameter.data.mul_(factor)
    return net


def test_vat_finds_in_single_precision_what_it_finds_in_double():
    def typical(net: nn.Module, dtype: torch.dtype) -> float:
        """The mean over several starts: a direction may end at either of its two signs."""
        starts = [VirtualAdversarial(epsilon=0.02, steps=2, seed=seed) for seed in range(32)]
        return sum(start(net.to(dtype), *batch(dtype)).item() for start in starts) / len(starts)

    assert typical(sure(12.0), torch.float32) == pytest.approx(typical(sure(12.0), torch.float64), rel=0.1)


def test_vat_finds_under_autocast_what_it_finds_without():
    net, penalty = sure(4.0), VirtualAdversarial(epsilon=0.3, steps=20)
    exact = penalty(net, *batch(), step=0).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert penalty(net, *batch(), step=0).item() == pytest.approx(exact, rel=0.1)


def test_a_spectral_penalty_follows_the_model_that_it_is_given():
    one, other = nets(2)
    shared, apart = SpectralPenalty(weight=1.0), SpectralPenalty(weight=1.0)
    for step in range(20):
        found = [shared(net, *batch(), step=step).item() for net in (one, other)][1]
        expected = apart(other, *batch(), step=step).item()
    exact = sum(torch.linalg.matrix_norm(p.detach(), 2).item() ** 2 for p in other.parameters() if p.ndim == 2)
    assert expected == pytest.approx(exact, rel=1e-2)
    assert exact >= found > 0.3 * exact  # begun anew in every step: never the other model's vectors


def test_vectors_that_do_not_fit_leave_a_spectral_penalty_as_it_was():
    one, other = nets(1)[0], nn.Sequential(nn.Flatten(), nn.Linear(16, 5))
    state = SpectralPenalty()
    state(other, *batch())
    penalty = SpectralPenalty()
    penalty.load_state_dict(state.state_dict())
    with pytest.raises(MismatchError):
        penalty(one, *batch())
    penalty(other, *batch()).backward()
    assert all(p.grad is None for p in one.parameters()) and other[1].weight.grad is not None


def test_weights_that_are_computed_are_not_projected():
    net = nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(16, 3)))
    with pytest.raises(ModelError, match="computed from other parameters"):
        SpectralProjection(tau=0.5).apply(net, epoch=0)


@pytest.mark.parametrize("epoch", [float("nan"), -1.0, "1", None])
def test_an_epoch_that_is_none_moves_nothing(epoch):
    (net,) = nets(1)
    before = [p.clone() for p in net.parameters()]
    with pytest.raises(ConfigError, match="epoch"):
        SpectralProjection(tau=0.5).apply(net, epoch=epoch)
    assert all(torch.equal(p, b) for p, b in zip(net.parameters(), before, strict=True))


@pytest.mark.parametrize("radius", [1e30, float("inf"), float("nan"), -1.0, True, "1", 10**400])
def test_a_radius_whose_square_is_no_number_is_refused(radius):
    with pytest.raises(ConfigError, match="epsilon"):
        AdversarialInputs(epsilon=radius)


@pytest.mark.parametrize("told", ["False", 0, 1.0, "no"])
def test_a_random_start_is_true_or_false(told):
    with pytest.raises(ConfigError, match="random_start"):
        AdversarialInputs(epsilon=0.1, random_start=told)


@pytest.mark.parametrize(
    "units",
    [{"std": (0.0,)}, {"std": (-1.0,)}, {"mean": (float("nan"),)}, {"mean": ("a",)}, {"mean": ()}, {"limits": (1, 0)}],
)
def test_units_that_are_none(units):
    with pytest.raises(ConfigError):
        InputUnits(**units)


def test_as_many_means_as_deviations():
    with pytest.raises(ConfigError, match="std"):
        InputUnits(mean=(0.1, 0.2), std=(1.0, 1.0, 1.0))


def test_tangents_do_not_overflow_in_half_precision():
    (net,) = nets(1)
    net[-1].weight.data.mul_(1e4)
    inputs, targets = batch()
    exact = TangentPenalty(weight=1.0)(net, inputs, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = TangentPenalty(weight=1.0)(net, inputs, targets)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0.1, atol=0.0)


@pytest.mark.parametrize("method", ["power", "svd"])
def test_sizes_of_convolutions_are_those_of_the_inputs_at_hand(method):
    with seeded(0, "tests"):
        net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    used, labels = SpectralPenalty(method=method, operator="convolution", iterations=50), torch.zeros(2).long()
    used(net, torch.zeros(2, 1, 4, 4), labels)
    fresh = SpectralPenalty(method=method, operator="convolution", iterations=50)
    inputs = torch.zeros(2, 1, 16, 16)
    torch.testing.assert_close(used(net, inputs, labels), fresh(net, inputs, labels), rtol=1e-3, atol=0.0)
    assert used(net, torch.zeros(2, 1, 4, 4), labels) < (1 - 1e-3) * used(net, inputs, labels)


@pytest.mark.parametrize(
    "targets",
    [torch.full((6,), 3), torch.full((6,), -100), torch.zeros(6), torch.zeros(6).int(), torch.zeros(6, 1).long()],
)
@pytest.mark.parametrize("made", [LossGradient(), AdversarialInputs(epsilon=0.1)])
def test_labels_that_are_no_classes(made, targets):
    with pytest.raises(DataError, match="from 0 to 2"):
        made(nets(1)[0], batch()[0], targets)
