"""What all benchmarks share: where they ran, what they compare with, and where the numbers go."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from landscape.storage import write_json

RESULTS = Path(__file__).parent / "results"

PEERS = {
    "PyHessian": "pyhessian",
    "curvlinops-for-pytorch": "curvlinops",
    "hessian-eigenthings": "hessian_eigenthings",
    "landscaper": "landscaper.compute",
    "loss-landscape-3d": "loss_landscape_3d",
    "loss-landscapes": "loss_landscapes",
    "losscape": "losscape.create_landscape",
    "nngeom": "nngeom",
    "pytorch_optimizer": "pytorch_optimizer",
}
WITHOUT_PACKAGE = {"landscaper.compute"}
"""Modules imported without their package's ``__init__``, which needs what does not go with this project's packages."""


def version(distribution: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def peer(distribution: str) -> ModuleType | None:
    """Import a package to compare with; say so and return None where it is absent or broken here."""
    try:
        if PEERS[distribution] in WITHOUT_PACKAGE:
            _empty_package(PEERS[distribution].partition(".")[0])
        return importlib.import_module(PEERS[distribution])
    except Exception as error:  # another project's import may fail in any way
        print(f"  {distribution} is left out: {type(error).__name__}: {error}")
        return None


def _empty_package(name: str) -> None:
    """Put a package in place without running its ``__init__``; its modules can then be imported."""
    found = importlib.util.find_spec(name)
    if found is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    sys.modules.setdefault(name, importlib.util.module_from_spec(found))


def hardware() -> dict[str, Any]:
    """Return the processor's name, the cores this process may use, and the CUDA devices."""
    import torch

    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"processor": processor, "cores": cores, "cuda": devices, "system": platform.system()}


def environment(*distributions: str) -> dict[str, Any]:
    """Return what a number depends on: hardware, Python, torch, this package and those named."""
    names = ("landscape", "torch", "numpy", *distributions)
    versions = {"python": platform.python_version()} | {name: version(name) for name in names}
    return {"date": time.strftime("%Y-%m-%d"), "hardware": hardware(), "versions": versions}


def interleaved(
    candidates: Mapping[str, Callable[[], float]], rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Run all candidates in turn, in alternating order, so that a slow spell of the machine hits each alike.

    Args:
        candidates: Name to a function that does the work once and returns the seconds it took.
        rounds: How often.
        warm_up: Whether a first round on top warms up and is not counted.

    Returns:
        Name to its seconds, one a round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(0 if warm_up else 1, rounds + 1):
        for name in sorted(candidates, reverse=number % 2 == 1):
            elapsed = candidates[name]()
            if number:
                seconds[name].append(elapsed)
    return seconds


def ratio(seconds: Mapping[str, list[float]], ours: str, floor: str) -> dict[str, float]:
    """Return the median over rounds of ours / floor, with its smallest and largest value."""
    ratios = [a / b for a, b in zip(seconds[ours], seconds[floor], strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def save(name: str, result: Mapping[str, Any]) -> Path:
    """Write one benchmark's result below ``benchmarks/results`` and say where."""
    path = RESULTS / f"{name}.json"
    write_json(path, dict(result))
    print(f"  written to benchmarks/results/{path.name}")
    return path
