"""The right format by a file's name."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from landscape.config import require_name
from landscape.storage import as_path
from landscape.surface.exchange.hdf5 import export_hdf5, import_hdf5
from landscape.surface.exchange.table import Tabular, export_csv, import_csv
from landscape.surface.exchange.vtk import export_vtp
from landscape.surface.results import Line, Surface

EXPORTS: dict[str, Callable[..., None]] = {
    ".csv": export_csv,
    ".h5": export_hdf5,
    ".hdf5": export_hdf5,
    ".vtp": export_vtp,
}
"""Suffix to the function that writes such a file."""

IMPORTS: dict[str, Callable[..., Line | Surface]] = {".csv": import_csv, ".h5": import_hdf5, ".hdf5": import_hdf5}
"""Suffix to the function that reads such a file."""


def export_result(result: Tabular, path: str | os.PathLike[str]) -> None:
    """Write a result in the format that the file's name asks for.

    Args:
        result: What to write: a surface in any format, a line as .csv or .h5; a profile, a trajectory or a curve as
            .csv.
        path: Ends with .csv, .h5, .hdf5 or .vtp.

    Raises:
        ConfigError: No format has that suffix.
        DataError: The format cannot hold this result; the message says which can.
        MissingDependencyError: HDF5 is asked for, and h5py is not installed.
        StorageError: The file cannot be written.
    """
    _choose(EXPORTS, path)(result, path)


def import_result(path: str | os.PathLike[str]) -> Line | Surface:
    """Read a result from another program's file, in the format that its name says.

    Args:
        path: Ends with .csv, .h5 or .hdf5.

    Returns:
        A line or a surface, as the file holds.

    Raises:
        ConfigError: No format has that suffix.
        CorruptFileError: The file is damaged or of another format.
        MismatchError: It holds something else, or its parts do not fit together.
        MissingDependencyError: It is HDF5, and h5py is not installed.
        StorageError: There is no such file.
    """
    return _choose(IMPORTS, path)(path)


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Fail now where :func:`export_result` would know no format for a file's name.

    Raises:
        ConfigError: No format has that suffix.
    """
    _choose(EXPORTS, path)


def _choose(formats: dict[str, Callable[..., Any]], path: str | os.PathLike[str]) -> Callable[..., Any]:
    name = as_path(path)
    suffix = name.suffix.lower()
    require_name("format", suffix or name.name, formats)
    return formats[suffix]
