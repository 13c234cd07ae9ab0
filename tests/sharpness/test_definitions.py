"""Every measure says what it is; parameters are checked."""

from __future__ import annotations

import re

import pytest

from landscape.errors import ConfigError
from landscape.sharpness import INVARIANCES, MEASURES, NEEDS, Parameter, measure
from tests.sharpness.problems import found, relu_objective

NAMES = {
    "lpf",
    "lpf_normalized",
    "epsilon_sharpness",
    "epsilon_sharpness_box",
    "sam_sharpness",
    "asam_sharpness",
    "average_adaptive_sharpness",
    "worst_case_adaptive_sharpness",
    "pac_bayes",
    "pac_bayes_sigma",
    "frobenius",
    "lambda_max",
    "trace",
    "effective_dimension",
    "fisher_rao",
    "weights_hessian",
    "relative_flatness",
    "shannon_entropy",
    "local_entropy",
    "local_entropy_along_gradient",
    "local_entropy_gradient_norm",
}


def test_the_measures() -> None:
    assert set(MEASURES) == NAMES


@pytest.mark.parametrize("name", MEASURES)
def test_each_measure_says_what_it_is(name: str) -> None:
    entry = MEASURES[name]
    assert entry.name == name
    for text in (entry.definition, entry.cost):
        assert text and "TODO" not in text and "..." not in text
    assert all((entry.formula, entry.unit, entry.source)) and entry.larger in ("sharper", "flatter")
    assert entry.invariances <= set(INVARIANCES) and set(entry.needs) <= set(NEEDS)
    for version in filter(None, (entry, entry.published)):
        for parameter in version.parameters.values():
            assert parameter.meaning.endswith(".") and parameter.source and not parameter.source.endswith(".")
    for parameter in entry.parameters:
        words = entry.definition + entry.formula
        assert re.search(rf"\b{parameter}\b", words.replace("so many steps", "steps")) or parameter == "layer", (
            parameter
        )


@pytest.mark.parametrize("name", MEASURES)
def test_formulas_are_whole(name: str) -> None:
    """matplotlib's parser, which draws them in pages, takes them as they are."""
    from matplotlib.mathtext import MathTextParser

    MathTextParser("path").parse(f"${MEASURES[name].formula}$")


def test_what_is_published_differs_by_name() -> None:
    published = {name for name, entry in MEASURES.items() if entry.published is not None}
    assert published == {
        "pac_bayes",
        "fisher_rao",
        "local_entropy",
        "local_entropy_along_gradient",
        "lambda_max",
        "trace",
        "effective_dimension",
    }
    for name in published:
        assert MEASURES[name].published.differs.endswith(".")
        assert MEASURES[name].version(as_published=True) is MEASURES[name].published
    assert MEASURES["lpf"].version(as_published=True) is MEASURES["lpf"]


def test_a_measure_is_shown_as_a_card() -> None:
    card = str(MEASURES["pac_bayes"])
    assert card.startswith("pac_bayes [nats], larger is sharper\n")
    for part in ("formula ", "epsilon      0.1:", "cost ", "needs        initial_weights", "invariant    loss_shift"):
        assert part in card
    assert "published    The weights that training began from are replaced by 0" in card
    assert "under none of relu_rescaling" in str(MEASURES["lpf"])


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("lpf", {"sigma": 0}, "sigma of lpf is out of range. Expected: a number above 0"),
        ("lpf", {"sigma": float("nan")}, "a number above 0"),
        ("lpf", {"sigma": float("inf")}, "a number above 0"),
        ("lpf", {"samples": 0}, "a whole number of at least 1"),
        ("lpf", {"samples": 2.5}, "a whole number"),
        ("lpf", {"sample": 3}, "Unknown parameter of lpf 'sample'.*Did you mean 'samples'"),
        ("asam_sharpness", {"eta": -1}, "a number of at least 0"),
        ("local_entropy_gradient_norm", {"alpha": 1}, "a number of at least 0 and below 1"),
        ("relative_flatness", {"layer": 3}, "a name, or None"),
        ("lambda_max", {"tol": 1}, "Unknown parameter of lambda_max"),
    ],
)
def test_parameters_out_of_range(name: str, parameters: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        measure(relu_objective(), name, parameters={name: parameters}, progress=False)


def test_parameters_of_a_measure_that_is_none() -> None:
    with pytest.raises(ConfigError, match="Unknown measure 'lpff'.*Did you mean 'lpf'"):
        measure(relu_objective(), "lpf", parameters={"lpff": {}}, progress=False)


def test_parameters_that_may_be_zero() -> None:
    assert Parameter(default=0.5, meaning=".", source="x", zero=True).checked("x", 0) == 0
    assert found(relu_objective(), "asam_sharpness", eta=0).value > 0


def test_published_forms_have_parameters_of_their_own() -> None:
    with pytest.raises(ConfigError, match="Unknown parameter of trace 'probes'"):
        found(relu_objective(), "trace", as_published=True, probes=3)
