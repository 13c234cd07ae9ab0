"""What a loss must be so that its value over many batches is the mean over examples, checked on a few examples."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import ConfigError, NonDeterministicError
from landscape.fixed_data import FixedData

_PROBE = 64  # examples at most: enough to meet several classes, few enough to cost nothing
_LEAST = 8  # and at least, however small the batches


class ReductionWarning(UserWarning):
    """A loss is not a mean over examples; its value is right only while all data is in one batch."""


def sum_over_batch(loss: Tensor, targets: Tensor) -> Tensor:
    """Return the sum of a batch's losses: of a 0-d mean times B, or of one loss per example (B,).

    Raises:
        ConfigError: The loss has another shape.
    """
    if loss.ndim == 0:
        return loss * len(targets)
    if loss.shape == targets.shape[:1]:
        return loss.sum()
    raise ConfigError(
        "The loss has a shape that says nothing of examples.",
        expected=f"a 0-d tensor, the mean over the batch, or one loss per example, shape ({len(targets)},)",
        got=f"shape {tuple(loss.shape)}",
        fix="Take the mean: lambda outputs, targets: loss(outputs, targets).mean().",
    )


def is_classification(outputs: Any, targets: Tensor) -> bool:
    """Tell whether accuracy has a meaning: scores (N, K) of two or more classes, and whole numbers (N,)."""
    whole = not (targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool)
    scores = isinstance(outputs, Tensor) and outputs.ndim == 2 and outputs.shape[1] >= 2
    return whole and scores and targets.ndim == 1


def check_deterministic(replica: nn.Module, loss_fn: Callable[[Any, Tensor], Tensor], data: FixedData) -> None:
    """Evaluate the first batch twice, outputs and loss, and compare.

    Raises:
        NonDeterministicError: They differ.
    """
    inputs, targets = next(data.batches())
    first, second = replica(inputs.clone()), replica(inputs.clone())
    pairs = [("outputs", first, second)] if isinstance(first, Tensor) else []
    losses = [loss_fn(outputs, targets.clone()) for outputs in (first, second)]
    for what, one, other in [*pairs, ("losses", *losses)]:
        if not torch.equal(torch.nan_to_num(one), torch.nan_to_num(other)):
            raise NonDeterministicError(
                f"The model gives two {what} for one input in evaluation mode.",
                expected="a fixed function of the weights",
                got=f"a largest difference of {float((one - other).abs().max()):.3g}",
                fix="Use nn.Dropout (off in evaluation mode) rather than F.dropout(x), and no random layers or losses.",
            )


def check_mean(replica: nn.Module, loss_fn: Callable[[Any, Tensor], Tensor], data: FixedData) -> bool:
    """Check on a few examples that parts of a batch, weighted by their examples, make up the whole.

    Args:
        replica: A private copy of the model, in evaluation mode.
        loss_fn: ``loss_fn(outputs, targets)``.
        data: What it is evaluated on.

    Returns:
        Whether model or loss write into the tensors they are given.

    Raises:
        ConfigError: The loss is not a mean over examples, and there is more than one batch; or its shape is wrong.

    Warns:
        ReductionWarning: It is not a mean over examples, and there is one batch only.
    """
    chosen = _probe(data)
    inputs, targets = data.inputs[chosen], data.targets[chosen]
    given = inputs.clone(), targets.clone()
    before = [tensor._version for tensor in given]
    outputs = replica(given[0])
    whole = float(sum_over_batch(loss_fn(outputs, given[1]), given[1])) / len(chosen)
    same = torch.equal(given[0], inputs) and torch.equal(given[1], targets)
    in_place = not same or before != [tensor._version for tensor in given]

    def share(part: slice) -> float:
        y = targets[part].clone()
        return float(sum_over_batch(loss_fn(replica(inputs[part].clone()), y), y)) / len(chosen)

    everything, precision = slice(None), torch.finfo(_precision(data)).eps
    for split in sorted({1, len(chosen) // 3, len(chosen) // 2} - {0, len(chosen)}):
        parts = [share(slice(None, split)), share(slice(split, None))]
        if _differ(whole, parts, precision) and not _differ(whole, [share(everything)], precision):  # not by chance
            _complain(whole, parts, one_batch=data.examples <= data.batch_size)
            break
    return in_place


def _precision(data: FixedData) -> torch.dtype:
    return data.inputs.dtype if data.inputs.is_floating_point() else torch.float32


def _probe(data: FixedData) -> Tensor:
    """Choose examples from all over the data; the lowest target is the first (labels to ignore are negative)."""
    count = min(data.examples, max(data.batch_size, _LEAST), _PROBE)
    spread = torch.linspace(0, data.examples - 1, count).round().long()
    numbers = data.targets.numel() and not data.targets.is_complex()
    lowest = int(data.targets.reshape(data.examples, -1).double().amin(1).argmin()) if numbers else 0
    return torch.cat([torch.tensor([lowest]), spread[spread != lowest]]).to(data.targets.device)


def _differ(whole: float, parts: list[float], precision: float) -> bool:
    if not (math.isfinite(whole) and all(map(math.isfinite, parts))):
        return False  # NaN is data
    tolerance = max(10 * precision, math.sqrt(precision) / 3)
    return not abs(whole - sum(parts)) <= tolerance * max(abs(whole), *map(abs, parts))


def _complain(whole: float, parts: list[float], *, one_batch: bool) -> None:
    what = "The loss of a batch is not the mean over its examples, so its value depends on the batch size."
    got = f"{whole:.6g} for some examples at once, and {sum(parts):.6g} from two parts of them"
    if one_batch:
        warnings.warn(f"{what} All data is in one batch here. Got: {got}.", ReductionWarning, stacklevel=4)
        return
    raise ConfigError(
        what,
        expected="parts that add up, weighted by their examples",
        got=got,
        fix="Use reduction='mean' over examples without class weights or ignored labels (or reduction='none' and a "
        "mean of your own), or a batch_size of at least the number of examples, so that there is one batch.",
    )
