"""Differences between methods, pair by pair: equal to those of the study, and of pairs only."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from landscape.errors import ConfigError, DataError, MismatchError, StudyError
from landscape.study import Generalization, Score, compare_generalization, pair_runs, paired_difference, paired_verdict
from landscape.training import Run, RunConfig, train

TINY = RunConfig(model="mlp", limit=60, test_limit=40, epochs=1, batch_size=20, label_noise=0.2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Run]]:
    root = tmp_path_factory.mktemp("runs")
    methods = {"SGD": {}, "SAM": {"optimizer": "sam", "rho": 0.3, "keep_every": 1}, "other": {"optimizer": "gnp"}}
    return {
        label: [train(TINY.replace(seed=k, data_seed=k, **own), root=root, progress=False) for k in range(3)]
        for label, own in methods.items()
    }


def test_differences_are_those_of_the_errors(runs) -> None:
    found = pair_runs(runs)
    plain, sam = ([run.metrics()[-1]["test_error"] for run in runs[label]] for label in ("SGD", "SAM"))
    gains = np.subtract(plain, sam)
    assert found.scores[0].errors == tuple(plain) and found.scores[1].errors == tuple(sam)
    gain, error = found.advantage(found.scores[1])
    assert gain == pytest.approx(gains.mean()) and error == pytest.approx(gains.std(ddof=1) / math.sqrt(3))
    assert [(score.option, score.radius) for score in found.scores] == [(None, None), ("rho", 0.3), (None, None)]
    assert found.base["label_noise"] == 0.2 and not {"optimizer", "rho", "seed"} & set(found.base)


def test_the_table_names_no_edge_where_nothing_was_searched(runs) -> None:
    lines = pair_runs(runs).table().splitlines()
    assert lines[3].startswith("| SAM | rho 0.3 | ") and lines[4].startswith("| GNP |  | ")
    assert not pair_runs(runs).scores[1].at_edge


def test_they_are_what_the_study_finds(tmp_path) -> None:
    base = TINY.replace(test_limit=None)
    study = compare_generalization(
        base, seeds=2, search_seeds=1, radii={"sam": ("rho", (0.3,))}, root=tmp_path, jobs=1, progress=False
    )
    own = {
        name: [
            train(base.replace(seed=k, data_seed=k, **options), root=tmp_path, progress=False) for k in range(2)
        ]
        for name, options in (("SGD", {}), ("SAM", {"optimizer": "sam", "rho": 0.3}))
    }  # fmt: skip
    found = pair_runs(own)
    assert [score.errors for score in found.scores] == [score.errors for score in study.scores]
    assert found.advantage(found.scores[1]) == study.advantage(study.scores[1])


def test_the_difference_of_pairs_has_a_closed_form() -> None:
    assert paired_difference([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]) == (2.0, pytest.approx(1 / math.sqrt(3)))
    gain, error = paired_difference([0.25], [0.5])
    assert gain == 0.25 and math.isnan(error)
    assert math.isnan(paired_difference([math.nan, 1.0], [1.0, 1.0])[0])
    for values, reference in (([1.0], [1.0, 2.0]), ([], [])):
        with pytest.raises(MismatchError, match="no pairs"):
            paired_difference(values, reference)


def test_what_is_no_pair_is_refused(runs, tmp_path) -> None:
    sgd, sam = runs["SGD"], runs["SAM"]
    with pytest.raises(MismatchError, match="differ in data_seed"):
        pair_runs({"SGD": sgd, "SAM": [sam[1], sam[0], sam[2]]})
    with pytest.raises(MismatchError, match="another number"):
        pair_runs({"SGD": sgd, "SAM": sam[:2]})
    with pytest.raises(MismatchError, match="not the one that the others"):
        pair_runs({"SAM": sam, "SGD": sgd})
    for nothing in ({}, {"SGD": []}):
        with pytest.raises(DataError, match="no runs"):
            pair_runs(nothing)
    longer = train(TINY.replace(optimizer="sam", rho=0.3, epochs=2), root=tmp_path, progress=False)
    with pytest.raises(MismatchError, match="differ in epochs"):
        pair_runs({"SGD": sgd[:1], "SAM": [longer]})


def test_other_data_under_the_same_name_is_no_pair(runs, monkeypatch) -> None:
    real = Run.environment

    def other(self: Run) -> dict:
        found = real(self)
        return (
            {**found, "data_sha256": {**found["data_sha256"], "train": "0" * 64}} if "sam" in str(self.path) else found
        )

    monkeypatch.setattr(Run, "environment", other)
    with pytest.raises(MismatchError, match="other train data"):
        pair_runs({"SGD": runs["SGD"], "SAM": runs["SAM"]})


def test_a_run_that_is_not_finished_is_refused(runs, tmp_path) -> None:
    unfinished = replace(runs["SAM"][0], path=tmp_path)
    (tmp_path / "environment.json").write_bytes((runs["SAM"][0].path / "environment.json").read_bytes())
    with pytest.raises(StudyError, match="finished"):
        pair_runs({"SGD": runs["SGD"][:1], "SAM": [unfinished]})


def verdict(sgd: tuple[float, ...], other: tuple[float, ...], **options: float) -> str:
    scores = tuple(
        Score(optimizer=name, option=None, radius=None, validation=(), errors=errors)
        for name, errors in (("sgd", sgd), ("sam", other))
    )
    (sentence,) = paired_verdict(Generalization(base={}, validation=0.0, search_seeds=0, scores=scores), **options)
    return sentence


def test_the_verdict_is_that_of_students_interval() -> None:
    from scipy.stats import ttest_rel

    sgd, sam = (0.10, 0.12, 0.14, 0.13), (0.07, 0.11, 0.10, 0.11)
    interval = ttest_rel(sgd, sam).confidence_interval(0.9)
    text = f"(90 % interval {100 * interval.low:.1f} to {100 * interval.high:.1f}, 4 pairs): a lower error."
    assert verdict(sgd, sam, level=0.9) == f"SAM: 2.5 points below SGD {text}"
    assert verdict(sam, sgd, level=0.9) == f"SAM: 2.5 points above SGD {text.replace('lower', 'higher')}"
    assert verdict(sgd, sam, level=0.999).endswith("not told apart.")


def test_a_verdict_on_too_little_says_so() -> None:
    assert verdict((0.2,), (0.1,)) == "SAM: 10.0 points below SGD in one pair, which tells nothing of other seeds."
    assert "diverged" in verdict((0.2, math.nan), (0.1, 0.1))
    assert verdict((0.2, 0.2), (0.2, 0.2)).endswith("(95 % interval 0.0 to 0.0, 2 pairs): not told apart.")
    with pytest.raises(ConfigError, match="level"):
        verdict((0.2,), (0.1,), level=1.0)
