"""Directions: their norms, what they leave out, and that every device and precision gets the same one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from landscape.errors import ConfigError, MismatchError
from landscape.objective import Objective
from landscape.surface import Direction, Plane, direction_between, random_direction, random_plane


def pieces(objective: Objective, vector: torch.Tensor) -> dict[str, torch.Tensor]:
    return objective.layout.named(vector)


def test_filter_norms_are_those_of_the_weights(conv_objective: Objective) -> None:
    """1e-12 relative: two norms and one product in float64, independent of the package's own filter code."""
    d = pieces(conv_objective, random_direction(conv_objective, ignore=None, seed=3).vector)
    w = pieces(conv_objective, conv_objective.weights())
    assert set(d) == {
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "3.weight",
        "3.bias",
        "7.weight",
        "7.bias",
    }  # 4 is frozen
    for channel in range(4):
        torch.testing.assert_close(d["0.weight"][channel].norm(), w["0.weight"][channel].norm(), rtol=1e-12, atol=0)
    for channel in range(3):  # a transposed convolution's outputs are dimension 1
        torch.testing.assert_close(
            d["3.weight"][:, channel].norm(), w["3.weight"][:, channel].norm(), rtol=1e-12, atol=0
        )
        torch.testing.assert_close(d["7.weight"][channel].norm(), w["7.weight"][channel].norm(), rtol=1e-12, atol=0)
    for name in ("0.bias", "3.bias", "7.bias", "1.weight"):
        torch.testing.assert_close(d[name].norm(), w[name].norm(), rtol=1e-12, atol=0)
    assert (d["1.bias"] == 0).all()  # weights of 0 have a filter of norm 0


def test_a_random_direction_is_gaussian_before_it_is_scaled(objective: Objective) -> None:
    """Kolmogorov-Smirnov against the normal distribution; 0.1 is the 0.2 level for 119 numbers."""
    from scipy.stats import kstest

    d = random_direction(objective, norm="none", ignore=None, seed=5).vector
    assert kstest(d.numpy(), "norm").statistic < 0.1


@pytest.mark.parametrize("norm", ["layer", "model", "weight"])
def test_other_norms(objective: Objective, norm: str) -> None:
    d, w = random_direction(objective, norm=norm, ignore=None).vector, objective.weights()
    raw = random_direction(objective, norm="none", ignore=None).vector
    if norm == "weight":
        torch.testing.assert_close(d, raw * w.abs(), rtol=1e-15, atol=0)
    elif norm == "model":
        torch.testing.assert_close(d.norm(), w.norm(), rtol=1e-12, atol=0)
    else:
        for mine, theirs in zip(pieces(objective, d).values(), pieces(objective, w).values(), strict=True):
            torch.testing.assert_close(mine.norm(), theirs.norm(), rtol=1e-12, atol=0)


def test_biasbn_leaves_biases_and_normalization_where_they_are(conv_objective: Objective) -> None:
    d = pieces(conv_objective, random_direction(conv_objective).vector)
    assert {name for name, piece in d.items() if (piece == 0).all()} == {
        "0.bias",
        "1.weight",
        "1.bias",
        "3.bias",
        "7.bias",
    }


def test_precisions_get_the_same_direction(objective: Objective) -> None:
    single = Objective(copy.deepcopy(objective.model).float(), (torch.zeros(1, 6), torch.zeros(1, dtype=torch.long)))
    d32, d64 = random_direction(single, seed=2).vector, random_direction(objective, seed=2).vector
    assert d32.dtype == torch.float32
    torch.testing.assert_close(d32.double(), d64, rtol=1e-6, atol=1e-7)  # float32 rounding of weights and direction


@pytest.mark.gpu
def test_devices_get_the_same_direction(objective: Objective) -> None:
    data = (torch.zeros(1, 6).double(), torch.zeros(1, dtype=torch.long))
    there = Objective(objective.model, data, device="cuda")
    assert torch.equal(random_direction(there, seed=2).vector.cpu(), random_direction(objective, seed=2).vector)


def test_seeds_and_records(objective: Objective) -> None:
    one, same, other = (random_direction(objective, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.vector, same.vector) and not torch.equal(one.vector, other.vector)
    record = one.record()
    assert record["weights_sha256"] == objective.provenance()["weights_sha256"]
    assert (record["kind"], record["norm"], record["ignore"], record["seed"]) == ("random", "filter", "biasbn", 1)
    assert record["layout"] == objective.layout.fingerprint


def test_unknown_options(objective: Objective) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'filter'"):
        random_direction(objective, norm="filters")
    with pytest.raises(ConfigError, match="'biasbn' or None"):
        random_direction(objective, ignore="bias")


def test_direction_between_models_objectives_and_vectors(objective: Objective) -> None:
    other = copy.deepcopy(objective.model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.25)
    expected = torch.full((objective.size,), 0.25, dtype=torch.float64)
    end = Objective(other, (torch.zeros(1, 6).double(), torch.zeros(1, dtype=torch.long)))
    for a, b in ((objective.model, other), (objective, end), (objective.weights(), other)):
        found = direction_between(a, b)
        torch.testing.assert_close(found.vector, expected, rtol=1e-12, atol=0)
        assert found.layout == objective.layout.fingerprint
    assert direction_between(objective.weights(), end.weights()).layout is None


def test_direction_between_strangers(objective: Objective) -> None:
    with pytest.raises(MismatchError, match="one architecture"):
        direction_between(objective, nn.Linear(3, 2))
    same_size = nn.Linear(118, 1)
    assert sum(p.numel() for p in same_size.parameters()) == objective.size
    with pytest.raises(MismatchError, match="one architecture"):
        direction_between(objective, same_size)
    with pytest.raises(MismatchError, match="no point in weight space"):
        direction_between(objective, torch.zeros(2, 2))


def test_random_plane(objective: Objective) -> None:
    plane = random_plane(objective, seed=4)
    first, second = plane.directions
    assert first.seed != second.seed
    assert torch.equal(first.vector, random_direction(objective, seed=first.seed).vector)
    expected = torch.nn.functional.cosine_similarity(first.vector, second.vector, dim=0)
    assert plane.cosine == pytest.approx(float(expected), rel=1e-12)
    assert abs(plane.cosine) < 0.5  # about 1 / sqrt(103)
    assert torch.equal(Plane.random(objective, seed=4).direction2.vector, second.vector)


def test_planes_that_are_none(objective: Objective) -> None:
    direction = random_direction(objective)
    stranger = random_direction(Objective(nn.Linear(118, 1), (torch.zeros(1, 118), torch.zeros(1, 1))))
    with pytest.raises(MismatchError, match="different models"):
        Plane(direction, stranger)
    with pytest.raises(MismatchError, match="span no plane"):
        Plane(direction, Direction(vector=-2 * direction.vector, kind="mine", norm="none"))
    with pytest.raises(MismatchError, match="span no plane"):
        Plane(direction, Direction(vector=torch.zeros(objective.size), kind="mine", norm="none"))
    with pytest.raises(MismatchError, match="needs two directions"):
        Plane(direction, direction.vector)
