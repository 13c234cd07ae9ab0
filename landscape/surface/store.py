"""Finished points on the disk, so that an interrupted surface goes on where it stopped."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from landscape.errors import CorruptFileError, MismatchError, StorageError
from landscape.storage import FolderLock, Ledger, read_json, write_json


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


def stored_engine(folder: str | os.PathLike[str]) -> str | None:
    """Return with which engine a store was begun; None where there is none yet."""
    path = Path(folder) / "identity.json"
    found = read_json(path) if path.is_file() else None
    engine = found.get("engine") if isinstance(found, dict) else None
    return engine if isinstance(engine, str) else None


class PointStore:
    """A folder that remembers the points of one line or surface: what it is of, and a ledger of finished blocks.

    Used as a context manager; inside, this process alone writes the folder.

    Args:
        folder: Created where missing.
        identity: What the points are of, plain JSON values: objective, directions, grid. Points of one identity have
            one value each, so they may come from any number of sessions.
        center: What the objective gives at its own weights.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: dict[str, Any], center: Center) -> None:
        self.folder = Path(folder)
        self.identity, self.center = identity, center
        self._ledger = Ledger(self.folder / "points.jsonl")
        self._lock = FolderLock(self.folder)

    def __enter__(self) -> Self:
        """Lock the folder and check that it belongs to this identity.

        Raises:
            MismatchError: It holds points of something else.
            LockedError: Another process writes it.
            StorageError: It cannot be written, or it is a file.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise StorageError(
                f"{self.folder} is a file.", expected="a folder", fix="Name another place for the store."
            )
        self._lock.acquire()
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

    def _claim(self) -> None:
        path = self.folder / "identity.json"
        if not path.is_file():
            if self._ledger.path.exists():
                raise CorruptFileError(
                    f"{path} is missing, so nobody knows what the points are of.", fix=self._remedy()
                )
            write_json(path, {**self.identity, "center": self.center.record()})
            return
        found = read_json(path)
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
            fix=self._remedy(),
        )

    def _check_center(self, path: Path, record: Any) -> None:
        if not self.center.agrees(record):
            raise MismatchError(
                f"The store {self.folder} belongs to another objective: its loss at the same weights is another one.",
                expected=f"a loss of {record.get('loss') if isinstance(record, dict) else None} as in {path.name}",
                got=self.center.loss,
                fix=self._remedy(),
            )

    def _remedy(self) -> str:
        return f"Name another folder, or delete {self.folder} to begin again."

    def read(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Read the finished points.

        Args:
            count: How many points the whole grid has.

        Returns:
            Indices into the flat grid, losses and accuracies; all (M,).

        Raises:
            CorruptFileError: The ledger is damaged.
        """
        indices: list[int] = []
        loss: list[float] = []
        accuracy: list[float] = []
        for row in self._ledger.rows():
            blocks = [row.get(key) for key in ("points", "loss", "accuracy")]
            if not _is_block(blocks):
                raise CorruptFileError(
                    f"{self._ledger.path} holds a row that is no block of points.", fix=self._remedy()
                )
            indices += blocks[0] or []
            loss += blocks[1] or []
            accuracy += blocks[2] or []
        found = np.array(indices, dtype=np.int64)
        if len(found) and (found.min() < 0 or found.max() >= count):
            raise CorruptFileError(f"{self._ledger.path} holds points outside its grid.", fix=self._remedy())
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
