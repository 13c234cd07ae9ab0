"""Settings written as a command: read back by the command itself, they are the same."""

from __future__ import annotations

import dataclasses
import shlex

import pytest

from landscape.cli import Train, main
from landscape.recipes import RECIPES, load_recipe
from landscape.training import RunConfig, train_command


def read_back(monkeypatch, words: list[str]) -> Train:
    """What the command makes of its words, instead of training."""
    found: list[Train] = []
    monkeypatch.setattr(Train, "run", lambda self: found.append(self) or 0)
    assert words[0] == "landscape" and main(words[1:]) == 0
    return found[0]


def settings_of(found: Train) -> RunConfig:
    from landscape.cli_options import with_options

    return with_options(found.settings, found.model_option, found.optimizer_option, found.penalty_option)


OTHERS = RunConfig(
    dataset="folder:/a b", limit=10, label_noise=0.25, model="nets:tiny", model_options={"hidden": [3], "act": "relu"},
    optimizer="gsam", optimizer_options={"alpha": 0.3}, when="late:0.5", rho=0.1, adaptive="official", nesterov=True,
    schedule="multistep", milestones=(2, 3), flip="alternating", crop_padding=2, channels_last=False, fused=True,
    compile=True, cuda_graphs=True, precision="bfloat16", stop_at_loss=1e-3, epochs=4, seed=7, name="own",
)  # fmt: skip
SETTINGS = {
    "defaults": RunConfig(),
    "others": OTHERS,
    "a bool": RunConfig(optimizer="sam", adaptive=True, flip=True),
    "parts": RunConfig(optimizer="lpfsgd", std=0.1, M=4, inc=2.0),
    "needed options": RunConfig(penalty=("vat", "spectral"), penalty_options={"vat.epsilon": 0.5, "weight": 0.1}),
    "a negative exponent": RunConfig(lr=1e-7, weight_decay=0.0),
}


@pytest.mark.parametrize("config", SETTINGS.values(), ids=SETTINGS)
def test_the_command_reads_the_same_settings(config, monkeypatch):
    words = train_command(config)
    assert settings_of(read_back(monkeypatch, shlex.split(shlex.join(words)))).hash == config.hash


def test_every_setting_can_be_said():
    changed = {field.name for field in dataclasses.fields(RunConfig) if getattr(OTHERS, field.name) != _plain(field)}
    said = {word for word in train_command(OTHERS) if word.startswith("--")}
    assert {"--" + name.replace("_", "-") for name in changed if not name.endswith("_options")} <= said


def _plain(field):
    return getattr(RunConfig(), field.name)


def test_places_are_said_where_they_are_not_the_usual_ones(monkeypatch):
    assert train_command(RunConfig()) == ["landscape", "train"]
    found = read_back(monkeypatch, train_command(RunConfig(), root="/r s", data_root="/d"))
    assert (str(found.root), str(found.data_root)) == ("/r s", "/d")


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES[::23])
def test_published_settings_too(name, monkeypatch):
    config = load_recipe(name).config
    assert settings_of(read_back(monkeypatch, train_command(config))).hash == config.hash
