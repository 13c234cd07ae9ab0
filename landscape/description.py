"""Checksums that tell losses and models apart where their names and weights are the same."""

from __future__ import annotations

import functools
import hashlib
import re
import sys
from collections.abc import Mapping
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.storage import sha256_arrays

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_DEEPEST = 8  # functions that close over functions end somewhere


def host_array(tensor: Tensor) -> np.ndarray:
    """Return a tensor's values as an array; a dtype that NumPy lacks (bfloat16) as its bytes, in one dimension more."""
    held = tensor.detach().cpu().resolve_conj().resolve_neg()
    try:
        return held.numpy()
    except TypeError:
        return held.contiguous().unsqueeze(-1).view(torch.uint8).numpy()


def checksum_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return one SHA-256 over the names, dtypes, shapes and values of tensors, in the order of their names.

    Args:
        tensors: Name to tensor, of any dtypes, on any devices.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> one = torch.ones(2, dtype=torch.bfloat16)
        >>> checksum_tensors({"a": one}) == checksum_tensors({"a": one.float()})
        False
    """
    return sha256_arrays({name: host_array(tensor) for name, tensor in tensors.items()})


def checksum_structure(model: nn.Module) -> str:
    """Return a SHA-256 of a model's modules and their settings, as ``print(model)`` shows them.

    Args:
        model: Any module.

    Returns:
        64 hexadecimal digits, the same in every process.

    Example:
        >>> checksum_structure(nn.ReLU()) == checksum_structure(nn.Tanh())
        False
    """
    return hashlib.sha256(_ADDRESS.sub("", repr(model)).encode()).hexdigest()


def checksum_callable(function: Any) -> str:
    """Return a SHA-256 of what a function computes, as far as that can be seen.

    Modules count with their class, settings and tensors; partials with their arguments; functions of an imported module
    by their name; lambdas and local functions with their code, defaults and what they close over. Any other object
    counts with its class alone.

    Args:
        function: A loss, for example.

    Returns:
        64 hexadecimal digits, the same in every process of one Python version.

    Example:
        >>> smooth = nn.CrossEntropyLoss(label_smoothing=0.5)
        >>> checksum_callable(nn.CrossEntropyLoss()) == checksum_callable(smooth)
        False
        >>> checksum_callable(lambda x: 2 * x) == checksum_callable(lambda x: 3 * x)
        False
    """
    return hashlib.sha256(repr(_describe(function, 0)).encode()).hexdigest()


def _describe(value: Any, depth: int) -> Any:
    """Turn a value into nested tuples of text that have one ``repr`` in every process."""
    if depth > _DEEPEST:
        return "..."
    if value is None or isinstance(value, str | bytes | bool | int | float | complex | torch.dtype | torch.device):
        return repr(value)
    if isinstance(value, Tensor):
        return "tensor", checksum_tensors({"": value})
    if isinstance(value, Mapping):
        return "mapping", *((str(key), _describe(entry, depth + 1)) for key, entry in value.items())
    if isinstance(value, set | frozenset):
        return "set", *sorted(repr(_describe(entry, depth + 1)) for entry in value)
    if isinstance(value, list | tuple):
        return "sequence", *(_describe(entry, depth + 1) for entry in value)
    if isinstance(value, functools.partial):
        return "partial", *(_describe(part, depth + 1) for part in (value.func, value.args, value.keywords))
    if isinstance(value, nn.Module):
        return _describe_module(value, depth)
    return _describe_function(value, depth)


def _describe_module(module: nn.Module, depth: int) -> Any:
    settings = {
        f"{prefix}.{key}": _describe(entry, depth + 1)
        for prefix, part in module.named_modules()
        for key, entry in sorted(vars(part).items())
        if not key.startswith("_") and key != "training"
    }
    return "module", _name(type(module)), checksum_structure(module), settings, checksum_tensors(module.state_dict())


def _describe_function(function: Any, depth: int) -> Any:
    inner = getattr(function, "__func__", function)  # of a bound method
    code = getattr(inner, "__code__", None)
    if not isinstance(code, CodeType):
        return "object", _name(function) or _name(type(function))
    if _importable(inner):
        return "function", _name(inner)
    closed = []
    for cell in inner.__closure__ or ():
        try:
            closed.append(cell.cell_contents)
        except ValueError:  # not yet bound
            closed.append(None)
    return "code", _describe_code(code), _describe((inner.__defaults__, inner.__kwdefaults__, closed), depth + 1)


def _describe_code(code: CodeType) -> Any:
    constants = tuple(_describe_code(c) if isinstance(c, CodeType) else _describe(c, 0) for c in code.co_consts)
    return code.co_code.hex(), constants, code.co_names


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{thing.__qualname__}" if hasattr(thing, "__qualname__") else ""


def _importable(function: Any) -> bool:
    found = sys.modules.get(function.__module__) if function.__module__ != "__main__" else None
    return found is not None and getattr(found, function.__qualname__, None) is function
