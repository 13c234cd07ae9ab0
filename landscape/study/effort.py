"""How much to compute: as fine as a time allows on a nominal machine, from the work that this model takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from landscape.config import require
from landscape.objective import Objective

_POINTS = (9, 11, 15, 21)
_SPEED = 40e9  # FLOP/s that small networks reach on two CPU cores
_BATCH = 256  # examples of one pass, Objective's default on a CPU
_PASS = 3e-4  # seconds that a pass takes beside its FLOPs
_COUNTED = 8  # examples of the batch whose FLOPs are counted


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
    """Choose the finest sizes, up to those of :class:`Effort`, that fit into a time on a nominal machine.

    Nothing is timed: the same work gives the same sizes on every machine and at every run, so results can be repeated.
    The floating-point operations F of a gradient are counted on a few examples (6 per weight and example where they
    cannot be counted). A loss is taken to cost F / 3 and one pass per 256 examples, a Hessian-vector product 3 F and
    four such passes, at 40 GFLOP/s and 0.3 ms a pass, which is about what two CPU cores do with small networks.

    Half of the time goes to the surface, a fifth to the trace and the rest to the spectrum. Where even the floors (9
    points, 10 probes, 2 x 15 steps, and some 200 losses for the profile and the LPF measure) do not fit, fewer examples
    are used, but at least 64; a large model may therefore take longer.

    Args:
        objective: The loss that will be analyzed, on all or on some of the examples.
        examples: How many examples there are; the objective's own by default.
        seconds: Time for one network on a 2-core machine, about. Default 30: five networks in two and a half minutes.

    Returns:
        The sizes.

    Raises:
        ConfigError: ``seconds`` is not positive.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 2)
        >>> objective = Objective(model, (torch.ones(4, 2), torch.zeros(4, dtype=torch.long)))
        >>> effort = choose_effort(objective, seconds=60)
        >>> effort.points, effort.examples
        (21, 4)
    """
    require(seconds > 0, "seconds", "above 0", seconds)
    total = objective.examples if examples is None else examples
    gradient = gradient_flops(objective)
    whole = (_POINTS[0] ** 2 + 200) * loss_seconds(gradient, total) + 50 * product_seconds(gradient, total)
    used = total if whole <= seconds else min(total, max(64, int(total * seconds / whole)))
    loss, product = loss_seconds(gradient, used), product_seconds(gradient, used)
    steps = int(min(50, max(15, 0.3 * seconds / product / 4)))
    return Effort(
        examples=used,
        points=max((n for n in _POINTS if n * n * loss <= 0.5 * seconds), default=_POINTS[0]),
        trace_probes=int(min(100, max(10, 0.2 * seconds / product))),
        density_probes=int(min(10, max(2, 0.3 * seconds / product / steps))),
        density_steps=steps,
        random_draws=10 if loss < 0.2 else 3,
    )


def gradient_flops(objective: Objective) -> float:
    """Count the floating-point operations of a gradient, per example.

    Args:
        objective: Its first examples are used.

    Returns:
        The number; 6 for each weight where they cannot be counted.
    """
    from torch.utils.flop_counter import FlopCounterMode  # loads triton, which an import of this package must not

    inputs, targets = objective.select(torch.arange(min(_COUNTED, objective.examples), device=objective.device))
    sample = Objective(objective.model, (inputs, targets), objective.loss_fn, device=objective.device)
    try:
        with FlopCounterMode(display=False) as counter:
            sample.gradient()
        counted = counter.get_total_flops() / sample.examples
    except Exception:  # whatever an unusual operation raises: the count is an aid, not the result
        counted = 0.0
    return counted or 6.0 * objective.size


def loss_seconds(gradient: float, examples: int) -> float:
    """Return how long a loss takes on the nominal machine.

    Args:
        gradient: Operations of a gradient, of :func:`gradient_flops`.
        examples: That the loss is averaged over.

    Example:
        >>> round(loss_seconds(gradient=240e6, examples=500), 2)  # ResNet-20 on images of 32 pixels
        1.0
    """
    return gradient / 3 * examples / _SPEED + _passes(examples)


def product_seconds(gradient: float, examples: int) -> float:
    """Return how long a product with the Hessian takes on the nominal machine.

    Args:
        gradient: Operations of a gradient, of :func:`gradient_flops`.
        examples: That the loss is averaged over.
    """
    return 3 * gradient * examples / _SPEED + 4 * _passes(examples)


def _passes(examples: int) -> float:
    return _PASS * -(-examples // _BATCH)
