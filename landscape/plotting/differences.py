"""Paired differences: one dot for each pair, and the mean with its standard error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import DataError
from landscape.plotting.chart import Axes, Backend, Chart, Series, draw
from landscape.plotting.comparison import cell, reach
from landscape.plotting.field import as_rows
from landscape.plotting.scale import plural
from landscape.plotting.style import OKABE_ITO, Style, styles

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go
    from numpy.typing import ArrayLike

_PALE = OKABE_ITO[6]


def differences(
    values: Mapping[str, ArrayLike],
    *,
    backend: Backend = "plotly",
    x_label: str = "difference",
    zero: str = "no difference",
    each: str = "pair",
    title: str = "What is the difference, pair by pair?",
) -> go.Figure | matplotlib.figure.Figure:
    """Draw differences as rows of dots around 0, with the mean of each row and its standard error.

    Args:
        values: Row -> its differences (N,), one for each pair.
        backend: "plotly" or "matplotlib".
        x_label: What is subtracted from what, with its unit.
        zero: What a difference of 0 means.
        each: What one dot is, for the caption.
        title: What is seen.

    Returns:
        The figure: a gray dot for each pair, and the mean in the color of its row's name, with a bar of one standard
        error where there are at least two pairs. A pair without a finite difference is counted in the caption, and its
        row has no mean.

    Raises:
        ConfigError: The backend is unknown.
        DataError: There is nothing to draw.

    Example:
        >>> figure = differences({"SAM": [1.0, 3.0]})
        >>> mean = figure.data[-1]
        >>> mean.x.tolist(), mean.error_x.array.tolist()
        ([2.0], [1.0])
    """
    rows = _rows(values)
    looks = styles(rows)
    means = {name: _mean(found) for name, found in rows.items()}
    series = [part for place, (name, found) in enumerate(rows.items()) for part in _dots(name, found, place)]
    series += [_middle(name, place, *means[name], looks[name]) for place, name in enumerate(rows)]
    every = np.concatenate([*rows.values(), [mean for mean, _ in means.values()]])
    half = np.concatenate([*(np.full(len(found), np.nan) for found in rows.values()), [e for _, e in means.values()]])
    axes = Axes(
        series=tuple(series),
        x_label=x_label,
        y_label="",
        x_range=reach(every, half, False),
        vertical=((0.0, zero),),
        y_names=tuple(rows),
        stripes=True,
    )
    several = any(len(found) > 1 for found in rows.values())
    caption = f"A dot for each {each}; in color their mean" + " ± 1 standard error" * several + "."
    if lost := int(sum((~np.isfinite(found)).sum() for found in rows.values())):
        caption += f" {plural(lost, each)} without a finite difference."
    chart = Chart(title=title, caption=caption, panels=(axes,), legend=False, row_height=130 + 46 * len(rows))
    return draw(chart, backend)


def _rows(values: Any) -> dict[str, np.ndarray]:
    values = as_rows(
        values,
        message="There are no differences to draw.",
        expected="row -> differences",
        fix='Use differences({"SAM": [0.01, 0.02]}).',
    )
    rows = {name: np.atleast_1d(np.asarray(found, float)).ravel() for name, found in values.items()}
    if empty := [name for name, found in rows.items() if not found.size]:
        raise DataError("A row has no differences.", expected="at least one", got=empty[0])
    return rows


def _mean(found: np.ndarray) -> tuple[float, float]:
    """Return the mean, NaN where a difference is not finite, and its standard error, NaN for one pair."""
    if not np.isfinite(found).all():
        return math.nan, math.nan
    return float(found.mean()), float(found.std(ddof=1) / math.sqrt(len(found))) if len(found) > 1 else math.nan


def _dots(name: str, found: np.ndarray, place: int) -> list[Series]:
    kept = found[np.isfinite(found)]
    if len(found) < 2:
        return []
    return [
        Series(
            name="",
            x=kept,
            y=np.full(len(kept), place + 0.22),
            style=Style(color=_PALE),
            line=False,
            size=7,
            hover=tuple(f"<b>{name}</b><br>{cell(float(value), math.nan)}" for value in kept),
        )
    ]


def _middle(name: str, place: int, mean: float, error: float, style: Style) -> Series:
    return Series(
        name="",
        x=np.array([mean]),
        y=np.array([place - 0.08]),
        x_error=np.array([error]) if math.isfinite(error) else None,
        style=style,
        line=False,
        size=10,
        hover=(f"<b>{name}</b><br>mean {cell(mean, error)}",),
    )
