"""Lists on the command line: several values behind a flag, and a flag that is repeated, mean the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from landscape.cli import main
from landscape.cli_lists import in_one_form
from landscape.training import Run, RunConfig, train

ATTACKED = "robustness --attack fgsm --attack bim --epsilon 0.1 --epsilon 8/255"
SAME = {
    "robustness --attack fgsm bim --epsilon 0.1 8/255": ATTACKED,
    "robustness --attack=fgsm bim": "robustness --attack=fgsm --attack bim",
    ATTACKED: ATTACKED,
    "robustness r --attack fgsm other": "robustness r --attack fgsm --attack other",  # to be told that it is unknown
    "robustness --attack fgsm r": "robustness --attack fgsm r",
    "robustness --attack fgsm bim r": "robustness --attack fgsm --attack bim r",
    "robustness --epsilon 0.1 -1 r": "robustness --epsilon 0.1 --epsilon -1 r",
    "robustness --quiet r --attack fgsm": "robustness --quiet r --attack fgsm",
    "robustness r --attack --quiet": "robustness r --attack --quiet",
    "sharpness --measure trace lambda_max r": "sharpness --measure trace --measure lambda_max r",
    "train --penalty a --lr 1 --penalty b c": "train --penalty a b c --lr 1",
    "train --penalty=a --penalty=b": "train --penalty a b",
    "train --epsilon 0.1 0.2": "train --epsilon 0.1 0.2",  # one number there
    "train --penalty_option a=1 b=2": "train --penalty_option a=1 --penalty-option b=2",
    "study flatness --against sam=0.1 amp=0.5": "study flatness --against sam=0.1 --against amp=0.5",
    "surface --export a.csv b.h5 r": "surface --export a.csv --export b.h5 r",
    "surface r": "surface r",
    "": "",
}


@pytest.mark.parametrize("words", SAME)
def test_one_form(words):
    assert in_one_form(words.split()) == SAME[words].split()


def test_a_folder_behind_a_list_is_the_run(tmp_path):
    words = ["robustness", "--attack", "fgsm", str(tmp_path), "--epsilon", "1", "2"]
    assert in_one_form(words) == [*words[:4], "--epsilon", "1", "--epsilon", "2"]
    words = ["robustness", "r", "--attack", "fgsm", str(tmp_path)]  # two runs, which the command refuses
    assert in_one_form(words) == words


@pytest.mark.parametrize(
    ("flag", "value", "name"),
    [
        ("--epsilon", "0.1", "2024-a"),
        ("--epsilon", "0.1", "inference"),
        ("--attack", "fgsm", "pgd-l2-1a2b3c4d"),
        ("--measure", "trace", "trace-1a2b3c4d"),
    ],
)
def test_a_run_whose_name_looks_like_a_value_is_the_run(tmp_path, monkeypatch, flag, value, name):
    monkeypatch.chdir(tmp_path)
    words = ["sharpness" if flag == "--measure" else "robustness", flag, value, name]
    assert in_one_form(words) == [*words[:3], flag, name]  # there is none
    Path(name).mkdir()
    Path(name, "config.json").touch()
    assert in_one_form(words) == words


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> str:
    config = RunConfig(limit=60, test_limit=20, model="mlp", model_options={"hidden": [4]}, epochs=1, batch_size=30)
    return str(train(config, root=tmp_path_factory.mktemp("runs"), progress=False).path)


@pytest.mark.parametrize("last", [False, True])
def test_attacks_and_radii_behind_one_flag(trained, capsys, last):
    flags = ["--attack", "fgsm", "fgm", "--epsilon", "0.1", "0.2", "--limit", "10", "--quiet"]
    assert main(["robustness", *([*flags, trained] if last else [trained, *flags])]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if " within " in line] == ["fgsm", "fgsm", "fgm", "fgm"]


def test_a_penalty_flag_that_is_repeated_loses_none(tmp_path):
    words = ["--limit", "20", "--test-limit", "10", "--model", "mlp", "--epochs", "1", "--root", str(tmp_path)]
    words += ["--penalty", "gradient", "--quiet", "--penalty", "spectral"]
    assert main(["train", *words, "--penalty-option", "weight=0.5", "spectral.iterations=3"]) == 0
    (path,) = Path(tmp_path).iterdir()
    config = Run.load(path).config
    assert config.penalty == ("gradient", "spectral")
    assert config.penalty_options == {"weight": 0.5, "spectral.iterations": 3}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("robustness r --attack fgsm,bim", "without commas: fgsm bim, or ['fgsm', 'bim'] in Python."),
        ("robustness r --epsilon 0.1,0.2", "for example --epsilon 0.5 8/255."),
        ("train --penalty gradient,spectral", "without commas: gradient spectral, or ['gradient', 'spectral']"),
        ("robustness r --attack fgsm bimm", "Unknown attack 'bimm'."),
    ],
)
def test_commas_and_misspelt_names(words, said, capsys):
    assert main(words.split()) == 2
    assert said in capsys.readouterr().err
