"""Named arrays in one ``.npz`` file, with a checksum over all of them; nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import io
import math
import os
import zipfile
from collections.abc import Mapping

import numpy as np
from numpy.lib import format as npy

from landscape.errors import CorruptFileError, StorageError
from landscape.storage.files import write_bytes
from landscape.storage.paths import require_file

_CHECKSUM = "__sha256__"


def sha256_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """Return one SHA-256 over the names, dtypes, shapes and bytes of some arrays, in the order of their names.

    Args:
        arrays: Name to array, of any shapes.

    Returns:
        64 hexadecimal digits; the order of the mapping and the memory layout of the arrays make no difference.

    Example:
        >>> a, b = np.zeros(2), np.ones((2, 3))
        >>> sha256_arrays({"a": a, "b": b}) == sha256_arrays({"b": b, "a": a})
        True
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(repr((name, npy.dtype_to_descr(array.dtype), array.shape)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as one ``.npz`` file, atomically and with a checksum over all of them.

    The same arrays give the same bytes. ``numpy.load`` reads the file too.

    Args:
        path: The file. Its folder is created where missing.
        arrays: Name to array; no object arrays. Text goes in as a 0-d unicode array.

    Raises:
        StorageError: The file cannot be written, an array holds Python objects, or a name cannot be used.
    """
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise StorageError(
                f"Array {name!r} holds Python objects.", expected="numbers or text", fix="Convert it first."
            )
        if not name or name == _CHECKSUM or "\0" in name or "\\" in name:
            raise StorageError(f"An array cannot be named {name!r}.", fix="Choose another name.")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in {**arrays, _CHECKSUM: np.array(sha256_arrays(arrays))}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def load_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read a file of :func:`save_arrays` and verify its checksum.

    Never takes more memory than the file's own size allows for: packed members and headers that promise more than
    their member holds are refused before anything is allocated.

    Args:
        path: The file.

    Returns:
        Name to array, each writable.

    Raises:
        StorageError: There is no such file.
        CorruptFileError: The file is truncated or damaged, or was not written by :func:`save_arrays`.
    """
    path = require_file(path)
    fix = "Delete it and compute it again, or restore a copy."
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = _read_members(archive, path.stat().st_size)
    except Exception as error:  # zlib.error, struct.error, tokenize errors: the readers raise what their parts raise
        raise CorruptFileError(f"{path} cannot be read.", got=f"{type(error).__name__}: {error}", fix=fix) from error
    stored = arrays.pop(_CHECKSUM, None)
    if stored is None or str(stored) != sha256_arrays(arrays):
        raise CorruptFileError(f"{path} does not match its checksum.", fix=fix)
    return arrays


def _read_members(archive: zipfile.ZipFile, file_size: int) -> dict[str, np.ndarray]:
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("a member is packed")
    if sum(member.file_size for member in members) > file_size:
        raise ValueError("the members promise more than the file holds")
    if len({member.filename for member in members}) != len(members):
        raise ValueError("two members have one name")
    return {member.filename.removesuffix(".npy"): _read_array(archive.read(member)) for member in members}


def _read_array(data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    version = npy.read_magic(file)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError("an array holds Python objects")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f"a header promises {shape} of {dtype}, the data is {len(data) - file.tell()} bytes")
    order = "F" if fortran_order else "C"
    return np.ndarray(shape, dtype, buffer=bytearray(data), offset=file.tell(), order=order)
