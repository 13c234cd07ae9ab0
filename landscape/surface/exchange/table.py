"""Results as CSV: a row for each point, every number as it is; lines and surfaces are read back too."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscape.arguments import check_kind
from landscape.errors import CorruptFileError, DataError, MismatchError, shown
from landscape.storage import require_file, write_text
from landscape.surface.exchange.imported import imported_result, status_of
from landscape.surface.results import (
    DONE,
    INTERPOLATED,
    MISSING,
    NON_FINITE,
    Curve,
    Line,
    Profile,
    Surface,
    Trajectory,
)

Tabular = Line | Surface | Profile | Trajectory | Curve
"""What there is a table of."""

_STATUS = {MISSING: "missing", DONE: "done", NON_FINITE: "non-finite", INTERPOLATED: "interpolated"}


def export_csv(result: Tabular, path: str | os.PathLike[str]) -> None:
    """Write a result as CSV, atomically.

    The header of a line or a surface is ``alpha,beta,loss,accuracy,status`` (no beta for a line), for an interpolated
    view with ``error`` at its end; then one row for each point, alpha slowest. That of a profile is
    ``kind,radius,loss,stderr``, of a trajectory ``step,alpha,beta,distance``, of a curve ``t,loss,accuracy``.

    Numbers are Python's shortest that read back as the same float64, NaN and infinities as ``nan``, ``inf`` and
    ``-inf``. Accuracy is a fraction; the status one of missing, done, non-finite and interpolated. Directions,
    provenance, and what else a result knows (a profile's base loss, a trajectory's shares) are not written; its own
    ``save`` writes all of it.

    Args:
        result: What to write.
        path: The file.

    Raises:
        DataError: It is none of these results.
        StorageError: The file cannot be written.

    Example:
        >>> import tempfile
        >>> curves = {"loss": {"sam": [2, 3]}, "stderr": {"sam": [0, 0]}}
        >>> profile = Profile(kinds=("sam",), radii=[0, 1], **curves, base_loss=2.0, provenance={})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export_csv(profile, f"{folder}/a.csv")
        ...     print(Path(folder, "a.csv").read_text())
        kind,radius,loss,stderr
        sam,0.0,2.0,0.0
        sam,1.0,3.0,0.0
        <BLANKLINE>
    """
    several = isinstance(result, Mapping)
    check_kind(
        result,
        Tabular,
        "There is no table of this.",
        expected="a Line, a Surface, a Profile, a Trajectory or a Curve",
        fix="Write a file for each result." if several else "Pass the result of an evaluation; others have save(path).",
        error=DataError,
    )
    texts = _points(result) if isinstance(result, Line | Surface) else _path(result)
    rows = [",".join(texts), *(",".join(row) for row in zip(*texts.values(), strict=True))]
    write_text(path, "\n".join(rows) + "\n")


def _path(result: Profile | Trajectory | Curve) -> dict[str, list[str]]:
    """The columns of a result that has no grid."""
    if isinstance(result, Profile):
        names = [kind for kind in result.kinds for _ in result.radii]
        curves = {name: [getattr(result, name)[kind] for kind in result.kinds] for name in ("loss", "stderr")}
        columns = {"radius": [result.radii] * len(result.kinds), **curves}
        empty = np.zeros(0)
        return {"kind": names, **{name: _numbers(np.concatenate([empty, *each])) for name, each in columns.items()}}
    if isinstance(result, Trajectory):
        alphas, betas = result.coordinates.T
        columns = {"alpha": alphas, "beta": betas, "distance": result.distance}
        return {"step": list(map(str, result.steps.tolist())), **{k: _numbers(v) for k, v in columns.items()}}
    return {"t": _numbers(result.t), "loss": _numbers(result.loss), "accuracy": _numbers(result.accuracy)}


def _points(result: Line | Surface) -> dict[str, list[str]]:
    axes = {"alpha": result.alphas} | ({"beta": result.betas} if isinstance(result, Surface) else {})
    grid = np.meshgrid(*axes.values(), indexing="ij")
    columns = dict(zip(axes, grid, strict=True)) | {"loss": result.loss, "accuracy": result.accuracy}
    texts = {name: _numbers(values) for name, values in columns.items()}
    texts["status"] = [_STATUS.get(code, str(code)) for code in result.status.ravel().tolist()]
    error = getattr(result, "error", None)
    if error is not None:
        texts["error"] = _numbers(error)
    return texts


def import_csv(path: str | os.PathLike[str]) -> Line | Surface:
    """Read a line or a surface from CSV.

    Args:
        path: A file of :func:`export_csv`, or any other with a header that names alpha (beta for a surface) and loss,
            in any order; accuracy and status as well, where given. Rows may come in any order, and both axes then
            ascend; points of the grid that have no row are missing.

    Returns:
        The result; from a file of :func:`export_csv` with the same axes, losses, accuracies and status, bit for bit.

    Raises:
        StorageError: There is no such file.
        CorruptFileError: It is no such table, or a number cannot be read.
        MismatchError: Two rows are of one point, or the points are no grid.
    """
    header, rows = _read(require_file(path))
    names = [name for name in ("alpha", "beta") if name in header]
    if "alpha" not in header or "loss" not in header:
        raise CorruptFileError(
            f"{path} is no table of losses.",
            expected="columns alpha, beta (of a surface) and loss",
            got=shown(", ".join(header)),
            fix="Name them so in its first line.",
        )
    columns = {
        name: _column(path, rows, header.index(name))
        for name in (*names, "loss", "accuracy", "error")
        if name in header
    }
    if not rows or not all(np.isfinite(columns[name]).all() for name in names):
        raise CorruptFileError(
            f"{path} has no rows, or a row with no place.",
            expected=f"finite {' and '.join(names)}",
            fix="Remove such rows.",
        )
    axes = [np.array(list(dict.fromkeys(columns[name].tolist())), dtype=np.float64) for name in names]
    places = tuple(_places(axis, columns[name]) for axis, name in zip(axes, names, strict=True))
    shape = tuple(len(axis) for axis in axes)
    if math.prod(shape) > 100 * len(rows) + 10_000:
        raise MismatchError(
            f"The points in {path} are no grid.",
            expected="alphas and betas that come again",
            got=shape,
            fix="Round them to the values of the grid.",
        )
    if not np.array_equal(np.ravel_multi_index(places, shape), np.arange(math.prod(shape))):  # no grid row by row
        axes = [np.sort(axis) for axis in axes]
        places = tuple(_places(axis, columns[name]) for axis, name in zip(axes, names, strict=True))
    if len(np.unique(np.ravel_multi_index(places, shape))) < len(rows):
        raise MismatchError(
            f"{path} holds a point twice.", expected="one row for each point", fix="Remove one of them."
        )
    fields = {}
    for name in ("loss", "accuracy", "error"):
        fields[name] = np.full(shape, np.nan)
        if name in columns:
            fields[name][places] = columns[name]
    absent = np.ones(shape, dtype=bool)
    absent[places] = False
    status = status_of(fields["loss"], absent)
    if "status" in header:
        status[places] = _statuses(path, rows, header.index("status"))
    values = {"loss": fields["loss"], "accuracy": fields["accuracy"], "status": status}
    return imported_result(path, axes, values, error=fields["error"] if "error" in columns else None)


def _numbers(values: np.ndarray) -> list[str]:
    return [_number(value) for value in values.ravel().tolist()]


def _number(value: float) -> str:
    return "-nan" if math.isnan(value) and math.copysign(1.0, value) < 0 else repr(value)


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error) as error:
        fix = "Check that it is a CSV file and whole; export it again."
        got = f"{type(error).__name__}: {error}"
        raise CorruptFileError(f"{path} cannot be read as a table.", got=got, fix=fix) from error
    header = [name.strip() for name in header]
    wrong = next((row for row in rows if len(row) != len(header)), None)
    if wrong is not None:
        raise CorruptFileError(
            f"{path} has a row of another length.",
            expected=f"{len(header)} values",
            got=shown(",".join(wrong)),
            fix="Correct that row.",
        )
    return header, rows


def _column(path: str | os.PathLike[str], rows: list[list[str]], index: int) -> np.ndarray:
    try:
        return np.array([float(row[index]) for row in rows])
    except ValueError as error:
        fix = "Correct it; nan, inf and -inf are numbers."
        raise CorruptFileError(f"{path} holds something that is no number.", got=str(error), fix=fix) from error


def _places(axis: np.ndarray, values: np.ndarray) -> np.ndarray:
    number = {value: index for index, value in enumerate(axis.tolist())}
    return np.array([number[value] for value in values.tolist()], dtype=np.int64)


def _statuses(path: str | os.PathLike[str], rows: list[list[str]], index: int) -> list[int]:
    codes: dict[str, Any] = {name: code for code, name in _STATUS.items()}
    found = [row[index].strip() for row in rows]
    unknown = set(found) - set(codes)
    if unknown:
        raise CorruptFileError(
            f"{path} holds an unknown status.", expected=", ".join(codes), got=shown(min(unknown)), fix="Correct it."
        )
    return [codes[name] for name in found]
