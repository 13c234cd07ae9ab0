"""What a perturbation of the weights does: the loss along it, its ball on a slice, and the filters that it moves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape.plotting.picture import Picture, axis, heading, log_axis, page
from landscape.plotting.scale import common_scale, spans_decade
from landscape.plotting.style import INK, SEQUENTIAL, styles, translucent

_LEFT, _RIGHT = (0.0, 0.55), (0.66, 0.955)
_UPPER, _LOWER = (0.42, 1.0), (0.0, 0.22)
_SHOWN = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class MovedView:
    """What :func:`moved` draws; whatever is not known yet is None, or NaN in an array.

    Attributes:
        title: What is seen.
        caption: What a reader must know.
        loss_name: Name and unit of the loss.
        selected: Whose slice, line and filters are shown.
        curves: Label -> (2, S): length of the perturbation and the loss, at every stop of the slider.
        points: Label -> (length, loss) at the present stop.
        base: The loss of the selected network's own weights.
        slope: Its first-order change for each unit of length.
        line: (2, K): signed length and the loss on the straight line through the perturbed weights.
        random: (3, R): length, mean loss over random directions, and its standard error.
        axis: (K,) the coordinates of the slice, the same along both axes.
        names: What lies along the slice's axes.
        loss: (K, K) the loss on the slice, first axis first.
        outline: (A, 2) the method's ball on the slice.
        ball: What that line is.
        path: (N, 2) where the perturbed weights fall on the slice, in order; a cloud where ``cloud``.
        cloud: Whether the points of ``path`` are draws, not steps.
        filters: Names of the filters that move most, the first one most.
        shares: Their shares of the squared length.
        relative: Their lengths by the filters' own norms.
    """

    title: str
    caption: str
    loss_name: str
    selected: str
    curves: Mapping[str, np.ndarray]
    points: Mapping[str, tuple[float, float]]
    base: float
    slope: float
    line: np.ndarray | None
    random: np.ndarray | None
    axis: np.ndarray | None
    names: tuple[str, str]
    loss: np.ndarray | None
    outline: np.ndarray | None
    ball: str
    path: np.ndarray | None
    cloud: bool
    filters: tuple[str, ...]
    shares: np.ndarray
    relative: np.ndarray

    @property
    def reach(self) -> float:
        """How far the length axis goes."""
        ends = [self.axis[-1]] if self.axis is not None else []
        ends += [np.nanmax(curve[0]) for curve in self.curves.values() if np.isfinite(curve[0]).any()]
        return float(max(ends, default=1.0)) or 1.0

    @property
    def known(self) -> np.ndarray:
        """The losses that decide the scale."""
        parts = [np.ravel(curve[1]) for curve in self.curves.values()]
        parts += [np.array([loss for _, loss in self.points.values()])]
        parts += [row[1] for row in (self.line, self.random) if row is not None]
        values = np.concatenate(parts)
        return values[np.isfinite(values)]


def moved(view: MovedView) -> Picture:
    """Draw what a perturbation does.

    Args:
        view: What is known of it.

    Returns:
        A picture with the same traces for every view of the same labels.
    """
    log = spans_decade(view.known)
    looks = styles(view.curves)
    color = looks[view.selected].color
    data = [*_profile(view, looks, log), *_slice(view, color), _bars(view, color)]
    return Picture(data=tuple(data), layout=_layout(view, log))


def _profile(view: MovedView, looks: Mapping[str, Any], log: bool) -> list[dict[str, Any]]:
    place: dict[str, Any] = {"type": "scatter", "xaxis": "x", "yaxis": "y"}
    first = np.linspace(-0.5 * view.reach, view.reach, 25)
    theory = view.base + view.slope * first
    theory[theory <= 0] = np.nan if log else theory[theory <= 0]
    line = view.line if view.line is not None else np.empty((2, 0))
    color = looks[view.selected].color
    traces = [
        *_random(view, place, log),
        {
            **place, "x": first, "y": theory, "mode": "lines", "name": "first order: loss + gradient · δ",
            "line": {"color": INK, "width": 1.2, "dash": "dash"}, "hoverinfo": "skip",
        },
        {
            **place, "x": line[0], "y": _drawn(line[1]), "mode": "lines", "name": "straight through w and w + δ",
            "line": {"color": translucent(color, 0.55), "width": 1.5},
            "hovertemplate": "on the line, ‖δ‖₂ = %{x:.4g}<br>loss %{y:.4g}<extra></extra>",
        },
    ]  # fmt: skip
    for label, curve in view.curves.items():
        look, chosen = looks[label], label == view.selected
        style = {"color": look.color, "dash": look.dash, "width": 2.5 if chosen else 1.6}
        traces.append({
            **place, "x": curve[0], "y": _drawn(curve[1]), "mode": "lines+markers", "name": label,
            "legendgroup": label, "line": style, "marker": {"color": look.color, "size": 4, "symbol": look.marker},
            "hovertemplate": f"{label}<br>‖δ‖₂ = %{{x:.4g}}<br>loss %{{y:.4g}}<extra></extra>",
        })  # fmt: skip
    for label in view.curves:
        look, chosen = looks[label], label == view.selected
        length, loss = view.points.get(label, (math.nan, math.nan))
        marker = {"color": look.color, "size": 15 if chosen else 9, "symbol": look.marker}
        traces.append({
            **place, "x": [length], "y": _drawn([loss]), "mode": "markers", "name": label, "legendgroup": label,
            "showlegend": False, "marker": {**marker, "line": {"color": "white", "width": 1.5}},
            "hovertemplate": f"<b>{label}, now</b><br>‖δ‖₂ = %{{x:.4g}}<br>loss %{{y:.4g}}<extra></extra>",
        })  # fmt: skip
    return traces


def _random(view: MovedView, place: dict[str, Any], log: bool) -> list[dict[str, Any]]:
    found = view.random if view.random is not None else np.empty((3, 0))
    radii, mean, error = found
    error = np.nan_to_num(error)
    lower = np.maximum(mean - error, 0.1 * mean) if log else mean - error
    band = {"x": np.append(radii, radii[::-1]), "y": _drawn(np.append(mean + error, lower[::-1]))}
    look: dict[str, Any] = {"color": "#8C8C8C", "width": 2, "dash": "dot"}
    return [
        {
            **place, **band, "mode": "lines", "fill": "toself", "fillcolor": "rgba(140,140,140,0.3)",
            "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "legendgroup": "random", "name": "random",
        },
        {
            **place, "x": radii, "y": _drawn(mean), "mode": "lines", "name": "random directions (± 1 standard error)",
            "legendgroup": "random", "line": look,
            "hovertemplate": "random, ‖δ‖₂ = %{x:.4g}<br>loss %{y:.4g}<extra></extra>",
        },
    ]  # fmt: skip


def _slice(view: MovedView, color: str) -> list[dict[str, Any]]:
    place: dict[str, Any] = {"xaxis": "x2", "yaxis": "y2"}
    points: dict[str, Any] = {**place, "type": "scatter", "showlegend": False}
    edge, path = view.outline, view.path
    edge = edge if edge is not None else np.empty((0, 2))
    path = path if path is not None else np.empty((0, 2))
    steps = path if view.cloud or not len(path) else np.vstack([[0.0, 0.0], path])
    ends = path if view.cloud else path[-1:]
    return [
        _contour(view) | place,
        {
            **points, "x": edge[:, 0], "y": edge[:, 1], "mode": "lines", "name": view.ball,
            "line": {"color": "white", "width": 2.5}, "hoverinfo": "skip",
        },
        {
            **points, "x": steps[:, 0], "y": steps[:, 1], "mode": "markers" if view.cloud else "lines+markers",
            "name": "steps", "line": {"color": "white", "width": 2, "dash": "dot"},
            "marker": {"color": "white", "size": 5}, "hoverinfo": "skip",
        },
        {
            **points, "x": [0.0], "y": [0.0], "mode": "markers", "name": "w",
            "marker": {"color": "white", "symbol": "x", "size": 9, "line": {"color": "black", "width": 1}},
            "hovertemplate": "w, the trained weights<extra></extra>",
        },
        {
            **points, "x": ends[:, 0], "y": ends[:, 1], "mode": "markers", "name": "w + δ",
            "marker": {"color": color, "size": 8 if view.cloud else 13, "line": {"color": "white", "width": 1.5}},
            "hovertemplate": "w + δ falls here<br>(%{x:.4g}, %{y:.4g})<extra></extra>",
        },
    ]  # fmt: skip


def _contour(view: MovedView) -> dict[str, Any]:
    coordinates = view.axis if view.axis is not None else np.zeros(1)
    values = view.loss if view.loss is not None else np.full((1, 1), np.nan)
    scale = common_scale([values])
    size = (scale.high - scale.low) / 14
    ticks, texts = scale.ticks(6)
    texts_at = np.vectorize("loss {:.4g}".format, otypes=[object])(values.T)
    bar = {"x": 0.965, "xanchor": "left", "thickness": 11, "len": 0.6, "y": 1.0, "yanchor": "top", "outlinewidth": 0}
    return {
        "type": "contour", "x": coordinates, "y": coordinates, "z": _drawn(scale.drawn(values).T), "text": texts_at,
        "colorscale": SEQUENTIAL, "zmin": scale.low, "zmax": scale.high, "autocontour": False, "showlegend": False,
        "contours": {"start": scale.low, "end": scale.high, "size": size, "coloring": "heatmap"},
        "line": {"color": "rgba(255,255,255,0.45)", "width": 0.8}, "connectgaps": False,
        "colorbar": {**bar, "tickvals": ticks, "ticktext": texts, "title": {"text": "loss", "side": "top"}},
        "hovertemplate": "(%{x:.3g}, %{y:.3g})<br>%{text}<extra></extra>", "name": "slice",
    }  # fmt: skip


def _bars(view: MovedView, color: str) -> dict[str, Any]:
    count = len(view.filters)
    shares = 100 * np.asarray(view.shares, float)
    texts = [f"  {name}" for name in view.filters]
    hover = [
        f"{name}<br>{share:.3g} % of ‖δ‖²<br>moved by {own:.3g} of its own norm"
        for name, share, own in zip(view.filters, shares, np.asarray(view.relative, float), strict=True)
    ]
    return {
        "type": "bar", "orientation": "h", "xaxis": "x3", "yaxis": "y3", "x": _drawn(shares), "y": list(range(count)),
        "text": texts, "textposition": "outside", "cliponaxis": False, "customdata": hover, "showlegend": False,
        "marker": {"color": translucent(color, 0.75)}, "name": "filters", "textfont": {"color": INK, "size": 11.5},
        "hovertemplate": "%{customdata}<extra></extra>",
    }  # fmt: skip


def _layout(view: MovedView, log: bool) -> dict[str, Any]:
    scale = common_scale([view.known], log=log)
    pad = 0.06 * (scale.high - scale.low)
    vertical = {"range": [scale.low - pad, scale.high + pad], **log_axis(scale)}
    reach = view.reach
    square = [-reach, reach]
    equal = {"range": square, "zeroline": False, "showgrid": False, "constrain": "domain", "nticks": 6}
    bars = {"range": [-0.6, _SHOWN - 0.4], "autorange": False, "showticklabels": False, "ticks": "", "showgrid": False}
    head = "the loss at the weights that are perturbed" + (", log scale" if log else "")
    most = 100 * float(np.nanmax(view.shares, initial=0.0)) if len(view.shares) else 0.0
    return page(
        title=view.title,
        caption=view.caption,
        description=f"{view.title}. {view.caption}",
        height=410,
        extra_top=22,
        legend_rows=2,
        xaxis=axis("‖δ‖₂, length of the perturbation", domain=_LEFT, anchor="y", range=[-0.5 * reach, 1.03 * reach]),
        yaxis=axis(view.loss_name, domain=(0.0, 1.0), anchor="x", **vertical),
        xaxis2=axis(view.names[0], domain=_RIGHT, anchor="y2", **equal),
        yaxis2=axis(
            view.names[1], domain=_UPPER, anchor="x2", **equal, scaleanchor="x2", constraintoward="top"
        ),
        xaxis3=axis("share of ‖δ‖² (%)", domain=_RIGHT, anchor="y3", range=[0, max(1.9 * most, 1.0)], zeroline=False),
        yaxis3={
            **axis("", domain=_LOWER, anchor="x3", zeroline=False), **bars, "range": [_SHOWN - 0.4, -0.6],
        },
        annotations=[
            heading(f"Along δ: {head}", x=0.0, y=1.01),
            heading(f"A slice through w, and the {view.ball}", x=_RIGHT[0] - 0.06, y=1.01),
            heading("The filters that move most", x=_RIGHT[0] - 0.06, y=_LOWER[1] + 0.01),
        ],
        bargap=0.25,
    )  # fmt: skip


def _drawn(values: Any) -> np.ndarray:
    """What plotly can draw: infinities are gaps too."""
    array = np.array(values, dtype=float)
    array[~np.isfinite(array)] = np.nan
    return array
