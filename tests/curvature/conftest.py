"""Small objectives and their dense Hessians from autograd, which share no code with the package's operator."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.functional import hessian
from torch.func import functional_call

from landscape.objective import Objective
from landscape.seeding import generator, seeded


def dense_hessian(objective: Objective) -> torch.Tensor:
    """(P, P) of the mean loss over all examples in one batch."""
    model = objective.model
    training = model.training
    model.eval()
    inputs, targets = (torch.cat(part) for part in zip(*objective.batches(), strict=True))
    named = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    shapes = [(name, p.shape, p.numel()) for name, p in named.items()]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        pieces = flat.split([count for _, _, count in shapes])
        weights = {name: piece.view(shape) for (name, shape, _), piece in zip(shapes, pieces, strict=True)}
        return F.cross_entropy(functional_call(model, weights, (inputs,)), targets)

    flat = torch.cat([p.flatten() for p in named.values()])
    found = hessian(loss, flat, vectorize=True)
    model.train(training)
    return (found + found.T) / 2


@pytest.fixture
def conv_objective() -> Objective:
    """A convolutional net with normalization, ReLU, pooling and a frozen layer: 205 weights that move, float64."""
    with seeded(0, "tests", "conv"):
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 4, 1),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 3, 2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(27, 3),
        ).double()
        model(torch.randn(8, 2, 6, 6, dtype=torch.float64))  # running statistics other than 0 and 1
    model[3].requires_grad_(False)
    stream = generator(0, "tests", "conv data")
    inputs = torch.randn(20, 2, 6, 6, generator=stream, dtype=torch.float64)
    return Objective(model, (inputs, torch.arange(20) % 3), batch_size=12)


@pytest.fixture
def dense(objective: Objective) -> torch.Tensor:
    """(119, 119), the exact Hessian of ``objective``."""
    return dense_hessian(objective)


@pytest.fixture(params=["objective", "conv_objective"])
def any_objective(request: pytest.FixtureRequest) -> Objective:
    """Each of the two objectives."""
    return request.getfixturevalue(request.param)


class Matrix:
    """A known symmetric matrix as an operator that counts its products."""

    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix, self.products = matrix, 0
        self.size, self.dtype, self.device = len(matrix), matrix.dtype, matrix.device

    def __matmul__(self, vector: torch.Tensor) -> torch.Tensor:
        self.products += 1
        return self.matrix @ vector

    def provenance(self) -> dict[str, Any]:
        return {"operator": "Matrix"}


@pytest.fixture
def matrix_with():
    """``matrix_with(eigenvalues)``: an operator with these eigenvalues and random eigenvectors, float64."""

    def make(eigenvalues: list[float], dtype: torch.dtype = torch.float64) -> Matrix:
        values = torch.tensor(eigenvalues, dtype=torch.float64)
        random = torch.randn(len(values), len(values), generator=generator(0, "tests", "basis"), dtype=torch.float64)
        basis = torch.linalg.qr(random).Q
        return Matrix(((basis * values) @ basis.T).to(dtype))

    return make


@pytest.fixture
def exact_hessian():
    """``exact_hessian(objective)``: see :func:`dense_hessian`."""
    return dense_hessian
