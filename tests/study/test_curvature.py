"""The two numbers that networks are compared by, against the dense Hessian in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.objective import Objective
from landscape.seeding import generator, seeded
from landscape.study import top_and_trace, top_eigenpair


@pytest.fixture
def problem() -> tuple[Objective, torch.Tensor]:
    with seeded(1, "curvature"):
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    stream = generator(2, "curvature")
    data = torch.randn(9, 3, generator=stream, dtype=torch.float64), torch.randint(2, (9,), generator=stream)
    objective = Objective(model, data, F.cross_entropy)
    return objective, objective.hvp(torch.eye(objective.size, dtype=torch.float64))


def test_they_are_the_dense_hessian_s(problem):
    objective, hessian = problem
    values = torch.linalg.eigvalsh(hessian)
    found = top_and_trace(objective, probes=400, seed=3)
    assert found["top_eigenvalue"] == pytest.approx(float(values[-1]), rel=1e-5)
    assert abs(found["trace"].value - float(values.sum())) < 4 * found["trace"].stderr
    pair = top_eigenpair(objective, seed=3)
    assert float(pair.values[0]) == found["top_eigenvalue"] and len(pair.values) == 1
    assert top_and_trace(objective, probes=400, seed=3) == found


def test_the_tolerance_is_the_eigenvalue_s(problem):
    loose, tight = (top_eigenpair(problem[0], tol=tol) for tol in (0.5, 1e-8))
    assert loose.matvecs < tight.matvecs and tight.residuals[0] <= 1e-8 * tight.values[0]
    coarse = top_and_trace(problem[0], probes=2, tol=0.5)
    assert coarse["top_eigenvalue"] == float(loose.values[0]) != float(tight.values[0])
