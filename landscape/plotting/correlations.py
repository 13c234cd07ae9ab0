"""How numbers go with another one, over a handful of networks: a row for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from landscape.errors import DataError
from landscape.plotting.chart import Axes, Backend, Chart, Series, draw
from landscape.plotting.scale import plural
from landscape.plotting.style import OKABE_ITO, Style

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

    from landscape.study.results import RankCorrelation


def correlations(
    found: Mapping[str, RankCorrelation],
    *,
    backend: Backend = "plotly",
    x_label: str = "Kendall's tau",
    title: str = "Which numbers go together?",
) -> go.Figure | matplotlib.figure.Figure:
    """Draw rank correlations: a row for each, from -1 to 1.

    Args:
        found: Row -> correlation, as :func:`landscape.study.rank_correlation` returns it.
        backend: "plotly" or "matplotlib".
        x_label: What is correlated with what.
        title: What is seen.

    Returns:
        The figure; bars are one standard error. Between the dotted lines lie nineteen of twenty correlations of numbers
        that have nothing to do with each other. Rows without a correlation (NaN) are empty, and counted in the caption.

    Raises:
        ConfigError: The backend is unknown.
        DataError: There is nothing to draw.

    Example:
        >>> from landscape.study import rank_correlation
        >>> correlations({"trace": rank_correlation([1, 2], [3, 5])}).data[0].x.tolist()
        [1.0]
    """
    if not isinstance(found, Mapping) or not found:
        raise DataError(
            "There are no correlations to draw.",
            expected="row -> rank correlation",
            got=type(found).__name__ if not isinstance(found, Mapping) else "an empty mapping",
            fix='Use {"trace": rank_correlation(traces, errors)}.',
        )
    tau, error = (np.array([getattr(one, name) for one in found.values()], float) for name in ("tau", "stderr"))
    chance = 1.96 * max(one.by_chance for one in found.values())
    counts = sorted({one.count for one in found.values()})
    series = Series(
        name="",
        x=tau,
        y=np.arange(len(found), dtype=float),
        x_error=error if np.isfinite(error).any() else None,
        style=Style(color=OKABE_ITO[0], marker="diamond"),
        line=False,
        size=9,
        hover=tuple(f"<b>{name}</b><br>{one}" for name, one in found.items()),
    )
    axes = Axes(
        series=(series,),
        x_label=x_label,
        y_label="",
        x_range=(-1.08, 1.08),
        vertical=tuple((place, "") for place in (-chance, 0.0, chance) if abs(place) < 1),
        y_names=tuple(found),
        stripes=True,
    )
    said = [f"Over {' to '.join(map(str, counts))} networks."]
    said += ["Bars: ± 1 standard error, by leaving out one network in turn."] * bool(np.isfinite(error).any())
    said += ["Outer dotted lines: 19 of 20 correlations by pure chance lie between them."] * (chance < 1)
    if missing := int(np.isnan(tau).sum()):
        said.append(f"{plural(missing, 'row')} without a correlation.")
    chart = Chart(title=title, caption=" ".join(said), panels=(axes,), legend=False, row_height=130 + 26 * len(found))
    return draw(chart, backend)
