"""How much to compute: as fine as a time allows, found by timing this model on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from landscape.config import require
from landscape.objective import Objective

_POINTS = (9, 11, 15, 21)


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Sizes of the analyses of one network.

    Attributes:
        examples: Training examples that the loss is averaged over.
        points: Points along each axis of a surface, odd.
        trace_probes: Random probes of the trace.
        density_probes: Random probes of the spectral density.
        density_steps: Lanczos steps per probe.
        random_draws: Random directions of the perturbation profile.
    """

    examples: int
    points: int = 21
    trace_probes: int = 100
    density_probes: int = 10
    density_steps: int = 50
    random_draws: int = 10

    def __str__(self) -> str:
        """Say the sizes in words."""
        return (
            f"{self.examples} examples, {self.points}x{self.points} points a surface, {self.trace_probes} probes a "
            f"trace, {self.density_probes} probes x {self.density_steps} steps a spectrum"
        )


def choose_effort(objective: Objective, *, examples: int | None = None, seconds: float = 30.0) -> Effort:
    """Choose the finest sizes, up to those of :class:`Effort`, that fit into a time.

    One loss and one Hessian-vector product are timed. Half of the time goes to the surface, a fifth to the trace and
    the rest to the spectrum. Where even the floors (9 points, 10 probes, 2 x 15 steps, and some 200 losses for the
    profile and the LPF measure) do not fit, fewer examples are used, but at least 64; a large model may therefore take
    longer.

    Args:
        objective: The loss that will be analyzed, on all or on some of the examples.
        examples: How many examples there are; the objective's own by default.
        seconds: Time for one network. Default 30: five networks in two and a half minutes.

    Returns:
        The sizes.

    Raises:
        ConfigError: ``seconds`` is not positive.

    Example:
        >>> model = torch.nn.Linear(2, 2)
        >>> objective = Objective(model, (torch.ones(4, 2), torch.zeros(4, dtype=torch.long)))
        >>> effort = choose_effort(objective, seconds=60)
        >>> effort.points, effort.examples
        (21, 4)
    """
    require(seconds > 0, "seconds", "above 0", seconds)
    total = objective.examples if examples is None else examples
    vector = torch.ones(objective.size, device=objective.device, dtype=objective.dtype)
    loss = _timed(lambda: objective.evaluate()) / objective.examples
    product = _timed(lambda: objective.hvp(vector).sum().item()) / objective.examples
    floor = (_POINTS[0] ** 2 + 200) * loss + 50 * product  # seconds per example
    used = total if total * floor <= seconds else min(total, max(64, int(seconds / floor)))
    loss, product = loss * used, product * used
    steps = int(min(50, max(15, 0.3 * seconds / product / 4)))
    return Effort(
        examples=used,
        points=max((n for n in _POINTS if n * n * loss <= 0.5 * seconds), default=_POINTS[0]),
        trace_probes=int(min(100, max(10, 0.2 * seconds / product))),
        density_probes=int(min(10, max(2, 0.3 * seconds / product / steps))),
        density_steps=steps,
        random_draws=10 if loss < 0.2 else 3,
    )


def _timed(work: Callable[[], object]) -> float:
    """Return the seconds of a second call; the first one pays for allocations."""
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
