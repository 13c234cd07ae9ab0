"""What a notebook begins with: one line, an estimate, settings by profile, checks that speak, and an honest end."""

from __future__ import annotations

import io
import itertools
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import landscape as ll
from landscape import plotting
from landscape.errors import ConfigError, LandscapeError, NotebookError
from landscape.notebooks import begin
from landscape.notebooks import estimate as estimate_module
from landscape.notebooks import given as given_module
from landscape.notebooks.estimate import Work, estimate_seconds, in_words
from landscape.notebooks.profile import find_profile
from landscape.notebooks.suite import _compact
from landscape.study.effort import loss_seconds
from landscape.widgets.show import bundle


@pytest.fixture
def root(tmp_path):
    return str(tmp_path / "runs")


def test_one_line_says_what_a_notebook_runs_with(root, capsys):
    suite = begin(root=root, mode="static", seed=3, epochs=None, rho=0.1)
    (line,) = capsys.readouterr().out.splitlines()
    for part in ("static mode", "profile quick", "seed 3", f"torch {torch.__version__}", "CPU thread", root):
        assert part in line
    assert suite.profile.epochs == find_profile("quick").epochs
    assert suite.seeds == (3, 4) and len(set(suite.direction_seeds)) == suite.profile.directions
    assert not (suite.root).exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"profile": "full"}, "Unknown profile 'full'.*paper, quick, standard"),
        ({"rho": -1.0}, "'rho' is out of range"),
        ({"dataset": "nope"}, "Unknown dataset 'nope'"),
        ({"mode": "dead"}, "Unknown mode"),
        ({"epochs": 0}, "at least 1"),
        ({"device": "cuda:77"}, "is not there"),
    ],
)
def test_wrong_values_are_refused_in_the_first_cell(root, wrong, message):
    with pytest.raises(NotebookError, match=message):
        begin(**{"root": root, **wrong})


def test_settings_of_runs_are_those_of_the_notebook(root):
    suite = begin(
        root=root, mode="static", profile="standard", seed=2, dataset="mnist1d", model="cnn1d", limit=0, test_limit=30,
        label_noise=0.1, lr=0.2, rho=0.3, title="x",
    )  # fmt: skip
    config = suite.config()
    assert (config.dataset, config.model, config.label_noise, config.lr) == ("mnist1d", "cnn1d", 0.1, 0.2)
    assert (config.limit, config.test_limit, config.seed, config.data_seed) == (None, 30, 2, 2)
    assert config.epochs == 60 and config.optimizer == "sgd" and config.rho is None
    assert suite.config(optimizer="sam", rho=0.3, seed=5, epochs=1).seed == 5
    with pytest.raises(ConfigError, match="keep_evry"):
        suite.config(keep_evry=1)


def test_a_published_setting_takes_the_place_of_the_notebooks(root):
    recipe = ll.recipes.load_recipe("amp/cifar100-wrn28-10").config
    suite = begin(root=root, mode="static", seed=3, dataset="digits", model="mlp", lr=0.3, limit=0, epochs=None)
    config = suite.config("amp/cifar100-wrn28-10")
    assert config == recipe.replace(seed=3, data_seed=3)
    few = begin(root=root, mode="static", limit=200, test_limit=50, epochs=2).config(
        "amp/cifar100-wrn28-10", keep_every=1
    )
    assert few == recipe.replace(limit=200, test_limit=50, epochs=2, seed=0, data_seed=0, keep_every=1)
    with pytest.raises(ConfigError, match="Unknown recipe"):
        suite.config("amp/cifar100")


# ------------------------------------------------------------------------------------------------------ estimates


def test_the_estimate_is_in_the_range_of_the_truth(root):
    suite = begin(root=root, mode="static", dataset="digits", model="mlp", epochs=20)
    config = suite.config(eval_every=20, save_every=20)
    took = estimate_seconds(Work(trainings=[config]), suite.profile, config)
    suite.train(config.replace(epochs=1))  # what is loaded first
    start = time.process_time()
    suite.train(config)
    truth = time.process_time() - start  # not the clock's: others compute here too
    assert took is not None and truth / 5 < took < truth * 5
    assert estimate_seconds(Work(trainings=[config] * 2), suite.profile, config) > 1.5 * took


def test_twice_the_work_takes_twice_as_long(root, monkeypatch):
    suite = begin(root=root, mode="static", dataset="digits", model="mlp", epochs=10, points=5, line_points=9)
    config = suite.config(limit=256, batch_size=256)
    monkeypatch.setattr(estimate_module, "_seconds", lambda work: 0.01)

    def took(**counts):
        return estimate_seconds(Work(**counts), suite.profile, config)

    examples = 256 / 256  # the profile asks for more than there are
    assert took(surfaces=1) == pytest.approx(25 * 0.01 * examples)
    assert took(surfaces=2, lines=3, losses=5) == pytest.approx((50 + 27 + 5) * 0.01)
    assert took(products=7, gradients=4, seconds=1.5) == pytest.approx(1.5 + 0.11)
    one, two = took(trainings=[config]), took(trainings=[config.replace(optimizer="sam")])
    assert two - 0.3 == pytest.approx(2 * (one - 0.3))
    assert took() == 0.0


@pytest.mark.parametrize(
    ("options", "gradients"),
    [
        ({"optimizer": "sam", "when": "every:5"}, 1.2),
        ({"optimizer": "amp", "inner_iter": 3}, 4.0),
        ({"optimizer": "entropysgd", "optimizer_options": {"L": 3}}, 3.0),
        ({"optimizer": "lpfsgd", "M": 4}, 1.0),
    ],
)
def test_a_training_takes_as_long_as_its_gradients(root, monkeypatch, options, gradients):
    suite = begin(root=root, mode="static", dataset="digits", model="mlp", epochs=10)
    config = suite.config(limit=256, batch_size=64)
    monkeypatch.setattr(estimate_module, "_seconds", lambda work: 0.01)
    plain, other = (
        estimate_seconds(Work(trainings=[each]), suite.profile, each) for each in (config, config.replace(**options))
    )
    assert other - 0.3 == pytest.approx(gradients * (plain - 0.3))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dataset": "mnist1d", "model": "resnet20"}, r"'resnet20' cannot take inputs of shape \(1, 40\).*Use 'cnn1d'"),
        ({"dataset": "digits", "model": "cnn1d"}, r"'cnn1d' cannot take inputs of shape \(1, 8, 8\).*Use 'smallcnn'"),
        ({"dataset": "cifar10", "model": "mlp"}, "files of 'cifar10' are not in .*landscape data download cifar10"),
        ({"dataset": "folder:{root}/own", "model": "vgg11_bn"}, r"cannot take inputs of shape \(3, 16, 16\)"),
        ({"dataset": "digits", "model": "own:five"}, r"does not fit the data 'digits'.*of 10 classes.*shape \(B, 5\)"),
    ],
)
def test_what_cannot_be_trained_is_told_with_the_plan(root, monkeypatch, given, message):
    for split, label in itertools.product(("train", "test"), ("a", "b")):
        image = Path(root).parent / "own" / split / label / "0.png"
        image.parent.mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(image)
    own = types.ModuleType("own")
    own.five = _five  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own", own)
    given = given | {"dataset": given["dataset"].format(root=Path(root).parent)}
    suite = begin(root=root, data_root=str(Path(root).parent), mode="static", epochs=1, **given)
    with pytest.raises(LandscapeError, match=message):
        suite.plan({"SGD": suite.config(), "SAM": suite.config(optimizer="sam")})


def _five(classes, input_shape):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5))


def test_each_kind_of_training_is_tried_once(root, monkeypatch):
    tried = []
    monkeypatch.setattr(given_module, "check_feasible", lambda config, *rest: tried.append(config.batch_size))
    suite = begin(root=root, mode="static", dataset="digits", model="mlp", epochs=1)
    settings = [{"optimizer": name, "seed": seed} for name in ("sgd", "sam") for seed in range(3)]
    suite.plan([suite.config(**each) for each in (*settings, {"batch_size": 7})])
    assert tried == [suite.config().batch_size, 7]


def test_the_plan_is_said_before_anything_is_computed(root, capsys):
    suite = begin(root=root, mode="static", dataset="digits", model="mlp", epochs=1, points=3)
    config = suite.config(limit=50, test_limit=50, batch_size=25)
    capsys.readouterr()
    suite.plan({"SGD": config, "SAM": config.replace(optimizer="sam")}, surfaces=2, products=10, seconds=3.0)
    said = capsys.readouterr().out
    assert "on this machine: 2 trainings (2 epochs), 2 surfaces of 3x3 points, 10 Hessian products, analyses" in said
    assert not suite.root.exists()
    suite.train(config)
    capsys.readouterr()
    suite.plan([config, config.replace(optimizer="sam")])
    assert "1 training (1 epochs). 1 of 2 trainings are finished." in capsys.readouterr().out
    suite.plan(config)
    suite.finish()
    capsys.readouterr()
    again = begin(root=root, mode="static", dataset="digits", model="mlp", epochs=1, points=3)
    again.plan(config)
    again.finish()
    said = capsys.readouterr().out
    assert "Computed before, in" in said and "0 results computed, 0 read from" in said
    next((suite.root / "cache").glob("plan-*.json")).write_text("{")
    again.plan(config)
    assert "About a second" in capsys.readouterr().out


def test_no_estimate_of_analyses_where_the_data_is_not_there(root, capsys):
    suite = begin(root=root, mode="static", dataset="cifar10", model="mlp", data_root="")
    suite.data_root = suite.root / "nothing"
    suite.plan(losses=3)
    assert "An unknown time" in capsys.readouterr().out


def further(sizes):
    return (2 * sizes.points - 1) ** 2 + 100 * sizes.directions


def losses_of(sizes):
    return 6 * sizes.points**2 + further(sizes)


@pytest.fixture
def heavy(monkeypatch):
    """Count a small network as ResNet-20 on images of 32 pixels, and time nothing."""
    monkeypatch.setattr(estimate_module, "gradient_flops", lambda objective: 2.4e8)
    monkeypatch.setattr(estimate_module, "_seconds", lambda work: 0.01)
    return {"mode": "static", "dataset": "digits", "model": "mlp", "epochs": 1}


def test_analyses_that_would_take_long_are_over_fewer_examples_and_that_is_said(root, heavy, capsys):
    suite = begin(root=root, **heavy)
    config, before = suite.config(), suite.profile
    wanted = {"surfaces": 6, "losses": further}
    suite.plan(config, most=1e6, **wanted)
    suite.plan(config, **wanted)
    assert suite.profile == before and "in place of" not in capsys.readouterr().out
    suite.plan(config, most=600, **wanted)
    said, seconds = capsys.readouterr().out, losses_of(before) * loss_seconds(2.4e8, 500)
    few = suite.profile.examples
    assert suite.profile.points == 15 and few == int(500 * 600 / seconds)
    assert said.startswith("About ") and " on this machine" in said
    assert f"To take about 10 min on two CPU cores beside the trainings, losses are over {few} examples." in said


def test_where_few_examples_are_not_enough_surfaces_have_fewer_points(root, heavy, capsys):
    suite, other = begin(root=root, **heavy), begin(root=root, points=15, **heavy)
    for each in (suite, other):
        each.plan(each.config(), surfaces=6, losses=further, most=250)
    said = capsys.readouterr().out
    assert suite.profile.examples == other.profile.examples == 64 and other.profile.points == 15
    points = suite.profile.points
    finer = suite.profile.replace(points=points + 2)
    times = [losses_of(sizes) * loss_seconds(2.4e8, 64) for sizes in (suite.profile, finer)]
    assert times[0] <= 250 < times[1]
    assert f"6 surfaces of {points}x{points} points" in said
    assert f"surfaces have {points}x{points} points in place of 15x15" in said
    suite.plan(suite.config(), surfaces=6, losses=further, most=0.01)
    assert suite.profile.points == 9 and suite.profile.examples == 64
    run = suite.train(suite.config(limit=100, test_limit=100))
    assert suite.objective(run).examples == 64


def test_times_are_said_roughly():
    said = [in_words(seconds) for seconds in (0.0, 2.2, 44, 119, 121, 3599, 9000)]
    assert said == ["a second", "3 s", "45 s", "120 s", "2 min", "60 min", "2.5 h"]


# ------------------------------------------------------------------------------------------------ showing and checks


def test_checks_say_what_held_and_name_what_did_not(root, capsys):
    suite = begin(root=root, mode="static")
    capsys.readouterr()
    suite.check("it is so", True)
    suite.check("they are", {"SGD": True, "SAM": torch.tensor(True)})
    assert capsys.readouterr().out == "✓ it is so\n✓ they are (SGD, SAM)\n"
    for holds in (False, float("nan") < 1, {"SGD": True, "SAM": False}, {}, torch.tensor(False)):
        with pytest.raises(NotebookError, match="A check failed: they are"):
            suite.check("they are", holds)
    with pytest.raises(NotebookError, match=r"they are \(SAM\)"):
        suite.check("they are", {"SGD": True, "SAM": False})
    assert capsys.readouterr().out == ""


def test_a_picture_goes_with_its_figure_and_keeps_its_colors(root, results, monkeypatch):
    from PIL import Image

    from landscape.notebooks import suite as suite_module

    shown = []
    monkeypatch.setattr(suite_module, "display_bundle", shown.append)
    figure = plotting.contour(results.surfaces, backend="matplotlib")
    begin(root=root, mode="static").show(plotting.contour(results.surfaces), picture=figure)
    (data,) = shown
    begin(root=root, mode="live").show(plotting.contour(results.surfaces), picture=figure)
    assert len(shown) == 1  # the figure alone, by the widgets' show
    assert "application/vnd.plotly.v1+json" in data and "Loss" in data["text/plain"]
    assert data["image/png"].startswith(b"\x89PNG") and len(data["image/png"]) < 100_000
    whole = bundle(figure)["image/png"]
    before, after = (np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), int) for png in (whole, _compact(whole)))
    assert before.shape == after.shape and len(_compact(whole)) < 0.6 * len(whole)
    assert np.abs(before - after).max() < 26  # a tenth of the range, at the worst pixel


def test_figures_and_explorers_are_shown_in_the_notebooks_mode(root, monkeypatch):
    from landscape.notebooks import suite as suite_module

    seen = []
    monkeypatch.setattr(suite_module, "show", lambda thing, mode: seen.append((thing, mode)))
    begin(root=root, mode="live").show("a")
    begin(root=root, mode="static").show("b")
    assert seen == [("a", "live"), ("b", "static")]
