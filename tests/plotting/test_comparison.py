"""Rows of numbers: figures and tables with units, standard errors and the best value marked."""

from __future__ import annotations

import pytest

from landscape import plotting
from landscape.curvature import Estimate
from landscape.errors import ConfigError, DataError
from landscape.plotting.comparison import read_rows


def test_fractions_become_percent_and_estimates_bring_their_error(results):
    data = read_rows(results.rows)
    assert data.keys == ("test_error", "trace", "seconds")
    assert data.values[0].tolist() == pytest.approx([11.7, 1800.0, 1.0])
    assert data.errors[0, :2].tolist() == pytest.approx([0.99, 180.0])


def test_rows_may_be_a_list_that_holds_its_labels(results):
    listed = [{"optimizer": label, **row} for label, row in results.rows.items()]
    assert plotting.comparison_table(listed) == plotting.comparison_table(results.rows)


def test_text_table_is_aligned_and_marks_the_best(results):
    lines = plotting.comparison_table(results.rows).splitlines()
    assert lines[0].split("  ")[0] == "optimizer"
    assert "test error (%)" in lines[0]
    assert "11.70 ± 0.99" in lines[2] and "4.60 ± 0.20*" in lines[3]
    ends = [line.index(")", line.index("error")) for line in lines[:1]]
    assert all(line[ends[0] + 1 : ends[0] + 3].strip() == "" for line in lines[2:4])
    assert lines[-1] == "* best in its column; ± 1 standard error"


def test_what_is_not_told_apart_from_the_best_is_marked_too(results):
    rows = {**results.rows, "AMP": {"test_error": 0.049, "test_error_stderr": 0.002, "trace": Estimate(200.0, 20.0, 9)}}
    data = read_rows(rows)
    assert data.best(0) == [False, True, True]  # 0.3 % apart, 2 combined errors are 0.57 %
    assert data.best(1) == [False, False, True]  # 100 apart, 2 combined errors are 72
    text = plotting.comparison_table(rows)
    assert "4.60 ± 0.20*" in text and "4.90 ± 0.20*" in text
    assert (
        text.splitlines()[-1]
        == "* best in its column, or within 2 combined standard errors of the best; ± 1 standard error"
    )


def test_html_table_is_bold_at_the_best_and_escapes(results):
    rows = {"<b>SGD": results.rows["SGD"], "SAM": results.rows["SAM"]}
    html = plotting.comparison_html(rows)
    assert "<strong>4.60 ± 0.20</strong>" in html and "<strong>11.70" not in html
    assert "&lt;b&gt;SGD" in html and "<b>SGD" not in html
    assert html.count("<strong>") == 3


def test_nan_is_shown_and_never_best():
    rows = {"a": {"test_error": float("nan")}, "b": {"test_error": 0.2}, "c": {"test_error": 0.3}}
    table = plotting.comparison_table(rows)
    assert "NaN" in table and "20.0*" in table
    assert "1 without a finite value" in plotting.compare(rows).layout.meta["description"]


def test_a_number_without_a_better_end_has_no_best():
    assert "*" not in plotting.comparison_table({"a": {"width": 1.0}, "b": {"width": 2.0}})


def test_html_of_numbers_without_a_better_end_says_nothing_of_a_best():
    plain = plotting.comparison_html({"a": {"width": 1.0}, "b": {"width": 2.0}})
    assert "best" not in plain.lower().replace("comparison", "") and "<caption" not in plain
    assert "± 1 standard error" in plotting.comparison_html({"a": {"width": Estimate(1.0, 0.5, 0)}})


def test_the_caption_speaks_of_standard_errors_only_where_there_are_some(results):
    without = plotting.comparison_html({"a": {"test_error": 0.1}, "b": {"test_error": 0.2}})
    assert "Best value of each column in bold. ↓" in without and "standard error" not in without
    told = "in bold, with those within 2 combined standard errors of it; ± 1 standard error. ↓"
    assert told in plotting.comparison_html(results.rows)
    assert ">Mine. ↓" in plotting.comparison_html(results.rows, caption="Mine.")


def test_panels_hold_the_values_and_one_standard_error(results):
    figure = plotting.compare(results.rows, columns=["trace"])
    points = [trace for trace in figure.data if trace.mode == "markers"]
    assert [trace.x[0] for trace in points] == [1800.0, 300.0]
    assert [trace.error_x.array[0] for trace in points] == [180.0, 30.0]
    assert list(figure.layout.yaxis.ticktext) == ["SGD", "SAM"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "nothing to compare"),
        ([{"test_error": 1}], "no label"),
        ([{"name": "a"}, {"name": "a"}], "same label"),
    ],
)
def test_bad_rows_are_refused(rows, message):
    with pytest.raises(DataError, match=message):
        plotting.comparison_table(rows)


def test_unknown_column_names_the_nearest(results):
    with pytest.raises(ConfigError, match="column 'test_eror'.*Did you mean 'test_error'"):
        plotting.comparison_table(results.rows, columns=["test_eror"])
