"""What ``import landscape`` costs, as a ratio to its floor ``import torch``. Bar: at most 1.2."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.common import environment, interleaved, ratio, save

BAR = 1.2
CODE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def seconds_to_import(module: str) -> float:
    """Import a module in a fresh process and return the seconds that the import statement took."""
    command = [sys.executable, "-c", CODE.format(module)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main(argv: Sequence[str] = ()) -> int:
    """Measure, print and write the result.

    Args:
        argv: ``--rounds N``, ``--no-save``.

    Returns:
        0 where the median ratio is within the bar, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.import_time", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args(list(argv))
    modules = ("torch", "landscape")
    seconds = interleaved({name: lambda name=name: seconds_to_import(name) for name in modules}, options.rounds)
    result = {
        "benchmark": "import_time",
        "what": "seconds of `import landscape` / seconds of `import torch`, fresh processes, interleaved",
        "bar": BAR,
        "rounds": options.rounds,
        "ratio": ratio(seconds, "landscape", "torch"),
        "median_seconds": {name: statistics.median(values) for name, values in seconds.items()},
        **environment(),
    }
    measured = result["ratio"]
    print(f"  import landscape / import torch = {measured['median']:.3f} (bar: {BAR}; {options.rounds} rounds,")
    print(f"  from {measured['min']:.3f} to {measured['max']:.3f}); medians: ", end="")
    print(", ".join(f"{name} {value:.2f} s" for name, value in result["median_seconds"].items()))
    print(f"  {result['hardware']['processor']}, {result['hardware']['cores']} cores; {result['versions']}")
    if not options.no_save:
        save("import_time", result)
    return int(measured["median"] > BAR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
