"""What a result depends on, as plain values with one text in every process: the key under which it is kept."""

from __future__ import annotations

import dataclasses
import dis
import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from landscape.config import Config
from landscape.description import checksum_callable, checksum_tensors
from landscape.errors import NotebookError
from landscape.objective import Objective
from landscape.storage import sha256_arrays
from landscape.surface.archive import StoredResult
from landscape.surface.directions import Direction
from landscape.surface.planes import Plane
from landscape.training import Run

_OBJECTIVE = (
    "model", "model_sha256", "layout", "weights_sha256", "fixed_sha256", "data_sha256", "normalization", "examples",
    "loss_sha256", "metric_sha256", "batch_size", "dtype",
)  # fmt: skip
_ROOMS_THAT_SHOW = ("plotting", "widgets", "notebooks", "doctor", "cli", "progress", "recipes", "errors")


def key_of(name: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> str:
    """Return the key of a result: 64 hexadecimal digits.

    It depends on the name, the function's code, its arguments and the code of this package; not on the machine.

    Args:
        name: What the result is called.
        function: What computes it.
        arguments: What it is called with.

    Raises:
        NotebookError: The function reads a value that is no argument, or an argument has no identity.
    """
    described = {key: identity(value, key) for key, value in arguments.items()}
    parts = [name, code_checksum(), _function(function), described]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def identity(value: Any, where: str = "a value") -> Any:
    """Turn a value into JSON values that are equal where, and only where, it is the same.

    Args:
        value: Numbers, text, arrays, tensors, models, objectives, runs, settings, results, planes, functions, and
            lists and dictionaries of them.
        where: Its name, for the message.

    Raises:
        NotebookError: It is something else.

    Example:
        >>> identity((1, 2.5, None))
        ['tuple', 1, 2.5, None]
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else ["float", repr(float(value))]
    if isinstance(value, Mapping):
        return ["mapping", *([identity(key, where), identity(entry, where)] for key, entry in value.items())]
    if isinstance(value, list | tuple):
        return [type(value).__name__, *(identity(entry, where) for entry in value)]
    if isinstance(value, set | frozenset):
        return ["set", *sorted(json.dumps(identity(entry, where)) for entry in value)]
    if isinstance(value, np.generic):
        return identity(value.item(), where)
    return _object(value, where)


def _object(value: Any, where: str) -> Any:
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        return [kind, sha256_arrays({"": value})]
    if isinstance(value, torch.Tensor):
        return [kind, checksum_tensors({"": value})]
    if isinstance(value, Objective):
        record = value.provenance()
        classes = sorted({_class(type(module)) for module in value.model.modules()})
        return [kind, *(record.get(name) for name in _OBJECTIVE), classes]
    if isinstance(value, Run):
        return [kind, value.config.hash, value.weights_checksum()]
    if isinstance(value, Config):
        return [kind, value.hash]
    if isinstance(value, Direction):
        return [kind, value.record()["vector_sha256"]]
    if isinstance(value, Plane):
        return [kind, *(identity(part, where) for part in (*value.directions, value.origin))]
    if isinstance(value, Path | torch.dtype | torch.device):
        return [kind, str(value)]
    if isinstance(value, StoredResult) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}  # pyright: ignore
        return [kind, identity({name: part for name, part in fields.items() if name != "provenance"}, where)]
    if isinstance(value, nn.Module):
        return [_class(type(value)), checksum_callable(value)]
    if callable(value):
        return _function(value)
    raise NotebookError(
        f"Nothing says when two values of {where!r} are the same.",
        expected="numbers, text, arrays, models, objectives, runs, settings, results, or lists of them",
        got=kind,
        fix="Pass what decides the result, for example its seed.",
    )


def _function(function: Callable[..., Any], seen: tuple[Any, ...] = ()) -> str:
    """Check that a function reads nothing but its arguments, and return the checksum of its code."""
    parts = [checksum_callable(function)]
    for name, value in _read_from_outside(function):
        if value in seen or value is function or isinstance(value, ModuleType):
            parts.append(name)
        elif isinstance(value, type):
            parts.append(_class(value, (*seen, function)))
        elif isinstance(value, FunctionType):
            parts.append(_function(value, (*seen, function)))
        elif callable(value):
            parts.append(checksum_callable(value))
        else:
            raise NotebookError(
                f"The function reads {name!r}, which is no argument of it.",
                fix=f"Give it: cached(name, function, ..., {name}={name}).",
            )
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _class(kind: type, seen: tuple[Any, ...] = ()) -> str:
    """Return the name of a class, and for one that a notebook defines a checksum of its methods."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__ != "__main__":
        return name
    methods = [_function(part, seen) for part in vars(kind).values() if isinstance(part, FunctionType)]
    return hashlib.sha256("".join([name, *methods]).encode()).hexdigest()


def _read_from_outside(function: Any) -> Iterator[tuple[str, Any]]:
    """Yield the globals and captured variables that a function of a notebook reads."""
    inner = getattr(function, "__func__", function)
    if not isinstance(inner, FunctionType) or inner.__module__.partition(".")[0] == "landscape":
        return
    for name, cell in zip(inner.__code__.co_freevars, inner.__closure__ or (), strict=False):
        if name != "__class__":  # what super() reads
            yield name, cell.cell_contents
    for name in sorted(_global_names(inner.__code__)):
        if name in inner.__globals__:
            yield name, inner.__globals__[name]


def _global_names(code: CodeType) -> set[str]:
    found = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _global_names(constant)
    return found


@functools.cache
def code_checksum() -> str:
    """Return the SHA-256 of the code of this package that computes: a result of older code is none of today's."""
    home = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(home.rglob("*.py")):
        place = path.relative_to(home).as_posix()
        if not place.startswith(_ROOMS_THAT_SHOW):
            digest.update(place.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
