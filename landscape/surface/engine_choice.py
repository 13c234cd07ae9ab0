"""Which engine: measured on two points, after it was seen to agree."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from landscape.errors import ModelError, first_line
from landscape.objective import Objective
from landscape.surface.engines import ENGINES, Engine, build_engine
from landscape.surface.graphed import available
from landscape.surface.single import FoldedEngine, Points
from landscape.surface.threads import one_thread

AGREEMENT = 1e-5
"""Relative difference of two engines' losses up to which they agree."""
_FEW = 4  # examples that are enough to tell functions apart at many points
_SAME = 1e-3  # relative; rounding is a hundred times less, and another function a hundred times more
_WORTH = 64  # points from which measuring pays: it takes four of each engine
_QUICK = 0.02  # seconds a point may take for many at once to be tried: it takes that of 128 points
_CALLS = 0.4  # share of a point's time that is spent on calls, not on numbers, from which many at once may pay


@dataclass
class Choice:
    """An engine, and what was seen of the others.

    Attributes:
        engine: The fastest that agrees.
        seconds: Of one point, by name; only what was measured.
        refused: Why others were not taken, by name.
    """

    engine: Engine
    seconds: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return it as plain JSON values, for provenance."""
        return {"engine": self.engine.name, "engine_seconds": self.seconds, "engine_refused": self.refused}


def choose_engine(
    objective: Objective,
    vectors: Sequence[Tensor],
    *,
    wanted: str,
    probe: Points,
    points: int,
    star: Points = (),
    checked: bool = False,
) -> Choice:
    """Build the engine that was asked for, or with "auto" measure which is fastest.

    Every candidate evaluates two points. One is taken if both losses agree with the plain engine's to 1e-5 (or both
    are not finite), if the same point gives the same bits twice, if it is the same function of a few examples at more
    points, on all sides, and if it is fastest. Which is fastest may differ from run to run, and so may the last bits of
    what "auto" gives; the choice's name gives the same bits again.

    Args:
        objective: What is evaluated.
        vectors: The directions, (P,) each.
        wanted: "auto", or an engine's name.
        probe: The coordinates of two points, not the center.
        points: How many points are to be evaluated; for a few, "auto" measures nothing and is plain.
        star: The coordinates of more points, where a few examples are compared.
        checked: Whether the engine asked for was seen to agree earlier, as one that began a store was.

    Returns:
        The choice.

    Raises:
        ModelError: The engine asked for cannot evaluate this model.
    """
    if wanted == "plain" or (checked and wanted != "auto"):
        return Choice(build_engine(wanted, objective, vectors))
    if wanted != "auto":
        with one_thread(objective.device):
            return Choice(_checked(wanted, objective, vectors, probe, star))
    with one_thread(objective.device):
        return _fastest(objective, vectors, probe, star, points)


def _checked(name: str, objective: Objective, vectors: Sequence[Tensor], probe: Points, star: Points) -> Engine:
    """Build the engine asked for and see that it agrees with the plain one.

    Raises:
        ModelError: It cannot evaluate this model, or gives other losses.
    """
    expected, _ = _measured(build_engine("plain", objective, vectors), probe, turns=1)
    try:
        engine = build_engine(name, objective, vectors)
        values, _ = _measured(engine, probe, turns=2)
        same = _agree(values, expected) and _is_same_function(name, objective, vectors, star)
    except ModelError:
        raise
    except Exception as error:  # whatever a rewritten model raises
        raise ModelError(
            f"The engine {name!r} cannot evaluate this model.",
            got=first_line(error),
            fix="Use engine='auto' or 'plain'.",
        ) from error
    if not same:
        raise ModelError(f"The engine {name!r} gives this model other losses.", fix="Use engine='auto' or 'plain'.")
    return engine


def _fastest(objective: Objective, vectors: Sequence[Tensor], probe: Points, star: Points, points: int) -> Choice:
    plain = build_engine("plain", objective, vectors)
    if points < _WORTH or not objective.fixed_statistics:
        return Choice(plain)
    found = Choice(plain)
    expected, found.seconds["plain"] = _measured(plain, probe)
    best = found.seconds["plain"]
    for name in ENGINES:
        if not _promising(name, objective, found, best, points):
            continue
        if name == "stacked" and _calls(objective, vectors, probe) < _CALLS * best:
            found.refused[name] = "a point's time is spent on numbers, not on calls"
            continue
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message="There is a performance drop")  # the points go one by one
                engine = build_engine(name, objective, vectors)
                values, seconds = _measured(engine, probe)
                same = _agree(values, expected)
                if same and seconds < best:
                    same = _is_same_function(name, objective, vectors, star)
        except Exception as error:  # whatever a rewritten model raises: the plain one is there
            found.refused[name] = first_line(error)
            continue
        if not same:
            found.refused[name] = "its losses differ"
            continue
        found.seconds[name] = seconds
        if seconds < best:
            best, found.engine = seconds, engine
    return found


def _promising(name: str, objective: Objective, found: Choice, best: float, points: int) -> bool:
    """Whether an engine is worth being measured."""
    if name == "stacked":
        return best <= _QUICK and points >= 2 * ENGINES[name].block
    if name == "graphed":
        return available(objective.device)
    if name == "folded_large":  # larger batches: not for little data, nor where they are the objective's own already
        larger = min(objective.batch_size, objective.examples) > FoldedEngine.examples
        return objective.device.type == "cpu" and larger and "folded" not in found.refused
    return name != "plain"


def _calls(objective: Objective, vectors: Sequence[Tensor], probe: Points) -> float:
    """Return the seconds of a point's calls: of one with few examples, in as many batches."""
    _, seconds = _measured(build_engine("plain", objective.few(_FEW), vectors), probe)
    return seconds * -(-objective.examples // objective.batch_size)


def _measured(engine: Engine, probe: Points, *, turns: int = 2) -> tuple[list[Tensor], float]:
    """Return the losses of the probe, and again in another order, and the seconds of one point at its best."""
    block = [probe[k % len(probe)] for k in range(max(len(probe), engine.block))]
    losses, best = [], float("inf")
    for turn in (block, block[::-1])[:turns]:
        begun = time.perf_counter()
        loss, _ = engine.evaluate(turn)
        values = loss.cpu()  # waits for the device
        best = min(best, (time.perf_counter() - begun) / len(turn))
        losses.append(values)
    return [losses[0], *(other.flip(0) for other in losses[1:2])], best


def _agree(values: list[Tensor], expected: list[Tensor]) -> bool:
    """Whether losses are those expected up to rounding, and the same bits in both orders."""
    first, second = values
    if not torch.equal(first.nan_to_num(), second.nan_to_num()):
        return False
    wanted = expected[0].repeat(-(-len(first) // len(expected[0])))[: len(first)]
    finite = torch.isfinite(wanted)
    if not torch.equal(finite, torch.isfinite(first)):
        return False
    close = (first - wanted).abs() <= AGREEMENT * wanted.abs().clamp(min=1e-12)
    return bool(close[finite].all())


def _is_same_function(name: str, objective: Objective, vectors: Sequence[Tensor], points: Points) -> bool:
    """Whether an engine is the plain one at many points, as far as a few examples show."""
    if not points:
        return True
    few = objective.few(_FEW)
    wanted, found = (_in_blocks(build_engine(which, few, vectors), points) for which in ("plain", name))
    finite = torch.isfinite(wanted)
    if not torch.equal(finite, torch.isfinite(found)):
        return False
    wanted, found = wanted[finite], found[finite]
    unit = min(1.0, float(wanted.abs().amax())) if len(wanted) else 0.0  # a logarithm near 0 has the rounding of 1
    return bool(((found - wanted).abs() <= _SAME * wanted.abs() + 8 * torch.finfo(objective.dtype).eps * unit).all())


def _in_blocks(engine: Engine, points: Points) -> Tensor:
    blocks = [points[k : k + engine.block] for k in range(0, len(points), engine.block)]
    return torch.cat([engine.evaluate(block)[0].cpu() for block in blocks])
