"""The entropy of predictions, by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.errors import ConfigError
from landscape.objective import Objective
from tests.sharpness.problems import drawn, found, relu_data, relu_objective


def constant(scores: list[float]) -> Objective:
    """The same scores for every example."""
    model = nn.Linear(2, len(scores)).double()
    nn.init.zeros_(model.weight)
    model.bias.data.copy_(torch.tensor(scores).double())
    return Objective(model, (drawn(5, 2), torch.zeros(5, dtype=torch.long)), batch_size=2)


def test_of_known_predictions() -> None:
    assert found(constant([1.0, 1.0, 1.0, 1.0]), "shannon_entropy").value == pytest.approx(math.log(4))
    three_to_one = found(constant([math.log(3), 0.0]), "shannon_entropy")
    assert three_to_one.value == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert three_to_one.stderr == 0


def test_predictions_that_are_certain_have_none() -> None:
    """p = 0 exactly: p log p is 0, not NaN."""
    assert found(constant([5000.0, 0.0]), "shannon_entropy").value == 0


def test_by_its_formula() -> None:
    objective = relu_objective()
    log_p = objective.outputs().log_softmax(1)
    expected = -float((log_p.exp() * log_p).sum()) / 20
    assert found(objective, "shannon_entropy").value == pytest.approx(expected, rel=1e-12)


def test_what_is_no_classifier() -> None:
    inputs, _ = relu_data()
    for name in ("shannon_entropy", "average_adaptive_sharpness", "worst_case_adaptive_sharpness"):
        regression = Objective(nn.Linear(6, 3).double(), (inputs, drawn(20, 3)), F.mse_loss)
        with pytest.raises(
            ConfigError, match=rf"{name} needs a classifier.*got: |{name} needs a classifier.*Got: outputs"
        ):
            found(regression, name)
