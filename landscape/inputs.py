"""What a model is called with: one tensor, several in a tuple, or several by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
"""(N, ...) tensors, N the number of examples: for ``model(inputs)``, ``model(*inputs)`` or ``model(**inputs)``."""


def is_inputs(value: object) -> bool:
    """Tell whether something is one tensor, or a tuple, list or mapping of tensors by name."""
    if isinstance(value, Mapping):
        return bool(value) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    if isinstance(value, tuple | list):
        return bool(value) and all(isinstance(part, Tensor) for part in value)
    return isinstance(value, Tensor)


def map_inputs(function: Callable[[Tensor], Tensor], inputs: Any) -> Inputs:
    """Apply a function to each tensor.

    Example:
        >>> map_inputs(len, {"a": [1, 2], "b": [3]})
        {'a': 2, 'b': 1}
    """
    if isinstance(inputs, Mapping):
        return {name: function(part) for name, part in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(function(part) for part in inputs)
    return function(inputs)


def named_tensors(inputs: Inputs) -> dict[str, Tensor]:
    """Return the tensors by what they are called: "inputs", "inputs[0]", or "inputs['mask']"."""
    if isinstance(inputs, dict):
        return {f"inputs[{key!r}]": part for key, part in inputs.items()}
    if isinstance(inputs, tuple):
        return {f"inputs[{number}]": part for number, part in enumerate(inputs)}
    return {"inputs": inputs}


def join_inputs(parts: list[Any]) -> Inputs:
    """Join batches to one, along their examples.

    Raises:
        RuntimeError: Their shapes differ.
        KeyError: A name is missing in one.
    """
    first = parts[0]
    if isinstance(first, Mapping):
        return {name: torch.cat([part[name] for part in parts]) for name in first}
    if isinstance(first, tuple | list):
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))
    return torch.cat(parts)


def adapt(replica: nn.Module, inputs: Inputs, *, logits: bool) -> None:
    """Make a module take its inputs as one argument, whatever they are, and give a tensor where it can.

    Args:
        replica: A private copy; for a plain tensor in and out, nothing is changed.
        inputs: Such as it will be called with.
        logits: Whether its outputs hold the tensor that counts, as ``outputs.logits``.
    """
    if not isinstance(inputs, Tensor):
        replica.register_forward_pre_hook(unpack, with_kwargs=True)
    if logits:
        replica.register_forward_hook(logits_of)


def holds_logits(replica: nn.Module, inputs: Inputs, loss_fn: Any) -> bool:
    """Tell whether a model's outputs are an object with ``.logits``, as transformers', and the loss is one of torch's.

    Args:
        replica: A private copy of the model, in evaluation mode.
        inputs: A few of them.
        loss_fn: A loss of the user's own gets the outputs as they are.
    """
    module = getattr(loss_fn, "__module__", None) or type(loss_fn).__module__
    if not module.startswith("torch."):
        return False
    outputs = replica(inputs)
    return held_logits(outputs) is not outputs


def unpack(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Do before a forward, as a hook: call it with the parts of what it was given."""
    if len(args) == 1 and isinstance(args[0], dict):
        return (), {**args[0], **kwargs}
    if len(args) == 1 and isinstance(args[0], tuple):
        return args[0], kwargs
    return args, kwargs


def logits_of(module: nn.Module, args: tuple[Any, ...], outputs: Any) -> Any:
    """Do after a forward, as a hook: take ``outputs.logits``."""
    return held_logits(outputs)


def held_logits(outputs: Any) -> Any:
    """Return the tensor that outputs hold as ``outputs.logits``, as transformers' do; others as they are."""
    logits = None if isinstance(outputs, Tensor) else getattr(outputs, "logits", None)
    return logits if isinstance(logits, Tensor) else outputs
