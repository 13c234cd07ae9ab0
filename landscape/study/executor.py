"""Many runs, a few at a time, each in a worker process of its own that is told what to train line by line."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from landscape.config import require
from landscape.errors import LandscapeError, NonFiniteError, StudyError
from landscape.progress import progress_bar
from landscape.training import Run, RunConfig, train


def train_all(
    configs: Sequence[RunConfig],
    *,
    root: str | os.PathLike[str] = "runs",
    jobs: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    progress: bool = True,
    may_diverge: bool = False,
) -> list[Run]:
    """Train several runs; those that are finished are taken as they are, and a second call goes on where one stopped.

    Args:
        configs: The settings of the runs; equal ones are trained once.
        root: Folder of all runs.
        jobs: Runs at a time, each in a process with one thread: small models gain nothing from a second. Default: the
            number of cores. 1 trains in this process, with its threads.
        data_root: Folder of the datasets; see :func:`landscape.train`.
        progress: Show how many runs are done.
        may_diverge: Whether a run whose loss became NaN or infinite is a result like others: its status is "failed".

    Returns:
        The runs, in the order of ``configs``.

    Raises:
        ConfigError: ``jobs`` is below 1.
        StudyError: A run failed; the others were finished first where they had begun.
        KeyboardInterrupt: Ctrl-C; every run in progress saved its position.
    """
    require(jobs is None or jobs >= 1, "jobs", "at least 1", jobs)
    wanted = list({config.hash: config for config in configs}.values())
    workers = min(jobs or os.cpu_count() or 1, len(wanted))
    failures: list[str] = []
    with progress_bar(len(wanted), desc="runs", unit="run", enabled=progress) as bar:
        if workers <= 1:
            for config in wanted:
                answer = _attempt(config, Path(root), data_root)
                _judge(config, answer, may_diverge, failures)
                if failures:
                    break
                bar.update()
        else:
            shift = _Shift(wanted, may_diverge, failures, bar.update)
            _in_workers(shift, workers, Path(root), data_root)
    if failures:
        raise StudyError(f"{len(failures)} of {len(wanted)} runs failed.", got=failures[0])
    return [Run.load(Path(root) / config.folder_name) for config in configs]


class _Shift:
    """The runs that wait for a worker, and what came of those that did not."""

    def __init__(
        self, configs: list[RunConfig], may_diverge: bool, failures: list[str], done: Callable[[], object]
    ) -> None:
        self.waiting: queue.SimpleQueue[RunConfig] = queue.SimpleQueue()
        for config in configs:
            self.waiting.put(config)
        self.may_diverge, self.failures, self.done = may_diverge, failures, done

    def serve(self, process: subprocess.Popen[str]) -> None:
        """Give one worker run after run, until there are none or one has failed."""
        to_worker, from_worker = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        while not self.failures:
            try:
                config = self.waiting.get_nowait()
            except queue.Empty:
                break
            try:
                to_worker.write(json.dumps(config.to_dict()) + "\n")
                to_worker.flush()
                answer = from_worker.readline()
            except OSError:
                answer = ""
            found = json.loads(answer) if answer else {"error": "the worker process ended"}
            _judge(config, found, self.may_diverge, self.failures)
            self.done()


def _in_workers(shift: _Shift, workers: int, root: Path, data_root: str | os.PathLike[str] | None) -> None:
    processes = [_start(root, data_root) for _ in range(workers)]
    threads = [threading.Thread(target=shift.serve, args=(process,), daemon=True) for process in processes]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # a join without a limit would not see Ctrl-C
                thread.join(0.2)
    finally:
        for process in processes:
            _stop(process)


def _start(root: Path, data_root: str | os.PathLike[str] | None) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "landscape.study.worker", str(root)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.Popen(
        words if data_root is None else [*words, str(data_root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,  # Ctrl-C reaches this process, which tells the workers
    )


def _stop(process: subprocess.Popen[str]) -> None:
    """Let a worker that waits end, and one that trains save its position first."""
    with suppress(OSError):
        cast(IO[str], process.stdin).close()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
    cast(IO[str], process.stdout).close()


def _attempt(config: RunConfig, root: Path, data_root: str | os.PathLike[str] | None) -> dict[str, str]:
    """Train a run and say where it is, or what went wrong."""
    try:
        return {"run": str(train(config, root=root, data_root=data_root, progress=False).path)}
    except NonFiniteError as error:
        return {"diverged": str(error)}
    except LandscapeError as error:
        return {"error": str(error)}


def _judge(config: RunConfig, answer: dict[str, str], may_diverge: bool, failures: list[str]) -> None:
    wrong = answer.get("error") or (None if may_diverge else answer.get("diverged"))
    if wrong is not None:
        failures.append(f"{config.folder_name}: {wrong}")


def serve(root: Path, data_root: Path | None) -> None:
    """Train what comes on standard input, one line of JSON settings a run, and answer each with a line.

    Args:
        root: Folder of all runs.
        data_root: Folder of the datasets, or None for the default.
    """
    for line in sys.stdin:
        print(json.dumps(_attempt(RunConfig.from_dict(json.loads(line)), root, data_root)), flush=True)
