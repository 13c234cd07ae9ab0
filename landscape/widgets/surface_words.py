"""What a surface explorer says below its picture: the numbers that an expert asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landscape.objective import Objective
from landscape.plotting.surface_views import SurfaceView, nearest
from landscape.surface import Surface


def words(
    view: SurfaceView,
    surfaces: Mapping[str, Surface],
    *,
    accuracy: float,
    judge: Objective | None,
    planes: Sequence[Surface],
    eigenvalues: Mapping[str, float],
) -> str:
    """Say in words what is seen, and what the picture does not show.

    Args:
        view: What is seen.
        surfaces: Label -> surface, of the split that is seen.
        accuracy: At the marked point, where it was evaluated exactly; else NaN.
        judge: What it was evaluated with.
        planes: Surfaces of the same network on planes of other seeds.
        eigenvalues: Label -> top Hessian eigenvalue.

    Returns:
        Lines.
    """
    surface = surfaces[view.label]
    lines = [_point(view, surface, accuracy, judge), _cut(view, surfaces)]
    if view.level is not None:
        shares = [
            f"{label} {np.mean(one.loss[np.isfinite(one.loss)] <= view.level):.1%}" for label, one in surfaces.items()
        ]
        lines.append(f"At or below the level {view.level:g} lies this share of the plane: {', '.join(shares)}.")
    lines += [text for text in (_seeds(planes), _plane(surface, eigenvalues)) if text]
    return "\n".join(lines)


def _point(view: SurfaceView, surface: Surface, accuracy: float, judge: Objective | None) -> str:
    row, column = nearest(surface.alphas, view.alpha), nearest(surface.betas, view.beta)
    known = float(surface.loss[row, column])
    computed = f"loss {known:.5g}" if surface.status[row, column] else "not computed yet"
    said = f"{view.title}, at α = {view.alpha:.3g}, β = {view.beta:.3g}: {computed}"
    if view.exact is None or judge is None:
        return said + "."
    off = f", {abs(view.exact - known):.1g} from the grid's" if math.isfinite(known) else ""
    share = f", accuracy {accuracy:.1%}" if math.isfinite(accuracy) and judge.metric is None else ""
    return f"{said}; evaluated exactly on {judge.examples:,} examples {view.exact:.5g}{off}{share}."


def _cut(view: SurfaceView, surfaces: Mapping[str, Surface]) -> str:
    said = []
    for label, surface in surfaces.items():
        row, column = nearest(surface.alphas, view.alpha), nearest(surface.betas, view.beta)
        cut = surface.loss[:, column] if view.along == "alpha" else surface.loss[row]
        finite = cut[np.isfinite(cut)]
        ends = f"from {finite.min():.3g} to {finite.max():.3g}" if finite.size else "no finite loss"
        said.append(f"{label} {ends}".strip())
    return "Loss along the cut: " + ", ".join(said) + "."


def _seeds(planes: Sequence[Surface]) -> str:
    if not planes:
        return ""
    rises = [float(np.nanmean(one.loss)) - one.center_loss for one in planes]
    spread = f" ± {np.std(rises, ddof=1):.2g}" if len(rises) > 1 else ""
    return (
        f"Over {len(rises)} planes of other seeds the mean loss lies {np.mean(rises):.3g}{spread} "
        "above the center's (mean and standard deviation)."
    )


def _plane(surface: Surface, eigenvalues: Mapping[str, float]) -> str:
    said = []
    shares: list[Any] = [(one.get("details") or {}).get("explained") for one in surface.directions]
    if shares and all(share is not None for share in shares):
        said.append(f"The plane holds {sum(shares):.1%} of the variance of the training's path")
    elif (count := surface.provenance.get("parameters")) is not None:
        said.append(f"The plane is two of {count:,} directions")
    if (examples := surface.provenance.get("examples")) is not None:
        said.append(f"its losses are over {examples:,} examples")
    if eigenvalues:
        values = ", ".join(f"{name} {value:.3g}" for name, value in eigenvalues.items())
        said.append(f"top Hessian eigenvalues: {values}")
    return "; ".join(said) + "." if said else ""
