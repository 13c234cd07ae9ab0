"""Lazy modules, whose parameters take their shapes from the first inputs that they see."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from landscape.errors import LandscapeError, ModelError, first_line


def lazy_names(model: nn.Module) -> list[str]:
    """Return the names of the parameters and buffers that have no shape yet.

    Args:
        model: Any module.

    Example:
        >>> lazy_names(nn.Sequential(nn.LazyLinear(2), nn.Linear(2, 1)))
        ['0.weight', '0.bias']
    """
    named = [*model.named_parameters(), *model.named_buffers()]
    return [name for name, tensor in named if is_lazy(tensor)]


def materialize(model: nn.Module, input_shape: Sequence[int]) -> nn.Module:
    """Give lazy parameters their shapes and initial weights, by one pass over zeros; other models are left alone.

    The pass is in evaluation mode, so that no running statistics move, and its inputs follow from the shape alone. The
    weights are drawn from the global generators, in the order of the pass.

    Args:
        model: Changed where it is lazy; its modes come back.
        input_shape: Of one input.

    Returns:
        The model.

    Raises:
        ModelError: The pass fails, or does not reach all lazy modules.

    Example:
        >>> materialize(nn.LazyLinear(2), (3,))
        Linear(in_features=3, out_features=2, bias=True)
    """
    if not lazy_names(model):
        return model
    modes = [(module, module.training) for module in model.modules()]
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    try:
        with torch.no_grad():
            model.eval()
            model(torch.zeros((2, *input_shape), dtype=first.dtype, device=first.device))
    except LandscapeError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"{type(model).__name__} has lazy parameters and cannot take the inputs that would give them their shapes.",
            expected=f"inputs of shape (B, {', '.join(map(str, input_shape))})",
            got=first_line(error),
            fix="Correct forward, or build the layers with their sizes: nn.Linear for nn.LazyLinear.",
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
    left = lazy_names(model)
    if left:
        raise ModelError(
            f"Parameter {left[0]} has no shape after a pass in evaluation mode.",
            fix="Use the layer in every forward pass, or build it with its sizes.",
        )
    return model
