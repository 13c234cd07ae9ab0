"""An example under attack: as it is, its change, and what the classifier sees; beside it how many examples hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape.plotting.picture import Picture, axis, heading, log_axis, page
from landscape.plotting.scale import common_scale, spans_decade
from landscape.plotting.style import DIVERGING, INK, Style, styles, translucent

_COLUMNS = ((0.0, 0.26), (0.34, 0.60), (0.74, 1.0))
_UPPER, _LOWER = (0.55, 1.0), (0.0, 0.37)
_LEFT, _RIGHT = (0.0, 0.44), (0.56, 1.0)
_CLEAN = "as it is"


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackedView:
    """What :func:`attacked` draws.

    Attributes:
        title: What is seen.
        caption: What a reader must know.
        said: What stands above the three pictures: of the example, its change, and the changed example.
        clean: The example: (H, W) or (3, H, W) with pixels from 0 to 1, or (K,) a signal.
        changed: The changed example, of the same shape.
        reach: The largest change of any pixel at this radius, of any network: where the colors of the change end.
        span: The least and the largest value of all that is drawn of a signal.
        selected: Whose example, curve and marks are emphasized.
        radius_name: What the radius is, with its unit.
        accuracy: Label -> (4, E): radius, and in percent accuracy and the ends of its interval.
        mark: (radius, accuracy) at the present radius.
        length_name: What the length of the weights' move is.
        loss: Label -> (2, R): length and loss.
        loss_name: Name and unit of the loss.
        loss_mark: (length, loss) at the present length.
    """

    title: str
    caption: str
    said: tuple[str, str, str]
    clean: np.ndarray
    changed: np.ndarray
    reach: float
    span: tuple[float, float]
    selected: str
    radius_name: str
    accuracy: Mapping[str, np.ndarray]
    mark: tuple[float, float]
    length_name: str
    loss: Mapping[str, np.ndarray]
    loss_name: str
    loss_mark: tuple[float, float]


def attacked(view: AttackedView) -> Picture:
    """Draw an example under attack.

    Args:
        view: What is known of it.

    Returns:
        A picture with the same traces for every view of the same labels and kind of example.
    """
    looks = styles(view.accuracy)
    log = spans_decade(np.concatenate([curve[1] for curve in view.loss.values()]))
    shown = _signals(view) if view.clean.ndim == 1 else _images(view)
    curves = [*_accuracy(view, looks), *_loss(view, looks, log)]
    return Picture(data=(*shown, *curves), layout=_layout(view, log))


def _images(view: AttackedView) -> list[dict[str, Any]]:
    change = view.changed - view.clean
    color = view.clean.ndim == 3
    bar: dict[str, Any] = {
        "x": 0.615, "xanchor": "left", "y": sum(_UPPER) / 2, "len": 0.45, "thickness": 10, "outlinewidth": 0,
        "nticks": 5, "title": {"text": "change", "side": "top"},
    }  # fmt: skip
    reach = view.reach or 1.0
    middle = {
        "type": "heatmap", "xaxis": "x2", "yaxis": "y2", "z": change.mean(axis=0) if color else change,
        "colorscale": DIVERGING, "zmin": -reach, "zmax": reach, "colorbar": bar, "name": "change",
        "hovertemplate": "row %{y}, column %{x}<br>changed by %{z:.3g}<extra></extra>",
    }  # fmt: skip
    return [_image(view.clean, "", _CLEAN), middle, _image(view.changed, "3", "changed")]


def _image(values: np.ndarray, place: str, name: str) -> dict[str, Any]:
    where: dict[str, Any] = {"xaxis": f"x{place}", "yaxis": f"y{place}", "name": name}
    if values.ndim == 3:
        colors = np.round(255 * values.transpose(1, 2, 0)).clip(0, 255).astype(np.uint8)
        return {**where, "type": "image", "z": colors, "hovertemplate": "row %{y}, column %{x}<br>%{z}<extra></extra>"}
    return {
        **where, "type": "heatmap", "z": values, "zmin": 0.0, "zmax": 1.0, "showscale": False,
        "colorscale": [[0.0, "#000000"], [1.0, "#ffffff"]],
        "hovertemplate": "row %{y}, column %{x}<br>%{z:.3g}<extra></extra>",
    }  # fmt: skip


def _signals(view: AttackedView) -> list[dict[str, Any]]:
    places = np.arange(len(view.clean))
    line: dict[str, Any] = {"type": "scatter", "mode": "lines", "x": places, "showlegend": False}
    look = {"color": INK, "width": 1.6}
    change = {**line, "xaxis": "x2", "yaxis": "y2", "y": view.changed - view.clean, "name": "change", "fill": "tozeroy"}
    return [
        {**line, "xaxis": "x", "yaxis": "y", "y": view.clean, "name": _CLEAN, "line": look},
        {**change, "line": {"color": "#B2182B", "width": 1.4}, "fillcolor": "rgba(178,24,43,0.25)"},
        {**line, "xaxis": "x3", "yaxis": "y3", "y": view.changed, "name": "changed", "line": look},
    ]


def _accuracy(view: AttackedView, looks: Mapping[str, Style]) -> list[dict[str, Any]]:
    place: dict[str, Any] = {"type": "scatter", "xaxis": "x4", "yaxis": "y4"}
    radii, accuracy, low, high = view.accuracy[view.selected]
    color = looks[view.selected].color
    traces: list[dict[str, Any]] = [
        {
            **place, "x": np.append(radii, radii[::-1]), "y": np.append(high, low[::-1]), "mode": "lines",
            "fill": "toself", "fillcolor": translucent(color, 0.22), "line": {"width": 0}, "hoverinfo": "skip",
            "showlegend": False, "name": "95 % interval",
        },
        {
            **place, "x": radii[[0, -1]], "y": [accuracy[0]] * 2, "mode": "lines", "showlegend": False,
            "name": "unchanged inputs", "line": {"color": color, "width": 1.2, "dash": "dash"}, "hoverinfo": "skip",
        },
    ]  # fmt: skip
    for label, (x, y, _, _) in view.accuracy.items():
        traces.append({**place, "x": x, "y": y, **_curve(view, looks, label), "showlegend": True,
            "hovertemplate": f"<b>{label}</b><br>radius %{{x:.4g}}<br>%{{y:.1f}} % right<extra></extra>"})  # fmt: skip
    return [*traces, _marker(place, view.mark, looks[view.selected], f"{view.selected}, now: %{{y:.1f}} % right")]


def _loss(view: AttackedView, looks: Mapping[str, Style], log: bool) -> list[dict[str, Any]]:
    place: dict[str, Any] = {"type": "scatter", "xaxis": "x5", "yaxis": "y5"}
    traces = []
    for label, (x, y) in view.loss.items():
        known = np.where(np.isfinite(y) & ((y > 0) | (not log)), y, np.nan)
        traces.append({**place, "x": x, "y": known, **_curve(view, looks, label), "showlegend": False,
            "hovertemplate": f"<b>{label}</b><br>‖δ‖₂ = %{{x:.4g}}<br>loss %{{y:.4g}}<extra></extra>"})  # fmt: skip
    return [*traces, _marker(place, view.loss_mark, looks[view.selected], f"{view.selected}, now: loss %{{y:.4g}}")]


def _curve(view: AttackedView, looks: Mapping[str, Style], label: str) -> dict[str, Any]:
    look, chosen = looks[label], label == view.selected
    return {
        "mode": "lines+markers", "name": label, "legendgroup": label, "opacity": 1.0 if chosen else 0.55,
        "line": {"color": look.color, "dash": look.dash, "width": 3.0 if chosen else 1.4},
        "marker": {"color": look.color, "size": 6 if chosen else 4, "symbol": look.marker},
    }  # fmt: skip


def _marker(place: dict[str, Any], at: tuple[float, float], look: Style, said: str) -> dict[str, Any]:
    return {
        **place, "x": [at[0]], "y": [at[1] if np.isfinite(at[1]) else None], "mode": "markers", "showlegend": False,
        "name": "now", "hovertemplate": f"<b>{said}</b><extra></extra>",
        "marker": {"color": look.color, "size": 15, "symbol": look.marker, "line": {"color": "white", "width": 1.5}},
    }  # fmt: skip


def _layout(view: AttackedView, log: bool) -> dict[str, Any]:
    scale = common_scale([curve[1] for curve in view.loss.values()], log=log)
    pad = 0.06 * (scale.high - scale.low) or 1.0
    widest = max(float(curve[0][-1]) for curve in view.accuracy.values())
    longest = max(float(curve[0][-1]) for curve in view.loss.values())
    below = {"zeroline": False}
    panels = {}
    for number, columns in enumerate(_COLUMNS, 1):
        name = str(number) if number > 1 else ""
        panels |= _panel(view, name, columns, middle=number == 2)
    left, right = _LEFT[0] - 0.05, _RIGHT[0] - 0.05
    return page(
        title=view.title,
        caption=view.caption,
        description=f"{view.title}. {view.caption} {' '.join(view.said)}",
        height=560,
        extra_top=46,
        legend_rows=1,
        **panels,
        xaxis4=axis(view.radius_name, domain=_LEFT, anchor="y4", range=[-0.02 * widest, 1.03 * widest], **below),
        yaxis4=axis("accuracy (%)", domain=_LOWER, anchor="x4", range=[-3.0, 104.0], **below),
        xaxis5=axis(view.length_name, domain=_RIGHT, anchor="y5", range=[-0.02 * longest, 1.03 * longest], **below),
        yaxis5=axis(
            view.loss_name, domain=_LOWER, anchor="x5",
            range=[scale.low - pad, scale.high + pad], **below, **log_axis(scale),
        ),
        annotations=[
            *(
                {**heading(text, x=columns[0], y=1.005), "align": "left"}
                for text, columns in zip(view.said, _COLUMNS, strict=True)
            ),
            heading("How many examples hold within each radius", x=left, y=_LOWER[1] + 0.015),
            heading("The loss where the weights are moved" + ", log scale" * log, x=right, y=_LOWER[1] + 0.015),
        ],
    )  # fmt: skip


def _panel(view: AttackedView, name: str, columns: tuple[float, float], *, middle: bool) -> dict[str, Any]:
    """The axes of one of the three pictures."""
    across = axis("", domain=columns, anchor=f"y{name}", zeroline=False, showgrid=False)
    up = axis("", domain=_UPPER, anchor=f"x{name}", zeroline=middle, showgrid=False)
    if view.clean.ndim == 1:
        low, high = (-view.reach, view.reach) if middle else view.span
        pad = 0.06 * (high - low) or 1.0
        return {f"xaxis{name}": across, f"yaxis{name}": {**up, "range": [low - pad, high + pad]}}
    rows, width = view.clean.shape[-2:]
    bare = {"showticklabels": False, "ticks": "", "showline": False, "zeroline": False, "constrain": "domain"}
    return {
        f"xaxis{name}": {**across, **bare, "range": [-0.5, width - 0.5]},
        f"yaxis{name}": {
            **up, **bare, "range": [rows - 0.5, -0.5], "scaleanchor": f"x{name}", "constraintoward": "top",
        },
    }  # fmt: skip
