"""Ratios in rows of dots, and as a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from landscape.errors import ConfigError, DataError
from landscape.plotting import ratios, ratios_table

PANELS = {
    "SAM / SGD": {"planes": [0.4, 0.5, 2.0], "trace": [0.6]},
    "again / SGD": {"planes": [1.0, np.nan, -1.0, 0.0, np.inf]},
}


def marks(figure: Any, symbol: str) -> list[Any]:
    return [trace for trace in figure.data if trace.marker.symbol == symbol]


def test_each_ratio_has_a_dot_and_each_row_a_diamond_at_its_median() -> None:
    figure: Any = ratios(PANELS)
    dots, diamonds = marks(figure, "circle"), marks(figure, "diamond")
    assert [trace.x.tolist() for trace in dots] == [[0.4, 0.5, 2.0], [1.0]]
    assert [trace.x.tolist() for trace in diamonds] == [[0.5, 0.6], [1.0]]
    assert [trace.y.tolist() for trace in (*dots, *diamonds)] == [[0.0] * 3, [0.0], [0.0, 1.0], [0.0]]
    assert "below 1: 2 of 3" in diamonds[0].text[0]


def test_what_the_axis_cannot_show_is_counted() -> None:
    layout: Any = ratios(PANELS).layout
    for said in (layout.title.text, layout.meta["description"]):
        assert "4 ratios that a logarithmic axis cannot show." in said
    assert "cannot show" not in str(ratios({"a": [1.0, 2.0]}).layout)


def test_every_dot_and_the_line_of_equality_are_on_the_axis() -> None:
    low, high = ratios({"a": [3.0, 4.0]}).layout.xaxis.range
    assert 10**low < 1 < 4 < 10**high


def test_a_row_of_nothing_that_can_be_shown_is_an_empty_row_around_one() -> None:
    figure: Any = ratios({"a": [np.nan]})
    assert list(figure.layout.yaxis.ticktext) == ["a"]
    assert all(np.isnan(trace.x).all() for trace in figure.data)
    low, high = figure.layout.xaxis.range
    assert -np.inf < low < 0 < high < np.inf  # in decades
    assert "1 ratio that a logarithmic axis cannot show." in figure.layout.title.text


def test_marks_at_the_ends_of_a_long_axis_are_not_cut() -> None:
    low, high = ratios({"a": [0.01, 1000.0]}).layout.xaxis.range  # in decades
    assert -2 - low > 0.04 * (high - low) and high - 3 > 0.04 * (high - low)


def test_the_axis_may_be_given() -> None:
    for values in ([3.0], [0.1]):
        assert [10**end for end in ratios({"a": values}, x_range=(0.01, 50.0)).layout.xaxis.range] == pytest.approx(
            [0.01, 50.0]
        )


def test_panels_share_rows_and_axis() -> None:
    figure: Any = ratios(PANELS)
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range
    assert list(figure.layout.yaxis.ticktext) == ["planes", "trace"]


def test_matplotlib_draws_the_same_points() -> None:
    figure: Any = ratios(PANELS, backend="matplotlib")
    points = [line.get_xdata().tolist() for line in figure.axes[0].get_lines() if line.get_marker() in ("o", "D")]
    assert points == [[0.4, 0.5, 2.0], [0.5, 0.6]]


def test_the_table_counts_what_is_below_one() -> None:
    lines = ratios_table(PANELS).splitlines()
    assert lines[0].split() == ["SAM", "/", "SGD", "again", "/", "SGD"]
    assert " ".join(lines[3].split()) == "planes 2 of 3 0.500 0.400 to 2.00 2 of 5 NaN NaN to NaN"
    assert " ".join(lines[4].split()) == "trace 1 of 1 0.600"


@pytest.mark.parametrize("empty", [{}, {"a": {}}, None, [1.0]])
def test_nothing_to_draw(empty) -> None:
    for draw in (ratios, ratios_table):
        with pytest.raises(DataError):
            draw(empty)


def test_an_unknown_backend() -> None:
    with pytest.raises(ConfigError):
        ratios({"a": [1.0]}, backend="ascii")  # pyright: ignore[reportArgumentType]
