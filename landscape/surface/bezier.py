"""A curve of low loss between two minima: a quadratic Bezier curve whose control point is trained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.arguments import check_kind, check_objective
from landscape.config import is_number, is_whole, require
from landscape.errors import NonFiniteError
from landscape.loss_checks import sum_over_batch
from landscape.objective import Objective
from landscape.progress import Progress, progress_bar
from landscape.seeding import generator, preserved_rng
from landscape.surface import grid
from landscape.surface.batchnorm import batch_statistics, recompute_batch_norm, running_norms
from landscape.surface.connectivity import check_frozen
from landscape.surface.directions import direction_between, point_of, weights_checksum
from landscape.surface.path_results import Curve
from landscape.surface.planes import Point


@dataclass(frozen=True, kw_only=True)
class _Options:
    epochs: int
    lr: float
    momentum: float
    weight_decay: float
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            require(is_whole(value) and value > 0, name, "a positive integer", value)
        require(is_number(self.lr) and 0 < self.lr < float("inf"), "lr", "a positive number", self.lr)
        require(is_number(self.momentum) and 0 <= self.momentum < 1, "momentum", "from 0 to below 1", self.momentum)
        decay = self.weight_decay
        require(is_number(decay) and 0 <= decay < float("inf"), "weight_decay", "0 or more", decay)

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, from 1: constant for one half, then linear, 1 % for the last tenth."""
        done = epoch / self.epochs
        return self.lr * (1.0 - 0.99 * min(max((done - 0.5) / 0.4, 0.0), 1.0))


def bezier_curve(
    objective: Objective,
    other: Point,
    *,
    epochs: int = 200,
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    batch_size: int = 128,
    points: int = 61,
    seed: int = 0,
    progress: bool = True,
) -> Curve:
    """Train a curve of low loss between two models.

    Definition: ``w(t) = (1 - t)**2 w_a + 2 t (1 - t) w + t**2 w_b``. The control point w begins halfway between w_a
    and w_b, and is trained by SGD on ``E_t L(w(t))``: at each step t is drawn evenly from [0, 1], the data is a batch.
    The learning rate is constant for the first half of the epochs, and then falls linearly to a hundredth at nine
    tenths.

    Normalization layers use each batch's own statistics in training, and statistics computed anew for every point when
    the curve is evaluated; see :func:`landscape.surface.recompute_batch_norm`. Dropout stays off.

    Args:
        objective: Its model is a, at its present weights; the curve is trained and evaluated on its data, without
            augmentation. Neither model is changed.
        other: b: a model, an objective (its model's present weights) or a weight vector (P,).
        epochs: Passes over the data. Default 200; this and the next two: as in Garipov et al.'s code.
        lr: Learning rate at the beginning.
        momentum: Of SGD.
        weight_decay: Adds ``weight_decay / 2 * ||w(t)||**2`` to the loss that is trained (not to what is reported).
        batch_size: Examples per step, about: the parts of an epoch differ by at most one. Default 128, as there.
        points: How many places on the curve are evaluated. Default 61, as there.
        seed: Names the draws of t and the order of the data.
        progress: Whether a progress bar is shown.

    Returns:
        The curve with its losses; ``curve.plane`` and ``curve.coordinates`` are what to draw it on.

    Raises:
        ConfigError: It is no objective, or an option is out of range.
        MismatchError: The two models do not have the same weights, or differ in weights that do not move.
        NonFiniteError: The training diverged.
        NonDeterministicError: The model draws random numbers in evaluation mode.
        DataError: There are too few examples for statistics.

    References:
        T. Garipov et al., Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs, NeurIPS 2018, section 3.
        F. Draxler et al., Essentially No Barriers in Neural Network Energy Landscape, ICML 2018.
    """
    check_objective(objective, "bezier_curve")
    options = _Options(
        epochs=epochs, lr=lr, momentum=momentum, weight_decay=weight_decay, batch_size=batch_size, seed=seed
    )
    places = _places(points)
    direction_between(objective, other)  # raises where the two are strangers
    check_frozen(objective, other)
    objective.check_deterministic()
    ends = objective.weights(), objective.check_vector(point_of(other)[0].detach()).clone()
    steps = -(-objective.examples // options.batch_size)
    if running_norms(objective.model):
        fewest = objective.examples // steps
        require(fewest >= 2, "batch_size", "parts of at least 2 examples, for batch normalization", batch_size)
    with progress_bar(epochs * steps, desc="curve", unit="step", enabled=progress) as bar:
        middle, history = _train(objective, ends, options, steps, bar)
    curve = Curve(
        t=places,
        loss=np.full(len(places), np.nan),
        accuracy=np.full(len(places), np.nan),
        history=history,
        start=ends[0],
        middle=middle,
        end=ends[1],
        provenance={"training": {"options": vars(options), **objective.provenance()}},
    )
    return evaluate_curve(objective, curve, points=points, progress=progress)


def evaluate_curve(
    objective: Objective,
    curve: Curve,
    *,
    points: int = 61,
    statistics_from: Objective | None = None,
    progress: bool = True,
) -> Curve:
    """Evaluate the loss along a curve, on test data for example.

    Args:
        objective: Whose loss; of the architecture that the curve was trained for.
        curve: The curve.
        points: How many places, evenly in t.
        statistics_from: Whose data running statistics are computed from: the objective of the training data, for test
            data; the objective's own by default.
        progress: Whether a progress bar is shown.

    Returns:
        The same curve with these losses.

    Raises:
        ConfigError: It is no objective or no curve, or there are fewer than two points.
        MismatchError: The curve belongs to another model.
        NonDeterministicError: The model draws random numbers in evaluation mode.
        DataError: There are too few examples for statistics.
    """
    begin, places = time.perf_counter(), _places(points)
    check_objective(objective, "evaluate_curve")
    check_kind(curve, Curve, "This is no curve.", fix="Train one: bezier_curve(objective, other).")
    objective.check_vector(curve.start)
    objective.check_deterministic()
    fitting = recompute_batch_norm(objective, statistics_from=statistics_from)
    values = []
    with preserved_rng(), progress_bar(len(places), desc="along the curve", unit="point", enabled=progress) as bar:
        fitting.refresh()
        for t in places.tolist():
            values.append(torch.stack(fitting.evaluate_at(objective.check_vector(curve.point(t)))))
            bar.update()
    loss, accuracy = torch.stack(values, dim=1).cpu().numpy()
    checksums = {name: weights_checksum(getattr(curve, name)) for name in ("start", "middle", "end")}
    evaluated: dict[str, Any] = {**fitting.provenance(), "seconds": round(time.perf_counter() - begin, 3)}
    provenance = {**evaluated, "training": curve.provenance.get("training"), "points_sha256": checksums}
    return replace(curve, t=places, loss=loss, accuracy=accuracy, provenance=provenance)


def _places(points: int) -> np.ndarray:
    return grid.axis((0.0, 1.0), points)


@torch.inference_mode(False)
def _train(
    objective: Objective, ends: tuple[Tensor, Tensor], options: _Options, steps: int, bar: Progress
) -> tuple[Tensor, np.ndarray]:
    """Train the control point; return it, (P,), and the mean loss of each epoch."""
    start, end = ends
    middle = ((start.double() + end.double()) / 2).to(start.dtype).requires_grad_(True)
    optimizer = torch.optim.SGD([middle], lr=options.lr, momentum=options.momentum)
    draws = generator(options.seed, "bezier", "t")
    model, history = objective.snapshot().model, []
    call = objective.substitution(model)
    with preserved_rng(), torch.enable_grad(), batch_statistics(model):
        for epoch in range(1, options.epochs + 1):
            optimizer.param_groups[0]["lr"] = options.lr_at(epoch)
            places = torch.rand(steps, dtype=torch.float64, generator=draws).tolist()
            total = torch.zeros((), dtype=torch.float64, device=start.device)
            for t, (inputs, targets) in zip(places, _batches(objective, options, steps, epoch), strict=True):
                point = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
                outputs = call(objective.layout.named(point), inputs)
                loss = sum_over_batch(objective.loss_fn(outputs, targets), targets) / len(targets)
                total += loss.detach().double() * len(targets)
                if options.weight_decay:
                    loss = loss + options.weight_decay / 2 * point.square().sum()
                (middle.grad,) = torch.autograd.grad(loss, middle)
                optimizer.step()
                bar.update()
            history.append(_finite(float(total) / objective.examples, epoch, options))
            bar.set_postfix(loss=f"{history[-1]:.4g}")
    if not bool(torch.isfinite(middle).all()):
        _finite(float("nan"), options.epochs, options)
    return middle.detach(), np.array(history)


def _batches(objective: Objective, options: _Options, steps: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    order = torch.randperm(objective.examples, generator=generator(options.seed, "bezier", "order", epoch))
    return (objective.select(piece) for piece in order.to(objective.device).tensor_split(steps))


def _finite(loss: float, epoch: int, options: _Options) -> float:
    if not np.isfinite(loss):
        raise NonFiniteError(
            f"The training of the curve diverged in epoch {epoch}.",
            expected="a finite loss",
            got=loss,
            fix=f"Lower lr, for example to {options.lr / 10:.2g}.",
        )
    return loss
