"""What several measures of one call share: the weights, the loss and gradient there, draws, and the Hessian."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from landscape.curvature import Hessian
from landscape.objective import Objective
from landscape.progress import Progress, progress_bar
from landscape.surface.directions import draw_normal

T = TypeVar("T")

DRAWS_KEPT = 64 * 2**20
"""Bytes of draws that are kept, since several measures and every step of a search ask for the same ones."""


class Workbench:
    """An objective held still, and what was computed of it already.

    Args:
        objective: What is measured, at its model's present weights; later changes pass it by.
        seed: Names all draws.
        initial_weights: (P,), or None.
        progress: Whether progress bars are shown.

    Raises:
        NonDeterministicError: The model draws random numbers in evaluation mode.
    """

    def __init__(self, objective: Objective, *, seed: int, initial_weights: Tensor | None, progress: bool) -> None:
        objective.check_deterministic()
        self.objective = objective.snapshot()
        self.weights = self.objective.weights()
        self.seed, self.progress = seed, progress
        self.initial_weights = None if initial_weights is None else objective.check_vector(initial_weights)
        self._known: dict[Hashable, Any] = {}
        self._draws: dict[int, Tensor] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Compute something the first time it is asked for.

        Args:
            key: What it is.
            make: How to compute it.
        """
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    @cached_property
    def loss(self) -> float:
        """The loss at the weights themselves."""
        return float(self.loss_at(self.weights))

    @cached_property
    def gradient(self) -> Tensor:
        """The gradient of the loss at the weights, (P,)."""
        return self.objective.gradient()

    @cached_property
    def gradient_norm(self) -> float:
        """The Euclidean norm of the gradient."""
        return float(torch.linalg.vector_norm(self.gradient.double()))

    @cached_property
    def uphill(self) -> Tensor:
        """The gradient over its norm, (P,); zero where the gradient is."""
        scaled = self.gradient.double() / self.gradient_norm if self.gradient_norm else self.gradient
        return scaled.to(self.gradient.dtype)

    @cached_property
    def hessian(self) -> Hessian:
        """The Hessian at the weights."""
        return Hessian(self.objective)

    def loss_at(self, point: Tensor) -> Tensor:
        """Return the loss at other weights (P,), a 0-d float64 tensor on the device."""
        return self.objective.evaluate_at(point)[0]

    def value_and_gradient(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss at other weights (P,), a 0-d float64 tensor, and its gradient, (P,)."""
        leaf = point.detach().clone().requires_grad_(True)
        value, gradient = torch.zeros((), dtype=torch.float64, device=point.device), torch.zeros_like(point)
        with torch.enable_grad():
            for term in self.objective.loss_terms(leaf):
                gradient += torch.autograd.grad(term, leaf)[0]
                value += term.detach()
        return value, gradient

    def normal(self, index: int) -> Tensor:
        """Draw the standard normal vector of a number: the same for all measures, on all devices. (P,)."""
        if index in self._draws:
            return self._draws[index]
        drawn = draw_normal(self.objective.size, self.seed, "lpf", index)
        found = drawn.to(device=self.objective.device, dtype=self.objective.dtype)
        if (len(self._draws) + 1) * found.numel() * found.element_size() <= DRAWS_KEPT:
            self._draws[index] = found
        return found

    def bar(self, what: str, total: int, unit: str) -> Progress:
        """Return a progress bar.

        Args:
            what: The measure.
            total: How many units there are.
            unit: What is counted.
        """
        return progress_bar(total, desc=what, unit=unit, enabled=self.progress)
