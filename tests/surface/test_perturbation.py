"""Perturbations are the optimizers' own, at norm 1; profiles are the loss at these points."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.errors import ConfigError, MismatchError, NonFiniteError
from landscape.objective import Objective
from landscape.seeding import derive_seed
from landscape.surface import default_radii, perturbation_direction, perturbation_profile


def gradients(objective: Objective) -> list[torch.Tensor]:
    """The gradient by plain autograd on a copy of the model."""
    model = copy.deepcopy(objective.model).eval()
    inputs, targets = (torch.cat(part) for part in zip(*objective.batches(), strict=True))
    return list(torch.autograd.grad(F.cross_entropy(model(inputs), targets), list(model.parameters())))


def test_sam_is_the_normalized_gradient(objective: Objective) -> None:
    """1e-12: the gradient is summed over batches in another order."""
    flat = torch.cat([g.flatten() for g in gradients(objective)])
    torch.testing.assert_close(perturbation_direction(objective, "sam"), flat / flat.norm(), rtol=1e-10, atol=1e-12)


def test_amp_is_normalized_tensor_by_tensor(objective: Objective) -> None:
    """1e-12: the gradient is summed over batches in another order."""
    expected = torch.cat([(g / g.norm()).flatten() for g in gradients(objective)]) / 6**0.5
    torch.testing.assert_close(perturbation_direction(objective, "amp"), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["random", "sam", "amp"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_kinds_have_norm_one(tiny_problem, kind: str, dtype: torch.dtype) -> None:
    objective = Objective(tiny_problem.model.to(dtype), (tiny_problem.inputs, tiny_problem.targets))
    vector = perturbation_direction(objective, kind)
    assert vector.dtype == dtype
    assert float(vector.double().norm()) == pytest.approx(1.0, abs=1e-6 if dtype == torch.float32 else 1e-14)


def test_a_tensor_without_gradient_is_not_moved_by_amp(tiny_problem) -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(6, 3).double(), nn.Linear(2, 2).double()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x) + 0 * self.idle.weight.sum() + 0 * self.idle.bias.sum()

    objective = Objective(Partly(), tiny_problem.data)
    named = objective.layout.named(perturbation_direction(objective, "amp"))
    assert (named["idle.weight"] == 0).all() and (named["idle.bias"] == 0).all()
    assert float(named["used.bias"].norm()) == pytest.approx(0.5**0.5, rel=1e-12)  # two tensors share the norm


def test_random_depends_on_the_seed_alone(objective: Objective) -> None:
    one, same, other = (perturbation_direction(objective, "random", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    single = Objective(copy.deepcopy(objective.model).float(), (torch.zeros(1, 6), torch.zeros(1, dtype=torch.long)))
    torch.testing.assert_close(perturbation_direction(single, "random", seed=1).double(), one, rtol=1e-6, atol=1e-8)


def test_a_gradient_without_direction(tiny_problem) -> None:
    flat = Objective(tiny_problem.model, tiny_problem.data, lambda outputs, _: 0 * outputs.sum())
    with pytest.raises(NonFiniteError, match="not zero"):
        perturbation_direction(flat, "sam")
    with pytest.raises(NonFiniteError, match="'amp'"):
        perturbation_direction(flat, "amp")
    broken = Objective(tiny_problem.model, tiny_problem.data, lambda outputs, _: outputs.sum() * float("nan"))
    with pytest.raises(NonFiniteError, match="norm nan"):
        perturbation_direction(broken, "sam")


def test_a_profile_is_the_loss_at_these_points(objective: Objective) -> None:
    radii = [0.0, 0.3, 2.0]
    profile = perturbation_profile(objective, radii=radii, draws=4, seed=7, progress=False)
    weights, base = objective.weights(), objective.evaluate().loss
    assert profile.base_loss == base
    for kind in ("sam", "amp"):
        direction = perturbation_direction(objective, kind)
        expected = [objective.evaluate(weights + radius * direction).loss for radius in radii]
        np.testing.assert_allclose(profile.loss[kind], expected, rtol=1e-12)  # one rounding of the point
        assert profile.loss[kind][0] == base and (profile.stderr[kind] == 0).all()
    draws = [perturbation_direction(objective, "random", seed=derive_seed(7, "draw", m)) for m in range(4)]
    sample = np.array([[objective.evaluate(weights + r * d).loss for r in radii] for d in draws])
    np.testing.assert_allclose(profile.loss["random"], sample.mean(0), rtol=1e-12)
    np.testing.assert_allclose(profile.stderr["random"], sample.std(0, ddof=1) / 2, rtol=1e-6, atol=1e-15)


def test_sam_climbs_steeper_than_random(objective: Objective) -> None:
    profile = perturbation_profile(objective, radii=[0.0, 0.05], progress=False)
    climb = {kind: profile.loss[kind][1] - profile.base_loss for kind in profile.kinds}
    assert climb["sam"] > climb["amp"] > climb["random"]  # to first order sam is the steepest of all directions
    norm = float(objective.gradient().norm())
    assert climb["sam"] == pytest.approx(0.05 * norm, rel=0.1)  # the rest is of second order


def test_reading_the_loss_elsewhere(objective: Objective, tiny_problem) -> None:
    other = Objective(tiny_problem.model, (tiny_problem.inputs[:7], tiny_problem.targets[:7]))
    profile = perturbation_profile(objective, radii=[0, 1], kinds=["sam"], evaluate_on=other, progress=False)
    assert profile.base_loss == other.evaluate().loss != objective.evaluate().loss
    moved = objective.weights() + perturbation_direction(objective, "sam")
    assert profile.loss["sam"][1] == pytest.approx(other.evaluate(moved).loss, rel=1e-12)
    assert profile.provenance["evaluated_on"]["examples"] == 7
    stranger = Objective(nn.Linear(6, 3).double(), tiny_problem.data)
    with pytest.raises(MismatchError, match="evaluate_on has other weights"):
        perturbation_profile(objective, evaluate_on=stranger, progress=False)


def test_non_finite_losses_stay(tiny_problem) -> None:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        mean = F.cross_entropy(outputs, targets)
        return torch.where(mean > 3, torch.full_like(mean, float("inf")), mean)

    objective = Objective(tiny_problem.model, tiny_problem.data, loss)
    profile = perturbation_profile(objective, radii=[0, 0.01, 100], draws=3, progress=False)
    for kind in profile.kinds:
        assert np.isfinite(profile.loss[kind][:2]).all() and profile.loss[kind][2] == np.inf
    assert np.isnan(profile.stderr["random"][2]) and np.isfinite(profile.stderr["random"][:2]).all()


def test_options(objective: Objective) -> None:
    radii = default_radii()
    assert radii[0] == 0 and radii[1] == pytest.approx(0.01) and radii[-1] == pytest.approx(10)
    assert np.isnan(perturbation_profile(objective, radii=[1], draws=1, progress=False).stderr["random"]).all()
    with pytest.raises(ConfigError, match="Did you mean 'sam'"):
        perturbation_profile(objective, kinds=["samm"], progress=False)
    with pytest.raises(ConfigError, match="No kind"):
        perturbation_profile(objective, kinds=[], progress=False)
    for radii in ([-1.0], [float("nan")], [], 1.0):
        with pytest.raises(ConfigError, match="radii are out of range"):
            perturbation_profile(objective, radii=radii, progress=False)
    with pytest.raises(ConfigError, match="draws is out of range"):
        perturbation_profile(objective, draws=0, progress=False)
    with pytest.raises(ConfigError, match="kind of perturbation"):
        perturbation_direction(objective, "asam2")
