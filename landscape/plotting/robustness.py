"""Accuracy against the radius within which each input may be changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from landscape.errors import DataError
from landscape.plotting.chart import Axes, Backend, Chart, Series, draw
from landscape.plotting.style import styles

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

    from landscape.robustness.results import RobustAccuracy

_NORMS = {"l2": "radius (L2 norm, pixels from 0 to 1)", "linf": "radius (L-infinity norm, in 1/255)"}


def robustness(
    found: Mapping[str, RobustAccuracy] | RobustAccuracy,
    *,
    backend: Backend = "plotly",
    title: str = "How much does a small change of the input cost?",
) -> go.Figure | matplotlib.figure.Figure:
    """Draw accuracy against the radius: a curve for each network or attack, a panel for each norm.

    Args:
        found: Label -> result of :func:`landscape.robustness.robust_accuracy`, or one result.
        backend: "plotly" or "matplotlib".
        title: What is seen.

    Returns:
        The figure; bands are Wilson's 95 % intervals. Every curve is an upper bound: an attack may have missed
        something.

    Raises:
        ConfigError: The backend is unknown.
        DataError: There is nothing to draw.

    Example:
        >>> from math import nan
        >>> from landscape.robustness import RobustAccuracy
        >>> one = RobustAccuracy(attack="fgm", norm="l2", epsilons=[0, 1],
        ...     sizes=[[nan, nan], [0.5, nan]], settings={}, provenance={})
        >>> robustness(one).data[1].y.tolist()  # in front of its band
        [100.0, 50.0]
    """
    named = found if isinstance(found, Mapping) else {found.attack: found}
    if not named:
        raise DataError("There is nothing to draw.", expected="label -> robust accuracy", got="an empty mapping")
    looks = styles(named)
    panels = []
    for norm, label in _NORMS.items():
        chosen = {name: one for name, one in named.items() if one.norm == norm}
        if not chosen:
            continue
        factor = 255.0 if norm == "linf" else 1.0
        series = [
            Series(
                name=name,
                x=factor * one.epsilons,
                y=100.0 * one.accuracy,
                limits=(100.0 * one.interval[:, 0], 100.0 * one.interval[:, 1]),
                style=looks[name],
                hover=tuple(
                    f"<b>{name}</b><br>radius {factor * radius:.4g}<br>{100 * share:.1f} % right "
                    f"(95 %: {100 * low:.1f} to {100 * high:.1f})"
                    for radius, share, (low, high) in zip(one.epsilons, one.accuracy, one.interval, strict=True)
                ),
            )
            for name, one in chosen.items()
        ]
        panels.append(Axes(series=tuple(series), x_label=label, y_label="accuracy (%)", y_range=(0.0, 104.0)))
    counts = sorted({one.examples for one in named.values()})
    caption = f"Over {' and '.join(map(str, counts))} examples. What an attack missed would lower a curve."
    chart = Chart(title=title, caption=caption, panels=tuple(panels), columns=2, band="95 % interval")
    return draw(chart, backend)
