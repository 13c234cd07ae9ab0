"""Radii are chosen on held-out data, methods are compared by seed, and the table says so."""

from __future__ import annotations

import math
import sys

import pytest

from landscape.errors import ConfigError, CorruptFileError, StudyError
from landscape.study import Generalization, Score, compare_generalization, train_all
from landscape.study.executor import _start
from landscape.study.generalization import default_result_path
from landscape.training import RunConfig
from landscape.training.run import load_run_dataset

TINY = RunConfig(model="mlp", limit=60, test_limit=40, epochs=1, batch_size=20, label_noise=0.2)
RADII = {"sam": ("rho", (0.05, 0.5)), "lpfsgd": ("std", (0.01,))}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    base = TINY.replace(test_limit=None)
    return root, compare_generalization(
        base, seeds=2, search_seeds=2, validation=0.25, radii=RADII, root=root, jobs=1, progress=False
    )


def test_a_study_trains_what_it_says(found):
    root, result = found
    runs = [RunConfig.from_json(path.read_text()) for path in root.glob("*/config.json")]
    held_out = [config for config in runs if config.validation]
    assert len(held_out) == 3 * 2 and {config.validation for config in held_out} == {0.25}
    assert len(runs) - len(held_out) == 3 * 2  # sgd, sam, lpfsgd, two seeds each
    assert all(config.seed == config.data_seed for config in runs)
    assert [score.optimizer for score in result.scores] == ["sgd", "sam", "lpfsgd"]
    assert all(len(score.errors) == 2 and 0 <= min(score.errors) <= max(score.errors) <= 1 for score in result.scores)


def test_the_radius_is_the_one_with_the_lowest_held_out_error(found):
    _, result = found
    sam = result.scores[1]
    assert dict(sam.validation).keys() == {0.05, 0.5}
    assert dict(sam.validation)[sam.radius] == min(error for _, error in sam.validation)
    assert sam.at_edge


def test_errors_are_those_of_the_runs(found):
    from landscape.training import train

    root, result = found
    sam = result.scores[1]
    config = TINY.replace(test_limit=None, optimizer="sam", rho=sam.radius, seed=1, data_seed=1)
    assert train(config, root=root, progress=False).metrics()[-1]["test_error"] == sam.errors[1]


def test_a_second_call_trains_nothing(found, monkeypatch):
    root, result = found
    monkeypatch.setattr(sys.modules["landscape.training.train"], "Trainer", None)
    again = compare_generalization(
        TINY.replace(test_limit=None), seeds=2, search_seeds=2, radii=RADII, root=root, jobs=1, progress=False
    )
    assert again == result


def test_a_result_survives_its_file(found, tmp_path):
    result = found[1]
    result.save(tmp_path / "a.json")
    assert Generalization.load(tmp_path / "a.json") == result
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(CorruptFileError, match="no result of this study"):
        Generalization.load(tmp_path / "b.json")


def test_the_standard_error_is_paired_by_seed():
    plain = Score(optimizer="sgd", option=None, radius=None, validation=(), errors=(0.1, 0.5, 0.3))
    better = Score(
        optimizer="sam",
        option="rho",
        radius=0.2,
        validation=((0.1, 0.3), (0.2, 0.2), (0.4, 0.3)),
        errors=(0.09, 0.48, 0.27),
    )
    result = Generalization(base={}, validation=0.25, search_seeds=1, scores=(plain, better))
    gain, error = result.advantage(better)
    assert gain == pytest.approx(0.02) and error == pytest.approx(0.01 / math.sqrt(3))
    assert plain.stderr == pytest.approx(0.2 / math.sqrt(3))
    assert not better.at_edge
    assert "| SAM | rho 0.2 | 28.00 ± 11.27 | +2.00 ± 0.58 | +3.5 |" in result.table()


def test_a_radius_with_which_training_diverges_is_not_chosen(tmp_path):
    base = TINY.replace(test_limit=None, lr=1.0, epochs=2)
    radii = {"lpfsgd": ("std", (0.01, 1e30))}
    result = compare_generalization(base, seeds=1, search_seeds=1, radii=radii, root=tmp_path, jobs=1, progress=False)
    curve = dict(result.scores[1].validation)
    assert math.isnan(curve[1e30]) and result.scores[1].radius == 0.01
    result.save(tmp_path / "a.json")
    assert math.isnan(dict(Generalization.load(tmp_path / "a.json").scores[1].validation)[1e30])


def test_a_method_that_always_diverges_is_said_to_and_hides_no_other(tmp_path):
    radii = {"sam": ("rho", (0.05,)), "lpfsgd": ("std", (1e29, 1e30))}
    base = TINY.replace(test_limit=None, epochs=2)
    result = compare_generalization(base, seeds=2, search_seeds=1, radii=radii, root=tmp_path, jobs=1, progress=False)
    lost = result.scores[2]
    assert lost.radius is None and all(map(math.isnan, lost.errors)) and len(lost.errors) == 2
    lines = result.table().splitlines()
    assert lines[4] == "| LPF-SGD | every std diverged |  |  |  |"
    assert lines[3].startswith("| SAM | rho 0.05 (edge) | ") and "nan" not in result.table()
    configs = [RunConfig.from_json(path.read_text()) for path in tmp_path.glob("*/config.json")]
    assert sum(config.optimizer == "lpfsgd" for config in configs) == 2  # none but those of the search
    result.save(tmp_path / "a.json")
    assert Generalization.load(tmp_path / "a.json").table() == result.table()


def test_runs_that_diverge_are_counted_not_averaged():
    plain = Score(optimizer="sgd", option=None, radius=None, validation=(), errors=(0.1, math.nan))
    other = Score(optimizer="sam", option="rho", radius=0.1, validation=((0.1, 0.3),), errors=(0.1, 0.2))
    lines = Generalization(base={}, validation=0.25, search_seeds=1, scores=(plain, other)).table().splitlines()
    assert lines[2] == "| SGD |  | 1 of 2 runs diverged |  |  |"
    assert lines[3] == "| SAM | rho 0.1 (edge) | 15.00 ± 5.00 |  |  |"


@pytest.mark.parametrize(
    ("name", "value"), [("seed", 3), ("data_seed", 1), ("validation", 0.5), ("eval_every", 2), ("save_every", 2)]
)
def test_what_the_study_sets_itself_cannot_be_set(tmp_path, name, value):
    with pytest.raises(ConfigError, match=f"{name} is set by the study itself"):
        compare_generalization(TINY.replace(test_limit=None, **{name: value}), root=tmp_path)
    assert not any(tmp_path.iterdir())


def test_each_study_has_its_own_file(tmp_path):
    usual = {"seeds": 10, "search_seeds": 3, "validation": 0.25}
    others = [
        usual,
        *({**usual, key: value} for key, value in (("seeds", 2), ("search_seeds", 1), ("validation", 0.5))),
    ]
    bases = [TINY, TINY.replace(lr=0.1), TINY.replace(model="torchvision:resnet18")]
    paths = [default_result_path(base, tmp_path, **sizes) for sizes in others for base in bases]
    assert len(set(paths)) == len(paths) and {path.parent for path in paths} == {tmp_path / "studies"}
    assert paths[0].name.startswith("generalization-digits-mlp-") and ":" not in paths[2].name


@pytest.mark.parametrize(
    "wrong", [{"seeds": 0}, {"search_seeds": 0}, {"validation": 0.0}, {"validation": 1.0}, {"jobs": 0}]
)
def test_nonsense_is_refused(wrong, tmp_path):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        compare_generalization(TINY.replace(test_limit=None), root=tmp_path, progress=False, **wrong)
    assert not any(tmp_path.iterdir())


def test_the_base_is_the_plain_optimizer(tmp_path):
    with pytest.raises(ConfigError, match="sgd"):
        compare_generalization(TINY.replace(optimizer="sam"), root=tmp_path)


def test_workers_train_the_same_runs_as_this_process(tmp_path):
    import torch

    configs = [TINY.replace(seed=seed) for seed in range(3)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the workers
    try:
        here = train_all(configs, root=tmp_path / "here", jobs=1, progress=False)
    finally:
        torch.set_num_threads(threads)
    there = train_all(configs, root=tmp_path / "there", jobs=2, progress=False)
    assert [run.weights_checksum() for run in here] == [run.weights_checksum() for run in there]
    assert [run.config for run in there] == configs


def test_a_run_that_fails_is_named_and_the_workers_end(tmp_path):
    with pytest.raises(StudyError, match=r"(?s)1 of 2 runs failed.*became NaN"):
        train_all(
            [TINY.replace(lr=1e30, seed=5), TINY.replace(seed=6, epochs=2)], root=tmp_path, jobs=2, progress=False
        )


def test_a_worker_stops_when_nobody_asks_any_more(tmp_path):
    process = _start(tmp_path, None)
    process.stdin.close()
    assert process.wait(60) == 0
    process.stdout.close()


def test_the_two_parts_of_the_training_set_are_disjoint_and_balanced():
    config = TINY.replace(validation=0.25, test_limit=None)
    whole = load_run_dataset(config.replace(validation=0.0), "train")
    kept, held = load_run_dataset(config, "train"), load_run_dataset(config, "test")
    assert len(kept) == 45 and len(held) == 15
    rows = {tuple(x.flatten().tolist()) for x in kept.inputs}
    assert rows.isdisjoint({tuple(x.flatten().tolist()) for x in held.inputs})
    counts = held.targets.bincount(minlength=10)
    assert counts.max() - counts.min() <= 1
    assert kept.name == whole.name and (kept.clean_targets != kept.targets).any()  # noisy, as a user's would be
    with pytest.raises(ConfigError, match="beside validation"):
        config.replace(test_limit=10)


def test_the_command_prints_the_table_and_saves(tmp_path, capsys, monkeypatch):
    from landscape.cli import main

    monkeypatch.setitem(compare_generalization.__kwdefaults__, "radii", {"sam": ("rho", (0.05,))})
    words = [
        "--dataset",
        "digits",
        "--model",
        "mlp",
        "--model-option",
        "hidden=[5]",
        "--limit",
        "40",
        "--epochs",
        "1",
        "--batch-size",
        "20",
    ]
    words += ["--seeds", "1", "--search-seeds", "1", "--jobs", "1", "--quiet", "--root", str(tmp_path)]
    assert main(["study", "generalization", *words]) == 0
    printed = capsys.readouterr().out
    assert "| SAM | rho 0.05 (edge) |" in printed
    (path,) = (tmp_path / "studies").iterdir()
    assert f"result {path}" in printed
    result = Generalization.load(path)
    assert result.scores[1].radius == 0.05 and result.base["model_options"] == {"hidden": [5]}


def test_a_result_that_could_not_be_written_is_refused_before_any_training(tmp_path, capsys, monkeypatch):
    from landscape.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for output in (".", "file/result.json"):
        assert main(["study", "generalization", "--model", "mlp", "--limit", "40", "--output", output]) == 2
        assert "Could not write" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
