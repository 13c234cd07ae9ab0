"""What cannot be an objective is told when it is made, or by its first value: expected, got, what to do."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.errors import ConfigError, DataError, LandscapeError, MismatchError, ModelError
from landscape.objective import Objective
from landscape.parameters import Layout, preserved
from landscape.seeding import seeded

WHOLE = r".*Expected: .*Got: .*What to do: "


def make(**options: object) -> Objective:
    with seeded(0, "tests", "objective checks"):
        model = nn.Linear(3, 2)
    return Objective(model, (torch.eye(3), torch.tensor([0, 1, 1])), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["loss_fn", "metric"])
@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, nn.MSELoss, nn.Linear, dict])
def test_a_class_is_no_loss(name, kind):
    what = name.removesuffix("_fn")
    with pytest.raises(ConfigError, match=rf"The {what} is a class.*Pass an object of it: {kind.__name__}\(\)"):
        make(**{name: kind})


@pytest.mark.parametrize("name", ["loss_fn", "metric"])
@pytest.mark.parametrize("function", [lambda outputs: outputs.mean(), lambda a, b, c: a.mean(), len, nn.Linear(2, 2)])
def test_a_function_of_something_else_is_no_loss(name, function):
    with pytest.raises(ConfigError, match=r"cannot be called with outputs and targets" + WHOLE):
        make(**{name: function})


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (lambda o, t: 1.5, r"1\.5"),
        (lambda o, t: F.cross_entropy(o, t).item(), r"1\.|0\."),
        (lambda o, t: np.ones(len(t)), "ndarray of shape"),
        (lambda o, t: None, "None"),
        (lambda o, t: (o.mean(), o), "tuple"),
        (lambda o, t: o.mean().to(torch.complex64), "complex64"),
    ],
)
def test_a_loss_or_metric_that_is_no_tensor(value, got):
    with pytest.raises(ConfigError, match=rf"The loss is no tensor of real numbers.*Got: .*({got}).*What to do: "):
        make(loss_fn=value)
    objective = make(metric=value)
    with pytest.raises(ConfigError, match=rf"The metric is no tensor of real numbers.*Got: .*({got}).*What to do: "):
        objective.evaluate()


@pytest.mark.parametrize("value", [lambda o, t: o, lambda o, t: o[:1], lambda o, t: o.mean(0)])
def test_a_loss_or_metric_of_another_shape(value):
    with pytest.raises(ConfigError, match="The loss has a shape that says nothing of examples" + WHOLE):
        make(loss_fn=value)
    with pytest.raises(ConfigError, match="The metric has a shape that says nothing of examples" + WHOLE):
        make(metric=value).evaluate()


def test_a_metric_may_count_in_whole_numbers_and_truths():
    for metric in (lambda o, t: o.argmax(1) == t, lambda o, t: (o.argmax(1) == t).long()):
        assert make(metric=metric).evaluate().accuracy == make().evaluate().accuracy


LEAVING = {
    "detached": lambda o, t: F.cross_entropy(o.detach(), t),
    "item": lambda o, t: torch.tensor(F.cross_entropy(o, t).item()),
}


@pytest.mark.parametrize("loss", LEAVING)
def test_a_loss_that_leaves_torch_has_values_and_no_gradient(loss):
    objective = make(loss_fn=LEAVING[loss])
    assert objective.evaluate().loss == pytest.approx(make().evaluate().loss, rel=1e-6)  # one rounding to float32
    for ask in (objective.gradient, lambda: objective.hvp(torch.ones(8))):
        with pytest.raises(ConfigError, match="The loss has no gradient" + WHOLE):
            ask()


@pytest.mark.parametrize("compile_it", ["script", "trace"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_script_module_is_refused(compile_it, inside):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is on its way out
        plain = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        model: nn.Module = torch.jit.script(plain) if compile_it == "script" else torch.jit.trace(plain, torch.eye(3))
        model = nn.Sequential(model) if inside else model
        with pytest.raises(ModelError, match=r"compiled by torch\.jit" + WHOLE):
            Objective(model, (torch.eye(3), torch.tensor([0, 1, 1])))


@pytest.mark.parametrize("device", ["x", "cuda:99", "meta", 99, [1], nn.Linear, 0.5])
def test_devices_that_are_not_there(device):
    with pytest.raises(ConfigError, match="The device is not there" + WHOLE):
        make(device=device)
    assert make(device="cpu").device == make(device=torch.device("cpu")).device


def test_models_that_are_none():
    with pytest.raises(ModelError, match=r"Got: the class Linear itself.*Build the model first: Linear\("):
        Objective(nn.Linear, (torch.eye(3), torch.tensor([0, 1, 1])))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"Got: the class Linear itself.*Build the model first: Linear\("):
        Layout.of(nn.Linear)  # type: ignore[arg-type]
    for ask in (Layout.of, lambda model: preserved(model).__enter__()):
        with pytest.raises(ModelError, match=r"This is no model.*Got: Objective.*objective\.model"):
            ask(make())  # type: ignore[arg-type]


@pytest.mark.parametrize("ask", ["evaluate", "gradient", "outputs", "hvp", "snapshot"])
def test_complex_and_foreign_vectors(ask):
    """The imaginary part was dropped without a word, and a number filled all weights."""
    objective = make()
    before = objective.evaluate().loss
    for vector in (torch.ones(8, dtype=torch.complex64), np.ones(8), 5, torch.ones(3), [1.0] * 8, torch.ones(())):
        with pytest.raises(MismatchError, match=r"Expected: .*What to do: "):
            getattr(objective, ask)(vector)
    assert objective.evaluate().loss == before


@pytest.mark.parametrize(
    "wrong",
    [
        torch.ones(3),
        torch.ones(3, 2),
        torch.ones(8, 2, 2),
        torch.ones(8, 2).to_sparse(),
        torch.ones(8, 2).to("meta"),
        5,
    ],
)
def test_vectors_that_no_hessian_is_multiplied_with(wrong):
    with pytest.raises(MismatchError, match=r"no vector of weights.*shape \(8,\) or \(8, K\).*Got: .*randn_like"):
        make().hvp(wrong)


@pytest.mark.parametrize("examples", [0, -1, 2.5, "8", True, None])
def test_batches_of_no_size(examples):
    with pytest.raises(ConfigError, match="batch size is out of range" + WHOLE):
        make().in_batches_of(examples)
    for size in {examples} - {None}:
        with pytest.raises(ConfigError, match="batch size is out of range" + WHOLE):
            make(batch_size=size)
    assert make().in_batches_of(np.int64(2)).batch_size == 2


@pytest.mark.parametrize("patterns", [5, None, [5], [], [["weight"]], torch.ones(()), torch.ones(2), np.eye(2)])
def test_patterns_that_are_no_names(patterns):
    with pytest.raises(LandscapeError, match="No weight that moves is called" + WHOLE):
        make().restricted(patterns)
    assert make().restricted({"bias"}).size == 2


def labelled(labels: list[int], loss_fn: object = F.cross_entropy, **options: object) -> Objective:
    with seeded(0, "tests", "labels"):
        model = nn.Linear(3, 4)
    targets = torch.tensor(labels)
    return Objective(model, (torch.ones(len(labels), 3), targets), loss_fn, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("loss_fn", [F.cross_entropy, nn.CrossEntropyLoss(), F.multi_margin_loss])
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1, 2, 3, 3, 9], r"Got: 9, the first at example 5; all labels are from 0 to 9.*a score for each class"),
        ([0, -1, 2, -1], r"Got: -1, the first at example 1"),
        ([1, 2, 3, 4], r"Got: 4, the first at example 3.*Subtract 1 from the labels: they begin at 1\."),
    ],
)
def test_labels_that_are_no_class_of_the_model(loss_fn, labels, said):
    """Also where they lie behind the examples that are tried when an objective is made."""
    whole = r"none of the model's 4 classes.*Expected: whole numbers from 0 to 3.*"
    for repeated in (1, 100):
        with pytest.raises(DataError, match=whole + said):
            labelled(labels * repeated, loss_fn, batch_size=2)


def test_one_label_among_many_is_found():
    with pytest.raises(DataError, match="Got: 4, the first at example 777;"):
        labelled([0] * 777 + [4] + [1] * 500)


@pytest.mark.filterwarnings("ignore::landscape.loss_checks.ReductionWarning")
def test_labels_that_the_loss_ignores_are_no_fault():
    for loss_fn, ignored in ((F.cross_entropy, -100), (nn.CrossEntropyLoss(ignore_index=7), 7)):
        assert labelled([0, ignored, 3], loss_fn).examples == 3

    def own(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(outputs, targets.clamp(0, 3), reduction="none")

    assert labelled([0, 12, -5], own).examples == 3


def test_a_label_for_each_place_of_a_picture():
    pictures, wrong = torch.ones(2, 3, 5, 5), torch.zeros(2, 5, 5, dtype=torch.int64)
    wrong[1, 2, 3] = 4
    with pytest.raises(DataError, match="4 classes.*Got: 4, the first at example 1"):
        Objective(nn.Conv2d(3, 4, 1), (pictures, wrong))
