"""Why a run of several processes ended: what each of them wrote down, and which of it is the cause."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from landscape import errors
from landscape.errors import LandscapeError, ProcessError
from landscape.storage import read_json, write_json

_LIBRARIES = tuple(os.path.join(os.path.dirname(os.path.abspath(str(m.__file__))), "") for m in (torch, errors))
_LINES = 40  # of a traceback are kept: its last ones
_LETTERS = 500  # of another package's message
_AT_ONCE = 2.0  # seconds; whatever ends later was ended by torchrun because of the first
_AGAIN = "Call it again: the run goes on from its last checkpoint."


def write_error(folder: str | os.PathLike[str], who: str, error: Exception) -> None:
    """Write down what a process raised, where the one that started it looks for it.

    Args:
        folder: The request's folder for it.
        who: "rank 0", "rank 1" and so on; or "torchrun".
        error: What was raised, by this package or another.
    """
    said: dict[str, Any] = {"who": who, "kind": type(error).__name__, "message": str(error), "time": time.time()}
    if not isinstance(error, LandscapeError):
        lines = "".join(traceback.format_exception(error)).splitlines()
        said |= {"place": _place(error), "traceback": "\n".join(lines[-_LINES:])}
    write_json(Path(folder) / f"{who}.json", said)


def write_endings(folder: str | os.PathLike[str], failures: Mapping[int, Any]) -> None:
    """Write down how processes ended that did not end well.

    Args:
        folder: As in :func:`write_error`.
        failures: torchrun's ``ProcessFailure`` of each rank.
    """
    ended = [
        {"who": f"rank {rank}", "code": failure.exitcode, "time": failure.timestamp}
        for rank, failure in failures.items()
    ]
    write_json(Path(folder) / "endings.json", ended)


def _place(error: Exception) -> str:
    """Name the line that raised an error: the last one outside torch and this package, if there is one."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if not os.path.abspath(frame.filename).startswith(_LIBRARIES)]
    frame = (outside or list(frames))[-1]
    return f"{frame.name} ({frame.filename}:{frame.lineno})"


def cause(folder: str | os.PathLike[str], processes: int, code: int) -> tuple[LandscapeError, bool]:
    """Find out why a run of several processes ended.

    An error of this package comes first; then a process that ended without a word, as the others then fail in the
    middle of what they do together; then the earliest error of another package.

    Args:
        folder: As in :func:`write_error`.
        processes: How many there were.
        code: The exit code of the process that started them, negative for a signal.

    Returns:
        The error to raise, and whether the run was interrupted: ended from outside, by no fault of its own.
    """
    said = sorted(
        (read_json(path) for path in Path(folder).glob("*.json") if path.name != "endings.json"),
        key=lambda words: words["time"],
    )
    for words in said:
        kind = getattr(errors, words["kind"], None)
        if "traceback" not in words and kind is not None:
            return kind(words["message"]), False
    path = Path(folder) / "endings.json"
    silent = _silent(read_json(path) if path.is_file() else [], {words["who"] for words in said})
    if silent is not None:
        return _ended(f"{silent['who'].capitalize()} of the run's {processes} processes", silent["code"]), True
    if said:
        return _foreign(said[0], processes), False
    return _ended("torchrun, which holds the run's processes together,", code), True


def _silent(ended: list[dict[str, Any]], heard: set[str]) -> dict[str, Any] | None:
    """Return the process that ended first and left no word; those that torchrun then ended do not count."""
    if not ended:
        return None
    first = min(each["time"] for each in ended)
    found = [each for each in ended if each["who"] not in heard and each["time"] - first <= _AT_ONCE]
    told = (-signal.SIGTERM, 128 + signal.SIGTERM)
    by_itself = [each for each in found if each["code"] not in told]
    return next(iter(by_itself), None if heard else next(iter(found), None))


def _ended(who: str, code: int) -> ProcessError:
    code = -signal.SIGTERM if code == 128 + signal.SIGTERM else code  # it saved its position first
    if code >= 0:
        return ProcessError(f"{who} ended without a word.", got=f"exit code {code}", fix=_AGAIN)
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    short = " If nobody killed it, memory was short: lower batch_size or nproc." if -code == 9 else ""
    return ProcessError(f"{who} was ended by {name}.", fix=_AGAIN + short)


def _foreign(words: dict[str, Any], processes: int) -> ProcessError:
    message = " ".join(words["message"].split())[:_LETTERS]
    of = "" if words["who"] == "torchrun" else f" of the run's {processes} processes"
    error = ProcessError(
        f"{words['who'].capitalize()}{of} failed in {words['place']}.",
        got=f"{words['kind']}: {message}" if message else words["kind"],
        fix="Mend that; the same call then goes on from the last checkpoint.",
    )
    error.add_note(f"In {words['who']}:\n{words['traceback']}")
    return error
