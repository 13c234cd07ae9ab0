"""Results as files: any nesting of numbers, text, arrays and this package's results, with nothing unpickled."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from landscape.errors import CorruptFileError, NotebookError
from landscape.storage import load_arrays, save_arrays
from landscape.surface.archive import StoredResult

_TEXT = "__text__"
Arrays = dict[str, np.ndarray]


def save_value(path: str | os.PathLike[str], value: Any, note: Mapping[str, Any]) -> None:
    """Write a value as one ``.npz`` file, atomically and with a checksum.

    Args:
        path: The file.
        value: None, truth values, numbers, text, arrays, tensors, results and dataclasses of this package, and lists,
            tuples and dictionaries of them.
        note: What else is kept with it, plain JSON values.

    Raises:
        NotebookError: It holds something else.
        StorageError: The file cannot be written.
    """
    arrays: Arrays = {}
    text = json.dumps({"value": _pack(value, arrays), "note": dict(note)})
    save_arrays(path, {**arrays, _TEXT: np.array(text)})


def load_value(path: str | os.PathLike[str]) -> tuple[Any, dict[str, Any]]:
    """Read back what :func:`save_value` wrote.

    Args:
        path: The file.

    Returns:
        The value, its tensors on the CPU, and the note.

    Raises:
        StorageError: There is no such file.
        CorruptFileError: It is damaged, or holds what this version cannot build.
    """
    arrays = load_arrays(path)
    try:
        text = json.loads(str(arrays.pop(_TEXT)))
        return _unpack(text["value"], arrays), text["note"]
    except Exception as error:  # whatever a constructor raises for values of another version
        raise CorruptFileError(f"{path} cannot be used.", got=f"{type(error).__name__}: {error}") from error


def complete(value: Any) -> bool:
    """Tell whether a value is whole: results that Ctrl-C ended early say that they are not.

    Example:
        >>> from landscape.curvature import Estimate
        >>> complete([Estimate(1.0, 0.5, 3)]), complete([Estimate(1.0, 0.5, 3, complete=False)])
        (True, False)
    """
    if isinstance(value, dict):
        return bool(getattr(value, "complete", True)) and all(map(complete, value.values()))
    if isinstance(value, list | tuple):
        return all(map(complete, value))
    if isinstance(value, StoredResult):
        return bool(getattr(value, "complete", True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return all(complete(getattr(value, field.name)) for field in dataclasses.fields(value))
    return True


def _pack(value: Any, arrays: Arrays) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {"dict": [[_pack(key, arrays), _pack(entry, arrays)] for key, entry in value.items()]}
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return {type(value).__name__: [_pack(entry, arrays) for entry in value]}
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return {"array": _keep(value, arrays)}
    if isinstance(value, torch.Tensor):
        return _pack_tensor(value, arrays)
    return _pack_object(value, arrays)


def _keep(array: np.ndarray, arrays: Arrays) -> str:
    name = f"a{len(arrays)}"
    arrays[name] = array
    return name


def _pack_tensor(value: torch.Tensor, arrays: Arrays) -> Any:
    dtype = str(value.dtype).removeprefix("torch.")
    held = value.detach().cpu()
    plain = held.float() if dtype == "bfloat16" else held
    return {"tensor": _keep(plain.numpy(), arrays), "dtype": dtype}


def _pack_object(value: Any, arrays: Arrays) -> Any:
    kind = type(value)
    place = f"{kind.__module__}:{kind.__qualname__}"
    if kind.__module__.partition(".")[0] == "landscape":
        if isinstance(value, StoredResult):
            own, text = value._packed()
            names = {name: _keep(np.asarray(array), arrays) for name, array in own.items()}
            return {"result": place, "arrays": names, "text": text}
        if dataclasses.is_dataclass(value):
            fields = {field.name: _pack(getattr(value, field.name), arrays) for field in dataclasses.fields(value)}
            return {"dataclass": place, "fields": fields}
    raise NotebookError(
        f"A {kind.__name__} cannot be kept.",
        expected="numbers, text, arrays, results of this package, or lists and dictionaries of them",
        got=place,
        fix="Return what is needed of it.",
    )


def _unpack(packed: Any, arrays: Arrays) -> Any:
    if not isinstance(packed, dict):
        return packed
    if "dict" in packed:
        return {_unpack(key, arrays): _unpack(entry, arrays) for key, entry in packed["dict"]}
    for made in (list, tuple):
        if made.__name__ in packed:
            return made(_unpack(entry, arrays) for entry in packed[made.__name__])
    if "array" in packed:
        return arrays[packed["array"]]
    if "tensor" in packed:
        return torch.from_numpy(arrays[packed["tensor"]]).to(getattr(torch, packed["dtype"]))
    if "result" in packed:
        kind = _class(packed["result"], StoredResult)
        own = {name: arrays[kept] for name, kept in packed["arrays"].items()}
        return kind(**kind._unpacked(own, packed["text"]))
    fields = {name: _unpack(entry, arrays) for name, entry in packed["fields"].items()}
    return _class(packed["dataclass"], object)(**fields)


def _class(place: str, base: type) -> Any:
    """Find a result class of this package by its name; nothing else can be named."""
    module, _, name = place.partition(":")
    if module.partition(".")[0] != "landscape":
        raise ValueError(place)
    kind = getattr(importlib.import_module(module), name)
    if not (isinstance(kind, type) and issubclass(kind, base) and dataclasses.is_dataclass(kind)):
        raise ValueError(place)
    return kind
