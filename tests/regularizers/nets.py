"""Models and batches that the tests of regularizers share, and every penalty and move by its name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from landscape.regularizers import (
    AdversarialInputs,
    AdversarialPenalty,
    GradientPenalty,
    InputMove,
    LossGradient,
    Penalty,
    Trades,
    VirtualAdversarial,
)
from landscape.seeding import generator, seeded

PENALTIES: dict[str, Callable[..., Penalty]] = {
    "adversarial": AdversarialPenalty,
    "gradient": GradientPenalty,
    "grad-l2": LossGradient,
    "grad-l1": lambda **options: LossGradient(norm="l1", **options),
    "vat": lambda **options: VirtualAdversarial(epsilon=0.5, **options),
    "trades": Trades,
    "trades-l2": lambda **options: Trades(norm="l2", epsilon=0.5, **options),
}
MOVES: dict[str, Callable[..., InputMove]] = {
    "pgd-l2": lambda **options: AdversarialInputs(epsilon=0.5, **options),
    "pgd-linf": lambda **options: AdversarialInputs(norm="linf", epsilon=0.05, **options),
}
EVERYONE = [*PENALTIES, *MOVES]


def made(name: str, **options) -> Penalty | InputMove:
    return (PENALTIES | MOVES)[name](**options)


def images(count: int = 6, shape: tuple[int, ...] = (2, 4, 4), name: str = "images") -> tuple[Tensor, Tensor]:
    """Pixels from 0 to 1 in float64, and labels below 3."""
    stream = generator(0, "tests", "regularizers", name)
    inputs = torch.rand(count, *shape, generator=stream, dtype=torch.float64)
    return inputs, torch.randint(0, 3, (count,), generator=stream)


def linear(classes: int = 3, size: int = 32) -> nn.Sequential:
    with seeded(0, "tests", "regularizers", "linear"):
        return nn.Sequential(nn.Flatten(), nn.Linear(size, classes)).double()


def smooth() -> nn.Sequential:
    """A convolutional network with derivatives of all orders."""
    with seeded(0, "tests", "regularizers", "smooth"):
        layers = [nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)]
        return nn.Sequential(*layers).double()


def noisy() -> nn.Sequential:
    """With dropout and batch normalization: each pass would leave a trace."""
    with seeded(0, "tests", "regularizers", "noisy"):
        first = [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten()]
        return nn.Sequential(*first, nn.Linear(64, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).double()


def gradients(value: Tensor, model: nn.Module) -> list[Tensor]:
    found = torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, model.parameters(), strict=True)]
