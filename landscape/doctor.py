"""What works on this machine: versions, devices, folders, and what to do about the rest.

Packages and devices are tried out in a process of their own: one that crashes is reported, and the report goes on.
This module itself needs nothing but the standard library until a check runs.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from landscape import doctor_probes

Status = Literal["ok", "warning", "missing", "error"]

PACKAGES: dict[str, tuple[str, str]] = {
    "torch": ("torch", "2.10"),
    "torchvision": ("torchvision", "0.25"),
    "numpy": ("numpy", "2.0"),
    "scipy": ("scipy", "1.13"),
    "matplotlib": ("matplotlib", "3.9"),
    "plotly": ("plotly", "6.1"),
    "anywidget": ("anywidget", "0.9.13"),
    "ipywidgets": ("ipywidgets", "8.1"),
    "jupyterlab": ("jupyterlab", "4.3"),
    "ipykernel": ("ipykernel", "6.29"),
    "papermill": ("papermill", "2.6"),
    "tqdm": ("tqdm", "4.66"),
    "safetensors": ("safetensors", "0.5"),
    "tyro": ("tyro", "0.9"),
    "scikit-learn": ("sklearn", "1.5"),
    "mnist1d": ("mnist1d", "0.0.2"),
}
"""Each required distribution: the name it is imported by, and the oldest version that will do."""

EXTRAS: dict[str, tuple[str, ...]] = {
    "cluster": ("dask", "distributed", "submitit"),
    "translation": ("tokenizers", "sacrebleu"),
    "tensorboard": ("tensorboard",),
    "exchange": ("h5py",),
    "dev": ("pytest", "hypothesis", "ruff", "pyright", "playwright", "pyyaml", "tensorboard", "h5py"),
}
"""The optional groups of distributions."""

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_REINSTALL = "Run `pip install -c constraints.txt -e .` in the project's folder."
_LITTLE_DISK_GB = 2.0
_RUN = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("doctor_probes", sys.argv[1])
probes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(probes)
getattr(probes, sys.argv[2])(sys.argv[3:])
"""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        status: "ok"; "warning": works, with a drawback; "missing": not there and not needed by everyone; "error": does
            not work and is needed.
        detail: What was seen.
        fix: What to do, where there is something to do.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What :func:`diagnose` found, in the order of looking."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing that is needed is broken."""
        return all(check.status != "error" for check in self.checks)

    def count(self, status: Status) -> int:
        """Return how many checks have a status.

        Args:
            status: "ok", "warning", "missing" or "error".

        Returns:
            The number of checks.
        """
        return sum(check.status == status for check in self.checks)


def diagnose(*, data_root: str | os.PathLike[str] = "data", runs_root: str | os.PathLike[str] = "runs") -> Diagnosis:
    """Look at everything this package needs, and at what it can use.

    Every required package is imported and every device multiplies two matrices and convolves an image, in another
    process. Takes some seconds. Nothing is installed or kept; a folder that is missing is not created.

    Args:
        data_root: Where downloads would go.
        runs_root: Where runs would be written.

    Returns:
        The checks. A check that fails in an unforeseen way is itself reported, never raised.

    Example:
        >>> diagnosis = Diagnosis(checks=(Check(name="Python", status="ok", detail="3.11.7"),))
        >>> diagnosis.healthy, diagnosis.count("ok")
        (True, 1)
    """
    sections: list[tuple[str, Callable[[], Iterator[Check]]]] = [
        ("Python", _check_python),
        ("packages", _check_packages),
        ("jsonschema", _check_jsonschema),
        ("devices", _check_devices),
        ("kernel", _check_kernel),
        ("folders", lambda: _check_folders({"data folder": Path(data_root), "runs folder": Path(runs_root)})),
        ("Chromium", _check_chromium),
        ("extras", _check_extras),
    ]
    checks: list[Check] = []
    for name, section in sections:
        try:
            checks.extend(section())
        except Exception as error:  # a doctor that falls ill helps nobody
            checks.append(_failed(name, f"{type(error).__name__}: {error}"))
    return Diagnosis(checks=tuple(checks))


def format_diagnosis(diagnosis: Diagnosis) -> str:
    """Return a diagnosis as lines of text: a mark, the name, what was seen, and below it what to do.

    Args:
        diagnosis: From :func:`diagnose`.

    Returns:
        The text, without a newline at its end.

    Example:
        >>> check = Check(name="disk", status="warning", detail="1.0 GB free", fix="Make room.")
        >>> print(format_diagnosis(Diagnosis(checks=(check,))))
        warning  disk  1.0 GB free
                       -> Make room.
        <BLANKLINE>
        0 ok, 1 warning, 0 missing, 0 errors.
    """
    width = max((len(check.name) for check in diagnosis.checks), default=0)
    lines = []
    for check in diagnosis.checks:
        lines.append(f"{check.status:7}  {check.name:{width}}  {check.detail}".rstrip())
        if check.fix:
            lines.append(" " * (11 + width) + f"-> {check.fix}")
    numbers = [diagnosis.count(status) for status in ("ok", "warning", "missing", "error")]
    words = ("ok", "warning" if numbers[1] == 1 else "warnings", "missing", "error" if numbers[3] == 1 else "errors")
    counts = ", ".join(f"{number} {word}" for number, word in zip(numbers, words, strict=True))
    return "\n".join([*lines, "", f"{counts}."])


def _failed(name: str, detail: str) -> Check:
    return Check(name=name, status="error", detail=detail, fix=_REINSTALL)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except Exception:  # PackageNotFoundError, or metadata damaged in any way
        return None


def _older(version: str, least: str) -> bool:
    def release(text: str) -> list[int]:
        return [int(part) for part in re.match(r"[0-9.]*", text)[0].split(".") if part]  # type: ignore[index]

    return release(version) < release(least)


def _check_python() -> Iterator[Check]:
    detail = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    old = sys.version_info < (3, 11)
    yield Check(
        name="Python", status="error" if old else "ok", detail=detail, fix="Use Python 3.11 or newer." if old else ""
    )


def _probe(name: str, arguments: Sequence[str], timeout: float = 180.0) -> tuple[list[dict[str, str]], str]:
    """Run a probe in another process; return the rows that it printed, and how it died ("" where it did not)."""
    command = [sys.executable, "-c", _RUN, doctor_probes.__file__, name, *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False
        )
        output, trouble = done.stdout, "" if done.returncode == 0 else _how_it_died(done.returncode, done.stderr)
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else error.stdout or ""
        trouble = f"no answer after {timeout:.0f} s"
    rows = []
    for line in output.splitlines():
        if line.startswith(doctor_probes.MARK):
            rows.append(json.loads(line.removeprefix(doctor_probes.MARK)))
    return rows, trouble


def _how_it_died(code: int, stderr: str) -> str:
    last = (stderr.strip().splitlines() or [""])[-1]
    return f"crashed with signal {-code}" if code < 0 else f"ended with code {code} {last}".rstrip()


def _check_packages() -> Iterator[Check]:
    todo = [name for name in PACKAGES if _version(name) is not None]
    results: dict[str, str] = {}
    while todo:  # a package that takes the process down with it is the first one without an answer
        rows, trouble = _probe("imports", [PACKAGES[name][0] for name in todo])
        for name, row in zip(todo, rows, strict=False):
            results[name] = row["error"]
        todo = todo[len(rows) :]
        if todo:
            results[todo.pop(0)] = trouble or "no answer"
    for name, (_, least) in PACKAGES.items():
        yield _package(name, least, results)


def _package(name: str, least: str, results: Mapping[str, str]) -> Check:
    version = _version(name)
    if version is None:
        return _failed(name, "not installed")
    if results.get(name):
        return _failed(name, f"{version}, cannot be imported: {results[name]}")
    if _older(version, least):
        return _failed(name, f"{version}, older than {least}")
    return Check(name=name, status="ok", detail=version)


def _check_jsonschema() -> Iterator[Check]:
    version = _version("jsonschema")
    if version is None:
        yield _failed("jsonschema", "not installed, and Jupyter needs it")
    elif _older(version, "4.25"):
        yield Check(name="jsonschema", status="ok", detail=version)
    else:
        fix = 'Run `pip install "jsonschema<4.25"`.'
        yield Check(name="jsonschema", status="warning", detail=f"{version}: Jupyter starts seconds slower", fix=fix)


def _check_devices() -> Iterator[Check]:
    rows, trouble = _probe("devices", [])
    for row in rows:
        if row["error"]:
            fix = "Compare the driver with torch's CUDA version, or hide it: CUDA_VISIBLE_DEVICES= landscape ..."
            yield Check(name=row["name"], status="error", detail=f"{row['detail']}; {row['error']}", fix=fix)
        else:
            yield Check(name=row["name"], status="ok", detail=row["detail"])
    if trouble:
        yield _failed("devices", trouble)


def _check_kernel() -> Iterator[Check]:
    rows, trouble = _probe("kernel", [])
    fix = "Run `python -m ipykernel install --sys-prefix --name python3`."
    if trouble or not rows:
        yield _failed("kernel python3", trouble or "no answer")
    elif rows[0]["error"]:
        yield Check(name="kernel python3", status="error", detail=rows[0]["error"], fix=fix)
    elif rows[0]["foreign"]:
        detail = f"runs another Python: {rows[0]['foreign']}"
        yield Check(name="kernel python3", status="warning", detail=detail, fix=fix)
    else:
        yield Check(name="kernel python3", status="ok", detail="runs this Python")


def _check_folders(folders: Mapping[str, Path]) -> Iterator[Check]:
    for name, folder in folders.items():
        place = folder.resolve()
        while not place.exists():
            place = place.parent
        trouble = _trouble_writing(place)
        free = shutil.disk_usage(place).free / 1e9
        detail = f"{folder.resolve()}, {free:.1f} GB free" + ("" if folder.exists() else " (made when needed)")
        if trouble:
            fix = "Allow writing there, or name another folder."
            yield Check(name=name, status="error", detail=f"{folder.resolve()}: {trouble}", fix=fix)
        elif free < _LITTLE_DISK_GB:
            yield Check(name=name, status="warning", detail=detail, fix="Make room on that disk.")
        else:
            yield Check(name=name, status="ok", detail=detail)


def _trouble_writing(folder: Path) -> str:
    from landscape.storage import write_bytes

    probe = folder / f".landscape-doctor-{os.getpid()}"
    try:
        write_bytes(probe, b"landscape")
        probe.unlink()
    except OSError as error:
        return str(error)
    return ""


def _check_chromium() -> Iterator[Check]:
    found = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if found:
        yield Check(name="Chromium", status="ok", detail=found)
    else:
        fix = "Only the browser tests need it. On Debian and Ubuntu: apt-get install chromium."
        yield Check(name="Chromium", status="missing", detail="not found", fix=fix)


def _check_extras() -> Iterator[Check]:
    for extra, names in EXTRAS.items():
        versions = {name: _version(name) for name in names}
        absent = [name for name, version in versions.items() if version is None]
        if absent:
            fix = f"Only if you want it: pip install -c constraints.txt -e '.[{extra}]'"
            detail = f"without {', '.join(absent)}"
            yield Check(name=f"extra {extra}", status="missing", detail=detail, fix=fix)
        else:
            detail = ", ".join(f"{name} {version}" for name, version in versions.items())
            yield Check(name=f"extra {extra}", status="ok", detail=detail)
