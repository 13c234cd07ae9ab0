"""Weights of several dtypes are refused, frozen parameters of another are what they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from landscape.errors import ModelError
from landscape.objective import Objective


class Converting(nn.Module):
    """Casts what comes in to what each layer is in."""

    def __init__(self, first: torch.dtype, second: torch.dtype) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8).to(first), nn.Linear(8, 3).to(second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x.to(self.first.weight.dtype)))
        return self.second(x.to(self.second.weight.dtype))


DATA = torch.randn(10, 4), torch.arange(10) % 3


@pytest.mark.parametrize(
    "build", [Converting, lambda a, b: nn.Sequential(nn.Linear(4, 8).to(a), nn.Linear(8, 3).to(b))]
)
@pytest.mark.parametrize("other", [torch.bfloat16, torch.float64])
def test_weights_of_several_dtypes_are_refused(build, other: torch.dtype) -> None:
    pattern = rf"several dtypes.*one floating dtype.*float32, and {other}.* at '(second|1).weight'.*model.float\(\)"
    with pytest.raises(ModelError, match=pattern.replace("torch.", "")):
        Objective(build(torch.float32, other), DATA)


def test_frozen_parameters_of_another_dtype_keep_it() -> None:
    model = Converting(torch.bfloat16, torch.float32)
    model.first.requires_grad_(False)
    objective = Objective(model, DATA)
    assert objective.dtype == torch.float32 and objective.size == 27
    with torch.no_grad():
        expected = nn.functional.cross_entropy(model(DATA[0]), DATA[1])
    assert objective.evaluate().loss == pytest.approx(float(expected), rel=1e-6)  # rounding of the mean


def test_a_forward_that_fails_for_a_frozen_parameter_says_so() -> None:
    model = nn.Sequential(nn.Linear(4, 8).bfloat16().requires_grad_(False), nn.Linear(8, 3))
    with pytest.raises(ModelError, match=r"another dtype.*float32.*bfloat16 at '0.weight'.*same dtype"):
        Objective(model, DATA)


def test_a_forward_that_fails_for_another_reason_fails_as_it_does() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        Objective(nn.Linear(5, 3), DATA)
