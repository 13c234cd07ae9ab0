"""Second derivatives by differentiating a gradient once more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from landscape.errors import LandscapeError, ModelError, first_line
from landscape.seeding import preserved_rng

_ONCE = ("derivative", "once_differentiable", "checkpoint", "RNN backward", "inplace operation", "modified inplace")
"""What torch says of them: operations without a second derivative, and those that lose what it is computed from."""


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Run a block with gradients on, generators protected, and attention in operations that have second derivatives.

    Raises:
        ModelError: An operation in the block has no second derivative.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    exact = sdpa_kernel(SDPBackend.MATH)
    with torch.inference_mode(False), preserved_rng(), torch.enable_grad(), exact, derivatives_told():
        yield


@contextmanager
def derivatives_told() -> Iterator[None]:
    """Run a block, and say what to do where torch says that something has no derivative.

    Raises:
        ModelError: An operation in the block has none.
    """
    try:
        yield
    except RuntimeError as error:
        known = any(words.casefold() in str(error).casefold() for words in _ONCE)
        if isinstance(error, LandscapeError) or not known:
            raise
        raise _no_derivative("The model or the loss cannot be differentiated.", first_line(error)) from error


def _no_derivative(what: str, got: str) -> ModelError:
    return ModelError(
        what,
        expected="operations with derivatives, for curvature second ones too, and no gradient checkpointing",
        got=got,
        fix="Replace the operation by others (EmbeddingBag by Embedding and mean), switch gradient checkpointing off, "
        "or for nn.LSTM and its like on a GPU set torch.backends.cudnn.enabled = False.",
    )


def require_second_derivatives(gradient: Tensor) -> None:
    """See that every operation that led to a gradient can be differentiated once more.

    torch leaves out, without a word, what comes through a backward pass that is marked as once_differentiable.

    Args:
        gradient: (P,), made with ``create_graph=True``.

    Raises:
        ModelError: One cannot.
    """
    todo = [gradient.grad_fn]
    seen = set(todo)
    while todo:
        node = todo.pop()
        if node is None:
            continue
        if type(node).__name__ == "Error":  # what stands where the derivative ends
            what = "The model or the loss cannot be differentiated twice."
            raise _no_derivative(what, "a torch.autograd.Function marked with once_differentiable")
        following = {after for after, _ in node.next_functions} - seen
        seen |= following
        todo += following


def hessian_product(gradient: Tensor, flat: Tensor, vector: Tensor) -> Tensor:
    """Differentiate ``gradient . vector`` once more, keeping the graph; zero where the loss is linear.

    Args:
        gradient: (P,), made with ``create_graph=True``.
        flat: (P,), the leaf it was taken at.
        vector: (P,).

    Returns:
        (P,), this batch's part of H v.
    """
    if not gradient.requires_grad:
        return torch.zeros_like(flat)
    product = torch.autograd.grad(gradient, flat, grad_outputs=vector, retain_graph=True, allow_unused=True)[0]
    return torch.zeros_like(flat) if product is None else product
