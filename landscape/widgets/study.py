"""Everything that an explorer of perturbations knows, computed once and piece by piece."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.curvature import Hessian
from landscape.surface.directions import draw_normal
from landscape.widgets.methods import Method, Setting
from landscape.widgets.moves import Mover, RawMove
from landscape.widgets.slices import Slice, outline, slice_through

_LINE = 13
"""Points on the straight line through the weights and the perturbed weights."""
_RADII = 6
"""Lengths at which random directions are looked at."""
_EDGE = 1e-3
"""How far short of AMP's ball a tensor may be and still count as on its edge, as a share of the radius."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Move:
    """What a perturbation does to one network.

    Attributes:
        loss: At the perturbed weights; the mean over the draws of noise.
        stderr: Its standard error over the draws; NaN for one draw, 0 where nothing is drawn.
        accuracy: There, NaN where there is none.
        length: L2 norm of the perturbation; of several draws the root mean square.
        slope: First-order change of the loss, gradient times perturbation; the mean over the draws.
        bound: How many tensors are on the edge of AMP's ball, or -1 for other methods.
        tensors: How many tensors move.
        shares: (F,) the share of the squared length in each filter; NaN where nothing moves.
        relative: (F,) the length in each filter by the filter's own norm.
    """

    loss: float
    stderr: float
    accuracy: float
    length: float
    slope: float
    bound: int
    tensors: int
    shares: np.ndarray
    relative: np.ndarray


@dataclass(eq=False)
class Details:
    """What is known of a perturbation beside the numbers: None until it is computed."""

    path: np.ndarray | None = None
    inside: float = math.nan
    line: tuple[np.ndarray, np.ndarray] | None = None
    random: tuple[float, float] | None = None
    curvature: float = math.nan
    outline: np.ndarray | None = None


@dataclass(eq=False)
class Facts:
    """What is known of one network: filled while time passes."""

    moves: dict[Setting, Move] = field(default_factory=dict)
    details: dict[Setting, Details] = field(default_factory=dict)
    slices: dict[Any, Slice] = field(default_factory=dict)
    spread: dict[Any, tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=dict)
    lines: dict[Any, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    eigenvalue: float = math.nan
    eigenvalue_asked: bool = False


class Study:
    """Networks, what moves them, and what was found so far.

    Args:
        movers: Label to the weights.
        methods: Name to method.
        directions: How many random directions stand for all of them.
        points: Of each axis of a slice.
        facts: What is known, shared between threads; None begins with nothing.
    """

    def __init__(
        self,
        movers: Mapping[str, Mover],
        methods: Mapping[str, Method],
        *,
        directions: int = 5,
        points: int = 15,
        facts: dict[str, Facts] | None = None,
    ) -> None:
        self.movers, self.methods = dict(movers), dict(methods)
        self.directions, self.points = directions, points
        self.facts = {label: Facts() for label in self.movers} if facts is None else facts
        self._last: tuple[str, Setting, RawMove] | None = None

    def twin(self) -> Study:
        """Return the same for another thread: it computes on its own and knows what this one knows."""
        movers = {label: mover.twin() for label, mover in self.movers.items()}
        return Study(movers, self.methods, directions=self.directions, points=self.points, facts=self.facts)

    # One perturbation ---------------------------------------------------------------------------------------------

    def move(self, label: str, setting: Setting) -> Move:
        """Evaluate one network at the weights that a setting perturbs; once."""
        moves = self.facts[label].moves
        if setting not in moves:
            mover, known = self.movers[label], self._last is not None and self._last[:2] == (label, setting)
            moves[setting] = _describe(mover, setting, self._moved(label, setting) if known else mover.move(setting))
        return moves[setting]

    def _moved(self, label: str, setting: Setting) -> RawMove:
        """Let the method's optimizer take its step, and keep it for what else is asked of the same one."""
        if self._last is None or self._last[:2] != (label, setting):
            self._last = label, setting, self.movers[label].move(setting)
        return self._last[2]

    def details(self, label: str, setting: Setting) -> Details:
        """Return what is known of a perturbation; nothing is computed."""
        return self.facts[label].details.setdefault(setting, Details())

    def stops(self, setting: Setting) -> list[Setting]:
        """Return the setting at every stop of its slider, from 0 on."""
        stops = sorted({0.0, *self.methods[setting.method].knob.stops})
        return [setting.at(value) for value in stops]

    # All the rest, piece by piece -----------------------------------------------------------------------------------

    def fill(self, selected: str, setting: Setting, *, words: bool = True) -> Iterator[str]:
        """Compute what is missing, yielding what was done after each piece.

        Args:
            selected: The network whose slice, line and random directions are wanted.
            setting: The perturbation.
            words: Whether what is only said in words is wanted too, and not only what is drawn.
        """
        yield from self._plane(selected, setting)
        for label in sorted(self.movers, key=lambda label: label != selected):
            for stop in [setting, *self.stops(setting)]:
                if stop not in self.facts[label].moves:
                    self.move(label, stop)
                    yield f"the loss at {stop.words}"
        yield from self._line(selected, setting)
        yield from self._random(selected, setting)
        if words:
            yield from self._random_here(selected, setting)
            yield from self._curvature(selected, setting)
        plane = self.facts[selected].slices[setting.family]
        while plane.todo:
            plane.step(self.movers[selected])
            yield f"the slice, {plane.loss.size - len(plane.todo)} of {plane.loss.size} points"
        if words:
            yield from self._eigenvalue(selected)

    def _plane(self, label: str, setting: Setting) -> Iterator[str]:
        facts, mover = self.facts[label], self.movers[label]
        if setting.family not in facts.slices:
            largest = self.stops(setting)[-1]
            farthest = self._moved(label, largest)
            facts.slices[setting.family] = slice_through(mover, setting, farthest, points=self.points)
            self.move(label, largest)  # of the same step; it is a stop of the slider
            yield "the plane of the slice"
        plane, details = facts.slices[setting.family], self.details(label, setting)
        if details.path is None:
            raw = self._moved(label, setting)
            details.outline = outline(setting, plane, mover.objective.layout, mover.weights)
            details.path = plane.project(raw.deltas)
            length = sum(float(delta.double().square().sum()) for delta in raw.deltas)
            details.inside = float((details.path**2).sum()) / length if length else math.nan
            yield "where the perturbed weights are on the slice"

    def _line(self, label: str, setting: Setting) -> Iterator[str]:
        """Evaluate the straight line through the weights and the perturbed weights, to both sides."""
        facts, mover, method = self.facts[label], self.movers[label], self.methods[setting.method]
        details = self.details(label, setting)
        if details.line is not None or not (raw := self._moved(label, setting)).points:
            return
        key = setting.family if method.straight else setting
        if key not in facts.lines:
            delta = raw.deltas[-raw.final]
            unit = delta / torch.linalg.vector_norm(delta)
            reach = facts.slices[setting.family].reach
            places, losses = np.linspace(-0.5 * reach, reach, _LINE), np.full(_LINE, np.nan)
            for index, place in enumerate(places):
                losses[index] = mover.evaluate(mover.weights + float(place) * unit).loss
                yield "the line through w and w + δ"
            facts.lines[key] = (places, losses)
        details.line = facts.lines[key]

    def _random_here(self, label: str, setting: Setting) -> Iterator[str]:
        """Evaluate random directions at the length of the perturbation."""
        mover, details = self.movers[label], self.details(label, setting)
        length = self.move(label, setting).length
        if details.random is not None or not length:
            return
        losses = []
        for draw in range(self.directions):
            losses.append(mover.evaluate(mover.weights + length * _random_unit(mover, draw)).loss)
            yield "random directions of the same length"
        details.random = float(np.mean(losses)), _stderr(np.array(losses))

    def _random(self, label: str, setting: Setting) -> Iterator[str]:
        """Evaluate random directions, at lengths up to the largest perturbation."""
        facts, mover = self.facts[label], self.movers[label]
        if setting.family in facts.spread:
            return
        radii = np.linspace(0.0, facts.slices[setting.family].reach, _RADII)
        losses = np.full((self.directions, _RADII), mover.evaluate().loss)
        for draw in range(self.directions):
            unit = _random_unit(mover, draw)
            for index, radius in enumerate(radii[1:], start=1):
                losses[draw, index] = mover.evaluate(mover.weights + float(radius) * unit).loss
                yield "random directions"
        error = losses.std(0, ddof=1) / math.sqrt(self.directions) if self.directions > 1 else np.full(_RADII, np.nan)
        facts.spread[setting.family] = (radii, losses.mean(0), error)

    def _curvature(self, label: str, setting: Setting) -> Iterator[str]:
        details = self.details(label, setting)
        if setting.method == "lpfsgd" or not math.isnan(details.curvature):
            return
        if (raw := self._moved(label, setting)).points:
            details.curvature = self.movers[label].curvature(raw.deltas[-1])
            yield "the curvature along δ"

    def _eigenvalue(self, label: str) -> Iterator[str]:
        facts = self.facts[label]
        if not facts.eigenvalue_asked:
            facts.eigenvalue_asked = True
            with Hessian(self.movers[label].objective) as hessian:
                facts.eigenvalue = float(hessian.top(1, tol=0.02).values[0])
            yield "the top eigenvalue of the Hessian"


def _random_unit(mover: Mover, draw: int) -> Tensor:
    drawn = draw_normal(mover.objective.size, mover.seed, "explorer", draw)
    return (drawn / torch.linalg.vector_norm(drawn)).to(mover.weights)


def _describe(mover: Mover, setting: Setting, raw: RawMove) -> Move:
    found = [mover.evaluate(point) for point in raw.perturbed]
    losses = np.array([one.loss for one in found])
    deltas = raw.deltas[-raw.final :] if raw.final else ()
    layout = mover.objective.layout
    squares = sum((layout.filter_norms(delta.double()).square() for delta in deltas), torch.zeros(layout.filters))
    squares = squares.double().cpu() / max(1, len(deltas))
    total = float(squares.sum())
    own = layout.filter_norms(mover.weights.double()).cpu()
    norms = [[float(torch.linalg.vector_norm(piece)) for piece in layout.named(delta).values()] for delta in deltas]
    largest = np.max(norms, axis=0) if norms else np.zeros(len(layout.names))
    noisy = setting.method == "lpfsgd"
    return Move(
        loss=float(losses.mean()),
        stderr=0.0 if not noisy or not deltas else _stderr(losses),
        accuracy=math.nan if mover.judge.metric is not None else float(np.mean([one.accuracy for one in found])),
        length=math.sqrt(total),
        slope=float(np.mean([float(torch.dot(mover.gradient.double(), delta.double())) for delta in deltas] or [0.0])),
        bound=int((largest >= setting.value * (1 - _EDGE)).sum()) if setting.method == "amp" and deltas else -1,
        tensors=int((largest > 0).sum()),
        shares=(squares / total).numpy() if total else np.full(layout.filters, np.nan),
        relative=(squares.sqrt() / own).numpy(),
    )


def _stderr(losses: np.ndarray) -> float:
    return float(losses.std(ddof=1) / math.sqrt(len(losses))) if len(losses) > 1 else math.nan
