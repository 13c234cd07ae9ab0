"""A training in a process of its own, told what to do by lines: the kernel stays free, and its random numbers too.

In a thread the training's and the notebook's global generators would be the same, so that neither could be repeated.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from landscape.errors import ProcessError
from landscape.training import Run, RunConfig, train

_EVERY = 0.1  # seconds between reports, and between looks at what is wanted
_PATIENCE = 20.0  # seconds that a cancelled training has to save its position, before it is told as by `kill`


# The process -----------------------------------------------------------------------------------------------------


class _Orders:
    """What is asked for line by line; the end is a cancel, so that nothing outlives the kernel.

    Read below Python's own buffers, whose lock a thread that waits for input would still hold when the process ends.
    """

    def __init__(self, source: int) -> None:
        self.cancelled, self.going = threading.Event(), threading.Event()
        self.going.set()
        self._source, self._rest = source, b""

    def line(self) -> str | None:
        """Return the next line; None at the end."""
        while b"\n" not in self._rest:
            if not (found := os.read(self._source, 65536)):
                return None
            self._rest += found
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode().strip()

    def follow(self) -> None:
        """Read on in a thread."""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while (word := self.line()) not in (None, "cancel"):
            if word == "pause":
                self.going.clear()
            elif word == "resume":
                self.going.set()
        self.cancelled.set()
        self.going.set()

    def stop(self) -> bool:
        """Whether the training shall save its position and end, for now or for good."""
        return self.cancelled.is_set() or not self.going.is_set()


def serve(source: int, sink: TextIO) -> None:
    """Train as the first line says, reporting line by line; pause, go on and end as the next lines say.

    Args:
        source: A file descriptor that gives a line of JSON with ``config``, ``root``, ``data_root`` and ``threads``;
            then "pause", "resume", or "cancel".
        sink: Gets a line of JSON for each report: ``{"step": 3}``, and in the end ``{"end": "finished"}``,
            ``{"end": "cancelled"}`` or ``{"end": "failed", "error": ...}``.
    """
    import torch

    orders = _Orders(source)
    task = json.loads(orders.line() or "{}")
    orders.follow()
    torch.set_num_threads(task["threads"])
    sys.stdout = sys.stderr  # what a model prints is no report
    config, said, steps = RunConfig.from_dict(task["config"]), [0.0], [0]

    def report(**what: Any) -> None:
        sink.write(json.dumps(what) + "\n")
        sink.flush()

    def stop() -> bool:
        steps[0] += 1
        if time.monotonic() - said[0] > _EVERY:
            said[0] = time.monotonic()
            report(step=steps[0])
        return orders.stop()

    while True:
        steps[0] = _step_of(Path(task["root"]) / config.folder_name, config)
        try:
            train(config, root=task["root"], data_root=task["data_root"], progress=False, stop=stop)
            report(end="finished")
            return
        except KeyboardInterrupt:
            if orders.cancelled.is_set():
                report(end="cancelled")
                return
            report(step=steps[0])
            orders.going.wait()
        except Exception as error:
            report(end="failed", error=f"{type(error).__name__}: {error}")
            return
        if orders.cancelled.is_set():
            report(end="cancelled")
            return


def _step_of(path: Path, config: RunConfig) -> int:
    """The step at which a run would go on."""
    found = Run(path, config).checkpoints()
    return found[-1][0] if found else 0


# The other end ---------------------------------------------------------------------------------------------------


def train_beside(
    config: RunConfig,
    *,
    root: str | os.PathLike[str],
    data_root: str | os.PathLike[str] | None,
    watch: Callable[[int], None],
    wanted: Callable[[], str],
) -> bool:
    """Train in a process of its own.

    Args:
        config: The settings.
        root: Folder of all runs.
        data_root: Folder of the datasets.
        watch: Called about ten times a second, with the step that was reached.
        wanted: Called as often: "run", "pause" or "cancel".

    Returns:
        Whether the run is finished; False where it was cancelled, its position saved.

    Raises:
        ProcessError: The training failed, or its process ended without a word.
    """
    import torch

    paths = [path for path in sys.path if path]
    # Seen from a folder of notebooks as from here: what the kernel can import, the training can.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *paths])}
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from landscape.widgets.trainer import serve; serve(0, sys.stdout)"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
        env=environment,
    )  # fmt: skip
    task = {
        "config": config.to_dict(), "root": str(root), "data_root": None if data_root is None else str(data_root),
        "threads": torch.get_num_threads(),
    }  # fmt: skip
    try:
        _tell(process, json.dumps(task))
        return _follow(process, watch, wanted)
    finally:
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()
        _end(process)


def _follow(process: subprocess.Popen[str], watch: Callable[[int], None], wanted: Callable[[], str]) -> bool:
    """Hand orders over and reports back until the process says how it ended."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    complaints: deque[str | None] = deque(maxlen=100)
    readers = (
        threading.Thread(target=_read, args=(process.stdout, lines.put), daemon=True),
        threading.Thread(target=_read, args=(process.stderr, complaints.append), daemon=True),
    )
    for reader in readers:
        reader.start()
    step, told, cancelled = 0, "run", None
    while True:
        now = wanted()
        if now != told:
            _tell(process, {"run": "resume"}.get(now, now))
            told, cancelled = now, time.monotonic() if now == "cancel" else None
        if cancelled is not None and time.monotonic() - cancelled > _PATIENCE:
            process.terminate()
        try:
            line = lines.get(timeout=_EVERY)
        except queue.Empty:
            watch(step)
            continue
        if line is None:
            said = "".join(text for text in complaints if text)[-1500:]
            raise ProcessError("The training's process ended without a word.", got=said or "no message")
        found: Mapping[str, Any] = json.loads(line)
        step = int(found.get("step", step))
        watch(step)
        if "end" in found:
            if found["end"] == "failed":
                raise ProcessError("The training failed.", got=str(found["error"]))
            return found["end"] == "finished"


def _tell(process: subprocess.Popen[str], line: str) -> None:
    if process.stdin is not None:
        with suppress(BrokenPipeError):  # it has ended, and what it said last says why
            process.stdin.write(line + "\n")
            process.stdin.flush()


def _read(source: TextIO | None, take: Callable[[str | None], None]) -> None:
    for line in source or ():
        take(line)
    take(None)


def _end(process: subprocess.Popen[str]) -> None:
    """Wait for the process, which ends by itself once its input has; and end it where it does not."""
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
