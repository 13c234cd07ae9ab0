"""Epochs on a CUDA device: ResNet-18 and CIFAR-10's size, SGD and SAM, batches of 128 and 512, by precision, each
launch by launch and as CUDA graphs.

Aims: SAM at most 2.05 times SGD's time at batch 512, and an epoch of SGD over 50,000 images in less than 2 seconds on
an H200. Whole epochs with crops and flips, interleaved, without the tests after them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import environment, interleaved, save
from benchmarks.training import OurLoop, cifar
from landscape.datasets import Dataset
from landscape.seeding import seeded
from landscape.training import RunConfig

GPU = True
RATIO, EPOCH = 2.05, 2.0  # at batch 512; seconds
FULL = 50_000  # images of CIFAR-10


def measure(data: Dataset, settings: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Time epochs of SGD and of SAM, launch by launch and as CUDA graphs, interleaved."""
    config = RunConfig(dataset="cifar10", crop_padding=4, flip=True, lr=0.1, schedule="constant", **settings)
    methods = {"sgd": {}, "sam": {"rho": 0.05}}
    with tempfile.TemporaryDirectory() as folder, seeded(0, "benchmark"):
        loops = {
            f"{name}{', graphs' if graphs else ''}": OurLoop(
                config.replace(optimizer=name, cuda_graphs=graphs, **options),
                data,
                torch.device(config.device),
                Path(folder),
            )
            for graphs in (False, True)
            for name, options in methods.items()
        }
        seconds = interleaved({name: loop.epoch for name, loop in loops.items()}, rounds)
    median = {name: statistics.median(its) for name, its in seconds.items()}

    def ratio(one: str, other: str) -> float:
        return statistics.median([a / b for a, b in zip(seconds[one], seconds[other], strict=True)])

    return {
        "images_per_second": {name: len(data) / its for name, its in median.items()},
        "sgd_epoch_seconds": min(median["sgd"], median["sgd, graphs"]) * FULL / len(data),
        "sam_over_sgd": ratio("sam", "sgd"),
        "sam_over_sgd, graphs": ratio("sam, graphs", "sgd, graphs"),
        "graphs": {name: loops[f"{name}, graphs"].recorded for name in methods},
        "time_with_graphs": {name: ratio(f"{name}, graphs", name) for name in methods},
        "rounds": rounds,
    }


def main(argv: Sequence[str] = ()) -> int:
    """Measure, print and write the result.

    Args:
        argv: ``--rounds N``, ``--examples N``, ``--model NAME``, ``--device NAME``, ``--batches N ...``,
            ``--precisions NAME ...``, ``--data-root PATH`` (default: the variable LANDSCAPE_DATA), ``--no-save``.

    Returns:
        0 where both aims are reached at the largest batch with some precision, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_gpu", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=FULL)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--precisions", nargs="+", default=["bfloat16", "tf32"])
    parser.add_argument("--data-root", type=Path, default=os.environ.get("LANDSCAPE_DATA"))
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args(list(argv))
    data = cifar(options.data_root, options.examples)
    found = {}
    for precision in options.precisions:
        for batch in options.batches:
            settings = {
                "model": options.model,
                "device": options.device,
                "precision": precision,
                "batch_size": batch,
            }
            one = found[f"{precision}, batch {batch}"] = measure(data, settings, options.rounds)
            speed = one["images_per_second"]
            print(
                f"  {options.model}, {precision}, batch {batch}: SGD {speed['sgd']:.0f} images/s "
                f"({speed['sgd, graphs']:.0f} with {one['graphs']['sgd']}), an epoch of {FULL} in "
                f"{one['sgd_epoch_seconds']:.2f} s (aim {EPOCH}); SAM {speed['sam']:.0f} images/s "
                f"({speed['sam, graphs']:.0f}), {one['sam_over_sgd']:.2f} times SGD's time "
                f"({one['sam_over_sgd, graphs']:.2f}; aim {RATIO})"
            )
    largest = [one for name, one in found.items() if name.endswith(f"batch {max(options.batches)}")]
    ratios = [min(one["sam_over_sgd"], one["sam_over_sgd, graphs"]) for one in largest]
    reached = any(one["sgd_epoch_seconds"] < EPOCH and its <= RATIO for one, its in zip(largest, ratios, strict=True))
    if not options.no_save:
        result = {
            "benchmark": "training_gpu",
            "what": "an epoch's time on a CUDA device, without tests, and SAM's time / SGD's",
            "aims": {"SAM / SGD, at most": RATIO, "seconds of an SGD epoch of 50,000 images, less than": EPOCH},
            "model": options.model,
            "results": found,
            **environment("torchvision"),
        }
        save("training_gpu", result)
    return int(not reached)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
