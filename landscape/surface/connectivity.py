"""Are two minima connected: the straight line between them, and how high the loss rises on it."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from landscape.arguments import check_kind, check_objective
from landscape.config import require_name
from landscape.errors import ConfigError, MismatchError
from landscape.objective import Objective
from landscape.parameters import unwrapped
from landscape.progress import progress_bar
from landscape.seeding import preserved_rng
from landscape.surface import grid
from landscape.surface.arguments import check_statistics
from landscape.surface.collector import Field
from landscape.surface.directions import Direction, direction_between
from landscape.surface.evaluate import evaluate_line
from landscape.surface.path_results import QUANTITIES, Barrier, Curve
from landscape.surface.planes import Point
from landscape.surface.results import Line

POLICIES = ("recompute", "interpolate")


def interpolation_line(
    objective: Objective,
    other: Point,
    *,
    points: int = 31,
    batch_norm: str = "recompute",
    statistics_from: Objective | None = None,
    progress: bool = True,
) -> Line:
    """Evaluate the loss on the straight line from one model to another: ``L((1 - t) w_a + t w_b)``, t from 0 to 1.

    Args:
        objective: Its model is a, at its present weights; its data is where the loss is read.
        other: b: a model, an objective (its model's present weights) or a weight vector (P,).
        points: How many. Default 31: Frankle et al. take 30, an odd number has the middle.
        batch_norm: What becomes of running statistics. "recompute": each point gets its own, the ends too; see
            :func:`landscape.surface.recompute_batch_norm`. "interpolate": they move with the weights, as when whole
            state dicts are averaged, so the ends are the two models themselves; between them the statistics fit badly.
        statistics_from: Whose data "recompute" takes them from, for lines on test data; the objective's own by default.
        progress: Whether a progress bar is shown.

    Returns:
        The line; its alpha is t.

    Raises:
        ConfigError: It is no objective, or an option is out of range.
        MismatchError: The two models do not have the same weights, or differ in weights that do not move; or
            "interpolate" is asked for a weight vector, which has no statistics.
        NonDeterministicError: The model draws random numbers in evaluation mode.

    Example:
        >>> model = nn.Linear(1, 1, bias=False).double()
        >>> model.weight.data.fill_(-1.0).item()
        -1.0
        >>> data = (torch.ones(1, 1), torch.zeros(1, 1))
        >>> objective = Objective(model, data, lambda outputs, targets: ((outputs**2 - 1) ** 2).mean())
        >>> interpolation_line(objective, torch.ones(1).double(), points=3, progress=False).loss.tolist()
        [0.0, 1.0, 0.0]

    References:
        J. Frankle et al., Linear Mode Connectivity and the Lottery Ticket Hypothesis, ICML 2020. K. Jordan et al.,
        REPAIR: REnormalizing Permuted Activations for Interpolation Repair, ICLR 2023 (why statistics are recomputed).
    """
    check_objective(objective, "interpolation_line")
    require_name("policy for batch_norm", batch_norm, POLICIES)
    check_statistics(statistics_from)
    direction = direction_between(objective, other)
    check_frozen(objective, other)
    if batch_norm == "interpolate" and (moving := _moving_buffers(objective, other)):
        return _with_buffers(objective, direction, moving, grid.axis((0.0, 1.0), points), progress)
    return evaluate_line(
        objective,
        direction,
        extent=(0.0, 1.0),
        points=points,
        batch_norm="recompute" if batch_norm == "recompute" else "running",
        statistics_from=statistics_from,
        progress=progress,
    )


def _module(source: Point) -> nn.Module | None:
    model = source.model if isinstance(source, Objective) else source
    return unwrapped(model) if isinstance(model, nn.Module) else None


def check_frozen(objective: Objective, other: Point) -> None:
    """Check that two models agree in the parameters that do not move.

    Raises:
        MismatchError: They differ.
    """
    theirs = _module(other)
    found = {} if theirs is None else dict(theirs.named_parameters())
    moving = set(objective.layout.names)
    for name, parameter in objective.model.named_parameters():
        if name in moving or name not in found:
            continue
        if not torch.equal(parameter.detach(), found[name].detach().to(parameter.device)):
            raise MismatchError(
                f"The two models differ in {name}, which does not move.",
                expected="equal frozen parameters",
                fix="Call model.requires_grad_(True), so that it moves from one to the other.",
            )


def _moving_buffers(objective: Objective, other: Point) -> dict[str, Tensor]:
    """Return what is to be added to each floating-point buffer of the first model to have the other's, in float64."""
    mine, theirs = dict(objective.model.named_buffers()), _module(other)
    floating = {name: buffer for name, buffer in mine.items() if buffer.is_floating_point()}
    if not floating:
        return {}
    if theirs is None:
        raise MismatchError(
            "A weight vector has no running statistics to interpolate.",
            expected="a model or an Objective",
            fix="Pass the model itself, or use batch_norm='recompute'.",
        )
    found = dict(theirs.named_buffers())
    moves = {name: found[name].double().to(own.device) - own.double() for name, own in floating.items()}
    return {name: move for name, move in moves.items() if bool((move != 0).any())}


def _with_buffers(
    objective: Objective, direction: Direction, moving: Mapping[str, Tensor], alphas: np.ndarray, progress: bool
) -> Line:
    """Evaluate a private copy of the model whose buffers move with its weights."""
    start = time.perf_counter()
    objective.check_deterministic()
    twin, field = objective.snapshot(), Field(len(alphas))
    buffers = dict(twin.model.named_buffers())
    first = {name: buffers[name].to(torch.float64, copy=True) for name in moving}
    center = objective.weights()
    values = []
    with preserved_rng(), progress_bar(len(alphas), desc="line", unit="point", enabled=progress) as bar:
        for alpha in alphas.tolist():
            for name, move in moving.items():
                buffers[name].copy_(first[name] + alpha * move)
            twin.refresh()
            values.append(torch.stack(twin.evaluate_at(center + alpha * direction.vector)))
            bar.update()
    loss, accuracy = torch.stack(values, dim=1).cpu().numpy()
    field.set(range(len(alphas)), loss, accuracy)
    provenance = {
        **objective.provenance(),
        "batch_norm": "interpolate",
        "seconds": round(time.perf_counter() - start, 3),
    }
    return Line(
        alphas=alphas,
        loss=field.loss,
        accuracy=field.accuracy,
        status=field.status,
        directions=(direction.record(),),
        provenance=provenance,
        direction=direction,
    )


def barrier(path: Line | Curve, *, quantity: str = "loss") -> Barrier:
    """Measure how much the loss rises between the two ends of a path.

    Definition: ``max_t [L(t) - ((1 - t) L(0) + t L(1))]`` over the path's points with t from 0 to 1. Two models with a
    height of about 0 on the straight line are linearly connected.

    Args:
        path: A line that has points at alpha = 0 and 1 (see :func:`interpolation_line`), or a curve.
        quantity: "loss", or "error": one minus the accuracy.

    Returns:
        The barrier, with Frankle et al.'s measure beside it.

    Raises:
        ConfigError: It is no line and no curve, or ``quantity`` is unknown.
        MismatchError: The path has no point at 0 or 1, or a point between them is not computed yet.

    Example:
        >>> line = Line(
        ...     alphas=[0, 0.5, 1], loss=[1, 4, 3], accuracy=[1, 1, 1], status=[1, 1, 1], directions=(), provenance={}
        ... )
        >>> barrier(line)  # the straight line is at 2 in the middle, and so is the mean of the ends
        Barrier(height=2.0, at=0.5, instability=2.0, quantity='loss')

    References:
        R. Entezari et al., The Role of Permutation Invariance in Linear Mode Connectivity of Neural Networks, ICLR
        2022, definition 2.1. J. Frankle et al., Linear Mode Connectivity and the Lottery Ticket Hypothesis, ICML 2020.
    """
    require_name("quantity", quantity, QUANTITIES)
    fix = "Use interpolation_line(objective, other) or bezier_curve(objective, other)."
    check_kind(path, Line | Curve, "This is no path between two models.", expected="a Line or a Curve", fix=fix)
    return Barrier.along(path, quantity)


def linear_barrier(
    objectives: Mapping[str, Objective],
    other: Point,
    *,
    points: int = 31,
    batch_norm: str = "recompute",
    quantity: str = "loss",
    progress: bool = True,
) -> dict[str, Barrier]:
    """Measure the barrier on the straight line between two models, on several data: training and test, for example.

    Args:
        objectives: Label to objective, all of one model: a. Recomputed statistics come from the first one's data.
        other: b; see :func:`interpolation_line`.
        points: See there.
        batch_norm: See there.
        quantity: See :func:`barrier`.
        progress: Whether progress bars are shown.

    Returns:
        Label to barrier.

    Raises:
        ConfigError: An option is out of range, or these are no objectives by label.
        MismatchError: The models do not have the same weights, or the objectives are not of one model.
        NonDeterministicError: The model draws random numbers in evaluation mode.

    References:
        See :func:`barrier`.
    """
    fix = 'Label it: linear_barrier({"train": objective}, other).'
    check_kind(objectives, Mapping, "These are no objectives by label.", expected="{label: objective}", fix=fix)
    if not objectives:
        raise ConfigError(
            "There is nothing to measure.", expected="{label: objective}", got="no objective", fix="Pass one or more."
        )
    for label, objective in objectives.items():
        check_objective(objective, "linear_barrier", name=f"entry {label!r}")
    require_name("quantity", quantity, QUANTITIES)
    first = next(iter(objectives.values()))
    for label, objective in objectives.items():
        same = objective.layout.fingerprint == first.layout.fingerprint
        if not (same and torch.equal(objective.weights(), first.weights().to(objective.device, objective.dtype))):
            raise MismatchError(
                f"The objective {label!r} is at other weights than the first.",
                expected="one model, on several data",
                fix="Make all objectives from the model that the line begins at.",
            )
    return {
        label: barrier(
            interpolation_line(
                objective, other, points=points, batch_norm=batch_norm, statistics_from=first, progress=progress
            ),
            quantity=quantity,
        )
        for label, objective in objectives.items()
    }
