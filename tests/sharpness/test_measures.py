"""The call that measures: names, seeds, shared draws, what a larger value means, and what is not finite."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.curvature import Hessian
from landscape.errors import ConfigError, MismatchError, NonDeterministicError
from landscape.objective import Objective
from landscape.sharpness import MEASURES, measure
from tests.sharpness.problems import (
    drawn,
    few,
    found,
    initial_weights,
    quadratic,
    relu_data,
    relu_net,
    relu_objective,
    scaled_logits,
    spd,
)

EXACT = {  # what draws nothing
    "epsilon_sharpness",
    "epsilon_sharpness_box",
    "sam_sharpness",
    "asam_sharpness",
    "fisher_rao",
    "weights_hessian",
    "shannon_entropy",
}


def everything(objective: Objective, **options) -> dict:
    """All measures, from few samples each."""
    parameters = {name: few(name) for name in MEASURES}
    given = initial_weights(objective)
    return measure(objective, MEASURES, initial_weights=given, parameters=parameters, progress=False, **options)


def test_all_at_once_are_each_by_itself() -> None:
    """Measures of one call share draws and the Hessian, and each is the same as alone, bit for bit."""
    objective = relu_objective()
    together = everything(objective)
    assert list(together) == list(MEASURES)
    for name, estimate in together.items():
        alone = found(objective, name, **few(name))
        assert (alone.value, alone.matvecs) == (estimate.value, estimate.matvecs), name
        assert math.isfinite(estimate.value)
        assert estimate.stderr == 0 if name in EXACT else estimate.stderr != 0, name


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("as_published", [False, True])
def test_repeatable_by_seed(name: str, as_published: bool) -> None:
    objective = relu_objective()
    small = few(name, as_published=as_published)
    if "batch_size" in MEASURES[name].parameters:
        small["batch_size"] = 8
    one, same, other = (found(objective, name, seed=s, as_published=as_published, **small) for s in (1, 1, 2))
    assert one.value == same.value
    ritz = as_published and name == "lambda_max"
    if name not in EXACT and name not in ("local_entropy_along_gradient", "lambda_max") and not ritz:
        assert one.value != other.value


@pytest.mark.parametrize("name", MEASURES)
def test_the_objectives_own_batches_make_no_difference(name: str) -> None:
    """1e-6: lambda_max is converged to 1e-3 in its residual; everything else is rounding."""
    objectives = (Objective(relu_net(), relu_data(), batch_size=size) for size in (3, 20))
    one, other = (found(objective, name, **few(name)).value for objective in objectives)
    assert one == pytest.approx(other, rel=1e-6)


def test_draws_around_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, passes = relu_objective(), []
    evaluate = Objective.evaluate_at
    monkeypatch.setattr(Objective, "evaluate_at", lambda self, w: passes.append(1) or evaluate(self, w))
    measure(objective, ["lpf", "local_entropy"], progress=False)
    assert len(passes) == 100
    measure(objective, "lpf_normalized", progress=False)
    assert len(passes) == 201  # and the loss itself


def test_a_measure_is_of_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training goes on in another thread, during the first measure; the second does not see it."""
    objective, evaluate = relu_objective(), Objective.evaluate_at
    expected = measure(objective, ["lpf", "trace"], progress=False)

    def disturbed(self: Objective, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            objective.model[0].weight.add_(0.01)
        return evaluate(self, weights)

    monkeypatch.setattr(Objective, "evaluate_at", disturbed)
    assert measure(objective, ["lpf", "trace"], progress=False) == expected


# ------------------------------------------------------------------------------------------ what a larger value means


def pair(name: str) -> tuple[Objective, Objective]:
    """A flat and a sharp loss."""
    needs = MEASURES[name].needs
    if name in ("shannon_entropy", "fisher_rao"):  # unsure, and surer
        net = scaled_logits(relu_net(), 0.3)
        return relu_objective(net), relu_objective(scaled_logits(net, 2))
    if "classifier" in needs:  # the same scores, as a sum of small weights and as a difference of large ones
        return cancelling(0.1), cancelling(10.0)
    if "linear_layer" in needs:
        return relu_objective(), relu_objective(loss_fn=lambda o, t: 2 * F.cross_entropy(o, t))
    matrix, start = spd(6), 0.3 * drawn(6)
    above = 1.0 if name == "lpf_normalized" else 0.0  # which is relative to the loss
    one, other = (quadratic(size * matrix, start, transform=lambda loss: loss + above) for size in (1, 4))
    return one, other


class Cancelling(nn.Module):
    """Scores W x, with W the difference of two matrices of which one is arbitrary."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.one = nn.Parameter(drawn(3, 6) + size)
        self.other = nn.Parameter(torch.full((3, 6), size, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ (self.one - self.other).T


def cancelling(size: float) -> Objective:
    return Objective(Cancelling(size), relu_data())


@pytest.mark.parametrize("name", MEASURES)
def test_what_a_larger_value_means(name: str) -> None:
    flat, sharp = (found(objective, name).value for objective in pair(name))
    assert (sharp > flat) == (MEASURES[name].larger == "sharper") and sharp != flat


# --------------------------------------------------------------------------------------------------- what is not finite


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("name", MEASURES)
def test_a_nan_weight_gives_nan(name: str, as_published: bool) -> None:
    net = relu_net()
    with torch.no_grad():
        net[2].weight[1, 1] = math.nan
    value = found(relu_objective(net), name, as_published=as_published)
    assert math.isnan(value.value) and math.isnan(value.stderr)


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("name", [name for name, entry in MEASURES.items() if "cross_entropy" not in entry.needs])
def test_an_infinite_loss_gives_nothing_finite(name: str, as_published: bool) -> None:
    broken = relu_objective(loss_fn=lambda outputs, targets: F.cross_entropy(outputs, targets) * math.inf)
    value = found(broken, name, as_published=as_published).value
    assert math.isfinite(value) == (name == "shannon_entropy")  # which is of the outputs


@pytest.mark.parametrize("name", [name for name, entry in MEASURES.items() if not entry.needs])
def test_an_infinite_second_derivative_or_a_cliff_ends(name: str) -> None:
    """sqrt at 0, and NaN beyond it: every measure ends, whatever it gives."""
    cliff = quadratic(torch.eye(2).double(), torch.zeros(2).double(), transform=lambda loss: (1e-3 - loss).sqrt())
    found(cliff, name)
    root = quadratic(torch.eye(2).double(), torch.zeros(2).double(), transform=lambda loss: (1 * loss).sqrt())
    found(root, name)


def test_values_of_lpf_that_are_not_finite() -> None:
    broken = relu_objective(loss_fn=lambda outputs, targets: F.cross_entropy(outputs, targets) * math.inf)
    assert found(broken, "lpf").value == math.inf and math.isnan(found(broken, "lpf").stderr)
    zero = relu_objective(loss_fn=lambda outputs, targets: outputs.sum(1) * 0)
    assert math.isnan(found(zero, "lpf_normalized").value)  # 0 / 0


# --------------------------------------------------------------------------------------------------------- other things


def test_a_flatter_copy_is_flatter(objective: Objective) -> None:
    """The same net with its outputs scaled down: every measure of curvature falls."""
    flat = copy.deepcopy(objective.model)
    with torch.no_grad():
        flat[4].weight.mul_(0.1)
    inputs, targets = (torch.cat(part) for part in zip(*objective.batches(), strict=True))
    softened = Objective(flat, (inputs, targets), lambda outputs, targets: F.mse_loss(outputs, 0 * outputs))
    sharp = Objective(objective.model, (inputs, targets), lambda outputs, targets: F.mse_loss(outputs, 0 * outputs))
    for name in ("lambda_max", "trace", "frobenius"):
        assert found(softened, name).value < found(sharp, name).value


def test_without_names_all_that_apply_are_measured(objective: Objective) -> None:
    found = measure(objective, progress=False)
    refused = {name for name in MEASURES if name not in found}
    assert refused and list(found) == [name for name in MEASURES if name in found]
    for name in refused:
        with pytest.raises(ConfigError):
            measure(objective, name, progress=False)
    start = objective.weights() + 0.1
    assert "pac_bayes" in refused and "pac_bayes" in measure(objective, initial_weights=start, progress=False)


def test_unknown_and_unfit(objective: Objective) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'lambda_max'"):
        measure(objective, ["lambdamax"], progress=False)
    with pytest.raises(ConfigError, match="No measure is named"):
        measure(objective, [], progress=False)
    with pytest.raises(MismatchError, match="does not fit"):
        measure(objective, "lpf", initial_weights=torch.zeros(3), progress=False)


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = relu_net()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(F.dropout(x))


@pytest.mark.parametrize("name", ["lpf", "shannon_entropy", "trace"])
def test_a_model_that_draws(name: str) -> None:
    with pytest.raises(NonDeterministicError):
        found(relu_objective(Noisy()), name)


@pytest.mark.parametrize("name", ["trace", "effective_dimension", "lambda_max"])
def test_an_interrupt_amid_products_ends_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A matrix returns what it has by then, and says so; a measure is all there or not, and nothing is said."""
    products, multiply = [], Hessian.__matmul__

    def interrupted(self: Hessian, vector: torch.Tensor) -> torch.Tensor:
        products.append(1)
        if len(products) == 9:
            raise KeyboardInterrupt
        return multiply(self, vector)

    monkeypatch.setattr(Hessian, "__matmul__", interrupted)
    options = {"effective_dimension": {"probes": 5, "steps": 4}, "trace": {}, "lambda_max": {}}[name]
    with pytest.raises(KeyboardInterrupt):
        found(relu_objective(), name, **options)
    assert len(products) == 9


def test_progress_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from landscape.sharpness import workbench

    seen = []
    bar = workbench.progress_bar
    monkeypatch.setattr(workbench, "progress_bar", lambda *a, **o: seen.append((a, o)) or bar(*a, **o))
    objective = relu_objective()
    measure(objective, ["lpf", "frobenius"])
    assert [(args, options["desc"], options["enabled"]) for args, options in seen] == [
        ((100,), "losses around the weights", True),
        ((10,), "frobenius", True),
    ]
    measure(objective, "lpf", progress=False)
    assert seen[-1][1]["enabled"] is False


def test_under_inference_mode_and_no_grad() -> None:
    objective = relu_objective()
    expected = everything(objective)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            values = everything(objective)
        assert {name: e.value for name, e in values.items()} == {name: e.value for name, e in expected.items()}


def test_single_precision() -> None:
    """1e-2: a relative error of 1e-7 in the loss is one of 1e-4 in the rises that are divided by it."""
    net, (inputs, targets) = relu_net().float(), relu_data()
    single = Objective(net, (inputs.float(), targets))
    for name in MEASURES:
        if name != "local_entropy_gradient_norm":  # whose noise is drawn in the weights' precision
            value, expected = (found(objective, name, **few(name)).value for objective in (single, relu_objective()))
            assert value == pytest.approx(expected, rel=1e-2), name
    assert np.isfinite(found(single, "local_entropy_gradient_norm").value)


@pytest.mark.gpu
@pytest.mark.parametrize("name", MEASURES)
def test_cuda_gives_the_same(name: str) -> None:
    """In float64; the walk's noise is another stream there, and far below its drift."""
    there = Objective(relu_net().cuda(), relu_data(), batch_size=8)
    rel = 1e-2 if name == "local_entropy_gradient_norm" else 1e-6
    value, expected = (found(objective, name, **few(name)).value for objective in (there, relu_objective()))
    assert value == pytest.approx(expected, rel=rel)
