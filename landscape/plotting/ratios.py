"""Ratios in rows: many small comparisons of two networks, seen together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from landscape.plotting.chart import Axes, Backend, Chart, Series, draw
from landscape.plotting.comparison import cell, plain
from landscape.plotting.field import as_panels, as_rows
from landscape.plotting.scale import plural
from landscape.plotting.style import OKABE_ITO, Style

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go
    from numpy.typing import ArrayLike

    Rows = Mapping[str, ArrayLike]

_HEADS = ["below 1", "median", "range"]
_WANTED = {
    "message": "There are no ratios to draw.",
    "expected": "row -> ratios, or panel -> row -> ratios",
    "fix": 'Use ratios({"trace": [0.5]}).',
}
_DOT, _MIDDLE = Style(color=OKABE_ITO[5]), Style(color=OKABE_ITO[0], marker="diamond")


def ratios(
    values: Rows | Mapping[str, Rows],
    *,
    backend: Backend = "plotly",
    x_label: str = "ratio",
    equal: str = "equal",
    each: str = "value",
    title: str = "How do the two compare?",
    columns: int = 3,
    x_range: tuple[float, float] | None = None,
) -> go.Figure | matplotlib.figure.Figure:
    """Draw ratios as rows of dots around 1, on a logarithmic axis.

    Args:
        values: Row -> its ratios, one or more; or panel -> that. Panels share their rows and their axis; a row that a
            panel does not have stays empty.
        backend: "plotly" or "matplotlib".
        x_label: What is divided by what.
        equal: What a ratio of 1 means.
        each: What one dot is, for the caption.
        title: What is seen.
        columns: Panels in a row.
        x_range: Where the axis begins and ends, for figures that are held against each other; all ratios by default.

    Returns:
        The figure: a pale dot for each ratio, a diamond for the median of a row. What a logarithmic axis cannot show
        (NaN, 0, a negative ratio, infinity) is counted in the caption.

    Raises:
        ConfigError: The backend is unknown.
        DataError: There is nothing to draw.

    Example:
        >>> figure = ratios({"trace": [0.5], "planes": [0.4, 0.5, 0.7]})
        >>> [trace.x.tolist() for trace in figure.data]  # dots, and diamonds
        [[0.4, 0.5, 0.7], [0.5, 0.5]]
    """
    panels = _panels(values)
    names = tuple(dict.fromkeys(row for rows in panels.values() for row in rows))
    every = np.concatenate([found for rows in panels.values() for found in rows.values()])
    shown = every[(every > 0) & np.isfinite(every)]
    low, high = (float(shown.min()), float(shown.max())) if shown.size else (1.0, 1.0)
    low, high = x_range or _with_margin(min(low, 0.75), max(high, 1 / 0.75))
    drawn = tuple(
        Axes(
            series=_rows({names.index(row): (row, found) for row, found in rows.items()}),
            x_label=f"{x_label}, log scale",
            y_label="",
            title=name,
            log_x=True,
            x_range=(low, high),
            vertical=((1.0, "" if name else equal),),
            y_names=names,
            stripes=True,
        )
        for name, rows in panels.items()
    )
    several = any(len(found) > 1 for rows in panels.values() for found in rows.values())
    caption = f"A dot for each {each}, a diamond for the median of a row. " * several + f"Dotted line: {equal}."
    if hidden := len(every) - len(shown):
        caption += f" {plural(hidden, 'ratio')} that a logarithmic axis cannot show."
    chart = Chart(
        title=title,
        caption=caption.strip(),
        panels=drawn,
        share_y=True,
        legend=False,
        columns=min(columns, len(drawn)),
        row_height=130 + 30 * len(names),
    )
    return draw(chart, backend)


def _panels(values: object) -> dict[str, dict[str, np.ndarray]]:
    return {
        panel: {row: np.atleast_1d(np.asarray(one, float)).ravel() for row, one in as_rows(rows, **_WANTED).items()}
        for panel, rows in as_panels(values, **_WANTED).items()
    }


def _with_margin(low: float, high: float) -> tuple[float, float]:
    """Leave room at both ends of a logarithmic axis, so that no mark is cut."""
    room = max(1.15, (high / low) ** 0.05)
    return low / room, high * room


def _rows(rows: Mapping[int, tuple[str, np.ndarray]]) -> tuple[Series, ...]:
    """Make the marks of a panel from its rows: place -> name, ratios."""
    dots: list[tuple[float, int, str]] = []
    middles: list[tuple[float, int, str]] = []
    for place, (name, found) in rows.items():
        kept = found[(found > 0) & np.isfinite(found)]
        middle = float(np.median(kept)) if kept.size else math.nan
        several = len(found) > 1
        below = f"<br>below 1: {int((found < 1).sum())} of {len(found)}" if several else ""
        middles.append((middle, place, f"<b>{name}</b><br>{'median ' * several}{plain(middle, 3)}{below}"))
        dots += [
            (float(value), place, f"<b>{name}</b><br>{plain(float(value), 3)}") for value in kept[: several * len(kept)]
        ]
    return tuple(_marks(marks, style) for marks, style in ((dots, _DOT), (middles, _MIDDLE)) if marks)


def _marks(marks: list[tuple[float, int, str]], style: Style) -> Series:
    across, up, told = zip(*marks, strict=True)
    places = np.array(up, dtype=float)
    return Series(name="", x=np.array(across), y=places, style=style, line=False, size=9, hover=told)


def ratios_table(values: Rows | Mapping[str, Rows]) -> str:
    """Write ratios as aligned plain text: how many of a row are below 1, their median, the smallest and the largest.

    Args:
        values: As in :func:`ratios`.

    Returns:
        Lines joined by newlines.

    Raises:
        DataError: There is nothing to write.

    Example:
        >>> print(ratios_table({"trace": [0.5], "planes": [0.4, 0.5, 1.7]}))
                below 1  median          range
        ------  -------  ------  -------------
        trace    1 of 1   0.500
        planes   2 of 3   0.500  0.400 to 1.70
    """
    panels = _panels(values)
    names = list(dict.fromkeys(row for rows in panels.values() for row in rows))
    grid = [["", *_HEADS * len(panels)], *([name, *_cells(panels, name)] for name in names)]
    widths = [max(len(line[k]) for line in grid) for k in range(len(grid[0]))]
    lines = [_joined(line, widths) for line in grid]
    lines.insert(1, _joined(["-" * width for width in widths], widths))
    if list(panels) != [""]:
        spans = [sum(widths[1 + 3 * k : 4 + 3 * k]) + 4 for k in range(len(panels))]
        heads = [name.center(span) for name, span in zip(panels, spans, strict=True)]
        lines.insert(0, "  ".join([" " * widths[0], *heads]).rstrip())
    return "\n".join(lines)


def _cells(panels: Mapping[str, Mapping[str, np.ndarray]], name: str) -> list[str]:
    cells = []
    for rows in panels.values():
        found = rows.get(name, np.array([]))
        if not found.size:
            cells += ["", "", ""]
            continue
        low, middle, high = (cell(float(value), math.nan) for value in (found.min(), np.median(found), found.max()))
        counted = f"{int((found < 1).sum())} of {len(found)}"
        cells += [counted, middle, f"{low} to {high}" * (found.size > 1)]
    return cells


def _joined(cells: list[str], widths: list[int]) -> str:
    return "  ".join(
        [cells[0].ljust(widths[0]), *(text.rjust(w) for text, w in zip(cells[1:], widths[1:], strict=True))]
    ).rstrip()
