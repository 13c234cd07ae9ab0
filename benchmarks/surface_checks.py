"""Whether surfaces are right: beside the other packages', while they are computed, and through a spline."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from benchmarks.surface_peers import Clock, Problem, Surfaces, verdict
from landscape.surface import Plane, Surface, interpolate

BAR_AGREEMENT, AGREEING = 1e-6, ("ours", "nngeom", "losscape")
BAR_FIRST, BAR_SPLINE = 0.10, 0.005
_OTHER = 1e-3  # of the range: from here on it is another surface
_PICTURE = 5  # points along an axis


def agreement(problem: Problem, steps: int, peers: dict[str, Surfaces]) -> dict[str, Any]:
    """Evaluate one plane with all, and compare: largest differences as fractions of the range of ours."""
    ours = problem.surface(steps, "auto")
    losses = {"ours": ours.loss} | {name: call(problem, steps, Clock()) for name, call in peers.items()}
    extent = float(ours.loss.max() - ours.loss.min())

    def apart(one: str, other: str, rows: slice = slice(None)) -> float:
        return float(np.abs(losses[one] - losses[other])[rows].max()) / extent

    compared = [name for name in AGREEING if name in losses]
    largest = max((apart(*pair) for pair in combinations(compared, 2)), default=0.0)
    distances = {
        name: {
            "all": apart(name, "ours"),
            "even_rows": apart(name, "ours", slice(0, None, 2)),
            "odd_rows": apart(name, "ours", slice(1, None, 2)),
        }
        for name in peers
    }
    engine = ours.provenance["engine"]
    bar = f"(bar {BAR_AGREEMENT:g}: {verdict(largest <= BAR_AGREEMENT)})" if len(compared) > 1 else "(no bar)"
    print(
        f"  {problem.name}, {steps}x{steps}, engine {engine!r}: {', '.join(compared)} within {largest:.1e} of the "
        f"range {bar}"
    )
    for name, its in distances.items():
        rows = f", another surface (even rows {its['even_rows']:.1e}, odd rows {its['odd_rows']:.1e})"
        print(f"    {name}: {its['all']:.1e} of the range from ours{rows * (its['all'] > _OTHER)}")
    return {
        "grid": [steps, steps],
        "engine": engine,
        "range": [float(ours.loss.min()), float(ours.loss.max())],
        "compared": compared,
        "largest_difference": largest,
        "difference_from_ours": distances,
    }


def coarse_grid(seen: Surface) -> int:
    """Return how many points along an axis the finest nested grid has whose points are all there."""
    sizes, step = [], len(seen.alphas) - 1
    while step >= 1 and (seen.status[::step, ::step] != 0).all():
        sizes.append(len(seen.alphas[::step]))
        step //= 2
    return max(sizes, default=0)


def first_picture(problem: Problem, points: int) -> dict[str, Any]:
    """Look on while a surface is computed: after how many points a whole coarse grid of 5x5 or more is handed out."""
    pictures: list[tuple[float, int, float]] = []
    begun = time.perf_counter()

    def look(seen: Surface) -> None:
        pictures.append((float((seen.status != 0).mean()), coarse_grid(seen), time.perf_counter() - begun))

    problem.surface(points, "auto", on_update=look)
    total = time.perf_counter() - begun
    share, size, seconds = next(picture for picture in pictures if picture[1] >= _PICTURE)
    print(
        f"  {problem.name}, {points}x{points}: a whole {size}x{size} is seen after {share:.1%} of the points "
        f"(bar {BAR_FIRST:.0%}: {verdict(share <= BAR_FIRST)}) and {seconds / total:.1%} of the time"
    )
    return {"share_of_points": share, "grid": [size, size], "share_of_time": seconds / total}


def spline(problem: Problem, points: int) -> dict[str, Any]:
    """Compare a surface with one of half as many points along each axis, seen through a spline."""
    full, half = problem.surface(points, "auto"), problem.surface((points + 1) // 2, "auto")
    view = interpolate(half, points=points)
    extent = float(full.loss.max() - full.loss.min())
    error = np.abs(view.loss - full.loss)
    within = float((error <= view.error + 1e-6 * extent).mean())  # at the nodes: up to rounding of two engines
    found = {"error": float(error.max()) / extent, "estimate": view.relative_error, "points_within_estimate": within}
    print(
        f"    {len(half.alphas)}x{len(half.alphas)} and a spline: {found['error']:.2%} of the range off, estimated "
        f"{found['estimate']:.2%}; {within:.1%} of the points within their own estimates"
    )
    return found


def views(problem: Problem, planes: Sequence[Plane], points: int) -> dict[str, Any]:
    """Look at a problem while it is computed; and at some planes, with 512 examples, through a spline."""
    first = first_picture(problem, points)
    splines = [spline(replace(problem.first(512), plane=plane), points) for plane in planes]
    errors = [found["error"] for found in splines]
    covered = all(found["estimate"] >= found["error"] for found in splines)
    middle = statistics.median(errors)
    print(
        f"    median {middle:.2%} (bar {BAR_SPLINE:.1%}: {verdict(middle <= BAR_SPLINE)}), largest {max(errors):.2%}; "
        f"the estimates cover the errors: {verdict(covered)}"
    )
    return {
        "grid": [points, points],
        "first_picture": first,
        "splines": splines,
        "spline_error": {"median": middle, "max": max(errors)},
        "covered": covered,
    }


def missed_checks(results: dict[str, Any]) -> list[str]:
    """Return the bars that do not hold, in words; NaN does not."""
    out = []
    for name, found in results["agreement"].items():
        out += [f"{name}: agreement"] * (not found["largest_difference"] <= BAR_AGREEMENT)
    if seen := results.get("views"):
        out += ["first picture"] * (not seen["first_picture"]["share_of_points"] <= BAR_FIRST)
        out += ["spline"] * (not seen["spline_error"]["median"] <= BAR_SPLINE)
        out += ["spline's estimate"] * (not seen["covered"])
    return out
