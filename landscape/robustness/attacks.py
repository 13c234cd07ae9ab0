"""The attacks with a radius: steps up the loss within a ball, and noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from landscape.balls import Norm, broadcast, project, random_point, size, steepest
from landscape.robustness.pixels import PixelModel, wrong


@dataclass(frozen=True, kw_only=True)
class Attack:
    """How an attack looks for mistakes within a radius.

    Attributes:
        norm: "l2" or "linf".
        definition: In a line.
        steps: Steps of each start.
        reach: The length of all steps together, in radii: a step is ``reach * epsilon / steps``.
        starts: How many starts.
        random: Whether each start is a random point of the ball; else the first is the example itself.
        noise: Whether there are no steps at all, only random points.
        minimal: Whether it looks for the smallest change, whatever the radius.
        reference: Where it comes from.
    """

    norm: Norm
    definition: str
    steps: int = 1
    reach: float = 1.0
    starts: int = 1
    random: bool = False
    noise: bool = False
    minimal: bool = False
    reference: str = ""

    @property
    def reads(self) -> frozenset[str]:
        """Which of "steps", "step_size" and "starts" mean something to it."""
        if self.noise:
            return frozenset({"starts"})
        if self.minimal:
            return frozenset({"steps"})
        return frozenset({"steps", "step_size", "starts"} if self.steps > 1 else ())


_FGSM = "I. Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015"
_PGD = "A. Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018"
_DEEPFOOL = "S. Moosavi-Dezfooli et al., DeepFool, CVPR 2016"
_REACH = 2.5  # Madry et al.'s code: from any point of the ball each side can be reached

ATTACKS: dict[str, Attack] = {
    "fgsm": Attack(norm="linf", definition="x + epsilon sign(g)", reference=_FGSM),
    "fgm": Attack(norm="l2", definition="x + epsilon g / ||g||", reference=_FGSM),
    "bim": Attack(
        norm="linf", definition="steps along sign(g) from x, back into the ball after each", steps=10, reach=_REACH,
        reference="A. Kurakin et al., Adversarial Examples in the Physical World, ICLR 2017 workshop",
    ),
    "pgd-linf": Attack(
        norm="linf", definition="the same from random points of the ball", steps=40, reach=_REACH, random=True,
        reference=_PGD,
    ),
    "pgd-l2": Attack(
        norm="l2", definition="steps along g / ||g|| from random points of the ball, back into it after each",
        steps=40, reach=_REACH, random=True, reference=_PGD,
    ),
    "noise-linf": Attack(
        norm="linf", definition="uniform noise in the ball, the worst of several draws", starts=10, random=True,
        noise=True,
    ),
    "noise-l2": Attack(
        norm="l2", definition="uniform noise in the ball, the worst of several draws", starts=10, random=True,
        noise=True,
    ),
    "deepfool-l2": Attack(
        norm="l2", definition="to the nearest border of the classes, taken as flat, again and again", steps=50,
        minimal=True, reference=_DEEPFOOL,
    ),
    "deepfool-linf": Attack(
        norm="linf", definition="to the nearest border of the classes, taken as flat, again and again", steps=50,
        minimal=True, reference=_DEEPFOOL,
    ),
}  # fmt: skip
"""Every attack by its name."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How hard an attack tries.

    Attributes:
        steps: Steps of each start.
        step_size: Length of a step in the attack's norm, in units of pixels from 0 to 1.
        starts: How many starts.
        loss: What is climbed; see :func:`landscape.robustness.pixels.losses_of`.
    """

    steps: int
    step_size: float
    starts: int
    loss: str


Stream = Callable[[int], torch.Generator]


class Visit(NamedTuple):
    """Points that an attack comes by.

    Attributes:
        rows: (b,) which examples.
        change: (b, ...) what is added to each.
        logits: (b, K) what the model says there.
        missed: (b,) bool: which are misclassified.
    """

    rows: Tensor
    change: Tensor
    logits: Tensor
    missed: Tensor


def visits(
    model: PixelModel,
    clean: Tensor,
    labels: Tensor,
    rows: Tensor,
    epsilon: float,
    attack: Attack,
    effort: Effort,
    stream: Stream,
    *,
    beyond: bool = False,
) -> Iterator[Visit]:
    """Yield every point that an attack with a radius comes by, start by start and step by step.

    Args:
        model: What is attacked.
        clean: (B, ...) pixels.
        labels: (B,).
        rows: (b,) which of them are attacked.
        epsilon: The radius, above 0.
        attack: The norm, and how to begin.
        effort: How hard to try.
        stream: The generator of each start.
        beyond: Whether examples that are misclassified somewhere are followed further; else they are left alone from
            then on.
    """
    broken = torch.zeros(len(clean), dtype=torch.bool, device=clean.device)
    for start in range(effort.starts):
        left = rows if beyond else rows[~broken[rows]]
        if not len(left):
            return
        x = clean[left]
        change = torch.zeros_like(clean)
        if attack.random or start:  # drawn for all: what one example gets does not depend on who is broken
            change = random_point(clean, epsilon, attack.norm, stream(start))
        change = model.inside(x + change[left]) - x
        if attack.noise:
            with torch.no_grad():
                logits = model(x + change)
            found = iter([Visit(left, change, logits, wrong(logits, labels[left]))])
        else:
            found = _climb(model, clean, labels, left, change, epsilon, attack.norm, effort, beyond)
        for visit in found:
            broken[visit.rows[visit.missed]] = True
            yield visit


def break_within(
    model: PixelModel,
    clean: Tensor,
    labels: Tensor,
    rows: Tensor,
    epsilon: float,
    attack: Attack,
    effort: Effort,
    stream: Stream,
) -> Tensor:
    """Look for a misclassified input within a ball around some examples.

    Every point that the attack comes by counts, so more steps or starts never find less.

    Args:
        model: What is attacked.
        clean: (B, ...) pixels.
        labels: (B,).
        rows: (b,) which of them are attacked.
        epsilon: The radius, above 0.
        attack: The norm, and how to begin.
        effort: How hard to try.
        stream: The generator of each start.

    Returns:
        (b,) the sizes of the changes found; NaN where none was found.
    """
    found = torch.full((len(clean),), torch.nan, dtype=clean.dtype, device=clean.device)
    for visit in visits(model, clean, labels, rows, epsilon, attack, effort, stream):
        found[visit.rows[visit.missed]] = size(visit.change[visit.missed], attack.norm)
    return found[rows]


def _climb(
    model: PixelModel,
    clean: Tensor,
    labels: Tensor,
    rows: Tensor,
    change: Tensor,
    epsilon: float,
    norm: Norm,
    effort: Effort,
    beyond: bool,
) -> Iterator[Visit]:
    """Climb from one start."""
    for step in range(effort.steps + 1):
        x, y = clean[rows], labels[rows]
        if step < effort.steps:
            gradient, logits = model.gradient(x + change, y, effort.loss)
        else:
            with torch.no_grad():
                gradient, logits = None, model(x + change)
        missed = wrong(logits, y)
        yield Visit(rows, change, logits, missed)
        if gradient is None:
            return
        if not beyond:
            if bool(missed.all()):
                return
            rows, x, change, gradient = (each[~missed] for each in (rows, x, change, gradient))
        moved = project(change + effort.step_size * steepest(gradient, norm), epsilon, norm)
        change = model.inside(x + moved) - x  # clamping brings every pixel nearer to its own: still within the ball


def deepfool(
    model: PixelModel, clean: Tensor, labels: Tensor, norm: Norm, *, steps: int, overshoot: float, candidates: int
) -> tuple[Tensor, Tensor]:
    """Look for the smallest change that breaks each example.

    Definition: with ``f'_k = f_k - f_y`` and its gradient ``w'_k``, the nearest border is that of the class k with the
    least ``|f'_k| / ||w'_k||_q`` (q = 2 for L2, 1 for L-infinity). The step goes there; steps are added up, and
    ``x + (1 + overshoot) * sum`` is tried. On a linear model one step finds the smallest change.

    Args:
        model: What is attacked.
        clean: (B, ...) pixels.
        labels: (B,).
        norm: "l2" or "linf".
        steps: Steps at most.
        overshoot: How far beyond the border, as a share of the way.
        candidates: How many classes are looked at: those with the largest logits.

    Returns:
        (B,) the sizes of the changes found, NaN where none was found; and (B, ...) the changes, 0 there.
    """
    found = torch.full((len(clean),), torch.nan, dtype=clean.dtype, device=clean.device)
    changes = torch.zeros_like(clean)
    rows, change = torch.arange(len(clean), device=clean.device), torch.zeros_like(clean)
    others = _candidates(model, clean, labels, candidates)
    for step in range(steps + 1):
        x, y = clean[rows], labels[rows]
        tried = model.inside(x + (1.0 + overshoot) * change) - x
        with torch.no_grad():
            missed = wrong(model(x + tried), y)
        found[rows[missed]], changes[rows[missed]] = size(tried[missed], norm), tried[missed]
        if step == steps or bool(missed.all()):
            break
        rows, x, y, change, others = (each[~missed] for each in (rows, x, y, change, others))
        change = change + _to_the_border(model, x + (1.0 + overshoot) * change, y, others, norm)
    return found, changes


def _candidates(model: PixelModel, clean: Tensor, labels: Tensor, count: int) -> Tensor:
    """The classes beside the label whose logits are largest, (B, C)."""
    with torch.no_grad():
        logits = model(clean).scatter(1, labels.unsqueeze(1), -torch.inf)
    return logits.topk(min(count, logits.shape[1] - 1), dim=1).indices


def _to_the_border(model: PixelModel, pixels: Tensor, labels: Tensor, others: Tensor, norm: Norm) -> Tensor:
    """The shortest step to a border, by the gradients at these points, (B, ...)."""
    pixels = model.inside(pixels).detach().requires_grad_()
    with torch.enable_grad():
        logits = model(pixels)
        own = logits.gather(1, labels.unsqueeze(1))
        gaps = logits.gather(1, others) - own  # (B, C)
        gradients = [torch.autograd.grad(gap.sum(), pixels, retain_graph=True)[0] for gap in gaps.unbind(1)]
    best = torch.full((len(labels),), torch.inf, dtype=pixels.dtype, device=pixels.device)
    step = torch.zeros_like(pixels)
    for gap, gradient in zip(gaps.detach().unbind(1), gradients, strict=True):
        length = torch.linalg.vector_norm(gradient.flatten(1), 2 if norm == "l2" else 1, dim=1)
        usable = (length > 0) & length.isfinite()
        distance = torch.where(usable, gap.abs() / torch.where(usable, length, torch.ones_like(length)), torch.inf)
        nearer = distance < best
        toward = broadcast(torch.where(nearer, distance, torch.zeros_like(distance)), pixels) * steepest(gradient, norm)
        step = torch.where(broadcast(nearer, pixels), toward, step)
        best = torch.where(nearer, distance, best)
    return step.detach()


def effort_of(attack: Attack, epsilon: float, *, steps: int, step_size: float | None, starts: int, loss: str) -> Effort:
    """Fill in the attack's own length of a step where none was said, for one radius."""
    length = attack.reach * epsilon / steps if step_size is None else step_size
    return Effort(steps=steps, step_size=length, starts=starts, loss=loss)
