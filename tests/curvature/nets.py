"""Five tiny nets in float64, one of each kind that a Jacobian may stumble over, and data for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from landscape.objective import Objective
from landscape.seeding import generator, seeded

CLASSES, EXAMPLES = 3, 20


class Residual(nn.Module):
    """x + f(x), with normalization over features."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(6, 6), nn.LayerNorm(6)
        self.second, self.head = nn.Linear(6, 6), nn.Linear(6, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x + self.second(torch.tanh(self.first(self.norm(x)))))


class Tied(nn.Module):
    """Two layers that share one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, CLASSES)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Attention(nn.Module):
    """Self-attention over three tokens of two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(2, 1, batch_first=True)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.unflatten(1, (3, 2))
        return self.head((tokens + self.attention(tokens, tokens, tokens)[0]).flatten(1))


NETS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, CLASSES)),
    "cnn": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)),
        nn.Conv2d(1, 3, 2),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6, CLASSES),
    ),
    "residual": Residual,
    "tied": Tied,
    "attention": Attention,
}


def net_objective(name: str, *, batch_size: int = 12, **options: object) -> Objective:
    """An objective over 20 examples, the last batch of 8."""
    stream = generator(0, "tests", "curvature nets")
    inputs = torch.randn(EXAMPLES, 6, generator=stream, dtype=torch.float64)
    with seeded(0, "tests", "curvature nets", name):
        model = NETS[name]().double()
        model(inputs)  # running statistics other than 0 and 1
    targets = options.pop("targets", torch.randint(CLASSES, (EXAMPLES,), generator=stream))
    return Objective(model, (inputs, targets), batch_size=batch_size, **options)  # pyright: ignore[reportArgumentType]
