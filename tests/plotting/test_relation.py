"""One number against another: a point for each run, a look for each label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from landscape.curvature import Estimate
from landscape.errors import ConfigError, DataError
from landscape.plotting import METHODS, relation

SEVERAL = {
    "SGD": [
        {"trace": Estimate(4.0, 0.5, 3), "test_error": 0.2},
        {"trace": Estimate(5.0, 0.4, 3), "test_error": 0.3},
    ],
    "SAM": [{"trace": Estimate(2.0, 0.1, 3), "test_error": 0.1}],
}


def test_several_runs_of_a_label_share_a_look_and_an_entry_of_the_legend() -> None:
    figure: Any = relation(SEVERAL, x="trace", y="test_error")
    sgd, sam = figure.data
    assert sgd.x.tolist() == [4.0, 5.0] and sgd.y.tolist() == [20.0, 30.0] and sgd.error_x.array.tolist() == [0.5, 0.4]
    assert (sgd.name, sam.name) == ("SGD", "SAM") and sgd.marker.color == METHODS["sgd"].color
    assert [text.split("<br>")[0] for text in sgd.text] == ["<b>SGD, run 1</b>", "<b>SGD, run 2</b>"]
    assert "One point for each of 3 runs" in figure.layout.meta["description"]


def test_one_row_a_label_is_what_it_was() -> None:
    alone = {label: rows[0] for label, rows in SEVERAL.items()}
    figure: Any = relation(alone, x="trace", y="test_error")
    assert [trace.x.tolist() for trace in figure.data] == [[4.0], [2.0]]
    assert figure.data[0].text[0].startswith("<b>SGD</b>")
    listed: Any = relation([{"label": k, **row} for k, row in alone.items()], x="trace", y="test_error")
    assert [trace.to_plotly_json() for trace in listed.data] == [trace.to_plotly_json() for trace in figure.data]


def test_matplotlib_draws_the_same_points() -> None:
    figure: Any = relation(SEVERAL, x="trace", y="test_error", backend="matplotlib")
    drawn = [line.get_xydata().tolist() for line in figure.axes[0].get_lines() if line.get_marker() in ("o", "s")]
    assert np.allclose(drawn[0], [[4, 20], [5, 30]]) and np.allclose(drawn[1], [[2, 10]])


def test_a_number_that_no_run_has() -> None:
    with pytest.raises(ConfigError, match="column"):
        relation(SEVERAL, x="lpf", y="test_error")


def test_several_numbers_have_a_panel_each_on_one_vertical_axis() -> None:
    rows = {label: [{**row, "top_eigenvalue": 7.0} for row in its] for label, its in SEVERAL.items()}
    figure: Any = relation(rows, x=["trace", "top_eigenvalue"], y="test_error")
    assert [trace.x.tolist() for trace in figure.data] == [[4.0, 5.0], [2.0], [7.0, 7.0], [7.0]]
    assert (
        figure.data[2].text[1] == "<b>SGD, run 2</b><br>top Hessian eigenvalue: 7.00 loss/weight²<br>test error: 30.0 %"
    )
    assert figure.data[2].error_x.array is None and figure.layout.yaxis2.matches == "y"
    assert [trace.showlegend for trace in figure.data] == [True, True, False, False]
    assert "Test error against Hessian trace, top Hessian eigenvalue" in figure.layout.title.text
    with pytest.raises(DataError, match="nothing to draw"):
        relation(rows, x=[], y="test_error")
