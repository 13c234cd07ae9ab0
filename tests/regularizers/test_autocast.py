"""Under autocast regularizers are what they are without: only the model's passes are in half precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.regularizers import (
    AdversarialInputs,
    AdversarialPenalty,
    Deformations,
    DeformationStability,
    GradientPenalty,
    LossGradient,
    Penalty,
    TangentPenalty,
    Trades,
    VirtualAdversarial,
)
from landscape.seeding import generator, seeded
from tests.regularizers import nets


def network() -> nn.Module:
    with seeded(0, "tests", "autocast"):
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def batch(center: float = 4.0) -> tuple[Tensor, Tensor]:
    """Inputs as normalization makes them: bfloat16 has numbers 1/32 apart there, as much as inputs are moved."""
    return torch.rand(6, 1, 4, 4, generator=generator(0, "tests", "inputs")) + center, torch.arange(6) % 3


def gradients(value: Tensor, net: nn.Module) -> Tensor:
    return torch.cat([each.flatten() for each in nets.gradients(value, net)])


NEAR: dict[str, Penalty] = {
    "trades": Trades(),
    "trades-l2": Trades(norm="l2", epsilon=0.3),
    "one step": Trades(steps=1),
    "vat": VirtualAdversarial(epsilon=0.3),
    "short vat": VirtualAdversarial(epsilon=0.03, steps=3),
}


@pytest.mark.parametrize("handed", [False, True], ids=["alone", "outputs"])
@pytest.mark.parametrize("name", NEAR)
def test_divergences_are_the_same_under_autocast(name, handed):
    """They are computed without it, so they differ by nothing: in half precision they are mostly rounding."""
    (inputs, targets), net, penalty = batch(), network(), NEAR[name]
    exact = penalty(net, inputs, targets, step=0)
    by_weights = gradients(exact, net)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = net(inputs) if handed else None
        found = penalty(net, inputs, targets, outputs=outputs, step=0)
        assert torch.is_autocast_enabled("cpu")
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradients(found, net), by_weights, rtol=1e-6, atol=1e-9)


DIFFERENT: dict[str, Penalty] = {
    "adversarial": AdversarialPenalty(epsilon=0.3),
    "stability": DeformationStability(weight=1.0),
    "tangents": TangentPenalty(),
    "gradient": GradientPenalty(),
    "grad-l2": LossGradient(),
    "grad-l1": LossGradient(norm="l1"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_differences_and_derivatives_are_nearly_the_same_under_autocast(name):
    """Directions and choices are in half precision, whose 8 bits are 0.4 %, so squares within 2 %."""
    (inputs, targets), net, penalty = batch(), network(), DIFFERENT[name]
    exact = penalty(net, inputs, targets, step=0)
    by_weights = gradients(exact, net)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = penalty(net, inputs, targets, step=0)
    torch.testing.assert_close(found, exact, rtol=0.02, atol=0)
    assert (gradients(found, net) - by_weights).norm() < 0.05 * by_weights.norm()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_adversarial_inputs_raise_the_loss_as_much_under_autocast(norm):
    (inputs, targets), net = batch(), network()
    move = AdversarialInputs(norm=norm, epsilon=0.3 if norm == "l2" else 0.031)
    exact = move(net, inputs, targets, step=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = move(net, inputs, targets, step=0)
    clean, expected, risen = (F.cross_entropy(net(each), targets).item() for each in (inputs, exact, found))
    assert risen - clean == pytest.approx(expected - clean, rel=0.01)


def test_deformations_are_the_same_under_autocast():
    images, deformations = batch(0.0)[0], Deformations(rotation=7.5)
    exact = deformations(images, generator(0, "deformations"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(deformations(images, generator(0, "deformations")), exact)


@pytest.mark.parametrize("name", NEAR)
def test_inputs_in_half_precision_go_with_autocast(name):
    (inputs, targets), net, penalty = batch(), network(), NEAR[name]
    rounded = inputs.bfloat16()
    exact = penalty(net, rounded.float(), targets, step=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = penalty(net, rounded, targets, step=0)
        half = penalty(network().bfloat16(), rounded, targets, step=0)  # runs as it can
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=0)
    assert half.isfinite()


@pytest.mark.parametrize("name", NEAR)
def test_autocast_comes_back_after_an_exception(name):
    def fails(inputs: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(KeyboardInterrupt):
            NEAR[name](fails, *batch())
        assert torch.is_autocast_enabled("cpu")
