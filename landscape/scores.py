"""Mean loss and accuracy over batches, without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape.loss_checks import is_classification, sum_over_batch
from landscape.loss_function import LossFunction


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The value of an objective at one point.

    Attributes:
        loss: Mean loss over all examples, in the loss's unit (nats for cross-entropy); NaN and infinity as they are.
        accuracy: Fraction of right predictions in [0, 1]; NaN unless outputs are (N, K) with K of at least 2
            and targets are whole numbers (N,). Or the mean of the metric that the objective was given instead.
        examples: How many examples the means are over.
    """

    loss: float
    accuracy: float
    examples: int


def cross_entropy_sum(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the sum of ``F.cross_entropy`` over a batch, several times as fast for many short rows.

    torch goes through softmax row by row. With the classes outside, all rows of many points are one vector operation.

    Args:
        outputs: (B, K) scores.
        targets: (B,) classes, 0 to K - 1.

    Example:
        >>> cross_entropy_sum(torch.zeros(3, 2), torch.tensor([0, 1, 1]))  # 3 log 2
        tensor(2.0794)
    """
    scores = outputs.t().contiguous()
    below = scores - scores.amax(0)  # from here on, as torch does: what is added to a peak of 30 loses a small loss
    return (below.exp().sum(0).log() - below.gather(0, targets.unsqueeze(0)).squeeze(0)).sum()


def score_sum(outputs: Any, targets: Tensor, metric: LossFunction | None) -> tuple[Tensor | float, int]:
    """Return the sum of a batch's scores and how many there are: right predictions, or the values of a metric."""
    if metric is not None:
        values = metric(outputs, targets)
        real = isinstance(values, Tensor) and not values.is_complex()
        return sum_over_batch(values.double() if real else values, targets, what="metric"), len(targets)
    if is_classification(outputs, targets):
        return (outputs.argmax(1) == targets).sum().double(), targets.numel()
    return 0.0, 0


def mean_scores(
    forward: Callable[[Any], Any],
    batches: Iterable[tuple[Any, Tensor]],
    batch_sum: Callable[[Any, Tensor], Tensor],
    device: torch.device,
    metric: LossFunction | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute mean loss and accuracy, weighted by examples, summed in float64.

    Args:
        forward: (B, ...) inputs to outputs.
        batches: Inputs and targets: all of the data, in any partition.
        batch_sum: Outputs and targets to the sum of the loss over the batch.
        device: Where to sum.
        metric: What is averaged beside the loss; the accuracy by default.

    Returns:
        0-d float64 tensors on the device; the accuracy is NaN where it has no meaning.

    Example:
        >>> data = [(torch.tensor([[2.0, 0.0]]), torch.tensor([0])), (torch.tensor([[2.0, 0.0]]), torch.tensor([1]))]
        >>> mean_scores(lambda x: x, data, lambda x, y: x.sum(), torch.device("cpu"))
        (tensor(2., dtype=torch.float64), tensor(0.5000, dtype=torch.float64))
    """
    total = torch.zeros((), dtype=torch.float64, device=device)
    right = torch.zeros((), dtype=torch.float64, device=device)
    labels = examples = 0
    for inputs, targets in batches:
        outputs = forward(inputs)
        total += batch_sum(outputs, targets).double()
        examples += len(targets)
        score, counted = score_sum(outputs, targets, metric)
        right += score
        labels += counted
    accuracy = right / labels if labels else torch.full_like(right, float("nan"))
    return total / examples, accuracy
