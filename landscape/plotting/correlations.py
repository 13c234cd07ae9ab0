"""How numbers go with another one, over a handful of networks: a row for each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from landscape.plotting.chart import Axes, Backend, Chart, Series, draw
from landscape.plotting.field import as_panels, as_rows
from landscape.plotting.scale import plural
from landscape.plotting.style import OKABE_ITO, Style

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

    from landscape.study.results import RankCorrelation

    Rows = Mapping[str, RankCorrelation]


def correlations(
    found: Rows | Mapping[str, Rows],
    *,
    backend: Backend = "plotly",
    x_label: str = "Kendall's tau",
    title: str = "Which numbers go together?",
) -> go.Figure | matplotlib.figure.Figure:
    """Draw rank correlations: a row for each, from -1 to 1.

    Args:
        found: Row -> correlation, as :func:`landscape.study.rank_correlation` returns it; or panel -> that. Panels
            share their rows; a row that a panel does not have stays empty.
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
    panels = _panels(found)
    names = tuple(dict.fromkeys(name for rows in panels.values() for name in rows))
    every = [one for rows in panels.values() for one in rows.values()]
    counts = [sorted({one.count for one in rows.values()}) for rows in panels.values()]
    over = [" to ".join(map(str, found)) for found in counts]
    said = [f"Over {' and '.join(dict.fromkeys(over))} networks."]
    said += ["Bars: ± 1 standard error, by leaving out one network in turn."] * any(
        np.isfinite(one.stderr) for one in every
    )
    said += ["Outer dotted lines: 19 of 20 correlations by pure chance lie between them."] * any(
        _chance(rows) < 1 for rows in panels.values()
    )
    if missing := sum(math.isnan(one.tau) for one in every):
        said.append(f"{plural(missing, 'row')} without a correlation.")
    chart = Chart(
        title=title,
        caption=" ".join(said),
        panels=tuple(_axes(rows, names, label, x_label) for label, rows in panels.items()),
        share_y=True,
        legend=False,
        row_height=130 + 26 * len(names),
    )
    return draw(chart, backend)


def _panels(found: object) -> dict[str, Rows]:
    words = {
        "message": "There are no correlations to draw.",
        "expected": "row -> rank correlation, or panel -> row -> rank correlation",
        "fix": 'Use {"trace": rank_correlation(traces, errors)}.',
    }
    return {label: as_rows(rows, **words) for label, rows in as_panels(found, **words).items()}


def _chance(rows: Rows) -> float:
    return 1.96 * max(one.by_chance for one in rows.values())


def _axes(rows: Rows, names: tuple[str, ...], label: str, x_label: str) -> Axes:
    error = np.array([one.stderr for one in rows.values()], float)
    chance = _chance(rows)
    series = Series(
        name="",
        x=np.array([one.tau for one in rows.values()], float),
        y=np.array([names.index(name) for name in rows], float),
        x_error=error if np.isfinite(error).any() else None,
        style=Style(color=OKABE_ITO[0], marker="diamond"),
        line=False,
        size=9,
        hover=tuple(f"<b>{name}</b><br>{one}" for name, one in rows.items()),
    )
    return Axes(
        series=(series,),
        x_label=x_label,
        y_label="",
        title=label,
        x_range=(-1.08, 1.08),
        vertical=tuple((place, "") for place in (-chance, 0.0, chance) if abs(place) < 1),
        y_names=names,
        stripes=True,
    )
