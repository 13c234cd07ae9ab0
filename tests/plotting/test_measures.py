"""Measures of sharpness side by side: ratios, errors, and what a logarithmic axis has no place for."""

from __future__ import annotations

import numpy as np
import pytest

from landscape import plotting
from landscape.curvature import Estimate
from landscape.errors import ConfigError, DataError
from landscape.plotting.measures import MEANINGS
from landscape.sharpness import MEASURES, measure

MODELS = {
    name: {measure: Estimate(value, error, 9) for measure, (value, error) in found.items()}
    for name, found in {
        "SGD": {"lambda_max": (200.0, 20.0), "lpf": (1e-3, 1e-4), "pac_bayes_sigma": (0.1, 0.0)},
        "SAM": {"lambda_max": (50.0, 5.0), "lpf": (5e-4, 1e-5), "pac_bayes_sigma": (0.3, 0.0)},
    }.items()
}


def notes(figure) -> list[str]:
    return [trace.text[0] for trace in figure.data if trace.mode == "text"]


def test_each_measure_is_a_row_of_ratios_with_their_errors():
    figure = plotting.sharpness(MODELS)
    sgd, sam = [trace for trace in figure.data if trace.mode == "markers"]
    assert list(sgd.x) == [1.0, 1.0, 1.0] and list(sam.x) == pytest.approx([0.25, 0.5, 3.0])
    assert list(sam.error_x.array) == pytest.approx([5 / 200, 1e-5 / 1e-3, 0.0])
    assert sgd.marker.color != sam.marker.color
    rows = figure.layout.yaxis.ticktext
    assert rows[0] == "lambda_max<br>200 ± 20 loss per squared weight"
    assert rows[2].startswith("pac_bayes_sigma*") and "flatter where a name has a star" in figure.layout.title.text
    assert np.abs(np.array(sam.y) - [0, 1, 2]).max() < 0.4 and set(sam.y).isdisjoint(sgd.y)
    assert figure.layout.xaxis.type == "log" and "relative to SGD" in figure.layout.xaxis.title.text
    (shape,) = [shape for shape in figure.layout.shapes if shape.type == "line"]
    (name,) = [note for note in figure.layout.annotations if note.text == "SGD"]
    assert shape.x0 == 1.0 and name.x == 0.0  # plotly places notes on a log axis by the logarithm


def test_another_model_may_be_the_one_that_others_are_relative_to():
    sgd, sam = [t for t in plotting.sharpness(MODELS, relative_to="SAM").data if t.mode == "markers"]
    assert list(sam.x) == [1.0, 1.0, 1.0] and sgd.x[0] == 4.0
    with pytest.raises(ConfigError, match="model 'SAN'.*Did you mean 'SAM'"):
        plotting.sharpness(MODELS, relative_to="SAN")


def test_one_model_has_its_values_themselves(objective):
    found = measure(objective, ["lambda_max", "lpf"], progress=False)
    figure = plotting.sharpness(found)
    (points,) = [trace for trace in figure.data if trace.mode == "markers"]
    assert list(points.x) == [found["lambda_max"].value, found["lpf"].value]
    assert figure.layout.yaxis.ticktext[1] == "lpf<br>loss"
    low, high = figure.layout.xaxis.range
    assert 10**low < min(points.x) and 10**high > max(points.x)


def test_what_has_no_place_on_the_axis_is_written_in_its_row():
    models = {name: dict(found) for name, found in MODELS.items()}
    models["SAM"]["lambda_max"] = Estimate(float("nan"), float("nan"), 0)
    models["SAM"]["lpf"] = Estimate(-2.0, 0.5, 0)
    models["SGD"]["pac_bayes_sigma"] = Estimate(0.0, 0.0, 0)
    figure = plotting.sharpness(models)
    assert notes(figure) == ["SGD: 0", "SAM: NaN", "SAM: -2.00 ± 0.50", "SAM: 0.300"]
    axes = plotting.sharpness(models, backend="matplotlib").axes[0]
    assert set(notes(figure)) <= {text.get_text() for text in axes.texts}


def test_a_measure_that_one_model_lacks_is_a_gap_not_an_error():
    models = {"SGD": MODELS["SGD"], "SAM": {"lpf": MODELS["SAM"]["lpf"]}}
    _, sam = [trace for trace in plotting.sharpness(models).data if trace.mode == "markers"]
    assert np.isnan(sam.x[0]) and sam.x[1] == 0.5
    assert notes(plotting.sharpness(models)) == []


def test_values_orders_of_magnitude_apart_lie_inside_the_axis():
    models = {"SGD": {"a": Estimate(1.0, 0.1, 9), "b": Estimate(1.0, 0.1, 9)}}
    models["SAM"] = {"a": Estimate(1e-6, 1e-3, 9), "b": Estimate(1e5, 1e3, 9)}
    low, high = plotting.sharpness(models).layout.xaxis.range
    assert low < -6 and high > 5
    rows = {label: {"trace": Estimate(v, e, 9)} for label, v, e in (("a", 1e-3, 1.0), ("b", 50.0, 1.0))}
    low, _ = plotting.compare(rows).layout.xaxis.range
    assert low < -3  # a bar that reaches 0 does not push its own point off the axis


@pytest.mark.parametrize("given", [{}, {"SGD": {}}, 3, {"SGD": {"lpf": 0.1}}])
def test_what_is_no_measurement_is_refused(given):
    with pytest.raises(DataError):
        plotting.sharpness(given)
    with pytest.raises(DataError):
        plotting.sharpness_table(given)


def test_the_table_has_a_row_for_each_measure_and_a_column_for_each_model():
    lines = plotting.sharpness_table(MODELS).splitlines()
    assert lines[0].split() == ["measure", "unit", "SGD", "SAM"]
    assert lines[2].split() == ["lambda_max", "loss", "per", "squared", "weight", "200", "±", "20", "50.0", "±", "5.0"]
    assert len({len(line) for line in lines[1:5]}) == 1
    assert lines[-1] == "larger is sharper, but flatter where a name has a star; ± 1 standard error"
    assert "value" in plotting.sharpness_table(MODELS["SGD"]).splitlines()[0]


def test_units_and_meanings_are_those_of_the_measures():
    assert {name: (one.unit, one.larger) for name, one in MEASURES.items()} == MEANINGS
