"""The attacks with a radius: steps up the loss within a ball, random search, and noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from landscape.balls import Norm, project, random_point, size, steepest
from landscape.robustness.auto_pgd import auto_pgd
from landscape.robustness.deepfool import most_likely
from landscape.robustness.fab import TARGETS, fab
from landscape.robustness.pixels import PixelModel, wrong
from landscape.robustness.square import square_attack
from landscape.robustness.visit import Visit


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
        boundary: Whether its steps go to the border with a class and along it (FAB).
        adaptive: Whether its steps find their own length (Auto-PGD).
        targets: How many other classes it tries to reach, one after another, by the ratio of logits; 0 for any.
        search: Whether it searches at random, without gradients; its steps are forward passes.
        parts: The attacks that it consists of, each on what the ones before left.
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
    boundary: bool = False
    adaptive: bool = False
    targets: int = 0
    search: bool = False
    parts: tuple[str, ...] = ()
    reference: str = ""

    @property
    def reads(self) -> frozenset[str]:
        """Which of "steps", "step_size" and "starts" mean something to it."""
        if self.noise:
            return frozenset({"starts"})
        if self.minimal or self.parts:
            return frozenset({"steps"})
        if self.adaptive or self.search:
            return frozenset({"steps", "starts"})
        return frozenset({"steps", "step_size", "starts"} if self.steps > 1 else ())

    @property
    def overshoots(self) -> bool:
        """Whether it takes steps that go beyond the border by a share that can be chosen (DeepFool)."""
        return self.minimal and not self.boundary


_FGSM = "I. Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015"
_PGD = "A. Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018"
_DEEPFOOL = "S. Moosavi-Dezfooli et al., DeepFool, CVPR 2016"
_AUTO = "F. Croce, M. Hein, Reliable Evaluation of Adversarial Robustness, ICML 2020"
_FAB = "F. Croce, M. Hein, Minimally Distorted Adversarial Examples with FAB, ICML 2020"
_SQUARE = "M. Andriushchenko et al., Square Attack, ECCV 2020"
_REACH = 2.5  # Madry et al.'s code: from any point of the ball each side can be reached

_NORMS: tuple[Norm, ...] = ("l2", "linf")

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
    **{
        f"apgd-{norm}": Attack(
            norm=norm, definition="steps with momentum, whose length halves by itself (Auto-PGD)", steps=100,
            random=True, adaptive=True, reference=_AUTO,
        )
        for norm in _NORMS
    },
    **{
        f"apgd-t-{norm}": Attack(
            norm=norm, definition="Auto-PGD toward each of the 9 classes that are next, by the ratio of logits",
            steps=100, random=True, adaptive=True, targets=TARGETS, reference=_AUTO,
        )
        for norm in _NORMS
    },
    **{
        f"fab-{norm}": Attack(
            norm=norm, definition="the smallest change: to the border with each of the 9 classes that are next, and "
            "along it toward the example (FAB)", steps=100, minimal=True, boundary=True, targets=TARGETS,
            reference=_FAB,
        )
        for norm in _NORMS
    },
    **{
        f"square-{norm}": Attack(
            norm=norm, definition="random squares, kept where they help; without gradients", steps=5000,
            search=True, reference=_SQUARE,
        )
        for norm in _NORMS
    },
    **{
        f"autoattack-{norm}": Attack(
            norm=norm, definition="apgd, then apgd-t, fab and square, each on what is left (AutoAttack)", steps=100,
            parts=tuple(f"{part}-{norm}" for part in ("apgd", "apgd-t", "fab", "square")), reference=_AUTO,
        )
        for norm in _NORMS
    },
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
    parts = efforts_of_parts(attack, effort)
    for number, (one, its) in enumerate(parts):
        for start in range(its.starts):
            left = rows if beyond else rows[~broken[rows]]
            if not len(left):
                return
            draws = stream(start * len(parts) + number)
            for visit in _from_one_start(model, clean, labels, left, epsilon, one, its, start, draws, beyond):
                broken[visit.rows[visit.missed]] = True
                yield visit


def _from_one_start(
    model: PixelModel,
    clean: Tensor,
    labels: Tensor,
    rows: Tensor,
    epsilon: float,
    attack: Attack,
    effort: Effort,
    start: int,
    draws: torch.Generator,
    beyond: bool,
) -> Iterator[Visit]:
    """What an attack comes by from one start; numbers are drawn for all: who is broken changes nothing for others."""
    if attack.search:
        options = {"epsilon": epsilon, "norm": attack.norm, "queries": effort.steps, "stream": draws, "beyond": beyond}
        yield from square_attack(model, clean, labels, rows, **options)
        return
    x, change = clean[rows], torch.zeros_like(clean)
    if attack.random or start:
        change = random_point(clean, epsilon, attack.norm, draws)
    change = model.inside(x + change[rows]) - x
    if attack.noise:
        with torch.no_grad():
            logits = model(x + change)
        yield Visit(rows, change, logits, wrong(logits, labels[rows]))
    elif attack.adaptive or attack.boundary:
        yield from _toward_classes(model, clean, labels, rows, change, epsilon, attack, effort, beyond)
    else:
        yield from _climb(model, clean, labels, rows, change, epsilon, attack.norm, effort, beyond)


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

    Every point that the attack comes by counts: more starts never find less, nor do more steps of a fixed length.

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


def _toward_classes(
    model: PixelModel,
    clean: Tensor,
    labels: Tensor,
    rows: Tensor,
    change: Tensor,
    epsilon: float,
    attack: Attack,
    effort: Effort,
    beyond: bool,
) -> Iterator[Visit]:
    """Go from one start by Auto-PGD or FAB: to any other class, or to several in turn."""
    goals: list[Any] = [None]
    if attack.targets:
        goals = [*most_likely(model, clean[rows], labels[rows], attack.targets).unbind(1)]
    broken = torch.zeros(len(clean), dtype=torch.bool, device=clean.device)
    options: dict[str, Any] = {"epsilon": epsilon, "norm": attack.norm, "steps": effort.steps, "beyond": beyond}
    if attack.adaptive:
        options["loss"] = "dlr" if attack.targets else effort.loss
    search: Callable[..., Iterator[Visit]] = auto_pgd if attack.adaptive else fab
    for goal in goals:
        kept = torch.ones_like(rows, dtype=torch.bool) if beyond else ~broken[rows]
        if not bool(kept.any()):
            return
        targets = None if goal is None else goal[kept]
        for visit in search(model, clean, labels, rows[kept], change[kept], targets=targets, **options):
            broken[visit.rows[visit.missed]] = True
            yield visit


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


def effort_of(attack: Attack, epsilon: float, *, steps: int, step_size: float | None, starts: int, loss: str) -> Effort:
    """Fill in the attack's own length of a step where none was said, for one radius."""
    length = attack.reach * epsilon / steps if step_size is None else step_size
    return Effort(steps=steps, step_size=length, starts=starts, loss=loss)


def efforts_of_parts(attack: Attack, effort: Effort) -> list[tuple[Attack, Effort]]:
    """Return what an attack consists of, itself or several, and how hard each tries.

    Args:
        attack: The whole.
        effort: Its own; the steps of a part are in the same proportion to its own default.

    Example:
        >>> effort = Effort(steps=20, step_size=0.1, starts=1, loss="cross_entropy")
        >>> [its.steps for _, its in efforts_of_parts(ATTACKS["autoattack-l2"], effort)]
        [20, 20, 20, 1000]
    """
    if not attack.parts:
        return [(attack, effort)]
    parts = [ATTACKS[name] for name in attack.parts]
    steps = [max(1, round(effort.steps * part.steps / attack.steps)) for part in parts]
    return [(part, replace(effort, steps=n, starts=part.starts)) for part, n in zip(parts, steps, strict=True)]
