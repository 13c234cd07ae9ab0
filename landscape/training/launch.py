"""One run in several processes: torchrun as a child process that is watched, stopped and heard out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from landscape.errors import LandscapeError, StorageError
from landscape.storage import FolderLock
from landscape.training.failures import cause
from landscape.training.interrupts import Interrupts
from landscape.training.run import Run
from landscape.training.run_config import RunConfig

_LOOK = 0.1  # seconds between looks at the child and at who wants it to stop


def launch(
    config: RunConfig,
    *,
    root: str | os.PathLike[str],
    resume: str,
    progress: bool,
    data_root: str | os.PathLike[str] | None,
    stop: Callable[[], bool] | None,
    tensorboard: bool,
) -> None:
    """Train a run in ``config.nproc`` processes and wait for them.

    They do not outlive this process: when it ends, however it ends, they save their position and end as well.

    Args:
        config: The settings.
        root: Folder of all runs.
        resume: As in :func:`landscape.train`.
        progress: Whether the first process shows progress bars.
        data_root: Folder of the datasets.
        stop: Looked at every tenth of a second; true stops as Ctrl-C does.
        tensorboard: Whether the first process writes event files.

    Raises:
        LandscapeError: What a process raised, as it raised it.
        ProcessError: A process was killed, or another package raised an error in it; the message says which.
        KeyboardInterrupt: Ctrl-C, or ``stop``; the position was saved.
    """
    run = Run(Path(root) / config.folder_name, config)
    before = _record(run)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, Interrupts() as interrupts:
        request = {
            "config": config.to_dict(),
            "root": os.fspath(root),
            "resume": resume,
            "progress": progress,
            "data_root": None if data_root is None else os.fspath(data_root),
            "tensorboard": tensorboard,
            "words": folder,
            "parent": os.getpid(),
        }
        child = _start(json.dumps(request), config.nproc)
        stopping = False
        try:
            while child.poll() is None:
                time.sleep(_LOOK)
                if not stopping and (interrupts.requested is not None or (stop is not None and stop())):
                    stopping = True
                    child.terminate()  # torchrun hands it on, and the processes save where they are
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        if stopping:
            interrupts.raise_requested()
        if child.returncode != 0:
            error, interrupted = cause(folder, config.nproc, child.returncode)
            if _record(run) != before:  # one of these processes has begun it
                _settle(run, error, interrupted)
            raise error


def _start(request: str, processes: int) -> subprocess.Popen[bytes]:
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    return subprocess.Popen(
        [sys.executable, "-m", "landscape.training.agent", request],
        env={"OMP_NUM_THREADS": threads, "TORCH_CPP_LOG_LEVEL": "ERROR", **os.environ},
        start_new_session=True,  # Ctrl-C reaches this process, which hands it on
    )


def _record(run: Run) -> bytes:
    path = run.path / "status.json"
    return path.read_bytes() if path.is_file() else b""


def _settle(run: Run, error: LandscapeError, interrupted: bool) -> None:
    """Write down how a run ended, where the process that led it could not know; not while another one leads it."""
    with suppress(StorageError), FolderLock(run.path):
        if run.status != "running":
            return
        found = run.checkpoints()
        saved = {"step": found[-1][0]} if found else {}
        if interrupted:
            run.write_status("interrupted", **saved)
        else:
            run.write_status("failed", **saved, error=str(error))
        run.log(str(error))
