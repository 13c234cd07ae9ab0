"""Decoded images, kept below the data folder, so that files are decoded once."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import CorruptFileError, StorageError
from landscape.storage import load_arrays, save_arrays, sha256_bytes

CACHE_FOLDER = ".cache"
CACHE_FORMAT = 1
_LOG = logging.getLogger(__name__)


def cached_arrays(
    root: Path, key: Mapping[str, Any], compute: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return arrays from the cache, or compute and keep them.

    The file is ``root/.cache/<hash of the key>.npz``, written atomically and verified by its checksum when read.
    A damaged one is moved aside (to ``.npz.corrupt``) and made again; where the cache cannot be written, the arrays
    are returned all the same. Both are logged, neither is an error. Two processes may compute the same arrays at once;
    the last one to finish replaces the file by an equal one.

    Args:
        root: The data folder.
        key: Plain JSON values that together decide the content.
        compute: Called where nothing usable is cached.

    Returns:
        Name to array.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first = cached_arrays(Path(folder), {"x": 1}, lambda: {"a": np.ones(2)})
        ...     second = cached_arrays(Path(folder), {"x": 1}, lambda: {"a": np.zeros(2)})
        >>> second["a"].tolist()
        [1.0, 1.0]
    """
    digest = sha256_bytes(json.dumps({"format": CACHE_FORMAT, **key}, sort_keys=True).encode())
    path = root / CACHE_FOLDER / f"{digest[:32]}.npz"
    if path.is_file():
        try:
            return load_arrays(path)
        except CorruptFileError as error:
            _move_aside(path, error)
        except StorageError:  # another process moved it meanwhile
            pass
    arrays = compute()
    try:
        save_arrays(path, arrays)
    except StorageError as error:
        _LOG.warning("The decoded images are not cached: %s", error)
    return arrays


def _move_aside(path: Path, error: CorruptFileError) -> None:
    aside = path.with_name(path.name + ".corrupt")
    try:
        os.replace(path, aside)
        _LOG.warning("A damaged cache file is made again; it was moved to %s (%s)", aside, error)
    except OSError as problem:
        _LOG.warning("A damaged cache file could not be moved aside: %s (%s)", problem, error)
