"""Several notebooks: all checked before the first starts, run one after the other or some at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from landscape.config import is_whole, require
from landscape.errors import LandscapeError, NotebookError
from landscape.notebooks.run import prepare_run, run_notebook


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
        jobs: How many run at a time, each in processes of its own; they share the processor's cores.
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
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running: dict[Future[Outcome], Path] = {
            pool.submit(run_one, *task, progress=False, threads=threads): task[0] for task in tasks
        }
        for done in as_completed(running):
            yield _outcome(done, running[done], tasks[0][1])


def _outcome(done: Future[Outcome], path: Path, out: Path) -> Outcome:
    try:
        return done.result()
    except BrokenProcessPool as error:
        error_text = f"{path.name}: the process that ran it died ({error})."
        return Outcome(name=path.stem, notebook=out / path.name, html=_page(out, path), seconds=0.0, error=error_text)


def _page(out: Path, path: Path) -> Path:
    return out / f"{path.stem}.html"


def run_one(
    path: Path, out: Path, parameters: dict[str, Any], timeout: float | None, *, progress: bool, threads: int = 0
) -> Outcome:
    """Run one notebook and say how it ended; errors become words.

    Args:
        path: The notebook.
        out: The folder for what comes out.
        parameters: Name to value.
        timeout: Seconds that one cell may take, or None.
        progress: Whether a bar is shown.
        threads: Threads that its kernel computes with, unless ``OMP_NUM_THREADS`` says otherwise; 0 leaves it alone.
    """
    if threads:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
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
