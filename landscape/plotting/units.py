"""What the loss axis is called: the loss's own name and unit, as far as the results say them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

CROSS_ENTROPY = "loss (cross-entropy, nats)"
_CROSS_ENTROPIES = {"cross_entropy", "CrossEntropyLoss"}


def loss_label(provenances: Iterable[Mapping[str, Any]]) -> str:
    """Name the loss that results share, with its unit where that is known.

    Args:
        provenances: Of each result, or of the objective that measured it: ``provenance["loss"]`` is the loss function's
            name, and that under "evaluated_on" goes before.

    Returns:
        "loss (cross-entropy, nats)", "loss (NAME)", or "loss" where no name is known or the names differ.

    Example:
        >>> loss_label([{"loss": "cross_entropy"}, {"loss": "CrossEntropyLoss"}])
        'loss (cross-entropy, nats)'
        >>> loss_label([{"loss": "mse_loss"}]), loss_label([{"loss": "mse_loss"}, {"loss": "l1_loss"}])
        ('loss (mse_loss)', 'loss')
    """
    names = {str((one.get("evaluated_on") or one).get("loss")) for one in provenances}
    if names and names <= _CROSS_ENTROPIES:
        return CROSS_ENTROPY
    name = names.pop() if len(names) == 1 else ""
    unknown = name in ("None", "partial") or not name.isidentifier()  # a lambda or a partial says nothing
    return "loss" if unknown else f"loss ({name})"
