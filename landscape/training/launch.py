"""One run in several processes: torchrun as a child process that is watched, stopped and heard out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from landscape import errors
from landscape.errors import LandscapeError, ProcessError
from landscape.storage import read_json
from landscape.training.interrupts import Interrupts
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
        ProcessError: A process ended without a word: killed, or out of memory.
        KeyboardInterrupt: Ctrl-C, or ``stop``; the position was saved.
    """
    with tempfile.TemporaryDirectory() as folder, Interrupts() as interrupts:
        told = Path(folder) / "error.json"
        request = {
            "config": config.to_dict(),
            "root": os.fspath(root),
            "resume": resume,
            "progress": progress,
            "data_root": None if data_root is None else os.fspath(data_root),
            "tensorboard": tensorboard,
            "error": str(told),
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
            raise _told(told, config, child.returncode)


def _start(request: str, processes: int) -> subprocess.Popen[bytes]:
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    words = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.Popen(
        [sys.executable, *words, "-m", "landscape.training.rank", request],
        env={"OMP_NUM_THREADS": threads, **os.environ},
        start_new_session=True,  # Ctrl-C reaches this process, which hands it on
    )


def _told(path: Path, config: RunConfig, code: int) -> LandscapeError:
    """Return the error that a process wrote down before it ended."""
    if path.is_file():
        found: Any = read_json(path)
        kind = getattr(errors, found["kind"], LandscapeError)
        return kind(found["message"])
    return ProcessError(
        f"One of the {config.nproc} processes of the run ended without a word.",
        got=f"exit code {code} of torchrun; its lines above say more",
        fix="Call it again: the run goes on from its last checkpoint.",
    )
