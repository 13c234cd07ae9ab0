"""Standard accuracy against robust accuracy: what robustness costs on inputs as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from landscape.errors import DataError, MismatchError
from landscape.plotting.chart import Axes, Backend, Chart, Series, draw
from landscape.plotting.robustness import place_of, radius_text
from landscape.plotting.style import Style, styles

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

    from landscape.robustness.results import RobustAccuracy


def standard_robust(
    found: Mapping[str, RobustAccuracy | Sequence[RobustAccuracy]],
    *,
    epsilons: Sequence[float] | None = None,
    backend: Backend = "plotly",
    title: str = "What does robustness cost on inputs as they are?",
) -> go.Figure | matplotlib.figure.Figure:
    """Draw robust against standard accuracy: a panel for each radius, and in it a curve for each method.

    Args:
        found: Label -> robust accuracy; or label -> those of several networks of one method, from the weakest setting
            to the strongest, which are joined. All have one norm, one set of examples, and the radius 0.
        epsilons: At which of their radii; all of the first network's but 0 by default.
        backend: "plotly" or "matplotlib".
        title: What is seen.

    Returns:
        The figure. Bars are one standard error sideways and Wilson's 95 % interval upwards, over the examples. Up and
        to the right is better; robust accuracy is never above standard accuracy. Every robust accuracy is an upper
        bound: an attack may have missed something.

    Raises:
        ConfigError: The backend is unknown.
        DataError: There is nothing to draw, or a radius is missing.
        MismatchError: Norms or numbers of examples differ.

    Example:
        >>> from math import nan
        >>> from landscape.robustness import RobustAccuracy
        >>> one = RobustAccuracy(attack="fgm", norm="l2", epsilons=[0, 1],
        ...     sizes=[[nan, nan], [0.5, nan]], settings={}, provenance={})
        >>> figure = standard_robust({"SGD": one})
        >>> figure.data[0].x.tolist(), figure.data[0].y.tolist()
        ([100.0], [50.0])

    References:
        A. Bietti, G. Mialon, D. Chen, J. Mairal, A Kernel Perspective for Regularizing Deep Neural Networks, ICML 2019,
        the figure of robust against standard accuracy.
    """
    networks = {str(label): list(one) if isinstance(one, Sequence) else [one] for label, one in found.items()}
    every = [one for its in networks.values() for one in its]
    if not every:
        raise DataError("There is nothing to draw.", expected="label -> robust accuracy", got="no network")
    kinds = {(one.norm, one.examples) for one in every}
    if len(kinds) > 1:
        raise MismatchError("These accuracies cannot be compared.", expected="one norm, one set of examples", got=kinds)
    chosen = [float(radius) for radius in (every[0].epsilons if epsilons is None else epsilons) if radius > 0]
    if not chosen:
        raise DataError("There is no radius above 0.", expected="one or more", got=epsilons)
    looks = styles(networks)
    panels = tuple(_panel(radius, networks, looks) for radius in chosen)
    joined = " Networks of one method are joined." * any(len(its) > 1 for its in networks.values())
    caption = (
        f"Over {every[0].examples:,} examples. Bars: ± 1 standard error sideways, Wilson's 95 % interval upwards. "
        f"What an attack missed would lower a point.{joined}"
    )
    return draw(Chart(title=title, caption=caption, panels=panels, columns=2, legend=True), backend)


def _panel(radius: float, networks: Mapping[str, Sequence[RobustAccuracy]], looks: Mapping[str, Style]) -> Axes:
    """Build the panel of one radius."""
    series = []
    for label, its in networks.items():
        places = [(place_of(one, 0.0), place_of(one, radius)) for one in its]
        rows = list(zip(its, places, strict=True))
        x = np.array([100 * one.accuracy[zero] for one, (zero, _) in rows])
        error = np.array([100 * one.stderr[zero] for one, (zero, _) in rows])
        y = np.array([100 * one.accuracy[at] for one, (_, at) in rows])
        low, high = (np.array([100 * one.interval[at, side] for one, (_, at) in rows]) for side in (0, 1))
        hover = tuple(
            f"<b>{label}</b><br>{a:.1f} % right as they are<br>{b:.1f} % within the radius (95 %: {c:.1f} to {d:.1f})"
            for a, b, c, d in zip(x, y, low, high, strict=True)
        )
        series.append(Series(
            name=label, x=x, y=y, x_error=error, limits=(low, high), style=looks[label], line=False, size=9,
            hover=hover,
        ))  # fmt: skip
        if len(its) > 1:
            series.append(Series(name="", x=x, y=y, style=looks[label], markers=False, width=1.5))
    first = next(iter(networks.values()))[0]
    return Axes(
        series=tuple(series),
        title=f"within {radius_text(radius, first.norm, first.images)}",
        x_label="standard accuracy (%)",
        y_label="robust accuracy (%)",
        y_range=(0.0, 104.0),
    )
