"""Flags that cannot be read: one sentence on stderr that names the flag and what it takes, and exit code 2."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from landscape.cli import main
from landscape.cli_mistakes import mistake, one_run, one_sentence
from landscape.errors import ConfigError

WRONG = {
    "surface r --points 5.5": "(Points along each axis; odd, so that the center is one of them). "
    "Expected: a whole number. Got: '5.5'.",
    "surface r --points=many": "--points cannot be read",
    "surface r --plane foo": "--plane cannot be 'foo'. Expected: one of random, trajectory, eigen.",
    "surface r --plane trajectroy": "Did you mean 'trajectory'?",
    "surface r --extent wide": "Expected: a number, or leave it out. Got: 'wide'.",
    "surface r --workers 1.5": "Expected: a whole number, or leave it out. Got: '1.5'.",
    "surface r --seed": "--seed has no value.",
    "surface r --limit x --points 3": "--limit cannot be read",
    "surface r --engine fast": "Expected: one of auto, plain, folded, folded_large, stacked, graphed.",
    "surface r --pointz 3": "Did you mean --points?",
    "surface r --quiet yes": "Unrecognized options: yes",
    "surface": "PATH is missing: The run's folder, as printed by `landscape train`. Expected: landscape surface PATH.",
    "curvature r --method foo": "--method cannot be 'foo'. Expected: one of hutchinson, hutch++, xtrace, exact.",
    "curvature r --top most": "--top cannot be read",
    "sharpness": "PATH is missing",
    "robustness": "PATH is missing",
    "robustness r --attack pgd": "Unknown attack 'pgd'.",
    "robustness r --epsilon eight": "--epsilon is not understood. Expected: a number from 0 to 1e+15, as 0.5 or 8/255.",
    "robustness r --epsilon -1": "Expected: a number from 0 to 1e+15, as 0.5 or 8/255. Got: -1.",
    "robustness r --epsilon 0.1 nan": "Got: nan.",
    "robustness r --epsilon 1e39": "Got: 1e39.",
    "robustness r --step-size 1e39": "--step-size is not understood.",
    "robustness r --epsilon 8/0": "--epsilon is not understood.",
    "robustness r --step-size x": "--step-size is not understood.",
    "robustness r --loss hinge": "--loss cannot be 'hinge'. Expected: one of cross_entropy, margin, dlr.",
    "data foo": "action cannot be 'foo'. Expected: one of list, download, check.",
    "train --epochs x": "--epochs cannot be read",
    "train --flip maybe": "--flip cannot be 'maybe'.",
    "train --optimiser sam": "Did you mean --optimizer?",
    "train --config": "--config has no value.",
    "notebook -p a": "-p/--parameters has too few values. Expected: -p/--parameters and 2 values behind it.",
    "study foo": "question cannot be 'foo'. Expected: one of generalization, flatness, regularization.",
    "surfac r": "Unknown command 'surfac'. Expected: one of curvature, data, doctor,",
    "--quiet": "Unrecognized or misplaced options: --quiet",
    "": "No command is given. Expected: one of train, surface,",
}


@pytest.mark.parametrize(("columns", "drawn"), [(None, True), ("40", True), ("40", False)])
@pytest.mark.parametrize("words", WRONG)
def test_one_sentence_and_exit_code_2(words, columns, drawn, capsys, monkeypatch):
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("tyro._fmtlib._should_use_utf8_drawing_chars", lambda: drawn, raising=False)
    assert main(words.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ") and said.err.count("\n") == 1
    assert WRONG[words] in said.err
    assert "What to do: " in said.err and not set("╭│─╰") & set(said.err)


def test_what_is_not_known_is_told_in_the_parsers_own_words():
    box = "╭─ Odd ──╮\n│ Something new    │\n│ is wrong.        │\n│ ──────── │\n│ For full helptext │\n╰────────╯\n"
    assert (
        str(mistake(box, ["train"])) == "Something new is wrong. What to do: `landscape train --help` lists all flags."
    )
    assert "not understood" in str(mistake("", []))


def test_what_goes_well_is_left_as_it_is(capsys):
    with one_sentence([]):
        print("seen", file=sys.stderr)
    assert capsys.readouterr().err == "seen\n"
    for code in (0, 1, None):
        with pytest.raises(SystemExit) as stop, one_sentence([]):
            print("seen", file=sys.stderr)
            sys.exit(code)
        assert stop.value.code == code and capsys.readouterr().err == "seen\n"
    stderr = sys.stderr
    with pytest.raises(ConfigError, match="seen"), one_sentence([]):
        print("seen", file=sys.stderr)
        sys.exit(2)
    assert sys.stderr is stderr and not isinstance(stderr, io.StringIO)
    with pytest.raises(KeyboardInterrupt), one_sentence([]):
        raise KeyboardInterrupt


@pytest.mark.parametrize("words", [["--help"], ["surface", "--help"], ["train", "-h"]])
def test_help_is_help(words, capsys):
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.err == "" and "usage: landscape" in said.out and "show this help" in said.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("surface r --extent 0", "--extent is out of range. Expected: a positive number. Got: 0.0."),
        ("surface r --extent -1", "--extent is out of range."),
        ("surface r --extent nan", "--extent is out of range."),
        ("surface r --extent inf --plane eigen", "--extent is out of range."),
        ("curvature r --rel-error 0", "--rel-error is out of range. Expected: a positive number. Got: 0.0."),
        ("curvature r --memory-limit 0", "--memory-limit is out of range. Expected: at least 1. Got: 0."),
        ("study --held-out 1", "--held-out is out of range."),
        ("study --seeds 0", "--seeds is out of range."),
        ("study --search-seeds 0", "--search-seeds is out of range."),
        ("study --jobs 0", "--jobs is out of range."),
        ("notebook 00_tour --timeout 0", "--timeout is out of range."),
    ],
)
def test_values_out_of_range_name_the_flag_before_any_work(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("digits-mlp-sam-1", "digits-mlp-sgd-2", "mnist-mlp-sgd-3"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


TWO = "2 runs match; name one. Expected: the folder of one run. Got: runs/digits-mlp-sam-1, runs/digits-mlp-sgd-2."


@pytest.mark.parametrize("command", ["surface", "curvature", "sharpness", "robustness"])
def test_several_runs_are_listed_where_one_is_to_be_named(command, folder, capsys):
    """``runs/digits*``: a shell makes two words of it, and where it is quoted, or without the star, it is one."""
    assert main([command, "runs/digits-mlp-sam-1", "runs/digits-mlp-sgd-2", "--quiet"]) == 2
    err = capsys.readouterr().err
    assert TWO in err and f"`landscape {command} runs/digits-mlp-sam-1`, for example." in err
    assert main([command, "runs/digits-mlp-sam-1", "runs/nothing", "--quiet"]) == 2
    assert "runs/nothing is one folder too many. Expected: the folder of one run." in capsys.readouterr().err
    for word in ("runs/digits*", "runs/digits", "runs/dig**"):
        assert main([command, word]) == 2
        err = capsys.readouterr().err
        assert TWO in err and "What to do: Give the whole name, for example runs/digits-mlp-sam-1." in err
    for word in ("runs", "runs/", "./runs"):
        assert main([command, word]) == 2
        assert "3 runs match; name one." in capsys.readouterr().err
    assert main([command, "runs/mnist*"]) == 2
    assert "runs/mnist* holds no run." in (err := capsys.readouterr().err) and "mean runs/mnist-mlp-sgd-3?" in err
    assert main([command, "runs/nothing*"]) == 2
    assert "runs/nothing* holds no run." in capsys.readouterr().err


def test_many_runs_are_counted(folder):
    for k in range(20):
        (folder / f"x-{k:02}").mkdir()
        (folder / f"x-{k:02}" / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"20 runs match.*runs/x-00, .*, runs/x-09 and 10 more\. "):
        one_run(Path("runs/x"))
    assert one_run(Path("runs/x-03")) == Path("runs/x-03")
