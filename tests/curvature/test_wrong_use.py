"""What is of the wrong kind is told in one sentence, by every question and every operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.curvature import GGN, Fisher, Hessian, curvature_map, eigen_plane
from landscape.errors import ConfigError, MismatchError, ModelError, NonFiniteError
from landscape.objective import Objective
from landscape.seeding import generator, seeded
from landscape.sharpness import balance, measure, rescale
from landscape.surface import random_plane
from tests.curvature.nets import net_objective


@pytest.fixture(scope="module")
def objective() -> Objective:
    return net_objective("mlp")


@pytest.fixture(scope="module")
def hessian(objective: Objective) -> Hessian:
    return Hessian(objective)


@pytest.mark.parametrize("asked", [Hessian, GGN, Fisher, lambda wrong: measure(wrong, "trace")])
def test_a_model_is_no_objective(objective: Objective, asked: Callable[..., Any]) -> None:
    for wrong in (objective.model, None, "objective", Hessian):
        with pytest.raises(ConfigError, match=r"is no objective.*Objective\(model, data\)"):
            asked(wrong)


def test_maps_and_planes_of_something_else(objective: Objective, hessian: Hessian) -> None:
    plane = random_plane(objective)
    with pytest.raises(ConfigError, match="is no objective"):
        curvature_map(objective.model, plane)  # pyright: ignore[reportArgumentType]
    for wrong in (plane.direction1, None):
        with pytest.raises(ConfigError, match=r"plane of curvature_map is none.*random_plane"):
            curvature_map(objective, wrong)  # pyright: ignore[reportArgumentType]
    for wrong in (objective, objective.model, None):
        with pytest.raises(ConfigError, match=r"Expected: a Hessian, or Eigenpairs.*Hessian\(objective\)"):
            eigen_plane(wrong)  # pyright: ignore[reportArgumentType]
    assert eigen_plane(hessian).direction1.kind == "eigen"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (lambda ones: ones.to(torch.complex128), "complex128"),
        (lambda ones: ones.to("meta"), "without values"),
        (lambda ones: ones.to_sparse(), "sparse"),
    ],
)
def test_vectors_that_are_no_plain_numbers(hessian: Hessian, kind: Callable[..., Any], said: str) -> None:
    """An imaginary part would be left out."""
    wrong = kind(torch.ones(hessian.size))
    for ask in (lambda: hessian @ wrong, lambda: hessian.top(1, start=wrong)):
        with pytest.raises(MismatchError, match=f"dense tensor of real numbers.*{said}"):
            ask()
    if said == "without values":
        with pytest.raises(MismatchError, match="on meta"):
            Hessian(hessian.objective, weights=wrong)


def test_scipy_gives_complex_and_foreign_vectors(hessian: Hessian) -> None:
    matrix = hessian.to_scipy()
    ones = np.ones(hessian.size)
    expected = hessian.dense().numpy() @ ones
    ones.setflags(write=False)
    np.testing.assert_allclose(matrix @ ones, expected, rtol=1e-12)
    np.testing.assert_allclose(matrix @ ((2 - 1j) * ones), (2 - 1j) * expected, rtol=1e-12)
    np.testing.assert_allclose(matrix @ ones.astype(">f8"), expected, rtol=1e-12)


@pytest.mark.parametrize("grid", [["a", "b"], [[1, 2], [3]], np.array([1j]), [None]])
def test_grids_of_something_else(hessian: Hessian, grid: Any) -> None:
    with pytest.raises(ConfigError, match="grid is out of range"):
        hessian.density(probes=1, steps=2, grid=grid, progress=False)


@pytest.mark.parametrize("limit", ["a", None, 5.5, True])
def test_limits_of_something_else(hessian: Hessian, limit: Any) -> None:
    with pytest.raises(ConfigError, match="limit is out of range.*a number of weights"):
        hessian.dense(limit=limit)


def test_options_of_layers(hessian: Hessian) -> None:
    with pytest.raises(ConfigError, match=r"Unknown option of top 'probes'"):
        hessian.layerwise("top", probes=3)
    with pytest.raises(ConfigError, match=r"Unknown option of trace 'probe'.*Did you mean 'probes'"):
        hessian.layerwise("trace", probe=3)
    assert hessian.layerwise(lambda block: block.size, progress=False) == {"0": 35, "2": 18}


@pytest.mark.parametrize("samples", [0, 1.5, "a", None, True])
def test_samples_of_something_else(objective: Objective, samples: Any) -> None:
    with pytest.raises(ConfigError, match="samples is out of range.*whole number"):
        Fisher(objective, kind="monte-carlo", samples=samples)


def test_every_operator_prints_as_one_line(objective: Objective) -> None:
    for operator in (Hessian(objective), GGN(objective), Fisher(objective)):
        assert repr(operator).startswith(f"{type(operator).__name__}(53 x 53 of Objective(Sequential, P = 53")


def _net(outputs: int = 3) -> nn.Module:
    with seeded(0, "tests", "wrong use"):
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, outputs)).double()


def _data(examples: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(examples, 4, generator=generator(0, "tests", "wrong use"), dtype=torch.float64)
    return x, torch.arange(examples) % 3


@pytest.mark.filterwarnings("ignore::landscape.loss_checks.ReductionWarning")
@pytest.mark.parametrize("kind", ["exact", "monte-carlo", "empirical"])
def test_a_fisher_is_a_mean_over_examples(kind: Any) -> None:
    """Where labels are ignored, each term of the loss counts more, and those ignored have a Fisher all the same."""
    x, y = _data()
    ignored = Objective(_net(), (x, torch.where(y == 1, -100, y)))
    with pytest.raises(ConfigError, match="not the mean over its examples"):
        Fisher(ignored, kind=kind)
    assert Fisher(Objective(_net(), (x[:1], y[:1])), kind=kind).dense().isfinite().all()


def test_a_loss_that_writes_into_the_outputs() -> None:
    x, y = _data()
    target = torch.nn.functional.one_hot(y).double()

    def written(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return outputs.sub_(targets).pow(2).mean()

    model = _net()
    plain, writing = (Objective(model, (x, target), loss, batch_size=5) for loss in (F.mse_loss, written))
    for build in (Hessian, GGN, lambda objective: Fisher(objective, kind="empirical")):
        torch.testing.assert_close(build(writing).dense(), build(plain).dense(), rtol=1e-10, atol=1e-14)


def test_matrices_where_there_is_no_number_say_so() -> None:
    """A loss that is linear in its outputs has no curvature in them, unless it is NaN."""
    x, y = _data()
    objective = Objective(_net(), (x, y), lambda outputs, targets: outputs.sum(1) * float("nan"))
    assert np.isnan(GGN(objective).trace(probes=2, progress=False).value)
    broken = _net()
    broken[0].weight.data[0, 0] = float("nan")  # pyright: ignore[reportArgumentType, reportCallIssue, reportIndexIssue]
    with pytest.raises(NonFiniteError, match="nothing to draw labels from"):
        Fisher(Objective(broken, (x, y)), kind="monte-carlo").trace(progress=False)


@pytest.mark.parametrize("wrong", [5, None, "model", nn.Linear])
def test_something_else_is_not_balanced(wrong: Any) -> None:
    with pytest.raises(ModelError, match="This is no model"):
        balance(wrong)
    with pytest.raises(ModelError, match="This is no model"):
        rescale(wrong, 2.0)


def test_names_and_parameters_of_measures(objective: Objective) -> None:
    for names in (5, [5], [["trace"]], ["trace", None]):
        with pytest.raises(ConfigError, match="Unknown measure"):
            measure(objective, names)  # pyright: ignore[reportArgumentType]
    for parameters in (5, {"trace": 5}, ["trace"]):
        with pytest.raises(ConfigError, match="parameters cannot be read"):
            measure(objective, "trace", parameters=parameters)  # pyright: ignore[reportArgumentType]
