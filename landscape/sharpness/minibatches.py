"""The objective's examples in batches of a given size, whatever its own batch size is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from landscape.inputs import map_inputs
from landscape.objective import Objective
from landscape.seeding import generator
from landscape.substitution import Substitution


class Minibatches:
    """The data in random order, in batches of almost equal size, and the loss of each as a function of the weights.

    Args:
        objective: Whose data, model and loss.
        size: The most examples in a batch.
        seed: Names the order.
    """

    def __init__(self, objective: Objective, size: int, seed: int) -> None:
        self.objective = objective
        self._call = objective.substitution(objective.replica()[1])
        order = torch.randperm(objective.examples, generator=generator(seed, "minibatches"))
        self._parts = order.tensor_split(math.ceil(objective.examples / size))

    def __len__(self) -> int:
        """How many batches there are."""
        return len(self._parts)

    def __iter__(self) -> Iterator[Minibatch]:
        """Yield the batches, one in memory at a time."""
        for part in self._parts:
            inputs, targets = self.objective.select(part.to(self.objective.targets.device))
            yield Minibatch(self.objective, self._call, inputs, targets)


class Minibatch:
    """The mean loss over some examples.

    Args:
        objective: Whose loss, and whose weights.
        call: Of a private copy of its model, in evaluation mode, with other weights.
        inputs: (B, ...).
        targets: (B, ...).
    """

    def __init__(self, objective: Objective, call: Substitution, inputs: Any, targets: Tensor) -> None:
        self._objective, self._call = objective, call
        self._inputs, self._targets = inputs, targets

    def value_and_gradient(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss at weights (P,), 0-d, and its gradient, (P,)."""
        objective, inputs, targets = self._objective, self._inputs, self._targets
        if objective.writes_inputs:
            inputs, targets = map_inputs(Tensor.clone, inputs), targets.clone()
        leaf = point.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            outputs = self._call(objective.layout.named(leaf), inputs)
            loss = objective.batch_sum(outputs, targets) / len(targets)
            (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), gradient
