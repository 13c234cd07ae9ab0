"""Atomic writes, JSON files and file checksums.

A write goes to a temporary file beside the target, is flushed to the disk, takes the target's place in one step, and
the folder is flushed too. A crash at any moment leaves the old file or the new one, never a mixture.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from landscape.errors import CorruptFileError, StorageError
from landscape.storage.paths import as_path

_TEMPORARY = ".landscape-tmp"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FOLDER_NOT_SYNCABLE = (errno.EINVAL, errno.ENOTSUP)


def _temporary_name(path: Path) -> Path:
    stem = os.fsencode(path.name)[:80].decode(errors="ignore")
    return path.with_name(f".{stem}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}{_TEMPORARY}")


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Flush a folder's entries to the disk, so that a rename inside it survives a power cut.

    Does nothing where the system or the file system cannot (Windows, some network mounts).

    Args:
        folder: The folder.

    Raises:
        OSError: There is no such folder, or the disk failed.
    """
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _FOLDER_NOT_SYNCABLE:
            raise
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        sync_folder(new.parent)


@contextmanager
def replacing(path: str | os.PathLike[str], *, size: int | None = None) -> Iterator[Path]:
    """Yield a temporary path; on success it takes the place of ``path`` in one step, else it is removed.

    Args:
        path: The file to be written. Its folder is created where missing.
        size: How many bytes are to be written, where that is known; only for the message about a full disk.

    Yields:
        The temporary file's path, in the same folder; write to it and close it.

    Raises:
        StorageError: The disk is full or the folder cannot be written; the old file is intact.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "a.txt")) as temporary:
        ...         _ = temporary.write_text("whole")
        ...     os.listdir(folder)
        ['a.txt']
    """
    path = as_path(path)
    if os.path.isdir(path):  # unlike Path.is_dir, it takes any name
        raise StorageError(f"Could not write {path}.", got="a folder", fix="Name a file in it, or move it away.")
    temporary = _temporary_name(path)
    try:
        _make_folder(path.parent)
        with contextlib.suppress(FileNotFoundError):
            os.lstat(path)  # a name that the disk does not take: now, not after the work
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        _discard(temporary)  # first, so that the message counts its space as free
        raise _write_error(path, error, size) from error
    finally:
        _discard(temporary)


def _discard(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        temporary.unlink()


def require_writable(path: str | os.PathLike[str]) -> None:
    """Fail now where a file could not be written later, at the end of long work.

    Its folder is created where missing; the file itself is left as it is.

    Args:
        path: The file.

    Raises:
        StorageError: It is a folder, or its folder cannot be written.
    """

    class Tried(Exception):
        pass

    with contextlib.suppress(Tried), replacing(path) as temporary:
        temporary.touch()
        raise Tried


def _amount(size: int) -> str:
    unit, name = (1e6, "MB") if size >= 1e6 else (1e3, "kB")
    return f"{size / unit:.1f} {name}"


def _write_error(path: Path, error: OSError, size: int | None) -> StorageError:
    fix = "Check that the folder exists and can be written."
    if error.errno in _NO_ROOM:
        needed = "" if size is None else f"{_amount(size)} are needed, "
        try:
            free = f"{_amount(shutil.disk_usage(path.parent).free)} are free on that disk"
        except OSError:
            free = "the free space is unknown"
        fix = f"Make room ({needed}{free}) and run again; an earlier version of the file, if any, is untouched."
    return StorageError(f"Could not write {path}.", got=f"{type(error).__name__}: {error.strerror or error}", fix=fix)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file atomically: temporary file, fsync, rename, fsync of the folder.

    Args:
        path: The file. Its folder is created where missing.
        data: Its whole content.

    Raises:
        StorageError: The disk is full or the folder cannot be written; the old file is intact.
    """
    with replacing(path, size=len(data)) as temporary, open(temporary, "wb") as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file atomically.

    Args:
        path: The file. Its folder is created where missing.
        text: Its whole content.

    Raises:
        StorageError: The disk is full or the folder cannot be written; the old file is intact.
    """
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a value as indented JSON, atomically; NaN and infinity become ``NaN`` and ``Infinity`` (data, kept).

    Args:
        path: The file. Its folder is created where missing.
        value: Anything that ``json.dumps`` takes.

    Raises:
        StorageError: The disk is full or the folder cannot be written; the old file is intact.
    """
    write_text(path, json.dumps(value, indent=2, sort_keys=False) + "\n")


def read_json(path: str | os.PathLike[str], *, fix: str = "Delete it, or restore a copy.") -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        fix: What to do where it is not JSON.

    Returns:
        The parsed value.

    Raises:
        StorageError: There is no such file, or it cannot be read.
        CorruptFileError: It is not JSON.
    """
    path = as_path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _read_error(path, error) from error
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{path} is not valid JSON.", got=str(error), fix=fix) from error


def _read_error(path: Path, error: OSError) -> StorageError:
    if isinstance(error, FileNotFoundError):
        return StorageError(f"There is no file {path}.", fix="Check the path.")
    got = f"{type(error).__name__}: {error.strerror or error}"
    return StorageError(f"Could not read {path}.", got=got, fix="Check that it is a file and that you may read it.")


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal.

    Args:
        data: The bytes.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> sha256_bytes(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal, read in pieces.

    Args:
        path: The file.

    Returns:
        64 hexadecimal digits.

    Raises:
        StorageError: There is no such file, or it cannot be read.
    """
    path = as_path(path)
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _read_error(path, error) from error


def is_temporary(name: str) -> bool:
    """Tell whether a file's name is one that an atomic write uses until it is done.

    Example:
        >>> is_temporary("points.jsonl"), is_temporary(".identity.json.host.7.0123abcd.landscape-tmp")
        (False, True)
    """
    return name.startswith(".") and name.endswith(_TEMPORARY)


def remove_stale_temporaries(folder: str | os.PathLike[str]) -> int:
    """Remove temporary files whose writer, a process of this machine, is gone.

    Args:
        folder: Looked through without its sub-folders.

    Returns:
        How many files were removed.
    """
    ours = re.compile(
        rf"\..*\.{re.escape(socket.gethostname())}\.([0-9]{{1,10}})\.[0-9a-f]{{8}}{re.escape(_TEMPORARY)}"
    )
    removed = 0
    for path in Path(folder).glob(f".*{_TEMPORARY}"):
        match = ours.fullmatch(path.name)
        if match and not process_alive(int(match[1])):
            with contextlib.suppress(OSError):
                path.unlink()
                removed += 1
    return removed


def process_alive(pid: int) -> bool:
    """Tell whether a process of this machine with that id exists; True where the system cannot tell.

    Args:
        pid: The process id.

    Returns:
        False only where there is certainly no such process.

    Example:
        >>> process_alive(os.getpid())
        True
    """
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
