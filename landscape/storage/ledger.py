"""Append-only ledgers: files of JSON objects, one a line."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from landscape.errors import CorruptFileError, StorageError
from landscape.storage.files import sync_folder, write_bytes
from landscape.storage.paths import as_path

_TORN = b"\x18"  # ASCII "cancel"; JSON text never holds it
_MARK = b'"check": "'  # each line ends with its own checksum under this key


class Ledger:
    """A file of JSON objects, one a line, only ever appended to.

    Each line carries a checksum of its own as its last key, ``check``: the first 16 hexadecimal digits of the SHA-256
    of the line's bytes before that key. Rows are given back without it.

    A crash can tear the last line only. Reading leaves a torn last line out; the next append marks it as torn, so
    that damage of any other kind in the middle of the file is still an error. One process appends at a time.

    Args:
        path: The file; it is created by the first append.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ledger = Ledger(f"{folder}/metrics.jsonl")
        ...     ledger.append({"epoch": 1, "loss": float("nan")})
        ...     ledger.rows()
        [{'epoch': 1, 'loss': nan}]
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = as_path(path)

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row and flush it to the disk.

        Args:
            row: A JSON object without the key ``check``; NaN and infinities are kept.

        Raises:
            StorageError: The file cannot be written.
        """
        line = _line(row)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a+b") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 1))
                if size and file.read(1) != b"\n":
                    line = self._mend() + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            if not size:
                sync_folder(self.path.parent)
        except OSError as error:
            raise StorageError(
                f"Could not append to {self.path}.", got=str(error), fix="Check space and rights."
            ) from error

    def _mend(self) -> bytes:
        last = self.path.read_bytes().rsplit(b"\n", 1)[-1]
        return b"\n" if _parsed(last) is not None else _TORN + b"\n"

    def rows(self) -> list[dict[str, Any]]:
        """Read all whole rows.

        Returns:
            The rows in the order of writing; an empty list where there is no file. A line torn by a crash is left out.

        Raises:
            StorageError: The file cannot be read.
            CorruptFileError: A line is damaged, and not by a torn append.
        """
        if not self.path.exists():
            return []
        try:
            *lines, last = self.path.read_bytes().split(b"\n")
        except OSError as error:
            raise StorageError(f"Could not read {self.path}.", got=str(error), fix="Check its rights.") from error
        rows = [_parsed(line) for line in lines]
        for number, (line, row) in enumerate(zip(lines, rows, strict=True), start=1):
            if row is None and line.strip() and not line.endswith(_TORN):
                got = line[:60].decode(errors="replace")
                raise CorruptFileError(
                    f"{self.path}, line {number}, is damaged.",
                    expected="a JSON object that matches its checksum",
                    got=got,
                    fix="Remove that line, or the file.",
                )
        return [row for row in (*rows, _parsed(last)) if row is not None]

    def keep(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Rewrite the file, atomically, with only the rows for which the condition holds.

        Args:
            condition: Called with each row.

        Raises:
            StorageError: The file cannot be read or written; it is as it was.
            CorruptFileError: A line is damaged, and not by a torn append.
        """
        if self.path.exists():
            write_bytes(self.path, b"".join(_line(row) for row in self.rows() if condition(row)))


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:16].encode()


def _line(row: Mapping[str, Any]) -> bytes:
    """Write a row as one line that ends with its checksum."""
    text = json.dumps(dict(row)).encode()[:-1] + (b", " if row else b"")
    return text + _MARK + _digest(text) + b'"}\n'


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Read one line; None where it is torn, damaged or changed."""
    text, _, check = line.rpartition(_MARK)
    if check != _digest(text) + b'"}':
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    value.pop("check")
    return value


def append_line(path: str | os.PathLike[str], text: str) -> None:
    """Append one line of plain text to a log, without waiting for the disk.

    Args:
        path: The log; created where missing.
        text: The line; line breaks in it become spaces.

    Raises:
        StorageError: The file cannot be written.
    """
    path = as_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text.replace("\n", " ") + "\n")
    except OSError as error:
        raise StorageError(f"Could not append to {path}.", got=str(error), fix="Check space and rights.") from error
