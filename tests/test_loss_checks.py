"""What goes into an objective stays as it is, and what comes out does not depend on how the data is cut."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from landscape.curvature import Hessian
from landscape.errors import ConfigError, ModelError, NonDeterministicError
from landscape.loss_checks import ReductionWarning
from landscape.objective import Objective
from landscape.scores import cross_entropy_sum
from landscape.seeding import generator, seeded
from landscape.surface import evaluate_surface, random_plane


def problem(examples: int = 30) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    with seeded(1, "loss checks"):
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    inputs = torch.randn(examples, 4, generator=generator(2, "loss checks"), dtype=torch.float64)
    return model, inputs, torch.arange(examples) % 3


class Shifted(nn.Module):
    """Takes 0.5 from its input, in place, where a number in it allows that."""

    def __init__(self, inner: nn.Module, least: float = -math.inf) -> None:
        super().__init__()
        self.inner, self.least = inner, least

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if float(x.min()) >= self.least:
            x -= 0.5
        return self.inner(x - 0.0)


@pytest.mark.parametrize("kind", ["relu", "shifted"])
@pytest.mark.parametrize("batch_size", [7, 30])
def test_models_that_write_into_their_inputs(kind: str, batch_size: int) -> None:
    inner, inputs, targets = problem()
    model = nn.Sequential(nn.ReLU(inplace=True), inner) if kind == "relu" else Shifted(inner)
    before = inputs.clone()
    expected = F.cross_entropy(inner(inputs.relu() if kind == "relu" else inputs - 0.5), targets).item()
    objective = Objective(model, (inputs, targets), batch_size=batch_size)
    losses = [objective.evaluate().loss for _ in range(3)]
    assert losses == [pytest.approx(expected, rel=1e-12)] * 3  # rounding of sums
    first = objective.gradient()
    assert torch.equal(objective.gradient(), first)
    assert Hessian(objective).trace(probes=2, progress=False) == Hessian(objective).trace(probes=2, progress=False)
    objective.outputs()
    assert objective.evaluate().loss == losses[0]
    assert torch.equal(inputs, before)


def test_a_model_that_writes_into_some_batches_only_is_refused() -> None:
    inner, inputs, targets = problem()
    inputs[20:] += 10.0
    with pytest.raises(ModelError, match="in some batches only.*inplace=False"):
        Objective(Shifted(inner, least=1.0), (inputs, targets), batch_size=10).evaluate()


def test_the_callers_tensors_are_copied() -> None:
    model, inputs, targets = problem()
    for data in ((inputs, targets), TensorDataset(inputs, targets)):
        objective = Objective(model, data)
        before = objective.evaluate()
        inputs += 1.0
        targets += 1
        targets %= 3
        assert objective.evaluate() == before


WEIGHT = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
NOT_MEANS = {
    "class weights": nn.CrossEntropyLoss(weight=WEIGHT),
    "an ignored label": nn.CrossEntropyLoss(ignore_index=2),
    "a sum": lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="sum"),
    "a function of the whole batch": lambda outputs, targets: outputs.std(),
}


@pytest.mark.parametrize("case", NOT_MEANS)
@pytest.mark.parametrize("order", ["mixed", "sorted"])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_loss_that_depends_on_the_batch_size_is_refused(case: str, order: str, batch_size: int) -> None:
    model, inputs, targets = problem()
    if order == "sorted":
        targets = targets.sort().values
    with pytest.raises(ConfigError, match=r"depends on the batch size.*reduction='mean'.*one batch"):
        Objective(model, (inputs, targets), NOT_MEANS[case], batch_size=batch_size)
    with pytest.warns(ReductionWarning, match="All data is in one batch"):
        objective = Objective(model, (inputs, targets), NOT_MEANS[case])
    assert objective.evaluate().loss == pytest.approx(NOT_MEANS[case](model(inputs), targets).item(), rel=1e-12)


def test_ignored_padding_is_noticed_where_it_is_rare() -> None:
    model, inputs, targets = problem(300)
    targets[257] = -100
    with pytest.raises(ConfigError, match="depends on the batch size"):
        Objective(model, (inputs, targets), batch_size=50)


@pytest.mark.parametrize(
    ("loss", "shape"),
    [
        (lambda o, t: F.mse_loss(o, o * 0, reduction="none"), r"\(\d+, 3\)"),
        (lambda o, t: F.cross_entropy(o, t).reshape(1), r"\(1,\)"),
    ],
)
def test_losses_of_other_shapes_are_refused(loss, shape: str) -> None:
    model, inputs, targets = problem()
    with pytest.raises(ConfigError, match=rf"says nothing of examples.*Got: shape {shape}"):
        Objective(model, (inputs, targets), loss)


def test_means_of_all_kinds_are_taken() -> None:
    model, inputs, targets = problem()
    expected = F.cross_entropy(model(inputs), targets, label_smoothing=0.1).item()
    for loss in (
        nn.CrossEntropyLoss(label_smoothing=0.1),
        lambda o, t: F.cross_entropy(o, t, label_smoothing=0.1, reduction="none"),
        nn.CrossEntropyLoss(label_smoothing=0.1, weight=torch.full((3,), 2.0).double()),
    ):
        for batch_size in (1, 8, 30):
            found = Objective(model, (inputs, targets), loss, batch_size=batch_size).evaluate().loss
            assert found == pytest.approx(expected, rel=1e-12)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        Objective(problem()[0].to(dtype), (inputs, targets), batch_size=8)


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        (lambda x: x[:, :1], torch.arange(30) % 2),  # one logit: argmax is always 0
        (lambda x: x.reshape(-1, 2, 2), torch.arange(60).reshape(30, 2) % 2),  # sequences (B, T, V)
        (lambda x: x, torch.arange(30) % 2 == 0),
    ],
)
def test_accuracy_is_nan_where_argmax_is_no_prediction(outputs, targets: torch.Tensor) -> None:
    class Some(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4).double()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return outputs(self.layer(x))

    _, inputs, _ = problem()
    objective = Objective(Some(), (inputs, targets), lambda o, t: o.mean())
    assert math.isnan(objective.evaluate().accuracy)


class InDict(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": F.dropout(self.inner(x))}


def test_random_losses_and_random_dicts_are_noticed() -> None:
    model, inputs, targets = problem()
    noisy = Objective(model, (inputs, targets), lambda o, t: F.cross_entropy(o + torch.rand_like(o), t))
    hidden = Objective(InDict(model), (inputs, targets), lambda o, t: F.cross_entropy(o["logits"], t))
    for objective in (noisy, hidden):
        with pytest.raises(NonDeterministicError, match="two losses for one input"):
            objective.check_deterministic()


def test_reading_data_leaves_the_global_generators(snapshot, assert_unchanged) -> None:
    model, inputs, targets = problem()
    data = TensorDataset(inputs, targets)
    for source in (data, DataLoader(data, batch_size=4), DataLoader(data, batch_size=4, shuffle=True)):
        before = snapshot(model)
        Objective(model, source).evaluate()
        assert_unchanged(before, model)


def test_wrapped_models_are_what_is_inside() -> None:
    model, inputs, targets = problem()
    plain = Objective(model, (inputs, targets))
    for wrapped in (nn.DataParallel(model), torch.compile(model)):
        objective = Objective(wrapped, (inputs, targets))
        assert objective.layout == plain.layout and objective.evaluate() == plain.evaluate()
        vector = torch.ones(plain.size, dtype=torch.float64)
        assert torch.equal(Hessian(objective) @ vector, Hessian(plain) @ vector)


def test_a_model_without_values_is_refused() -> None:
    _, inputs, targets = problem()
    with pytest.raises(ModelError, match=r"meta device.*to_empty"):
        Objective(nn.Linear(4, 3, device="meta"), (inputs, targets))


@pytest.mark.parametrize("where", ["all of it", "the work"])
def test_inference_mode_makes_no_difference(where: str) -> None:
    model, inputs, targets = problem()
    expected = Objective(model, (inputs, targets), batch_size=8)
    objective = Objective(model, (inputs, targets), batch_size=8)
    vector = torch.ones(objective.size, dtype=torch.float64)
    with torch.inference_mode():
        if where == "all of it":
            model, inputs, targets = problem()
            objective = Objective(model, (inputs, targets), batch_size=8)
        found = objective.evaluate(), objective.gradient(), objective.hvp(vector), Hessian(objective) @ vector
        surface = evaluate_surface(objective, random_plane(objective), points=3, progress=False)
        pairs = Hessian(objective).top(2)
    assert found[0] == expected.evaluate() and torch.equal(found[1], expected.gradient())
    assert torch.equal(found[2], expected.hvp(vector)) and torch.equal(found[3], Hessian(expected) @ vector)
    assert surface.center_loss == expected.evaluate().loss
    assert pairs.values.tolist() == Hessian(expected).top(2).values.tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("batch_size", [64, 4096])
def test_a_sum_of_many_losses_does_not_overflow(dtype: torch.dtype, reduction: str, batch_size: int) -> None:
    """A mean of 196 over 4096 examples, where float16 ends at 65504; 3e-2: what sums of 64 numbers of 8 bits can do."""
    model = nn.Linear(1, 1, bias=False).to(dtype)
    model.weight.data.fill_(1.0)
    data = torch.full((4096, 1), 14.0), torch.zeros(4096, 1)
    losses = {
        "mean": F.mse_loss,
        "none": lambda outputs, targets: F.mse_loss(outputs, targets, reduction="none").mean(1),
    }
    objective = Objective(model, data, losses[reduction], batch_size=batch_size)
    assert objective.evaluate().loss == pytest.approx(196.0, rel=3e-2)
    assert objective.gradient().dtype == dtype and objective.gradient().item() == pytest.approx(392.0, rel=3e-2)


@pytest.mark.parametrize("gap", [0.0, 2.0, 8.0, 11.0, 14.0])
@pytest.mark.parametrize("offset", [-30.0, 0.0, 30.0])
def test_small_cross_entropies_are_as_exact_as_torchs(gap: float, offset: float) -> None:
    """Against float64. The logarithm of a number just above 1 has its rounding, 6e-8, for torch as well."""
    stream = generator(3, "loss checks")
    targets = torch.randint(10, (128,), generator=stream)
    scores = torch.randn(128, 10, generator=stream) + offset
    scores[torch.arange(128), targets] = scores.amax(1) + gap
    exact = F.cross_entropy(scores.double(), targets, reduction="sum")
    theirs = abs(F.cross_entropy(scores, targets, reduction="sum").double() - exact) / exact
    ours = abs(cross_entropy_sum(scores, targets).double() - exact) / exact
    assert ours <= 2 * theirs + 2e-7


def test_normalization_over_the_batch_is_named():
    """Its outputs depend on who else is in the batch, and the loss is not to blame."""
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3)).double()
    x = torch.randn(20, 4, generator=generator(0, "tests", "batch"), dtype=torch.float64)
    data = x, torch.arange(20) % 3
    with pytest.raises(ConfigError, match="Expected more than 1 value.*normalization with running statistics"):
        Objective(model, data, batch_size=8)
    with pytest.warns(ReductionWarning, match="All data is in one batch here"):
        assert math.isfinite(Objective(model, data).evaluate().loss)
