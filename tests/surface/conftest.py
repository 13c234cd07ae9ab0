"""Objectives small enough to know everything about."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from landscape.objective import Objective
from landscape.seeding import generator, seeded


@pytest.fixture
def conv_objective() -> Objective:
    """A convolutional net with normalization, a frozen layer and a transposed convolution, in float64."""
    with seeded(0, "tests", "conv"):
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.ConvTranspose2d(4, 3, 2),
            nn.Conv2d(3, 3, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(75, 3),
        ).double()
        model(torch.randn(8, 2, 6, 6, dtype=torch.float64))  # running statistics other than 0 and 1
    model[4].requires_grad_(False)
    stream = generator(0, "tests", "conv data")
    inputs = torch.randn(20, 2, 6, 6, generator=stream, dtype=torch.float64)
    return Objective(model, (inputs, torch.arange(20) % 3), batch_size=8)
