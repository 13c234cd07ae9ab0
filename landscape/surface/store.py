"""Finished points on the disk, so that an interrupted surface goes on where it stopped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from landscape.errors import CorruptFileError, MismatchError, StorageError
from landscape.storage import FolderLock, Ledger, read_json, write_json


class PointStore:
    """A folder that remembers the points of one line or surface: what it is of, and a ledger of finished blocks.

    Used as a context manager; inside, this process alone writes the folder.

    Args:
        folder: Created where missing.
        identity: What the points are of, plain JSON values: objective, directions, grid. Points of one identity have
            one value each, so they may come from any number of sessions.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.identity = identity
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
            write_json(path, self.identity)
            return
        found = read_json(path)
        if found == self.identity:
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
            if not all(isinstance(block, list) and len(block) == len(blocks[0] or ()) for block in blocks):
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
