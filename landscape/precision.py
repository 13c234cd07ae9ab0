"""The one floating dtype of a model's weights, or what is said where there are several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from landscape.errors import ModelError, first_line
from landscape.parameters import Layout

HALF = (torch.float16, torch.bfloat16)


def unrounded(tensor: Tensor) -> Tensor:
    """Return a tensor, in single precision where it is in half, with its graph.

    Args:
        tensor: Floating point.

    Example:
        >>> unrounded(torch.zeros(1).half()).dtype, unrounded(torch.zeros(1).double()).dtype
        (torch.float32, torch.float64)
    """
    return tensor.float() if tensor.dtype in HALF else tensor


def one_precision(model: nn.Module, layout: Layout) -> torch.dtype:
    """Return the dtype of the weights that move.

    Args:
        model: Whose.
        layout: Which.

    Raises:
        ModelError: They have several: one vector of them all would change some, and so the loss.

    Example:
        >>> model = nn.Linear(1, 1).double()
        >>> one_precision(model, Layout.of(model))
        torch.float64
    """
    found = dict(zip(layout.names, layout.parameters_of(model), strict=True))
    first = next(iter(found.values())).dtype
    for name, parameter in found.items():
        if parameter.dtype != first:
            raise ModelError(
                f"The weights of {type(model).__name__} have several dtypes.",
                expected="one floating dtype for all weights that move",
                got=f"{_short(first)}, and {_short(parameter.dtype)} at {name!r}",
                fix="Convert the model, for example with model.float(), or freeze the others: requires_grad_(False).",
            )
    return first


@contextmanager
def frozen_precision_told(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Run a model's first forward, and where it fails say which frozen parameters have another dtype than the weights.

    Args:
        model: Whose.
        dtype: That of the weights that move, and of floating-point inputs.

    Raises:
        ModelError: It failed, and some have.
    """
    try:
        yield
    except RuntimeError as error:
        others = [(n, p.dtype) for n, p in model.named_parameters() if p.is_floating_point() and p.dtype != dtype]
        if not others:
            raise
        name, other = others[0]
        raise ModelError(
            f"The forward of {type(model).__name__} fails, and frozen parameters have another dtype than its weights.",
            expected=f"{_short(dtype)}, as the weights that move and the inputs are, or a forward that converts them",
            got=f"{_short(other)} at {name!r}: {first_line(error)}",
            fix="Convert the model, for example with model.float().",
        ) from error


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
