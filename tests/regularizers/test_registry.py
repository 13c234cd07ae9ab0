"""Regularizers by name: what each one reads, and what it is not given."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from landscape.errors import ConfigError
from landscape.regularizers import (
    REGULARIZERS,
    Constraint,
    Deformations,
    DeformationStability,
    InputMove,
    InputUnits,
    Penalty,
    build_regularizer,
)

README = (Path(__file__).parents[2] / "README.md").read_text()
KINDS = {"penalty": Penalty, "inputs": InputMove, "constraint": Constraint}
NEEDED = {
    name: {key: 0.5 for key, value in spec.options.items() if value is ...} for name, spec in REGULARIZERS.items()
}


@pytest.mark.parametrize("name", REGULARIZERS)
def test_a_name_builds_what_it_says(name):
    spec = REGULARIZERS[name]
    assert isinstance(build_regularizer(name, **NEEDED[name]), KINDS[spec.kind])
    assert f"`{name}`" in README
    assert not {"units", "seed", "input_shape", "loss", "deformations", *spec.preset} & set(spec.options)


@pytest.mark.parametrize("name", REGULARIZERS)
def test_every_option_at_its_default_is_the_default(name):
    options = {key: value for key, value in REGULARIZERS[name].options.items() if value is not ...}
    plain, said = (build_regularizer(name, **NEEDED[name], **more) for more in ({}, options))
    assert repr(_settings(plain)) == repr(_settings(said))


def _settings(made) -> dict:
    return {key: value for key, value in vars(made).items() if not callable(value)}


@pytest.mark.parametrize("name", [name for name, needed in NEEDED.items() if needed])
def test_an_option_without_a_default_is_asked_for(name):
    with pytest.raises(ConfigError, match=f"{name}.*needs {next(iter(NEEDED[name]))}"):
        build_regularizer(name)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("gradent", {}, "gradient"),
        ("gradient", {"wieght": 1.0}, "weight"),
        ("grad-l2", {"norm": "l1"}, "option of grad-l2"),
        ("spectral", {"method": "svd"}, "option of spectral"),
        ("deformation", {"strength": -1.0}, "strength"),
        ("deformation", {"weight": "much"}, "weight"),
        ("spectral-projection", {"operator": "convolution"}, "input_shape"),
    ],
)
def test_what_cannot_be_built(name, options, words):
    with pytest.raises(ConfigError, match=words):
        build_regularizer(name, **options)


def test_settings_of_deformations_are_options_of_the_penalties_that_deform():
    made = build_regularizer("deformation", strength=0.2, rotation=10.0, count=3, seed=4)
    assert isinstance(made, DeformationStability)
    assert made.deformations == Deformations(strength=0.2, rotation=10.0) and made.count == 3 and made.seed == 4


def test_pixels_are_those_of_the_units():
    model = nn.Linear(2, 2, bias=False).double()
    inputs, targets = torch.zeros(3, 2).double(), torch.zeros(3, dtype=torch.long)
    plain = build_regularizer("gradient")(model, inputs, targets)
    scaled = build_regularizer("gradient", units=InputUnits(std=(0.5,)))(model, inputs, targets)
    torch.testing.assert_close(scaled, 4 * plain)


def test_the_settings_of_a_run_name_every_penalty():
    from landscape.config import field_help
    from landscape.training import RunConfig

    said = re.findall(r"[a-z][a-z0-9-]+", field_help(RunConfig)["penalty"])
    assert set(REGULARIZERS) <= set(said)
