"""The comparison as a table: plain text for a terminal, HTML for a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from landscape.plotting.comparison import Comparison, Metric, Rows, cell, read_rows


def comparison_table(
    rows: Rows,
    *,
    columns: Sequence[str] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    first: str = "optimizer",
) -> str:
    """Write the comparison as aligned plain text; the best value of each column has a star.

    Values within two combined standard errors of the best are not told apart from it and have a star too.

    Args:
        rows: As in :func:`landscape.plotting.comparison.read_rows`.
        columns: Which numbers, in order; all by default.
        metrics: Meanings of further keys.
        first: Heading of the labels.

    Returns:
        Lines joined by newlines: headings with units, a rule, a line for each run, a line that explains.

    Raises:
        ConfigError: A column is in no row.
        DataError: There are no rows, or labels are missing or doubled.

    Example:
        >>> print(comparison_table({"SGD": {"test_error": 0.12}, "SAM": {"test_error": 0.05}}))
        optimizer  test error (%)
        ---------  --------------
        SGD                 12.0
        SAM                 5.00*
        * best in its column
    """
    data = read_rows(rows, columns=columns, metrics=metrics)
    grid = [[first, *(metric.heading for metric in data.metrics)]]
    for row, texts in zip(data.labels, _cells(data, "{}*", "{} "), strict=True):
        grid.append([row, *texts])
    widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
    lines = [
        "  ".join(
            text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in grid
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    notes = []
    if any(any(data.best(column)) for column in range(len(data.metrics))):
        notes.append("* best in its column" + ", or within 2 combined standard errors of the best" * data.tied)
    if any("±" in text for line in grid for text in line):
        notes.append("± 1 standard error")
    return "\n".join([line.rstrip() for line in lines] + (["; ".join(notes)] if notes else []))


def _cells(data: Comparison, best: str, other: str) -> list[list[str]]:
    marks = [data.best(column) for column in range(len(data.metrics))]
    return [
        [
            (best if marks[column][row] else other).format(cell(data.values[row, column], data.errors[row, column]))
            for column in range(len(data.metrics))
        ]
        for row in range(len(data.labels))
    ]


def comparison_html(
    rows: Rows,
    *,
    columns: Sequence[str] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    first: str = "optimizer",
    caption: str | None = None,
) -> str:
    """Write the comparison as an HTML table with units in the headings and the best value of each column in bold.

    Args:
        rows: As in :func:`landscape.plotting.comparison.read_rows`.
        columns: Which numbers, in order; all by default.
        metrics: Meanings of further keys.
        first: Heading of the labels.
        caption: Below the table; by default what bold means, and ± where there are standard errors. Where no number has
            a better end, only the latter stands there.

    Returns:
        One ``<table>`` element; every text is escaped.

    Raises:
        ConfigError: A column is in no row.
        DataError: There are no rows, or labels are missing or doubled.
    """
    data = read_rows(rows, columns=columns, metrics=metrics)
    arrow = {"low": " ↓", "high": " ↑", None: ""}
    heads = [f'<th scope="col">{escape(first)}</th>']
    heads += [
        f'<th scope="col" style="text-align:right">{escape(m.name)}{arrow[m.better]}'
        + (f"<br><small>{escape(m.unit)}</small>" if m.unit else "")
        + "</th>"
        for m in data.metrics
    ]
    body = []
    for label, texts in zip(data.labels, _cells(data, "<strong>{}</strong>", "{}"), strict=True):
        tds = "".join(f'<td style="text-align:right;white-space:nowrap">{text}</td>' for text in texts)
        body.append(f'<tr><th scope="row" style="text-align:left">{escape(label)}</th>{tds}</tr>')
    known = bool(np.isfinite(data.errors).any())
    if caption is None:
        caption = "Best value of each column in bold" + ", with those within 2 combined standard errors of it" * known
        caption += "; ± 1 standard error." if known else "."
    note = f"{escape(caption)} ↓ lower is better, ↑ higher is better."
    if all(metric.better is None for metric in data.metrics):
        note = "± 1 standard error." if known else ""
    note = f"<caption style='caption-side:bottom;text-align:left'>{note}</caption>" if note else ""
    return (
        f'<table class="comparison">{note}<thead><tr>{"".join(heads)}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )
