"""What ``import landscape`` and all its public names cost, as ratios to ``import torch``. Bar: at most 1.2."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.common import environment, interleaved, ratio, save

BAR = 1.2
CODE = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
STATEMENTS = {
    "torch": "import torch",
    "landscape": "import landscape",
    "everything": "from landscape import *",
}


def seconds_to_import(statement: str) -> float:
    """Run an import statement in a fresh process and return the seconds that it took."""
    command = [sys.executable, "-c", CODE.format(statement)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main(argv: Sequence[str] = ()) -> int:
    """Measure, print and write the result.

    Args:
        argv: ``--rounds N``, ``--no-save``.

    Returns:
        0 where both median ratios are within the bar, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.import_time", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args(list(argv))
    calls = {name: lambda code=code: seconds_to_import(code) for name, code in STATEMENTS.items()}
    seconds = interleaved(calls, options.rounds)
    ratios = {name: ratio(seconds, name, "torch") for name in ("landscape", "everything")}
    result = {
        "benchmark": "import_time",
        "what": "seconds of `import landscape` (names load on first use) and of `from landscape import *` (all of "
        "them), each / seconds of `import torch`, fresh processes, interleaved",
        "bar": BAR,
        "rounds": options.rounds,
        "ratios": ratios,
        "median_seconds": {name: statistics.median(values) for name, values in seconds.items()},
        **environment(),
    }
    for name, measured in ratios.items():
        print(f"  {STATEMENTS[name]} / import torch = {measured['median']:.3f} (bar: {BAR}; {options.rounds} rounds,")
        print(f"  from {measured['min']:.3f} to {measured['max']:.3f})")
    print(
        "  medians: "
        + ", ".join(f"{STATEMENTS[name]} {value:.2f} s" for name, value in result["median_seconds"].items())
    )
    print(f"  {result['hardware']['processor']}, {result['hardware']['cores']} cores; {result['versions']}")
    if not options.no_save:
        save("import_time", result)
    return int(any(measured["median"] > BAR for measured in ratios.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
