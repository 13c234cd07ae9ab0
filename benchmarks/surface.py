"""What a point of a loss surface costs, beside five other packages and the plain forward; and whether it is right.

Cost: CPU seconds at one thread per point, interleaved, as ratios to the floor: the best plain ``inference_mode``
forward of the same data with its loss (contiguous or channels_last, batches of 64, 256 or 512; the forward alone is
reported beside it). Ours are whole calls of ``evaluate_surface``: of one grid, less those of a smaller one, over the
difference of their points. The others are timed from one point's loss to the next one's. So setting up and drawing
count for nobody; what ``engine="auto"`` takes to choose is reported apart. Bars: at most 0.85 on ResNet-20 with 512
images of CIFAR-10, 1.0 on the digits CNN, 0.6 for a perceptron of 1,482 weights on 128 images. Wall time with two
workers: at least 1.5 times the points a second of the best of the others, with one thread or two, as serves it better.

Agreement: one plane given to all, in float32; ours, nngeom and losscape lie within 1e-6 of the range. How far the
others are off is reported.

Views, on the digits CNN: a first picture (a whole coarse grid of 5x5 or more) after at most 10 % of the points; 11x11
and a spline within 0.5 % of the range of the full 21x21 (the median of three planes; each is reported), with estimated
errors that cover the true ones on every plane.

CIFAR-10 is read from a folder of images (``--data-root``, with ``cifar10-images/train/<class>/``); without one it is
replaced by random images of its size, which take as long.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common import environment, interleaved, ratio, save
from benchmarks.surface_checks import BAR_AGREEMENT, BAR_FIRST, BAR_SPLINE, agreement, missed_checks, views
from benchmarks.surface_peers import CALLS, Clock, Problem, Surfaces, surface_peers, verdict
from benchmarks.training import cifar
from landscape.datasets import load_dataset
from landscape.models import build_model
from landscape.seeding import seeded
from landscape.surface import grid as grids
from landscape.surface import random_plane
from landscape.surface.engine_choice import choose_engine

BARS = {"resnet20": 0.85, "smallcnn": 1.0, "mlp": 0.6}
BAR_WALL = 1.5
BATCHES = (64, 256, 512)
OURS, PLAIN, FLOOR, FORWARD = "ours", "ours, plain engine", "floor", "forward without loss"
PARTS = (*BARS, "agreement", "views")
Grid = tuple[int, int]


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds, passes of the floor in each, the others' points along an axis, and our two grids.

    No grid of ours has the center, which is not the engine's; all have an even number of points, for two workers. The
    larger one has so many that it does not count that one of them idles during the last point.
    Whole rounds that only warm up are for what takes microseconds.
    """

    rounds: int
    passes: int
    steps: int
    few: Grid
    many: Grid
    warm_up: bool = True

    @property
    def points(self) -> int:
        """By how many points our two grids differ."""
        return self.many[0] * self.many[1] - self.few[0] * self.few[1]


EFFORTS = {
    "resnet20": Effort(rounds=3, passes=2, steps=2, few=(2, 1), many=(2, 24), warm_up=False),
    "smallcnn": Effort(rounds=5, passes=20, steps=5, few=(2, 2), many=(2, 20)),
    "mlp": Effort(rounds=7, passes=1000, steps=24, few=(8, 8), many=(64, 64)),
}
QUICK = {
    "resnet20": Effort(rounds=1, passes=1, steps=2, few=(2, 1), many=(2, 2), warm_up=False),
    "smallcnn": Effort(rounds=1, passes=2, steps=2, few=(2, 1), many=(2, 3)),
    "mlp": Effort(rounds=1, passes=50, steps=4, few=(8, 8), many=(16, 16)),
}


# ------------------------------------------------------------------------------------------------------ the problems


def digits(examples: int | None = None) -> tuple[Tensor, Tensor]:
    """Return all 1,797 digits, or the first so many, as inputs and targets."""
    parts = [load_dataset("digits", split=split) for split in ("train", "test")]
    inputs, targets = torch.cat([part.normalized() for part in parts]), torch.cat([part.targets for part in parts])
    return inputs[:examples], targets[:examples]


def fitted(model: nn.Module, inputs: Tensor, targets: Tensor, *, epochs: int) -> nn.Module:
    """Train a model a little, so that its surface has a minimum, and its running statistics fit the data."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model.train()
    for _ in range(epochs):
        for images, labels in zip(inputs.split(64), targets.split(64), strict=True):
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
    optimizer.zero_grad()
    return model.eval()


def problems(root: Path | None, *, quick: bool) -> dict[str, Problem]:
    """Build the three models, with their data and planes."""
    pictures = cifar(root, 64 if quick else 512)
    images, labels = pictures.normalized(), pictures.targets
    with seeded(0, "surface benchmark"):
        resnet = fitted(build_model("resnet20"), images, labels, epochs=1)
        inputs, targets = digits(300 if quick else None)
        small = fitted(build_model("smallcnn"), inputs, targets, epochs=10)
        mlp = fitted(build_model("mlp", hidden=(16, 16)), inputs, targets, epochs=10)
    return {
        "resnet20": Problem.of("resnet20", resnet, images, labels),
        "smallcnn": Problem.of("smallcnn", small, inputs, targets),
        "mlp": Problem.of("mlp", mlp, inputs[:128], targets[:128]),
    }


# --------------------------------------------------------------------------------------------------------- its floor


class Floor:
    """The plain forward of a problem's data in batches, in inference mode."""

    def __init__(self, problem: Problem, layout: torch.memory_format, batch: int) -> None:
        self.model, self.batch = problem.model, batch
        inputs = problem.inputs
        if layout is torch.channels_last:
            inputs = inputs.to(memory_format=layout)
            self.model = problem.moved(0.0, 0.0).to(memory_format=layout)
        self.pairs = list(zip(inputs.split(batch), problem.targets.split(batch), strict=True))

    def seconds(self, passes: int, *, loss: bool = True) -> float:
        """Return the CPU seconds of one pass, with each batch's loss or without, the mean of so many."""
        begun = time.process_time()
        with torch.inference_mode():
            for _ in range(passes):
                for inputs, targets in self.pairs:
                    outputs = self.model(inputs)
                    if loss:
                        F.cross_entropy(outputs, targets)
        return (time.process_time() - begun) / passes


def best_floor(problem: Problem, effort: Effort) -> tuple[Floor, dict[str, float]]:
    """Find the fastest layout and batch size; return it, and the best seconds of each."""
    layouts = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    sizes = sorted({min(size, len(problem.targets)) for size in BATCHES})
    floors = {
        f"{name}, batches of {size}": Floor(problem, layout, size) for name, layout in layouts.items() for size in sizes
    }
    calls = {name: partial(floor.seconds, max(1, effort.passes // 2)) for name, floor in floors.items()}
    seconds = {name: min(its) for name, its in interleaved(calls, 2).items()}
    return floors[min(seconds, key=seconds.__getitem__)], seconds


# ------------------------------------------------------------------------------------------------------------- costs


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use so many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def our_seconds(problem: Problem, effort: Effort, engine: str, *, workers: int, wall: bool) -> float:
    """Return the seconds of a point: those of a call with many points less those of one with few, by their number."""
    clock = time.perf_counter if wall else time.process_time
    marks = [clock()]
    for grid in (effort.few, effort.many):
        problem.surface(grid, engine, workers)
        marks.append(clock())
    return ((marks[2] - marks[1]) - (marks[1] - marks[0])) / effort.points


def their_seconds(problem: Problem, effort: Effort, surfaces: Surfaces, *, wall: bool) -> float:
    """Return the seconds from one point to the next."""
    clock = Clock()
    surfaces(problem, effort.steps, clock)
    return clock.per_point(effort.steps**2, wall=wall)


def chosen(problem: Problem) -> dict[str, Any]:
    """Let "auto" choose for a surface of 21x21; return what it found, and the CPU seconds it took."""
    objective = problem.objective()
    reach = problem.extent
    axis = grids.axis(reach, 21).tolist()
    points = list(itertools.product(axis, axis))
    probe, star = [[-reach, -reach], [reach, 0.0]], [points[k] for k in grids.star((21, 21))]
    begun = time.process_time()
    choice = choose_engine(objective, problem.vectors(), wanted="auto", probe=probe, star=star, points=len(points))
    return {"seconds": time.process_time() - begun, **choice.record()}


def costs(problem: Problem, effort: Effort, peers: dict[str, Surfaces]) -> dict[str, Any]:
    """Measure CPU seconds of a point at one thread, and wall time with two."""
    with threads(1):
        best, variants = best_floor(problem, effort)
        problem = replace(problem, batch=best.batch)
        choice = chosen(problem)
        calls: dict[str, Callable[[], float]] = {
            FLOOR: partial(best.seconds, effort.passes),
            FORWARD: partial(best.seconds, effort.passes, loss=False),
        }
        for name, engine in ((OURS, choice["engine"]), (PLAIN, "plain")):
            calls[name] = partial(our_seconds, problem, effort, engine, workers=1, wall=False)
        for name, surfaces in peers.items():
            calls[name] = partial(their_seconds, problem, effort, surfaces, wall=False)
        cpu = interleaved(calls, effort.rounds, warm_up=effort.warm_up)
    ratios = {name: ratio(cpu, name, FLOOR) for name in cpu if name != FLOOR}
    found = {
        "floor": variants,
        "auto": choice | {"points": choice["seconds"] / statistics.median(cpu[OURS])},
        "cpu_seconds": {name: statistics.median(its) for name, its in cpu.items()},
        "ratio_to_floor": ratios,
        "rounds": effort.rounds,
    }
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if peers and cores >= 2:
        found |= two_workers(problem, effort, choice["engine"], peers, found["cpu_seconds"])
    report_costs(problem.name, found)
    return found


def two_workers(
    problem: Problem, effort: Effort, engine: str, peers: dict[str, Surfaces], cpu: dict[str, float]
) -> dict[str, Any]:
    """Measure wall time: ours with two workers; the others with two threads, or with one where that is faster."""
    with threads(2):
        calls = {OURS: partial(our_seconds, problem, effort, engine, workers=2, wall=True)}
        for name, surfaces in peers.items():
            calls[name] = partial(their_seconds, problem, effort, surfaces, wall=True)
        wall = interleaved(calls, effort.rounds, warm_up=effort.warm_up)
    rates = {name: 1 / statistics.median(its) for name, its in wall.items()}
    either = {name: max(rates[name], 1 / cpu[name]) for name in peers}
    best = max(either, key=either.__getitem__)
    return {
        "points_per_second": rates,
        "best_peer": best,
        "best_peer_points_per_second": either[best],
        "times_best_peer": rates[OURS] / either[best],
    }


def report_costs(name: str, found: dict[str, Any]) -> None:
    """Print one problem's numbers."""
    seconds, ratios, auto = found["cpu_seconds"], found["ratio_to_floor"], found["auto"]
    fastest = min(found["floor"], key=found["floor"].__getitem__)
    print(f"  {name}: floor {1e3 * seconds[FLOOR]:.4g} ms a point ({fastest})")
    for one, its in ratios.items():
        bar = f" (bar {BARS[name]}: {verdict(its['median'] <= BARS[name])})" if one == OURS else ""
        print(f"    {one}: {its['median']:.2f} of the floor, from {its['min']:.2f} to {its['max']:.2f}{bar}")
    print(f"    auto chose {auto['engine']!r}; choosing took as long as {auto['points']:.0f} points")
    if "times_best_peer" in found:
        times = found["times_best_peer"]
        print(
            f"    two workers: {found['points_per_second'][OURS]:.4g} points/s, {found['best_peer']} "
            f"{found['best_peer_points_per_second']:.4g}: {times:.2f} times "
            f"(bar {BAR_WALL}: {verdict(times >= BAR_WALL)})"
        )


# ----------------------------------------------------------------------------------------------------------- the run


def measure(root: Path | None, parts: Sequence[str], efforts: dict[str, Effort], *, quick: bool) -> dict[str, Any]:
    """Measure what is asked for."""
    peers = surface_peers()
    given = problems(root, quick=quick)
    results: dict[str, Any] = {"costs": {}, "agreement": {}}
    with threads(1):
        if "agreement" in parts:
            results["agreement"]["smallcnn"] = agreement(given["smallcnn"], 7, peers)
            results["agreement"]["resnet20"] = agreement(given["resnet20"].first(64), 5, peers)
        if "views" in parts:
            small = given["smallcnn"]
            planes = [random_plane(small.objective(), seed=seed) for seed in range(1 if quick else 3)]
            results["views"] = views(small, planes, 21)
    for name, problem in given.items():
        if name in parts:
            results["costs"][name] = costs(problem, efforts[name], peers)
    return results


def missed(results: dict[str, Any]) -> list[str]:
    """Return the bars that do not hold, in words."""
    out = missed_checks(results)
    for name, found in results["costs"].items():
        out += [f"{name}: CPU"] * (found["ratio_to_floor"][OURS]["median"] > BARS[name])
        out += [f"{name}: wall"] * (found.get("times_best_peer", BAR_WALL) < BAR_WALL)
    return out


def main(argv: Sequence[str] = ()) -> int:
    """Measure, print and write the result.

    Args:
        argv: ``--rounds N`` (default: 3 for ResNet-20, more for the others), ``--data-root PATH`` (default: the
            variable LANDSCAPE_DATA), ``--no-save``. Not saved either: ``--only PART`` (a model's name, "agreement" or
            "views"; may be repeated) and ``--quick`` (tiny sizes, to see that it runs).

    Returns:
        0 where all bars hold, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.surface", description=__doc__)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--data-root", type=Path, default=os.environ.get("LANDSCAPE_DATA"))
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args(list(argv))
    root = None if options.data_root is None else Path(options.data_root)
    efforts = QUICK if options.quick else EFFORTS
    if options.rounds:
        efforts = {name: replace(effort, rounds=options.rounds) for name, effort in efforts.items()}
    results = measure(root, options.only or PARTS, efforts, quick=options.quick)
    outside = missed(results)
    if not (options.no_save or options.quick or options.only):
        result = {
            "benchmark": "surface",
            "what": "CPU seconds of a point at one thread / those of the best plain forward with its loss; points a "
            "second with two workers / the best peer's; differences as fractions of the range",
            "bars": {
                "ratio to the floor, at most": BARS,
                "times the best peer, at least": BAR_WALL,
                "agreement, of the range": BAR_AGREEMENT,
                "first picture, share of the points": BAR_FIRST,
                "spline, of the range": BAR_SPLINE,
            },
            "results": results,
            **environment(*CALLS),
        }
        save("surface", result)
    print(f"  outside their bar: {', '.join(outside) or 'none'}")
    return int(bool(outside))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
