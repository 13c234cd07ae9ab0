"""The course of trainings while they run: a picture whose axes stay where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landscape.plotting.curves import CURVES, log_of, values_of
from landscape.plotting.picture import Picture, axis, heading, log_axis, page
from landscape.plotting.scale import common_scale
from landscape.plotting.style import styles


def course(
    metrics: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    epochs: int,
    show: Sequence[str] = ("train_loss", "test_error"),
    title: str = "The course of training",
) -> Picture:
    """Draw what trainings have written so far.

    Args:
        metrics: Label -> rows of ``run.metrics()``; empty where nothing is written yet.
        epochs: How far the axis goes.
        show: Which metrics, a panel each; keys of :data:`landscape.plotting.curves.CURVES`.
        title: What is seen.

    Returns:
        A picture with the same traces however far the trainings are.
    """
    looks, data, axes, titles = styles(metrics), [], {}, []
    width = 1.0 / len(show)
    for number, key in enumerate(show, start=1):
        suffix = "" if number == 1 else str(number)
        left = (number - 1) * width + (0.06 if number > 1 else 0.0)
        drawn = {label: values_of(rows, key) for label, rows in metrics.items()}
        values = np.concatenate([y for _, y in drawn.values()] or [np.zeros(0)])
        log = log_of(key, [values])
        for label, (x, y) in drawn.items():
            look = looks[label]
            data.append({
                "type": "scatter", "x": x, "y": y, "mode": "lines+markers", "name": label, "legendgroup": label,
                "showlegend": number == 1, "xaxis": f"x{suffix}", "yaxis": f"y{suffix}",
                "line": {"color": look.color, "dash": look.dash, "width": 2},
                "marker": {"color": look.color, "symbol": look.marker, "size": 5},
                "hovertemplate": f"{label}, epoch %{{x}}<br>{CURVES[key][1]}: %{{y:.4g}}<extra></extra>",
            })  # fmt: skip
        name = CURVES[key][1] + (", log scale" if log else "")
        axes[f"xaxis{suffix}"] = axis(
            "epoch", domain=(left, number * width), anchor=f"y{suffix}", range=[0, epochs + 0.5], zeroline=False
        )
        axes[f"yaxis{suffix}"] = axis(name, domain=(0.0, 1.0), anchor=f"x{suffix}", **_vertical(values, log))
        titles.append(heading(CURVES[key][0], x=left, y=1.01))
    return Picture(
        data=tuple(data),
        layout=page(title=title, caption="", description=title, height=260, extra_top=18, annotations=titles, **axes),
    )


def _vertical(values: np.ndarray, log: bool) -> dict[str, Any]:
    if not np.isfinite(values).any():
        return {"range": [0, 1]}
    scale = common_scale([values if log else np.append(values, 0.0)], log=log)
    pad = 0.06 * (scale.high - scale.low)
    return {"range": [scale.low - (pad if log else 0.0), scale.high + pad], **log_axis(scale)}
