"""Several runs side by side: two of their numbers against each other, and their curves, on axes that stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape.plotting.comparison import Comparison, cell
from landscape.plotting.curves import CURVES, log_of, values_of
from landscape.plotting.picture import Picture, axis, heading, log_axis, page
from landscape.plotting.scale import common_scale, spans_decade
from landscape.plotting.style import styles


@dataclass(frozen=True, kw_only=True, eq=False)
class RunView:
    """What :func:`run_views` draws.

    Attributes:
        numbers: The two numbers of every run, the horizontal one first.
        picked: The runs that are shown. The axes are those of all.
        curves: Label -> rows of metrics; empty where there are none.
        curve: Which metric is drawn against the epoch.
        title: What is seen.
        caption: What a reader must know.
    """

    numbers: Comparison
    picked: tuple[str, ...]
    curves: Mapping[str, Sequence[Mapping[str, Any]]]
    curve: str
    title: str
    caption: str


def run_views(view: RunView) -> Picture:
    """Draw two numbers of each run against each other and, where there are curves, the course of the runs.

    Args:
        view: What is seen.

    Returns:
        A picture with the same traces for every view of the same runs.
    """
    data, layout = _relation(view)
    notes: list[dict[str, Any]] = []
    if view.curves:
        more, axes = _course(view)
        data, layout = [*data, *more], {**layout, **axes}
        notes = [
            heading("One number against another", x=0.0, y=1.01),
            heading(CURVES[view.curve][0], x=0.58, y=1.01),
        ]
    frame = page(
        title=view.title, caption=view.caption, description=f"{view.title}. {view.caption}", height=320,
        extra_top=20 * bool(notes), annotations=notes, **layout,
    )  # fmt: skip
    return Picture(data=tuple(data), layout=frame)


def _relation(view: RunView) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    numbers, looks = view.numbers, styles(view.numbers.labels)
    data = []
    for row, label in enumerate(numbers.labels):
        shown = label in view.picked
        x, y = (numbers.values[row, i] if shown else np.nan for i in (0, 1))
        texts = [
            f"{metric.name}: {cell(value, error)} {metric.unit}".strip()
            for metric, value, error in zip(numbers.metrics, numbers.values[row], numbers.errors[row], strict=True)
        ]
        look = looks[label]
        data.append({
            "type": "scatter", "mode": "markers", "name": label, "legendgroup": label, "showlegend": shown,
            "x": [x], "y": [y], "text": [f"<b>{label}</b><br>" + "<br>".join(texts)],
            "error_x": _bar(numbers.errors[row, 0]), "error_y": _bar(numbers.errors[row, 1]),
            "marker": {"color": look.color, "symbol": look.marker, "size": 12},
            "hovertemplate": "%{text}<extra></extra>",
        })  # fmt: skip
    right = 0.46 if view.curves else 1.0
    across, up = numbers.metrics
    layout = {
        "xaxis": axis(across.heading, domain=(0.0, right), anchor="y", **_range(numbers, 0)),
        "yaxis": axis(up.heading, domain=(0.0, 1.0), anchor="x", **_range(numbers, 1)),
    }
    return data, layout


def _bar(error: float) -> dict[str, Any]:
    return {"type": "data", "array": [float(np.nan_to_num(error))], "thickness": 2, "width": 5}


def _range(numbers: Comparison, column: int) -> dict[str, Any]:
    values, errors = numbers.values[:, column], np.nan_to_num(numbers.errors[:, column])
    log = spans_decade(values)
    ends = np.concatenate([values, values + errors] if log else [values - errors, values + errors])
    scale = common_scale([ends], log=log)
    pad = 0.08 * (scale.high - scale.low)
    ticks = log_axis(scale, 5) or {"nticks": 7}
    return {"range": [scale.low - pad, scale.high + pad], "zeroline": False, **ticks}


def _course(view: RunView) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    looks = styles(view.numbers.labels)
    drawn = {label: values_of(rows, view.curve) for label, rows in view.curves.items()}
    every = np.concatenate([y for _, y in drawn.values()] or [np.zeros(0)])
    log = log_of(view.curve, [every])
    data = []
    for label, (x, y) in drawn.items():
        look, shown = looks[label], label in view.picked
        data.append({
            "type": "scatter", "mode": "lines", "name": label, "legendgroup": label, "showlegend": False,
            "xaxis": "x2", "yaxis": "y2", "x": x if shown else [], "y": y if shown else [],
            "line": {"color": look.color, "dash": look.dash, "width": 2},
            "hovertemplate": f"{label}, epoch %{{x}}<br>{CURVES[view.curve][1]}: %{{y:.4g}}<extra></extra>",
        })  # fmt: skip
    scale = common_scale([every], log=log)
    pad = 0.05 * (scale.high - scale.low)
    vertical = {"range": [scale.low - pad, scale.high + pad], "zeroline": False, **log_axis(scale)}
    last = max((float(x.max()) for x, _ in drawn.values() if len(x)), default=1.0)
    name = CURVES[view.curve][1] + (", log scale" if log else "")
    return data, {
        "xaxis2": axis("epoch", domain=(0.58, 1.0), anchor="y2", range=[0, 1.02 * last], zeroline=False),
        "yaxis2": axis(name, domain=(0.0, 1.0), anchor="x2", **vertical),
    }
