"""What attacks yield on their way."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


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
