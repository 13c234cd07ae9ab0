"""Losses whose sharpness is known on paper, and a ReLU network with its twins."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.curvature import Estimate
from landscape.objective import Objective
from landscape.seeding import generator, seeded
from landscape.sharpness import MEASURES, measure


class Quadratic(nn.Module):
    """``w^T A w / 2`` for every example, with w of any shape."""

    def __init__(self, matrix: Tensor, start: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.w = nn.Parameter(start.clone())

    def forward(self, x: Tensor) -> Tensor:
        w = self.w.reshape(-1)
        return (w @ self.matrix @ w / 2).expand(len(x))


def quadratic(matrix: Tensor, start: Tensor, *, examples: int = 1, transform: Callable[[Tensor], Tensor] | None = None):
    """An objective whose loss is the quadratic, or a function of it."""
    data = torch.zeros(examples, 1).double(), torch.zeros(examples).double()
    return Objective(Quadratic(matrix, start), data, lambda outputs, targets: (transform or torch.clone)(outputs))


def drawn(*shape: int, name: str = "numbers") -> Tensor:
    """Normal numbers, the same in every process."""
    return torch.randn(*shape, generator=generator(0, "tests", "sharpness", name), dtype=torch.float64)


def spd(size: int, name: str = "matrix") -> Tensor:
    """A symmetric positive definite matrix with eigenvalues about 1."""
    root = drawn(size, size, name=name) / size**0.5
    return root @ root.T + 0.1 * torch.eye(size).double()


def normals(count: int, size: int, seed: int = 0) -> Tensor:
    """The draws that all measures share, (count, size)."""
    rows = [torch.randn(size, dtype=torch.float64, generator=generator(seed, "lpf", m)) for m in range(count)]
    return torch.stack(rows)


def relu_net() -> nn.Sequential:
    """An MLP 6-5-4-3 in float64, with biases that are not zero."""
    with seeded(0, "tests", "sharpness", "relu"):
        net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double()
        for layer in (net[0], net[2], net[4]):
            nn.init.normal_(layer.bias, std=0.3)
    return net


def relu_data() -> tuple[Tensor, Tensor]:
    """20 examples in three classes."""
    return drawn(20, 6, name="inputs"), torch.arange(20) % 3


def relu_objective(net: nn.Module | None = None, loss_fn: Any = F.cross_entropy) -> Objective:
    return Objective(relu_net() if net is None else net, relu_data(), loss_fn, batch_size=8)


def factors(count: int, name: str) -> Tensor:
    """Positive factors between about 1/4 and 4."""
    return torch.exp(drawn(count, name=name) * 0.7)


@torch.no_grad()
def rescaled(net: nn.Sequential) -> nn.Sequential:
    """The same function: every hidden unit times a factor of its own, and what reads it over that."""
    twin = copy.deepcopy(net)
    linear = [layer for layer in twin if isinstance(layer, nn.Linear)]
    for number, (layer, reader) in enumerate(itertools.pairwise(linear)):
        c = factors(layer.out_features, f"layer {number}")
        layer.weight.mul_(c[:, None])
        layer.bias.mul_(c)
        reader.weight.div_(c)
    return twin


@torch.no_grad()
def scaled_logits(net: nn.Sequential, factor: float) -> nn.Sequential:
    """All outputs times a factor."""
    twin = copy.deepcopy(net)
    twin[-1].weight.mul_(factor)
    twin[-1].bias.mul_(factor)
    return twin


def found(objective: Objective, name: str, *, as_published: bool = False, seed: int = 0, **parameters: Any) -> Estimate:
    """One measure, with initial weights where it needs them."""
    needs = MEASURES[name].version(as_published=as_published).needs
    given = initial_weights(objective) if "initial_weights" in needs else None
    options = {name: parameters}
    found = measure(
        objective,
        name,
        seed=seed,
        initial_weights=given,
        parameters=options,
        as_published=as_published,
        progress=False,
    )
    return found[name]


def few(name: str, *, as_published: bool = False) -> dict[str, int]:
    """A measure's parameters with few samples, probes and steps, where it is not the value that counts."""
    parameters = MEASURES[name].version(as_published=as_published).parameters
    whole = {key: entry.default for key, entry in parameters.items() if isinstance(entry.default, int)}
    return {key: min(value, 3) for key, value in whole.items() if key != "batch_size"}


def initial_weights(objective: Objective) -> Tensor:
    return drawn(objective.size, name="initial weights")
