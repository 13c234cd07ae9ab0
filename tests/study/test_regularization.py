"""Strengths of penalties are chosen on examples beside the training set, and the test set is looked at once."""

from __future__ import annotations

import re

import pytest

from landscape.cli import main
from landscape.errors import ConfigError
from landscape.study import Generalization, compare_regularizers
from landscape.training import RunConfig, train

TINY = RunConfig(model="mlp", model_options={"hidden": [8]}, limit=40, epochs=2, batch_size=20)
STRENGTHS = {"gradient": ("weight", (0.01, 0.1)), "pgd-l2": ("epsilon", (0.3,))}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    sizes = {"seeds": 2, "search_seeds": 1, "validation_examples": 30, "strengths": STRENGTHS, "decays": (0.0, 1e-2)}
    return root, compare_regularizers(
        TINY, penalties=("gradient", "pgd-l2"), root=root, jobs=1, progress=False, **sizes
    )


def test_a_study_trains_what_it_says(found):
    root, result = found
    runs = [RunConfig.from_json(path.read_text()) for path in root.glob("*/config.json")]
    searched = [config for config in runs if config.validation_examples]
    assert len(searched) == 2 + 2 + 1 and {config.validation_examples for config in searched} == {30}
    assert len(runs) - len(searched) == 3 * 2
    assert all(config.limit == 40 and config.seed == config.data_seed for config in runs)
    assert [score.optimizer for score in result.scores] == ["weight decay", "gradient", "pgd-l2"]
    assert all(config.weight_decay == TINY.weight_decay for config in runs if config.penalty)


def test_the_strength_is_the_one_with_the_lowest_error_beside_and_errors_are_those_of_the_runs(found):
    root, result = found
    gradient = result.scores[1]
    errors = dict(gradient.validation)
    assert errors.keys() == {0.01, 0.1} and errors[gradient.radius] == min(errors.values())
    config = TINY.replace(penalty=("gradient",), penalty_options={"weight": gradient.radius}, seed=1, data_seed=1)
    rows = train(config.replace(eval_every=2, save_every=2), root=root, progress=False).metrics()
    assert rows[-1]["test_error"] == gradient.errors[1]


def test_the_table_names_what_the_penalties_are_compared_with(found, tmp_path):
    _, result = found
    table = result.table()
    assert "below weight decay by" in table and re.search(r"\| gradient \| weight 0\.\d+", table)
    result.save(tmp_path / "a.json")
    assert Generalization.load(tmp_path / "a.json") == result


@pytest.mark.parametrize(
    ("base", "options", "words"),
    [
        (TINY.replace(limit=None), {}, "limit"),
        (TINY, {"penalties": ("gradent",)}, "gradient"),
        (TINY, {"validation_examples": 0}, "validation_examples"),
        (
            TINY,
            {"validation_examples": 961},
            r"validation_examples \(--beside\).*at most 960.*1000 .*40 of them.*Got: 961",
        ),
        (TINY.replace(limit=1000), {}, r"limit is out of range.*below 1000, the training examples of digits"),
        (TINY.replace(penalty=("gradient",)), {}, "set by the study"),
        (TINY.replace(seed=3), {}, "seed"),
        (TINY.replace(test_limit=20), {}, "test_limit.*whole test split"),
        (TINY, {"penalties": ()}, "one name or more"),
        (TINY, {"penalties": ("grad-l2", "grad-l2")}, "more than once.*--penalties grad-l2"),
    ],
)
def test_what_cannot_be_asked(base, options, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        compare_regularizers(base, root=tmp_path, progress=False, **options)
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path, capsys):
    words = ["study", "regularization", "--limit", "30", "--model", "mlp", "--epochs", "1", "--seeds", "1"]
    words += ["--search-seeds", "1", "--beside", "20", "--penalties", "spectral", "--jobs", "1", "--quiet"]
    assert main([*words, "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "| spectral | weight" in out and "nan" not in out and "±" not in out
    assert "|\n\nOne seed: no standard errors.\n" in out
    assert len(list((tmp_path / "studies").glob("regularization-digits-mlp-sgd-*.json"))) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--penalty vat", "Leave --penalty out; it tries vat with epsilon 0.1, 0.3, 1, 3."),
        ("--penalty vat --penalty-option epsilon=1", "Leave --penalty and --penalty-option out; it tries vat"),
        (
            "--penalties pgd-linf --epsilon 0.1",
            "Leave --epsilon out; it tries pgd-linf with epsilon 0.01, 0.03, 0.1, 0.3.",
        ),
        ("--penalties gradient,spectral", "without commas: gradient spectral"),
        ("--beside 0", "--beside is out of range. Expected: at least 1."),
    ],
)
def test_what_the_study_sets_itself_is_left_to_it(words, said, tmp_path, capsys):
    begin = ["study", "regularization", "--limit", "30", "--model", "mlp", "--root", str(tmp_path)]
    assert main([*begin, *words.split()]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("*/config.json"))


def test_a_method_with_a_radius_of_that_name_keeps_it(tmp_path, capsys):
    words = ["study", "regularization", "--optimizer", "amp", "--epsilon", "0.1", "--beside", "5000", "--limit", "30"]
    assert main([*words, "--root", str(tmp_path)]) == 2
    assert "validation_examples" in capsys.readouterr().err  # what comes after


def test_the_methods_of_a_study_may_share_a_penalty_that_needs_an_option(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("landscape.cli_study.StudyCommand._flatness", lambda self, settings: seen.append(settings))
    with pytest.raises(TypeError):  # there is nothing to ask
        main(["study", "flatness", "--penalty", "vat", "--penalty-option", "epsilon=0.5", "--root", str(tmp_path)])
    assert seen[0].penalty == ("vat",) and seen[0].penalty_options == {"epsilon": 0.5}
