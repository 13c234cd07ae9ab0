"""The HDF5 layout of Li et al.'s loss-landscape, which others read and write too."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from landscape.arguments import check_kind
from landscape.config import is_number, require, require_name
from landscape.errors import CorruptFileError, DataError, MismatchError, MissingDependencyError, shown
from landscape.storage import replacing, require_file
from landscape.surface.exchange.imported import imported_result, status_of
from landscape.surface.results import INTERPOLATED, MISSING, Line, Surface

SENTINEL = -1.0
"""What the layout holds for a point that was not computed."""

_OURS = "landscape_{}"


def export_hdf5(
    results: Line | Surface | Mapping[str, Line | Surface],
    path: str | os.PathLike[str],
    *,
    keep_minus_one: bool = False,
) -> None:
    """Write a line or a surface for programs that read the layout of loss-landscape.

    The file holds ``xcoordinates`` (alphas), for a surface ``ycoordinates`` (betas), and for each split SPLIT_loss and
    SPLIT_acc, accuracy in percent; -1 in both where a point was not computed; NaN and infinities as they are. As that
    program does, the values of a surface run fastest along x while the array is shaped (x, y): only where both axes
    have one length is a row the values at one y. Directions and provenance lie beside them as JSON, where programs that
    do not know them look past them; of an interpolated view they say that it is one.

    Args:
        results: What to write: one result, written as "train", or split -> result ("train", "test") on the same axes.
        path: The file.
        keep_minus_one: Whether to write losses that are exactly -1. Other programs take them for points that were not
            computed; :func:`import_hdf5` tells them apart by their accuracy. (loss-landscape itself evaluates any
            point anew whose loss is 0 or less.)

    Raises:
        DataError: A computed loss is exactly -1; or there is nothing to write; or it is no line and no surface.
        MismatchError: The splits are on different axes.
        MissingDependencyError: h5py is not installed.
        StorageError: The file cannot be written.

    References:
        Li, Xu, Taylor, Studer, Goldstein. Visualizing the loss landscape of neural nets. NeurIPS 2018; its program
        https://github.com/tomgoldstein/loss-landscape, plot_surface.py and scheduler.py.
    """
    named = _by_split(results)
    h5py = _h5py()
    axes = [_axes(result) for result in named.values()]
    if any(len(other) != len(axes[0]) or not all(map(np.array_equal, other, axes[0])) for other in axes):
        raise MismatchError(
            "The splits are not on the same axes.", expected="equal alphas and betas", fix="Write a file for each."
        )
    for name, result in named.items():
        if not keep_minus_one and ((result.loss == SENTINEL) & (result.status != MISSING)).any():
            raise DataError(
                f"A loss of {name!r} is exactly -1, which this layout uses for points that were not computed.",
                expected="other losses",
                got=SENTINEL,
                fix="Write a .csv file; or, for a reader that can tell them apart, "
                "landscape.surface.exchange.export_hdf5(result, path, keep_minus_one=True).",
            )
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for key, axis in zip(("xcoordinates", "ycoordinates"), axes[0], strict=False):
            file[key] = axis
        for name, result in named.items():
            missing = result.status == MISSING
            file[f"{name}_loss"] = _as_stored(np.where(missing, SENTINEL, result.loss))
            file[f"{name}_acc"] = _as_stored(np.where(missing, SENTINEL, result.accuracy * 100))
            text = {"directions": result.directions, "provenance": result.provenance}
            file[_OURS.format(name)] = json.dumps(text)


def import_hdf5(
    path: str | os.PathLike[str],
    *,
    split: str = "train",
    missing: float | None = SENTINEL,
    rows: Literal["y", "x"] = "y",
) -> Line | Surface:
    """Read a line or a surface from a file in the layout of loss-landscape.

    Args:
        path: The file; without ``ycoordinates`` it holds a line.
        split: Which values to read: SPLIT_loss, and SPLIT_acc where there is one. Default "train", the one that
            program writes.
        missing: The loss that stands for a point not computed; None where no loss does. A point whose accuracy was
            stored all the same was computed, and its loss is that number; where the file holds no accuracy, the two
            cannot be told apart.
        rows: The axis that stays the same along a row of the values. "y": as loss-landscape and its plots have it; "x"
            for files whose ``loss[i, j]`` belongs to ``xcoordinates[i]`` and ``ycoordinates[j]``.

    Returns:
        The result; accuracy as a fraction, NaN where the file holds none.

    Raises:
        ConfigError: ``missing`` or ``rows`` is something else.
        StorageError: There is no such file.
        CorruptFileError: It is no HDF5 file, or is damaged.
        MismatchError: It does not hold the split, or its values do not fit its axes.
        MissingDependencyError: h5py is not installed.
    """
    require_name("axis of rows", rows, ("y", "x"))
    known = missing is None or is_number(missing)
    require(known, "missing", "a loss, or None", missing, "Use -1.0, what loss-landscape writes.")
    h5py = _h5py()
    path = require_file(path)
    try:
        with h5py.File(path, "r") as file:
            found = {key: np.asarray(file[key][()], dtype=np.float64) for key in _wanted(path, file, split)}
            ours = file.get(_OURS.format(split))
            text = json.loads(ours.asstr()[()]) if ours is not None else None
            text = text and {"directions": list(text["directions"]), "provenance": dict(text["provenance"])}
    except MismatchError:
        raise
    except Exception as error:  # h5py raises what its parts raise: OSError, KeyError, TypeError, RuntimeError
        fix = "Check that it is an HDF5 file and whole; export it again."
        raise CorruptFileError(f"{path} cannot be read.", got=f"{type(error).__name__}: {error}", fix=fix) from error
    axes = [found[key].reshape(-1) for key in ("xcoordinates", "ycoordinates") if key in found]
    loss = _as_grid(path, found[f"{split}_loss"], axes, rows)
    percent = found.get(f"{split}_acc")
    accuracy = np.full(loss.shape, np.nan) if percent is None else _as_grid(path, percent, axes, rows)
    absent = np.zeros(loss.shape, bool) if missing is None else loss == missing
    if percent is not None:
        absent &= accuracy == SENTINEL
    status = status_of(loss, absent)
    if text and "interpolated" in text["provenance"]:  # which points were nodes the layout cannot say
        status[np.isfinite(loss) & ~absent] = INTERPOLATED
    values = {"loss": np.where(absent, np.nan, loss), "accuracy": np.where(absent, np.nan, accuracy / 100)}
    return imported_result(path, axes, {**values, "status": status}, text=text)


def _by_split(results: object) -> dict[str, Line | Surface]:
    """Results by split; raises a DataError about what this layout cannot hold."""
    named: dict[Any, Any] = dict(results) if isinstance(results, Mapping) else {"train": results}
    fix = "Write a profile, a trajectory or a curve as .csv."
    expected = "a Line, a Surface, or one of them for each split"
    for split, result in named.items():
        check_kind(result, Line | Surface, "This layout cannot hold it.", expected=expected, fix=fix, error=DataError)
        if not isinstance(split, str) or not split:
            raise DataError("A split has no name.", expected="'train', for example", got=shown(split), fix="Name it.")
    if not named:
        raise DataError("There is nothing to export.", expected=expected, got="an empty mapping", fix="Pass a result.")
    return named


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError(
            "HDF5 files are read and written with the package h5py, which is not installed.",
            fix="pip install h5py, or use a .csv or .vtp file.",
        ) from error
    return h5py


def _axes(result: Line | Surface) -> list[np.ndarray]:
    return [result.alphas, result.betas] if isinstance(result, Surface) else [result.alphas]


def _as_stored(values: np.ndarray) -> np.ndarray:
    """Values (x, y) with x running fastest, in an array of that shape all the same."""
    return np.ascontiguousarray(values.T).reshape(values.shape)


def _as_grid(path: Path, values: np.ndarray, axes: list[np.ndarray], rows: str) -> np.ndarray:
    shape = tuple(len(axis) for axis in axes)
    if values.size != np.prod(shape):
        raise MismatchError(
            f"The values in {path} do not fit its axes.", expected=shape, got=values.shape, fix="Export it again."
        )
    return values.reshape(shape) if rows == "x" else values.reshape(shape[::-1]).T


def _wanted(path: Path, file: Any, split: str) -> list[str]:
    absent = [key for key in ("xcoordinates", f"{split}_loss") if key not in file]
    if absent:
        raise MismatchError(
            f"{path} holds no {' and no '.join(absent)}.",
            expected="a surface file of loss-landscape",
            got=", ".join(sorted(file)) or "nothing",
            fix="Choose another split, or another file: files of directions hold no losses.",
        )
    return [key for key in ("xcoordinates", "ycoordinates", f"{split}_loss", f"{split}_acc") if key in file]
