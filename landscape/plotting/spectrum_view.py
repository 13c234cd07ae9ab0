"""Spectral densities smoothed as one likes, from the nodes themselves, with the eigenvalues that are known singly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape.plotting.picture import Picture, axis, log_axis, page
from landscape.plotting.scale import common_scale
from landscape.plotting.style import styles, translucent


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """One spectrum, smoothed.

    Attributes:
        grid: (G,) eigenvalues.
        density: (G,) the fraction of all eigenvalues for each unit.
        band: (G,) its standard error over the probes, NaN for one probe.
        marks: (M,) Ritz values to be marked.
        top: (k,) eigenvalues that are known singly.
        residuals: (k,) how far some eigenvalue may be from each.
    """

    grid: np.ndarray
    density: np.ndarray
    band: np.ndarray
    marks: np.ndarray
    top: np.ndarray
    residuals: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class SpectrumView:
    """What :func:`spectrum_view` draws.

    Attributes:
        curves: Label -> curve; None for what is not shown, so that colors and axes stay.
        log: Whether the density axis is log10.
        floor: Where it is cut, as a fraction of the highest peak.
        x_range: The eigenvalues that are in view.
        peak: The highest density, on which the axis is built.
        title: What is seen.
        caption: What a reader must know.
    """

    curves: Mapping[str, Curve | None]
    log: bool
    floor: float
    x_range: tuple[float, float]
    peak: float
    title: str
    caption: str


def spectrum_view(view: SpectrumView) -> Picture:
    """Draw spectral densities over each other.

    Args:
        view: What is seen.

    Returns:
        A picture with the same traces for every view of the same labels.
    """
    looks, data = styles(view.curves), []
    bottom = view.floor * view.peak if view.log else 0.0
    lanes = len(view.curves)
    for lane, (label, curve) in enumerate(view.curves.items()):
        data += _traces(label, curve, looks[label], bottom, view, lane, lanes)
    if view.log:
        scale = common_scale([np.array([bottom, 2 * view.peak])], log=True)
        low = scale.low - 0.05 * (1 + lanes) * (scale.high - scale.low)
        vertical = {"range": [low, scale.high], **log_axis(scale)}
    else:
        vertical = {"range": [-0.05 * (1 + lanes) * view.peak, 1.05 * view.peak]}
    name = "density (fraction per unit of λ)" + (", log scale" if view.log else "")
    layout = page(
        title=view.title,
        caption=view.caption,
        description=f"{view.title} {view.caption}",
        height=380,
        xaxis=axis(
            "eigenvalue λ of the Hessian (loss per squared weight)", domain=(0.0, 1.0), anchor="y",
            range=list(view.x_range),
        ),
        yaxis=axis(name, domain=(0.0, 1.0), anchor="x", zeroline=False, **vertical),
    )  # fmt: skip
    return Picture(data=tuple(data), layout=layout)


def _traces(
    label: str, curve: Curve | None, look: Any, bottom: float, view: SpectrumView, lane: int, lanes: int
) -> list[dict[str, Any]]:
    """Four traces for each label: band, curve, Ritz values, single eigenvalues; empty ones where nothing is shown."""
    nothing = np.empty(0)
    one = curve or Curve(grid=nothing, density=nothing, band=nothing, marks=nothing, top=nothing, residuals=nothing)
    shared: dict[str, Any] = {"type": "scatter", "legendgroup": label, "name": label}
    density = np.where(one.density >= bottom, one.density, np.nan) if view.log else one.density
    band = np.nan_to_num(one.band)
    lower = np.maximum(one.density - band, 0.5 * bottom) if view.log else one.density - band
    upper = np.maximum(one.density + band, lower)
    level = _lane(view, bottom, lane)
    spread = bool((band > 0).any())
    return [
        {
            **shared, "x": np.append(one.grid, one.grid[::-1]) if spread else nothing,
            "y": np.append(upper, lower[::-1]) if spread else nothing, "fill": "toself", "hoverinfo": "skip",
            "fillcolor": translucent(look.color, 0.2), "line": {"width": 0}, "showlegend": False, "mode": "lines",
        },
        {
            **shared, "x": one.grid, "y": density, "mode": "lines", "showlegend": curve is not None,
            "line": {"color": look.color, "dash": look.dash, "width": 2},
            "hovertemplate": f"{label}<br>λ = %{{x:.4g}}<br>density %{{y:.4g}}<extra></extra>",
        },
        {
            **shared, "x": one.marks, "y": np.full(len(one.marks), level), "mode": "markers", "showlegend": False,
            "marker": {"symbol": "line-ns-open", "color": look.color, "size": 9, "line": {"width": 1.3}},
            "hovertemplate": f"{label}: Ritz value %{{x:.4g}}<extra></extra>",
        },
        {
            **shared, "x": one.top, "y": np.full(len(one.top), level), "mode": "markers", "showlegend": False,
            "marker": {"symbol": "triangle-down", "color": look.color, "size": 11}, "customdata": one.residuals,
            "hovertemplate": f"{label}: eigenvalue %{{x:.5g}}<br>residual %{{customdata:.1g}}<extra></extra>",
        },
    ]  # fmt: skip


def _lane(view: SpectrumView, bottom: float, lane: int) -> float:
    """Where the marks of a label lie: below the axis' lowest value, a row for each."""
    share = 0.05 * (lane + 0.8)
    if not view.log:
        return -share * view.peak
    low, high = math.log10(bottom), math.log10(2 * view.peak)
    return 10 ** (low - share * (high - low))
