"""Auto-PGD: projected steps with momentum, whose length halves by itself where it does not get on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from landscape.balls import Norm, broadcast, project, steepest
from landscape.robustness.pixels import PixelModel, losses_of, wrong
from landscape.robustness.visit import Visit

_MOMENTUM = 0.75  # the share of the step; the rest is that of the step before
_ENOUGH = 0.75  # the share of steps that must rise between two checkpoints
_FIRST, _SHORTER, _LEAST = 0.22, 0.03, 0.06  # the checkpoints, as shares of all steps


@dataclass
class _Climb:
    """Where each example that is not broken yet has come to; the first axis is theirs."""

    rows: Tensor
    clean: Tensor
    labels: Tensor
    targets: Tensor
    change: Tensor
    before: Tensor
    gradient: Tensor
    value: Tensor
    best: Tensor
    best_gradient: Tensor
    best_value: Tensor
    known: Tensor  # the best value at the last checkpoint
    length: Tensor
    rises: Tensor
    halved: Tensor

    def kept(self, chosen: Tensor) -> _Climb:
        return _Climb(**{each.name: getattr(self, each.name)[chosen] for each in fields(self)})

    def seen(self, gradient: Tensor, value: Tensor) -> None:
        """Take note of a new point."""
        self.rises = self.rises + (value > self.value)
        better = value > self.best_value
        self.best = torch.where(broadcast(better, self.best), self.change, self.best)
        self.best_gradient = torch.where(broadcast(better, self.best), gradient, self.best_gradient)
        self.best_value = torch.where(better, value, self.best_value)
        self.gradient, self.value = gradient, value

    def judged(self, steps: int) -> None:
        """Halve the steps of those that did not get on since the last checkpoint, and put them back to their best."""
        stuck = ~self.halved & (self.best_value <= self.known)
        halve = (self.rises < _ENOUGH * steps) | stuck
        wide = broadcast(halve, self.change)
        self.length = torch.where(halve, self.length / 2, self.length)
        self.change = torch.where(wide, self.best, self.change)
        self.gradient = torch.where(wide, self.best_gradient, self.gradient)
        self.value = torch.where(halve, self.best_value, self.value)
        self.halved, self.known, self.rises = halve, self.best_value, torch.zeros_like(self.rises)


def checkpoints(steps: int) -> list[int]:
    """Return the steps after which Auto-PGD asks whether it gets on.

    Definition: ``ceil(p_j N)``, ``p_0 = 0``, ``p_1 = 0.22`` and ``p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06)``.

    Args:
        steps: N.

    Example:
        >>> checkpoints(100)
        [22, 41, 57, 70, 80, 87, 93, 99]
    """
    found, last, now = [], 0.0, _FIRST
    while now <= 1.0:
        found.append(math.ceil(round(now * steps, 6)))
        last, now = now, now + max(now - last - _SHORTER, _LEAST)
    return sorted(set(found))


def auto_pgd(
    model: PixelModel,
    clean: Tensor,
    labels: Tensor,
    rows: Tensor,
    change: Tensor,
    *,
    epsilon: float,
    norm: Norm,
    steps: int,
    loss: str,
    targets: Tensor | None = None,
    beyond: bool = False,
) -> Iterator[Visit]:
    """Climb from one start by Auto-PGD.

    Definition: with the projection P onto the ball and the images, ``z = P(x_k + h s(x_k))``, s the steepest step of
    norm 1, and ``x_{k+1} = P(x_k + 0.75 (z - x_k) + 0.25 (x_k - x_{k-1}))``. The length h of each example is 2 epsilon
    at first. At each of :func:`checkpoints` it is halved, and the example put back to its best point, where the loss
    rose in less than 75 % of the steps since the last one, or where the length was not halved then and the best loss
    has not risen since.

    Args:
        model: What is attacked.
        clean: (B, ...) pixels.
        labels: (B,).
        rows: (b,) which of them are attacked.
        change: (b, ...) where to start, within the ball.
        epsilon: The radius, above 0.
        norm: "l2" or "linf".
        steps: N.
        loss: What is climbed; see :func:`landscape.robustness.pixels.losses_of`.
        targets: (b,) the classes to reach, for a loss that has some.
        beyond: Whether examples that are misclassified somewhere are followed further.

    Yields:
        Every point that it comes by.

    References:
        F. Croce, M. Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free
        Attacks, ICML 2020, arXiv 2003.01690, section 3.
    """
    state = _start(clean[rows], labels[rows], rows, targets, change, 2.0 * epsilon)
    asked, last = checkpoints(steps), 0

    def inside(x: Tensor, moved: Tensor) -> Tensor:
        return model.inside(x + project(moved, epsilon, norm)) - x

    for step in range(steps + 1):
        goal = None if targets is None else state.targets
        gradient, logits = model.gradient(state.clean + state.change, state.labels, loss, goal)
        missed = wrong(logits, state.labels)
        yield Visit(state.rows, state.change, logits, missed)
        if step == steps or not (beyond or bool((~missed).any())):
            return
        state.seen(gradient, losses_of(logits, state.labels, loss, goal))
        state = state if beyond else state.kept(~missed)
        if step in asked:
            state.judged(step - last)
            last = step
        reached = inside(
            state.clean, state.change + broadcast(state.length, state.change) * steepest(state.gradient, norm)
        )
        if step:
            drift = _MOMENTUM * (reached - state.change) + (1.0 - _MOMENTUM) * (state.change - state.before)
            reached = inside(state.clean, state.change + drift)
        state = replace(state, before=state.change, change=reached)


def _start(
    clean: Tensor, labels: Tensor, rows: Tensor, targets: Tensor | None, change: Tensor, length: float
) -> _Climb:
    low = torch.full((len(clean),), -torch.inf, dtype=clean.dtype, device=clean.device)
    count = torch.zeros_like(labels)
    none = torch.zeros_like(change)
    targets = labels if targets is None else targets
    return _Climb(
        rows=rows, clean=clean, labels=labels, targets=targets, change=change, before=change, gradient=none, value=low,
        best=change, best_gradient=none, best_value=low, known=low, length=torch.full_like(low, length),
        rises=count - 1, halved=torch.zeros_like(count, dtype=torch.bool),
    )  # fmt: skip
