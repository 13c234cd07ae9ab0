"""The commands that list, and training by a recipe: what is shrunk, what flags override, what is printed beside."""

from __future__ import annotations

import json
import re
from functools import partial
from types import SimpleNamespace

import pytest

from landscape import cli_runs
from landscape.cli import main
from landscape.cli_runs import comparison
from landscape.recipes import RECIPES, load_recipe
from landscape.training import Run, RunConfig

PLAIN = "lpf/mnist-lenet-sgd"  # a recipe without a figure
ERROR = "lpf/cifar10-resnet18-sam"  # one with the error of the best epoch


def call(capsys, *words: str) -> tuple[int, str, str]:
    code = main(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_all_recipes_are_listed_with_their_figures(capsys):
    code, out, _ = call(capsys, "recipes")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert list(lines) == list(RECIPES)
    assert lines["amp/cifar100-wrn28-10"].endswith("AMP, WRN-28-10, CIFAR-100: test error 17.33 ± 0.11 % (best epoch)")
    assert lines[PLAIN].endswith("no published figure")


def test_a_part_of_a_name_and_a_whole_one(capsys):
    code, out, _ = call(capsys, "recipes", "mnist-lenet")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [name for name in RECIPES if "mnist-lenet" in name]
    code, out, _ = call(capsys, "recipes", ERROR)
    assert code == 0
    recipe = load_recipe(ERROR)
    for text in (recipe.title, *map(str, recipe.published), str(recipe.source), *recipe.notes, recipe.source.settings):
        assert text in out
    for setting in ("rho                    0.05", "epochs                 200", "milestones             [100, 120]"):
        assert setting in out
    code, out, err = call(capsys, "recipes", "mnist-lennet")
    assert (code, out) == (2, "") and "lpf/mnist-lenet" in err


def test_a_recipe_in_its_smallest_form_with_flags_on_top(capsys, tmp_path):
    words = ["train", "--recipe", PLAIN, "--smoke", "--data-root", str(tmp_path), "--epochs", "2", "--quiet"]
    code, out, err = call(capsys, *words, "--root", str(tmp_path / "runs"))
    assert code == 0, err
    assert err == (
        "warning: the recipe's dataset is not there: synthetic:1x28x28:10 is noise of its shape, "
        "nothing can be learned\n"
    )
    (folder,) = (tmp_path / "runs").iterdir()
    recipe = load_recipe(PLAIN)
    assert Run.load(folder).config == recipe.smoke(data_root=tmp_path).replace(epochs=2)
    lines = out.splitlines()
    below = lines[lines.index(f"recipe         {PLAIN}: {recipe.title}") :]
    assert below[1] == "published      no figure"
    assert below[2].startswith("source         Bisla")
    assert below[3].startswith(
        "not comparable dataset synthetic:1x28x28:10 in place of mnist; limit 4 in place of none"
    )
    assert "epochs 2 in place of 150" in below[3]
    assert not any(line.startswith("best epoch") for line in lines)


def test_the_best_epoch_is_that_of_the_lowest_test_error_among_those_tested():
    rows = [
        {"epoch": k, **({} if error is None else {"test_error": error})}
        for k, error in enumerate((0.5, None, 0.25, 0.375))
    ]
    recipe = load_recipe(ERROR)
    run = SimpleNamespace(metrics=lambda: rows, config=recipe.config)
    run.best = partial(Run.best, run)
    lines = list(comparison(recipe, run))
    assert lines[0] == "best epoch     25.00 % test error in epoch 2, chosen on the test set"
    assert not any(line.startswith("not comparable") for line in lines)


def test_the_published_figure_stands_beside_the_result(capsys, tmp_path):
    words = ["train", "--recipe", ERROR, "--smoke", "--data-root", str(tmp_path), "--model", "resnet20"]
    words += ["--epochs", "4", "--lr", "0.5", "--quiet", "--root", str(tmp_path / "runs")]
    code, out, err = call(capsys, *words)
    assert code == 0, err
    (folder,) = (tmp_path / "runs").iterdir()
    rows = Run.load(folder).metrics()
    assert f"test error     {100 * rows[-1]['test_error']:.2f} %\n" in out
    assert f"best epoch     {100 * min(row['test_error'] for row in rows):.2f} % test error" in out
    assert "published      test error 10 ± 0.18 % (best epoch)\n" in out
    assert "https://arxiv.org/abs/2201.08025" in out
    assert "model resnet20 in place of resnet18" in out


def test_nothing_is_said_of_a_recipe_where_none_was_asked_for(capsys, tmp_path):
    words = ["--model", "mlp", "--limit", "50", "--epochs", "1", "--quiet", "--root", str(tmp_path)]
    code, out, _ = call(capsys, "train", *words)
    assert code == 0
    assert "recipe" not in out and "published" not in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--recipe", "lpf/mnist-lenet-sdg", "--smoke"], "Did you mean 'lpf/mnist-lenet-sgd'?"),
        (["--smoke"], "--recipe NAME"),
        (["--recipe", PLAIN, "--config", "a.json"], "Both --config and --recipe"),
        ([f"--recipe={PLAIN}", "--smoke", "--rho", "1"], "sgd does not read rho"),
    ],
)
def test_wrong_input_is_one_error(capsys, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, "train", *words, "--quiet")
    assert (code, out) == (2, "")
    assert expected in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_runs_in_a_table(capsys, tmp_path):
    small = {"model": "mlp", "model_options": {"hidden": [4]}, "limit": 50, "test_limit": 20, "epochs": 2}
    (tmp_path / "settings.json").write_text(json.dumps(small))
    root = tmp_path / "runs"
    for words in (["--optimizer", "sam"], ["--lr", "1e30"]):
        main(["train", "--config", str(tmp_path / "settings.json"), *words, "--root", str(root), "--quiet"])
    capsys.readouterr()
    code, out, err = call(capsys, "runs", "--root", str(root))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["run", "state", "epoch", "test", "error", "optimizer", "changed"]
    failed, finished = (re.split(r"  +", line) for line in lines[1:3])
    assert failed[0].startswith("digits-mlp-sgd-") and (failed[1], failed[-2]) == ("failed", "sgd")
    run = Run.load(root / finished[0])
    assert run.config == RunConfig(**small, optimizer="sam")
    assert finished[1:5] == ["finished", "2/2", f"{100 * run.metrics()[-1]['test_error']:.2f} %", "sam"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", finished[5])
    assert lines[3] == "1 failed, 1 finished"
    assert lines[4].startswith(f"{failed[0]}: Training diverged: the loss and the weights became NaN")


def test_runs_where_there_are_none(capsys, tmp_path):
    assert call(capsys, "runs", "--root", str(tmp_path)) == (0, f"no runs in {tmp_path}\n", "")
    code, out, err = call(capsys, "runs", "--root", str(tmp_path / "no"))
    assert (code, out) == (2, "") and "There is no folder" in err


def test_names_cannot_move_the_cursor(capsys, tmp_path):
    folder = tmp_path / "a\x1b[2Jb\nc"
    folder.mkdir()
    (folder / "config.json").write_text("{")
    code, out, _ = call(capsys, "runs", "--root", str(tmp_path))
    assert code == 0 and "\x1b" not in out
    assert out.splitlines()[1].startswith("a\\x1b[2Jb\\nc  unreadable") and len(out.splitlines()) == 4


def test_a_recipe_finds_its_data_however_the_flag_is_spelled(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = []
    monkeypatch.setattr(cli_runs, "recipe_settings", lambda name, **how: given.append((name, how["data_root"])))
    cli_runs.starting_settings(["train", "--recipe", PLAIN, "--data_root", "there", "--smoke"])
    cli_runs.starting_settings([f"--recipe={PLAIN}", "--data_root=there"])
    assert given == [(PLAIN, "there")] * 2


def test_settings_that_are_no_json_are_to_be_corrected_not_deleted(capsys, tmp_path):
    (tmp_path / "a.json").write_text("{,}")
    code, _, err = call(capsys, "train", "--config", str(tmp_path / "a.json"))
    assert code == 2 and "Correct it" in err and "Delete" not in err
