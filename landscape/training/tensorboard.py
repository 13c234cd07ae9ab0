"""The metrics of a run for TensorBoard, beside the ledger that they come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from landscape.errors import MissingDependencyError, StorageError

_POSITION = ("epoch", "step")
_GROUPS = ("train", "test")  # train_loss is shown as train/loss, in one panel with what else is of the training set


class _Writer(Protocol):
    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class EventLog:
    """Event files in a folder that hold what the rows of a ledger hold, no more and no less.

    They are written anew from the rows known so far, so that after a run was cut and has gone on no epoch appears
    twice. Numbers are shown over the optimizer's steps.

    Raises:
        StorageError: The folder cannot be written.
    """

    def __init__(self, folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        self.writer = _open_writer(folder)
        for row in rows:
            self._add(row)
        self.writer.flush()

    def add(self, row: Mapping[str, Any]) -> None:
        """Write one more row; TensorBoard sees it at once.

        Args:
            row: Of a run's metrics: its step, and numbers by name.
        """
        self._add(row)
        self.writer.flush()

    def _add(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if name not in _POSITION and isinstance(value, int | float):
                group, _, rest = name.partition("_")
                self.writer.add_scalar(f"{group}/{rest}" if group in _GROUPS else name, value, row["step"])

    def close(self) -> None:
        """Finish the files."""
        self.writer.close()


def require_tensorboard() -> None:
    """Fail before any work where the package is missing.

    Raises:
        MissingDependencyError: It is.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "Event files are written with the package tensorboard, which is not installed.",
            fix="pip install tensorboard, or train without it: `landscape runs` shows the same numbers.",
        ) from error


def _open_writer(folder: Path) -> _Writer:
    from torch.utils.tensorboard import SummaryWriter

    try:
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        return SummaryWriter(str(folder))
    except OSError as error:
        raise StorageError(
            f"Event files cannot be written into {folder}.",
            got=f"{type(error).__name__}: {error.strerror or error}",
            fix="Check that it is a folder and can be written, or train without --tensorboard.",
        ) from error
