"""``python -m benchmarks``: every module of this folder that has a ``main(argv)``, one after the other."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence

import benchmarks
from benchmarks.common import PEERS, version


def suite(gpu: bool) -> Iterator[tuple[str, Callable[[Sequence[str]], int]]]:
    """Yield the name and the main function of each benchmark.

    Args:
        gpu: Only those for a CUDA device (``GPU = True`` in the module), or only the others.
    """
    for info in pkgutil.iter_modules(benchmarks.__path__):
        if info.name.startswith("_") or info.name == "common":
            continue
        module = importlib.import_module(f"benchmarks.{info.name}")
        if callable(getattr(module, "main", None)) and getattr(module, "GPU", False) == gpu:
            yield info.name, module.main


def main(argv: Sequence[str] = ()) -> int:
    """Run the benchmarks; a missed bar or a failure is reported and does not stop the others.

    Args:
        argv: ``--gpu`` for those that need a CUDA device.

    Returns:
        0 where each ran and is within its bar, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--gpu", action="store_true", help="those that need a CUDA device, instead of the others")
    gpu = parser.parse_args(list(argv)).gpu
    if not gpu:
        versions = {name: version(name) for name in PEERS}
        print("Compared with:", ", ".join(f"{name} {found}" for name, found in versions.items() if found) or "nothing")
        print("Not installed:", ", ".join(name for name, found in versions.items() if not found) or "none")
    missed = []
    names = []
    for name, run in suite(gpu):
        names.append(name)
        print(f"\n{name}")
        try:
            code = run(())
        except Exception as error:  # one broken benchmark must not hide the others
            print(f"  failed: {type(error).__name__}: {error}")
            code = 1
        if code:
            missed.append(name)
    print(f"\n{len(names)} benchmarks ran; outside their bar or failed: {', '.join(missed) or 'none'}.")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
