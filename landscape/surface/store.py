"""Finished points on the disk, so that an interrupted surface goes on where it stopped."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from landscape.errors import CorruptFileError, LockedError, MismatchError, StorageError, shown
from landscape.storage import FolderLock, Ledger, as_path, is_temporary, read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Center:
    """What an objective gives at its own weights, computed anew each time a store is opened.

    Attributes:
        loss: Its loss there.
        accuracy: Its accuracy there, or NaN.
        precision: The distance from 1 to the next number of its dtype.
        surroundings: Device, threads and versions: where they are the same, the values are the same up to a few last
            bits, and up to the square root of the precision where not.
    """

    loss: float
    accuracy: float
    precision: float
    surroundings: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """Return what is kept of it; plain JSON values."""
        return {"loss": self.loss, "accuracy": self.accuracy, "surroundings": self.surroundings}

    def agrees(self, record: object) -> bool:
        """Tell whether a record is of the same objective."""
        if not isinstance(record, dict) or not isinstance(record.get("loss"), float | int):
            return False
        same = record.get("surroundings") == self.surroundings
        tolerance = 100 * self.precision if same else math.sqrt(self.precision)
        stored = float(record["loss"])
        if not (math.isfinite(stored) and math.isfinite(self.loss)):
            return repr(stored) == repr(self.loss)
        return abs(stored - self.loss) <= tolerance * max(abs(stored), abs(self.loss))


_Points = tuple[np.ndarray, np.ndarray, np.ndarray]
_IDENTITY, _POINTS = "identity.json", "points.jsonl"
_OWN = (_IDENTITY, _POINTS, "lock")


def store_folder(folder: object) -> Path:
    """Return the folder of a store, or say why it can be none: nothing is written into a folder of other things.

    Args:
        folder: What was asked for: a store, an empty folder, or none yet.

    Raises:
        StorageError: It is no path or no folder, cannot be read, or holds other things and no store.
    """
    path = as_path(folder)
    try:
        held = os.listdir(path)
    except FileNotFoundError:
        return path
    except NotADirectoryError as error:
        raise StorageError(
            f"{path} is a file.", expected="a folder", got="a file", fix="Name another place for the store."
        ) from error
    except OSError as error:
        raise StorageError(
            "The store's folder cannot be opened.",
            expected="a folder that can be read, or a name for a new one",
            got=f"{error.strerror or error}: {shown(str(path))}",
            fix="Name another folder.",
        ) from error
    others = _foreign(held)
    if others and not {_IDENTITY, _POINTS} & set(held):
        raise StorageError(
            f"{path} holds other things, and no store.",
            expected="an empty folder, a new one, or a store of this surface",
            got=_listed(others),
            fix=f"Name a folder of its own, for example {path / 'store'}.",
        )
    return path


def stored_engine(folder: Path, known: Collection[str]) -> str | None:
    """Return with which engine a store was begun; None where there is none yet.

    Args:
        folder: The store.
        known: The engines that there are.

    Raises:
        CorruptFileError: Its record cannot be read.
        MismatchError: It was begun with an engine that is not known here.
    """
    found = _record(folder) if (folder / _IDENTITY).is_file() else None
    engine = found.get("engine") if isinstance(found, dict) else None
    if isinstance(engine, str) and engine not in known:
        raise MismatchError(
            f"The store {folder} was begun with an engine that this version does not have.",
            expected=f"one of {', '.join(sorted(known))}",
            got=shown(engine),
            fix=_remedy(folder),
        )
    return engine if isinstance(engine, str) else None


def _record(folder: Path) -> Any:
    """Read what a store says that its points are of.

    Raises:
        StorageError: It cannot be read; only then the folder is looked at for what helps.
    """
    with suppress(StorageError):
        return read_json(folder / _IDENTITY)
    return read_json(folder / _IDENTITY, fix=_remedy(folder))


def _foreign(held: Iterable[str]) -> list[str]:
    """What no store writes, in order; what a crash left of a write is its own."""
    return sorted(name for name in held if name not in _OWN and not is_temporary(name))


def _written_here(folder: Path) -> bool:
    """Whether record or points of a folder can only be a store's."""
    try:
        record = read_json(folder / _IDENTITY)
    except StorageError:
        record = None
    if isinstance(record, dict) and {"kind", "directions", "engine"} <= record.keys():
        return True
    try:
        return any(row.keys() == {"points", "loss", "accuracy"} for row in Ledger(folder / _POINTS).rows())
    except StorageError:
        return False


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _remedy(folder: Path) -> str:
    """Say what helps where a store is of something else or damaged; never to delete what it did not write."""
    others = _foreign(os.listdir(folder))
    if others:
        return f"Name another folder; this one holds other things too ({_listed(others)})."
    if not _written_here(folder):
        return "Name another folder; the files in this one can be another program's."
    return f"Name another folder, or delete {folder} to begin again."


class PointStore:
    """A folder that remembers the points of one line or surface: what it is of, and a ledger of finished blocks.

    Used as a context manager; inside, this process alone writes the folder. Where every point is there, nothing is
    written and no lock is taken, so a finished store can be read from a disk that cannot be written.

    Args:
        folder: As :func:`store_folder` returns it; created where missing.
        identity: What the points are of, plain JSON values: objective, directions, grid. Points of one identity have
            one value each, so they may come from any number of sessions.
        center: What the objective gives at its own weights.
        count: How many points the whole grid has.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], center: Center, count: int) -> None:
        self.folder, self.identity, self.center, self.count = folder, identity, center, count
        self._ledger = Ledger(self.folder / _POINTS)
        self._lock = FolderLock(self.folder)
        self._kept: tuple[object, _Points] | None = None

    def __enter__(self) -> Self:
        """Check that the folder belongs to this identity, and lock it where a point is missing.

        Raises:
            MismatchError: It holds points of something else.
            LockedError: Another process writes it.
            StorageError: It cannot be written, and points are missing.
        """
        known = self._known()
        if known == self.count:
            return self
        try:
            self._lock.acquire()
        except LockedError:
            raise
        except StorageError as error:
            if known is None:
                raise
            raise StorageError(
                f"The store {self.folder} is not finished, and it cannot be written.",
                expected=f"all {self.count} points, or a folder that can be written",
                got=f"{known} points; {error.__cause__ or error}",
                fix="Copy it to where it can be written and name the copy, or leave store out.",
            ) from error
        try:
            self._claim()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unlock the folder."""
        self._lock.release()

    def _known(self) -> int | None:
        """How many points there are, read without a lock; None where there is no store yet."""
        if not ((self.folder / _IDENTITY).is_file() or self._ledger.path.exists()):
            return None
        self._claim()
        return len(np.unique(self.read()[0]))

    def _claim(self) -> None:
        path = self.folder / _IDENTITY
        if not path.is_file():
            if self._ledger.path.exists():
                raise CorruptFileError(
                    f"{path} is missing, so nobody knows what the points are of.", fix=_remedy(self.folder)
                )
            write_json(path, {**self.identity, "center": self.center.record()})
            return
        found = _record(self.folder)
        center = found.pop("center", None) if isinstance(found, dict) else None
        if found == self.identity:
            self._check_center(path, center)
            return
        different = [
            key for key, value in self.identity.items() if not isinstance(found, dict) or found.get(key) != value
        ]
        raise MismatchError(
            f"The store {self.folder} belongs to something else.",
            expected="points of this objective, these directions and this grid",
            got=f"another {', '.join(different)}" if different else "more than this",
            fix=_remedy(self.folder),
        )

    def _check_center(self, path: Path, record: Any) -> None:
        if not self.center.agrees(record):
            raise MismatchError(
                f"The store {self.folder} belongs to another objective: its loss at the same weights is another one.",
                expected=f"a loss of {record.get('loss') if isinstance(record, dict) else None} as in {path.name}",
                got=self.center.loss,
                fix=_remedy(self.folder),
            )

    def read(self) -> _Points:
        """Read the finished points; where nobody has written since they were read last, take what that gave.

        Returns:
            Indices into the flat grid, losses and accuracies; all (M,).

        Raises:
            CorruptFileError: The ledger is damaged.
        """
        path = self._ledger.path
        state = path.stat() if path.exists() else None
        stamp = None if state is None else (state.st_size, state.st_mtime_ns)
        if self._kept is None or self._kept[0] != stamp:
            self._kept = stamp, self._parsed()
        return self._kept[1]

    def _parsed(self) -> _Points:
        indices: list[int] = []
        loss: list[float] = []
        accuracy: list[float] = []
        for row in self._ledger.rows():
            blocks = [row.get(key) for key in ("points", "loss", "accuracy")]
            if not _is_block(blocks):
                raise CorruptFileError(
                    f"{self._ledger.path} holds a row that is no block of points.", fix=_remedy(self.folder)
                )
            indices += blocks[0] or []
            loss += blocks[1] or []
            accuracy += blocks[2] or []
        found = np.array(indices, dtype=np.int64)
        if len(found) and (found.min() < 0 or found.max() >= self.count):
            raise CorruptFileError(f"{self._ledger.path} holds points outside its grid.", fix=_remedy(self.folder))
        return found, np.array(loss, dtype=np.float64), np.array(accuracy, dtype=np.float64)

    def append(self, indices: Sequence[int], loss: np.ndarray, accuracy: np.ndarray) -> None:
        """Write one block of finished points and flush it to the disk.

        Raises:
            StorageError: The disk is full or the folder cannot be written.
        """
        self._ledger.append({"points": list(indices), "loss": loss.tolist(), "accuracy": accuracy.tolist()})


def _is_block(lists: list[Any]) -> bool:
    """Tell whether these are whole numbers, losses and accuracies, as many of each."""
    kinds = (int, (int, float), (int, float))
    return all(
        isinstance(entries, list)
        and len(entries) == len(lists[0])
        and all(isinstance(entry, kind) and not isinstance(entry, bool) for entry in entries)
        for entries, kind in zip(lists, kinds, strict=True)
    )
