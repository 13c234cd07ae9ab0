"""How far predictions move from clean to moved inputs: KL(p || q), and the clean ones that belong to moved ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from landscape.regularizers.passes import Passes, logits_of


def divergence(log_p: Tensor, outputs: Tensor) -> Tensor:
    """Return ``KL(p || softmax(outputs)) = sum_k p_k (log p_k - log q_k)`` of each example, (B,), in nats.

    Args:
        log_p: (B, K) logarithms of probabilities.
        outputs: (B, K) logits.

    Example:
        >>> fair, logits = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.75, 0.25]]).log()
        >>> round(divergence(fair, logits).item(), 4)  # log(4 / 3) / 2
        0.1438
    """
    return (log_p.exp() * (log_p - outputs.log_softmax(1))).sum(1)


def clean_logarithms(
    forward: Passes, inputs: Tensor, outputs: Tensor | None, *, graph: bool = True
) -> Callable[[], Tensor]:
    """Return a function that gives the logarithms of the clean probabilities, (B, K).

    They come from the outputs that were handed over, or of one pass. Where passes draw masks, as dropout does, only a
    pass of the same masks is the same function: outputs that were handed over are then of no use, nor are they where
    they come from autocast and the passes do not, or from another model. To be called after a pass of moved inputs,
    which tells.

    Args:
        forward: The passes.
        inputs: (B, ...) clean.
        outputs: (B, K) logits of these, or None.
        graph: Whether they are to have one.
    """
    found: list[Tensor] = []
    given = None if outputs is None else logits_of(outputs, inputs)

    def usable(logits: Tensor) -> bool:
        same = not forward.drew and not forward.exact
        return same and (logits.requires_grad or not graph) and forward.gave(logits)

    def clean() -> Tensor:
        if not found:
            with torch.set_grad_enabled(graph):
                found.append((forward(inputs) if given is None or not usable(given) else given).log_softmax(1))
        return found[0]

    return clean
