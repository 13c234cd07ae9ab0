"""Results as ``.npz`` files: arrays as they are, everything else as JSON text, and the name of what is inside."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from landscape.errors import CorruptFileError, LandscapeError, MismatchError, first_line, shown
from landscape.storage import load_arrays, save_arrays

_KIND, _TEXT, _VERSION = "__kind__", "__text__", 1


def frozen_array(name: str, value: Any, shape: tuple[int, ...], dtype: type = np.float64) -> np.ndarray:
    """Copy something into a read-only array of a known shape.

    Args:
        name: What the array is called, for the message.
        value: Anything that numpy reads as numbers.
        shape: The shape it must have; -1 stands for any length.
        dtype: What its numbers become.

    Returns:
        The array; it cannot be written to.

    Raises:
        MismatchError: These are no numbers, or the shape is another one.

    Example:
        >>> frozen_array("loss", [1, 2], (-1,)).tolist()
        [1.0, 2.0]
    """
    try:
        found = np.asarray(value)
        whole = np.issubdtype(dtype, np.integer)
        if found.dtype.kind == "c" or (whole and not np.isfinite(found).all()):
            raise TypeError(f"no numbers of {dtype}")
        array = np.array(found, dtype=dtype)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise MismatchError(
            f"The result's {name} cannot be read as numbers.",
            expected=f"numbers, shape {shape}",
            got=shown(value),
            fix="Build results with the functions that compute them, or load them from their files.",
        ) from error
    fits = array.ndim == len(shape) and all(want in (-1, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits:
        raise MismatchError(
            f"The result's {name} does not fit its axes.",
            expected=f"shape {shape}",
            got=f"shape {array.shape}",
            fix="Build results with the functions that compute them, or load them from their files.",
        )
    array.flags.writeable = False
    return array


def span(values: np.ndarray) -> str:
    """Say between which finite values an array lies, for a result's repr.

    Example:
        >>> span(np.array([1.0, np.nan, 2.5])), span(np.array([np.nan]))
        ('1 to 2.5', 'none finite')
    """
    finite = values[np.isfinite(values)]
    return f"{finite.min():.4g} to {finite.max():.4g}" if finite.size else "none finite"


def save_result(path: str | os.PathLike[str], kind: str, arrays: Mapping[str, np.ndarray], text: Any) -> None:
    """Write a result atomically, with a checksum.

    Args:
        path: The ``.npz`` file.
        kind: What it is ("Surface"); a file is only read back as what it is.
        arrays: Name to array of numbers.
        text: Plain JSON values; NaN and infinities are kept.

    Raises:
        StorageError: The file cannot be written.
    """
    header = {_KIND: np.array(f"{kind}/{_VERSION}"), _TEXT: np.array(json.dumps(text))}
    save_arrays(path, {**arrays, **header})


def load_result(
    path: str | os.PathLike[str], kind: str, names: Sequence[str], *, optional: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], Any]:
    """Read a result back.

    Args:
        path: A file of :func:`save_result`.
        kind: What it must be.
        names: The arrays it must hold.
        optional: Arrays it may hold.

    Returns:
        The arrays by name, and the JSON values.

    Raises:
        StorageError: There is no such file.
        CorruptFileError: The file is truncated or damaged.
        MismatchError: It holds something else, or was written by a later version.
    """
    arrays = load_arrays(path)
    found = str(arrays.pop(_KIND, "something else"))
    if found != f"{kind}/{_VERSION}":
        raise MismatchError(
            f"{path} holds no {kind} that this version can read.",
            expected=f"{kind}/{_VERSION}",
            got=found,
            fix=f"Load it as what it is, or compute the {kind} again.",
        )
    try:
        found_too = [name for name in optional if name in arrays]
        return {name: arrays[name] for name in (*names, *found_too)}, json.loads(str(arrays[_TEXT]))
    except (KeyError, ValueError) as error:
        raise CorruptFileError(f"{path} is incomplete.", got=str(error), fix="Compute it again.") from error


class StoredResult(ABC):
    """A result that is written as one ``.npz`` file named after its class, and read back equal."""

    _names: ClassVar[tuple[str, ...]]
    """The arrays of its file."""
    _optional: ClassVar[tuple[str, ...]] = ()
    """Arrays that its file may hold beside them."""

    @abstractmethod
    def _packed(self) -> tuple[Mapping[str, np.ndarray], Any]:
        """Return the arrays of the file, and what else it holds as JSON values."""

    @classmethod
    @abstractmethod
    def _unpacked(cls, arrays: dict[str, np.ndarray], text: Any) -> dict[str, Any]:
        """Return the constructor's arguments from what :meth:`_packed` returned."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result as one ``.npz`` file, atomically and with a checksum.

        Raises:
            StorageError: The file cannot be written.
        """
        save_result(path, type(self).__name__, *self._packed())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a result back, tensors on the CPU; nothing is unpickled.

        Raises:
            StorageError: There is no such file.
            CorruptFileError: It is damaged, or what it holds makes no such result.
            MismatchError: It holds something else.
        """
        held = load_result(path, cls.__name__, cls._names, optional=cls._optional)
        try:
            return cls(**cls._unpacked(*held))
        except LandscapeError:
            raise
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CorruptFileError(
                f"{path} holds values that make no {cls.__name__}.",
                got=first_line(error),
                fix="Compute it again, or read it with the version that wrote it.",
            ) from error
