"""What axes are called: the loss with its name and unit, a direction with its unit, as far as the results say them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
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


_UNITS = {
    "filter": "filter-normalized: 1 = each filter's own norm",
    "layer": "layer-normalized: 1 = each layer's own norm",
    "weight": "scaled per weight: 1 = each weight's own size",
    "model": "1 = the norm of all weights",
    "unit": "1 = unit L2 norm in weight space",
}


def direction_unit(directions: Sequence[Mapping[str, Any]], index: int) -> str:
    """Say what 1 is along a direction, from what the result says of its directions.

    Example:
        >>> direction_unit([{"norm": "model"}], 0), direction_unit([], 0)
        ('1 = the norm of all weights', "1 = the direction's own length")
    """
    direction = directions[index] if index < len(directions) else {}
    norm = direction.get("norm") or direction.get("normalization")
    return _UNITS.get(str(norm), "1 = the direction's own length")


def direction_label(symbol: str, directions: Sequence[Mapping[str, Any]], index: int) -> str:
    """Name an axis of a plane and its unit.

    Example:
        >>> direction_label("α", ({"norm": "filter"},), 0)
        "α (filter-normalized: 1 = each filter's own norm)"
    """
    return f"{symbol} ({direction_unit(directions, index)})"


def wrapped_label(text: str, width: int) -> str:
    """Break a label that is too long for one line: after its unit, or before that, or at any word.

    Args:
        text: Its own line breaks are kept.
        width: How many letters fit in a line; 14 at least.

    Example:
        >>> print(wrapped_label("loss (cross-entropy, nats), log scale", 30))
        loss (cross-entropy, nats),
        log scale
        >>> print(wrapped_label("largest eigenvalue (loss per squared weight)", 30))
        largest eigenvalue
        (loss per squared weight)
    """
    width = max(14, width)
    return "\n".join(piece for line in text.splitlines() for piece in _pieces(line, width))


def _pieces(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    for place in (line.rfind("), ") + 3, line.rfind(" (") + 1):
        parts = [line[:place].rstrip(), line[place:]]
        if all(parts) and max(map(len, parts)) <= width:
            return parts
    return textwrap.wrap(line, width)
