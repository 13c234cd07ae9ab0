"""Rank correlations in rows."""

from __future__ import annotations

from typing import Any

import pytest

from landscape.errors import DataError
from landscape.plotting import correlations
from landscape.study import rank_correlation

FOUND = {
    "trace": rank_correlation(range(10), [1, 0, 2, 3, 4, 5, 6, 7, 9, 8]),
    "constant": rank_correlation([1.0] * 10, range(10)),
}


def test_each_row_is_at_its_tau_with_its_error() -> None:
    figure: Any = correlations(FOUND)
    assert figure.data[0].x[0] == FOUND["trace"].tau
    assert figure.data[0].error_x.array[0] == FOUND["trace"].stderr
    assert list(figure.layout.yaxis.ticktext) == ["trace", "constant"]
    assert "1 row without" in str(figure.layout)
    assert "p = " in figure.data[0].text[0]


def test_panels_share_their_rows_and_have_lines_of_chance_of_their_own() -> None:
    few = {"constant": rank_correlation([1.0, 2.0, 3.0, 5.0, 4.0], range(5)), "other": FOUND["trace"]}
    figure: Any = correlations({"all": FOUND, "few": {"constant": few["constant"]}, "other": {"other": few["other"]}})
    assert list(figure.layout.yaxis.ticktext) == ["trace", "constant", "other"]
    assert [trace.y.tolist() for trace in figure.data] == [[0.0, 1.0], [1.0], [2.0]]
    lines = {shape.xref: abs(shape.x0) for shape in figure.layout.shapes if shape.type == "line" and shape.x0}
    assert lines == pytest.approx(
        {"x": 1.96 * FOUND["trace"].by_chance, "x2": 1.96 * few["constant"].by_chance, "x3": lines["x"]}
    )
    assert "Over 10 and 5 networks." in figure.layout.meta["description"]


def test_the_lines_of_chance() -> None:
    figure: Any = correlations(FOUND)
    lines = sorted(shape.x0 for shape in figure.layout.shapes if shape.type == "line")
    assert lines == pytest.approx([-1.96 * FOUND["trace"].by_chance, 0, 1.96 * FOUND["trace"].by_chance])
    few: Any = correlations({"trace": rank_correlation([1, 2], [1, 2])})
    assert [shape.x0 for shape in few.layout.shapes if shape.type == "line"] == [0]


def test_matplotlib_draws_them_too() -> None:
    figure: Any = correlations(FOUND, backend="matplotlib")
    assert FOUND["trace"].tau in [line.get_xdata()[0] for line in figure.axes[0].get_lines() if len(line.get_xdata())]


@pytest.mark.parametrize("empty", [{}, None, [1], {"a": {}}])
def test_nothing_to_draw(empty) -> None:
    with pytest.raises(DataError):
        correlations(empty)
