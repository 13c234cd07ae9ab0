"""The course of training in three figures: the same values, and the same choice of axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from landscape.plotting import training_curves
from landscape.plotting.comparison import read_rows
from landscape.plotting.course import course
from landscape.plotting.curves import CURVES, log_of, values_of
from landscape.plotting.run_views import RunView, run_views

VALUES = {"train_loss": (2.0, 0.1), "test_loss": (0.05, 5.0), "test_nll": (2.0, 0.04), "clean_loss": (1.0, 0.001)}
ROWS = [{"epoch": 1, "seconds": 1.0}, {"epoch": 2, "seconds": 30.0}]
for number, row in enumerate(ROWS):
    row |= {key: VALUES.get(key, (0.5, 0.001))[number] for key in CURVES if key not in ("seconds", "train_error")}
    row |= {"train_accuracy": (0.5, np.inf)[number]}


def _drawn(name: str, key: str) -> tuple[Any, Any]:
    """The curve and its axis in one of the figures."""
    if name == "training_curves":
        figure: Any = training_curves({"SGD": ROWS}, show=[key])
        return figure.data[0], figure.layout.yaxis
    if name == "course":
        figure = course({"SGD": ROWS}, epochs=2, show=[key]).figure()
        return figure.data[0], figure.layout.yaxis
    numbers = read_rows({"SGD": {"test_error": 1.0, "trace": 2.0}}, columns=["trace", "test_error"])
    view = RunView(numbers=numbers, picked=("SGD",), curves={"SGD": ROWS}, curve=key, title="", caption="")
    figure = run_views(view).figure()
    return next(trace for trace in figure.data if trace.mode == "lines"), figure.layout.yaxis2


@pytest.mark.parametrize("name", ["training_curves", "course", "run_views"])
@pytest.mark.parametrize("key", CURVES)
def test_three_figures_of_the_course_agree(name: str, key: str) -> None:
    places, values = values_of(ROWS, key)
    curve, axis = _drawn(name, key)
    np.testing.assert_array_equal(curve.x, places)
    np.testing.assert_array_equal(curve.y, values)
    assert (axis.type == "log") is log_of(key, [values]) is (key in VALUES)
    assert axis.title.text.replace("<br>", " ").endswith(", log scale") is (key in VALUES)


def test_shares_are_percent_and_what_is_not_finite_is_a_gap() -> None:
    assert values_of(ROWS, "test_error")[1].tolist() == [50.0, 0.1]
    np.testing.assert_array_equal(values_of(ROWS, "train_error")[1], [50.0, np.nan])
    assert values_of(ROWS, "seconds")[1].tolist() == [1.0, 30.0]
    assert [part.tolist() for part in values_of([{"lr": 0.1}, {}, {"lr": 0.3}], "lr")] == [[1, 3], [0.1, 0.3]]
