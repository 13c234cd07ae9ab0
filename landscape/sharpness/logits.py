"""A classifier's loss with logits of norm 1."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from landscape.loss_function import LossFunction
from landscape.objective import Objective

_SMALLEST = 1e-10  # of a norm that is divided by, as in the code of Andriushchenko et al.


class NormalizedLogits:
    """A loss of logits that are centered and divided by their Euclidean norm, each example's by its own.

    Without this, cross-entropy sees every network that grows its last layer as a sharper or a flatter one.

    Args:
        loss_fn: ``loss_fn(outputs, targets)``.

    Example:
        >>> import torch
        >>> loss, target = NormalizedLogits(F.cross_entropy), torch.tensor([0])
        >>> one, ten = (loss(scale * torch.tensor([[1.0, 2.0, 4.0]]), target).item() for scale in (1, 10))
        >>> round(one, 4) == round(ten, 4)
        True
    """

    def __init__(self, loss_fn: LossFunction) -> None:
        self.loss_fn = loss_fn

    def __call__(self, outputs: Any, targets: Tensor) -> Tensor:
        """Return the loss of outputs (B, K)."""
        centered = outputs - outputs.mean(dim=1, keepdim=True)
        return self.loss_fn(F.normalize(centered, dim=1, eps=_SMALLEST), targets)


def with_normalized_logits(objective: Objective) -> Objective:
    """Return the same objective with another loss: that of normalized logits; its data is shared.

    Args:
        objective: A classifier's.
    """
    twin = objective.twin()
    twin.loss_fn = NormalizedLogits(objective.loss_fn)
    return twin
