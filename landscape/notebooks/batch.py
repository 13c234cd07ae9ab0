"""Several notebooks: all checked before the first starts, run one after the other or some at a time."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.config import is_whole, require
from landscape.errors import LandscapeError, NotebookError
from landscape.notebooks.run import prepare_run, run_notebook
from landscape.storage import read_json, write_json
from landscape.training.orphans import end_with

_LOOK_EVERY = 0.2  # seconds between looks at what runs
_GRACE = 20.0  # seconds that a notebook gets to keep what it has


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the run of one notebook ended.

    Attributes:
        name: The notebook's name, without suffix.
        notebook: The executed notebook; where a cell failed, what ran until then.
        html: The page made of it.
        seconds: Wall time.
        summary: What its cells tagged ``summary`` said.
        stderr: What its cells wrote to stderr.
        error: Why it failed; "" where it did not.
    """

    name: str
    notebook: Path
    html: Path
    seconds: float
    summary: str = ""
    stderr: str = ""
    error: str = ""


def run_notebooks(
    paths: Sequence[Path],
    out: str | os.PathLike[str],
    *,
    parameters: Mapping[str, Any] | None = None,
    jobs: int = 1,
    timeout: float | None = None,
    progress: bool = True,
) -> Iterator[Outcome]:
    """Run notebooks, each to ``out/NAME.ipynb`` and ``out/NAME.html``.

    Parameters are checked for all of them before anything runs. One that fails does not stop the others.

    Args:
        paths: The notebooks.
        out: The folder for what comes out.
        parameters: Name to value, for each of them.
        jobs: How many run at a time, each in processes of its own that share the cores, unless ``OMP_NUM_THREADS``
            says otherwise.
        timeout: Seconds that one cell may take; None sets no limit.
        progress: Whether a bar over the cells is shown, where one runs at a time.

    Yields:
        How each ended, in the order in which they end.

    Raises:
        ConfigError: ``jobs`` is below 1.
        NotebookError: Two notebooks have one name, or a parameter cannot be used; nothing has run.
    """
    require(is_whole(jobs) and jobs >= 1, "jobs", "a whole number of at least 1", jobs)
    _check_names(paths)
    for path in paths:
        prepare_run(path, parameters or {})
    tasks = [(path, Path(out), dict(parameters or {}), timeout) for path in paths]
    return _in_turn(tasks, progress) if min(jobs, len(tasks)) == 1 else _at_once(tasks, min(jobs, len(tasks)))


def _check_names(paths: Sequence[Path]) -> None:
    names = [path.stem for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise NotebookError(
            "Two notebooks would write one file.", expected="different names", got=", ".join(twice), fix="Run it once."
        )


def _in_turn(tasks: Sequence[tuple[Any, ...]], progress: bool) -> Iterator[Outcome]:
    for task in tasks:
        yield run_one(*task, progress=progress)


def _at_once(tasks: Sequence[tuple[Any, ...]], jobs: int) -> Iterator[Outcome]:
    waiting, running = list(tasks), {}
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with tempfile.TemporaryDirectory(prefix="landscape-notebooks-") as folder:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    task = waiting.pop(0)
                    running[_start(task, threads, Path(folder))] = task
                for process in [process for process in running if process.poll() is not None]:
                    yield _outcome(running.pop(process), Path(folder))
                time.sleep(_LOOK_EVERY)
        finally:
            _stop(running)


def _start(task: tuple[Any, ...], threads: int, folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that runs one notebook; it writes how that ended beside the file that tells it what to do."""
    path, out, parameters, timeout = task
    told = {"path": str(path), "out": str(out), "parameters": parameters, "timeout": timeout, "parent": os.getpid()}
    write_json(folder / f"{path.stem}.task.json", told)
    return subprocess.Popen(
        [sys.executable, "-m", "landscape.notebooks.worker", str(folder / path.stem)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # what kernels say of themselves; what cells say is in their notebooks
        env={"OMP_NUM_THREADS": str(threads), **os.environ},
        start_new_session=True,  # Ctrl-C reaches this process, which tells the others
    )


def _outcome(task: tuple[Any, ...], folder: Path) -> Outcome:
    path, out = task[:2]
    answer = folder / f"{path.stem}.outcome.json"
    if answer.is_file():
        told = read_json(answer)
        return Outcome(**{**told, "notebook": Path(told["notebook"]), "html": Path(told["html"])})
    error = f"{path.name}: the process that ran it died (out of memory, or killed)."
    return Outcome(name=path.stem, notebook=out / path.name, html=_page(out, path), seconds=0.0, error=error)


def _stop(running: Iterable[subprocess.Popen[bytes]]) -> None:
    """Interrupt what still runs: it keeps what its notebook has so far, and ends its kernel."""
    for process in running:
        process.send_signal(signal.SIGINT)
    for process in running:
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()


def serve(place: Path) -> None:
    """Run the notebook of a task file, ``PLACE.task.json``, and write how it ended to ``PLACE.outcome.json``.

    Args:
        place: The files' path without their endings.
    """
    told = read_json(place.with_name(f"{place.name}.task.json"))
    end_with(told["parent"])
    done = run_one(Path(told["path"]), Path(told["out"]), told["parameters"], told["timeout"], progress=False)
    found = {**dataclasses.asdict(done), "notebook": str(done.notebook), "html": str(done.html)}
    write_json(place.with_name(f"{place.name}.outcome.json"), found)


def _page(out: Path, path: Path) -> Path:
    return out / f"{path.stem}.html"


def run_one(path: Path, out: Path, parameters: dict[str, Any], timeout: float | None, *, progress: bool) -> Outcome:
    """Run one notebook and say how it ended; errors become words.

    Args:
        path: The notebook.
        out: The folder for what comes out.
        parameters: Name to value.
        timeout: Seconds that one cell may take, or None.
        progress: Whether a bar is shown.
    """
    output, html, start = out / path.name, _page(out, path), time.perf_counter()
    summary = stderr = error = ""
    try:
        done = run_notebook(path, output, parameters=parameters, timeout=timeout, html=html, progress=progress)
        summary, stderr = done.tagged_text("summary"), "\n".join(done.stderr)
    except LandscapeError as problem:
        error = str(problem)
    seconds = time.perf_counter() - start
    return Outcome(
        name=path.stem, notebook=output, html=html, seconds=seconds, summary=summary, stderr=stderr, error=error
    )
