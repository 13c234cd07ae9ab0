"""All runs of a folder at a glance."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from landscape.errors import LandscapeError, StorageError
from landscape.storage import holder_is_gone
from landscape.training.divergence import diverged_at_the_end
from landscape.training.run import Run

State = Literal["new", "running", "interrupted", "failed", "finished", "unreadable"]


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What can be said of a run without loading its weights or its data.

    Attributes:
        path: Its folder.
        state: As :attr:`landscape.Run.status`, but "interrupted" where the process that trained it was killed, and
            "unreadable" where its files are damaged.
        epoch: Finished epochs.
        epochs: Epochs in all; 0 where unreadable.
        test_error: Of the last epoch that was tested, a fraction; None where none was.
        optimizer: Its name; "" where unreadable.
        changed: When a file of its own last changed, in seconds since 1970.
        problem: Why it failed or cannot be read, or where its outputs ceased to be numbers; "" otherwise.
    """

    path: Path
    state: State
    epoch: int = 0
    epochs: int = 0
    test_error: float | None = None
    optimizer: str = ""
    changed: float
    problem: str = ""


def list_runs(root: str | os.PathLike[str] = "runs") -> tuple[RunSummary, ...]:
    """Look at every run in a folder, the last changed first.

    Args:
        root: Folder of all runs. Default "runs", as :func:`landscape.train`.

    Returns:
        One summary for each folder in it that holds a run.

    Raises:
        StorageError: There is no such folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     list_runs(folder)
        ()
    """
    base = Path(root)
    if not base.is_dir():
        raise StorageError(
            f"There is no folder {base}.", expected="a folder of runs", fix="Train a run, or name the folder (--root)."
        )
    found = [summarize_run(path) for path in base.iterdir() if (path / "config.json").is_file()]
    return tuple(sorted(found, key=lambda run: (-run.changed, run.path.name)))


def summarize_run(path: Path) -> RunSummary:
    """Look at one run; damage is told, not raised.

    Args:
        path: Its folder.
    """
    changed = max(map(_changed, (path / name for name in ("config.json", "status.json", "metrics.jsonl"))))
    try:
        run = Run.load(path)
        state: Any = run.status
        rows = run.metrics()
    except LandscapeError as error:
        return RunSummary(path=path, state="unreadable", changed=changed, problem=str(error))
    if state == "running" and holder_is_gone(path):
        state = "interrupted"
    return RunSummary(
        path=path,
        state=state,
        epoch=int(rows[-1]["epoch"]) if rows else 0,
        epochs=run.config.epochs,
        test_error=next((row["test_error"] for row in reversed(rows) if "test_error" in row), None),
        optimizer=run.config.optimizer,
        changed=changed,
        problem=run.failure or str(diverged_at_the_end(rows, run.config) or ""),
    )


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # not written yet
        return 0.0


def counts(runs: Iterable[RunSummary]) -> dict[str, int]:
    """Count the runs of each state, in the order in which they come.

    Args:
        runs: Of :func:`list_runs`.

    Example:
        >>> counts([RunSummary(path=Path("a"), state="failed", changed=0.0)])
        {'failed': 1}
    """
    found: dict[str, int] = {}
    for run in runs:
        found[run.state] = found.get(run.state, 0) + 1
    return found
