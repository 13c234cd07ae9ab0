"""What is computed is kept, once: by what it depends on, whole or not at all, and never unpickled."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import landscape as ll
from landscape.curvature import Estimate
from landscape.curvature.layers import Answers
from landscape.errors import CorruptFileError, LockedError, NotebookError
from landscape.notebooks import begin
from landscape.notebooks import keeping as keeping_module
from landscape.notebooks.identity import identity, key_of
from landscape.notebooks.packing import complete, load_value, save_value
from landscape.notebooks.places import bundled_folder, place_of
from landscape.objective import Evaluation
from landscape.storage import FolderLock
from landscape.study import Effort


@pytest.fixture
def suite(tmp_path):
    return begin(root=str(tmp_path / "runs"), mode="static", epochs=1, points=3, line_points=3, examples=50)


@pytest.fixture
def config(suite):
    return suite.config(limit=50, test_limit=50, model="mlp", model_options={"hidden": [4]}, batch_size=25)


@dataclass
class Own:
    """A dataclass that is none of the package's."""

    number: int = 1


def double(number):
    return 2 * number


# ----------------------------------------------------------------------------------------------------- cached


def test_a_result_is_computed_once_and_again_for_other_arguments(suite):
    calls = []

    class Counted:
        def __call__(self, number):
            calls.append(number)
            return number + 0.5

    counted = Counted()
    assert suite.cached("half", counted, number=1) == 1.5
    assert suite.cached("half", counted, number=1) == 1.5
    assert suite.cached("half", counted, number=2) == 2.5
    assert suite.cached("other half", counted, number=1) == 1.5
    assert calls == [1, 2, 1]
    assert [name for name, _ in suite.computed] == ["half", "half", "other half"] and suite.read == ["half"]


def test_a_kernel_that_starts_anew_reads_what_the_last_one_kept(suite, tmp_path):
    pairs = suite.cached("pairs", lambda a: {"a": Estimate(a, math.nan, 3), 2: (np.arange(3), None)}, a=1.0)
    other = begin(root=str(tmp_path / "runs"), mode="static")
    again = other.cached("pairs", lambda a: {"a": Estimate(a, math.nan, 3), 2: (np.arange(3), None)}, a=1.0)
    assert other.computed == [] and other.read == ["pairs"]
    assert list(again) == ["a", 2] and repr(again["a"]) == repr(pairs["a"])
    assert again[2][0].tolist() == [0, 1, 2] and again[2][1] is None and isinstance(again[2], tuple)


def test_an_interrupted_cell_goes_on(suite):
    def piece(number):
        if number in broken:
            raise KeyboardInterrupt
        return number

    class Piece:
        def __call__(self, number):
            return piece(number)

    broken, one = {2}, Piece()
    with pytest.raises(KeyboardInterrupt):
        [suite.cached("piece", one, number=number) for number in range(4)]
    broken.clear()
    assert [suite.cached("piece", one, number=number) for number in range(4)] == [0, 1, 2, 3]
    assert len(suite.read) == 2 and len(suite.computed) == 4


def test_a_function_that_reads_more_than_its_arguments_is_refused(suite):
    factor = 3
    with pytest.raises(NotebookError, match=r"reads 'factor', which is no argument.*factor=factor"):
        suite.cached("triple", lambda number: factor * number, number=1)
    assert suite.cached("triple", lambda number, factor: factor * number, number=1, factor=factor) == 3
    assert suite.cached("quadruple", lambda number: double(double(number)), number=1) == 4


def test_what_a_function_calls_belongs_to_its_key():
    def inner(x):
        return x + 1

    first = key_of("f", lambda x: inner(x), {"x": 1})

    def inner(x):  # noqa: F811 - the reader edits the cell
        return x + 2

    assert key_of("f", lambda x: inner(x), {"x": 1}) != first

    def called(body):
        cell: dict = {"__name__": "__main__"}
        exec(f"def inner(x):\n    return {body}\n\n\ndef outer(x):\n    return inner(x)", cell)
        return key_of("f", cell["outer"], {"x": 1})

    assert called("x + 1") == called("x + 1") != called("x + 2")

    def endless(x):
        return endless(x - 1) if x else 0

    assert key_of("f", endless, {"x": 1}) == key_of("f", endless, {"x": 1})


def test_results_that_ctrl_c_ended_early_are_not_kept(suite):
    for number in range(2):
        suite.cached("trace", lambda: [Estimate(1.0, 0.1, 3, complete=False)])
        assert len(suite.computed) == number + 1
    assert not complete({"a": (Estimate(1.0, 0.1, 3, complete=False),)}) and complete([Effort(examples=3), 1])
    layers = Answers({"0": Estimate(1.0, 0.1, 3)})
    assert complete(layers)
    layers.complete = False  # the others are missing
    assert not complete(layers)


def test_a_damaged_file_is_computed_anew_and_deleting_all_costs_time_only(suite, capsys):
    (path,) = _after(suite, lambda: suite.cached("twice", double, number=4))
    path.write_bytes(path.read_bytes()[:-40])
    assert suite.cached("twice", double, number=4) == 8
    assert "damaged and is computed anew" in capsys.readouterr().out
    assert suite.cached("twice", double, number=4) == 8 and len(suite.computed) == 2
    path.unlink()
    assert suite.cached("twice", double, number=4) == 8 and len(suite.computed) == 3


def _after(suite, work) -> list[Path]:
    folder = suite.root / "cache"
    before = set(folder.glob("*")) if folder.exists() else set()
    work()
    return sorted(set(folder.glob("*")) - before)


# ------------------------------------------------------------------------------------------- what it depends on


def test_what_differs_has_another_identity(objective, tiny_model):
    direction = ll.random_direction(objective, seed=1)
    other = ll.random_direction(objective, seed=2)
    values = [
        None, True, 1, 1.0, "1", (1,), [1], {"a": 1}, {1}, math.nan, math.inf, np.arange(2), np.arange(2.0),
        torch.arange(2), torch.float32, torch.device("cpu"), Path("a"), tiny_model, objective, direction, other,
        ll.Plane(direction, other), ll.RunConfig(), ll.RunConfig(seed=1), Estimate(1.0, 0.0, 1), Estimate(1.0, 0.0, 2),
        "nan", double, math.sqrt, Estimate,
    ]  # fmt: skip
    texts = [json.dumps(identity(value)) for value in values]
    assert len(set(texts)) == len(texts)
    assert texts == [json.dumps(identity(value)) for value in values]
    with pytest.raises(NotebookError, match="'thing'.*numbers, text"):
        identity(object(), "thing")


def test_weights_and_data_decide_not_the_object(tiny_model, tiny_problem):
    first = identity(ll.Objective(tiny_model, tiny_problem.data))
    assert identity(ll.Objective(tiny_model, tiny_problem.data)) == first
    with torch.no_grad():
        tiny_model[0].bias[0] += 1e-9
    assert identity(ll.Objective(tiny_model, tiny_problem.data)) != first


def test_the_code_of_a_class_made_in_a_notebook_decides():
    def made(sign):
        space: dict = {"__name__": "__main__", "torch": torch}
        body = f"class Net(torch.nn.Linear):\n    def forward(self, x):\n        return {sign} super().forward(x)"
        exec(body, space)
        with torch.no_grad():
            net = space["Net"](2, 2)
            net.weight.fill_(1.0)
            net.bias.fill_(0.0)
        return ll.Objective(net, (torch.ones(3, 2), torch.zeros(3, dtype=torch.long)))

    assert identity(made("+")) == identity(made("+"))
    assert identity(made("+")) != identity(made("-"))


# ------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, 2.5, math.inf, "text", [], (), {}, [1, (2, {"a": None})], {1: 2, (1, 2): 3, "x": [4]},
        np.float32(0.5).item(), Evaluation(loss=1.0, accuracy=0.5, examples=3),
    ],
)  # fmt: skip
def test_values_come_back_equal(tmp_path, value):
    save_value(tmp_path / "a.npz", value, {"seconds": 1})
    again, note = load_value(tmp_path / "a.npz")
    assert again == value and type(again) is type(value) and note == {"seconds": 1}


def test_arrays_tensors_and_results_come_back_to_the_last_bit(tmp_path, objective):
    pairs = ll.Hessian(objective).top(2)
    line = ll.evaluate_line(objective, ll.random_direction(objective), points=3, progress=False)
    half = torch.tensor([1.0, 2.0], dtype=torch.bfloat16)
    save_value(tmp_path / "a.npz", {"pairs": pairs, "line": line, "half": half, "nan": np.array([np.nan])}, {})
    again, _ = load_value(tmp_path / "a.npz")
    assert torch.equal(again["pairs"].vectors, pairs.vectors) and (again["pairs"].values == pairs.values).all()
    assert (again["line"].loss == line.loss).all() and again["line"].provenance == line.provenance
    assert again["half"].dtype == torch.bfloat16 and torch.equal(again["half"], half)
    assert np.isnan(again["nan"]).all()


def test_other_objects_are_refused_and_files_cannot_name_any(tmp_path, objective):
    for value in (object(), Own(), objective, {"a": [lambda: 1]}, np.array([object()])):
        with pytest.raises(NotebookError, match="cannot be kept"):
            save_value(tmp_path / "a.npz", value, {})
    from landscape.notebooks.packing import _class

    for place in (
        f"{__name__}:Own",
        "os:system",
        "landscape.errors:first_line",
        "landscape.notebooks.suite:Suite",
        "landscape.none:X",
    ):
        with pytest.raises((ValueError, ImportError, AttributeError)):
            _class(place, object)
    save_value(tmp_path / "a.npz", Effort(examples=3), {})
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptFileError):
        load_value(tmp_path / "a.npz")


# ---------------------------------------------------------------------------------------------- runs and surfaces


def test_runs_are_trained_once_and_say_so(suite, config, capsys):
    runs = suite.train({"SGD": config, "SAM": config.replace(optimizer="sam")})
    assert "trained in" in capsys.readouterr().out
    again = suite.train({"SGD": config, "SAM": config.replace(optimizer="sam")})
    said = capsys.readouterr().out
    assert said.count("  read  ") == 2 and "trained in" not in said
    assert suite.train(config).path == runs["SGD"].path == again["SGD"].path
    assert len(suite.computed) == 2 and len(suite.read) == 3


def test_points_of_surfaces_and_lines_are_kept(suite, config):
    run = suite.train(config)
    objective = suite.objective(run)
    assert objective.examples == 50 and suite.objective(run, examples=10).examples == 10
    plane, direction = ll.random_plane(objective), ll.random_direction(objective)
    first, line = suite.surface(objective, plane), suite.line_through(objective, direction, points=5)
    assert first.loss.shape == (3, 3) and line.loss.shape == (5,)
    count = len(suite.computed)
    second = suite.surface(objective, plane)
    assert (second.loss == first.loss).all() and second.provenance["points_resumed"] == 9
    assert (suite.line_through(objective, direction, points=5).loss == line.loss).all()
    assert len(suite.computed) == count
    suite.surface(objective, plane, extent=0.5)
    suite.surface(objective, plane, points=5)
    assert len(suite.computed) == count + 2


def test_runs_that_are_watched_are_trained_where_nobody_presses_a_button(suite, config, capsys):
    monitor = suite.watch({"SGD": config})
    assert suite.finished(config) and "trained in" in capsys.readouterr().out
    assert suite.train(monitor)["SGD"].path == suite.root / config.folder_name
    assert capsys.readouterr().out == "" and len(suite.computed) == 1 and suite.read == []
    suite.train(suite.watch({"SGD": config}))
    assert "  read  " in capsys.readouterr().out and len(suite.computed) == 1 and len(suite.read) == 1


def test_live_they_are_waited_for_and_told_once(suite, config, capsys, monkeypatch):
    def beside(config, *, root, data_root, watch, wanted):
        ll.train(config, root=root, progress=False)
        return True

    monkeypatch.setattr("landscape.widgets.monitor.train_beside", beside)
    monkeypatch.setattr("IPython.display.display", lambda *things, **how: None)
    done, other = config.replace(seed=1), config.replace(seed=2)
    suite.train(done)
    monitor = suite.watch({"one": done, "two": other}, mode="live")
    assert not suite.finished(other)
    capsys.readouterr()
    assert set(suite.train(monitor)) == {"one", "two"} and suite.finished(other)
    said = capsys.readouterr().out.splitlines()
    assert "one  read" in said[0] and "two  trained in" in said[1] and len(said) == 2
    suite.train(monitor)
    assert capsys.readouterr().out == "" and (len(suite.computed), len(suite.read)) == (2, 1)


def test_a_run_that_another_process_trains_is_waited_for(suite, config, monkeypatch, capsys):
    lock = FolderLock(suite.root / config.folder_name)
    lock.acquire()
    with pytest.raises(LockedError):
        ll.train(config, root=suite.root, progress=False)
    monkeypatch.setattr(keeping_module.time, "sleep", lambda seconds: lock.release())
    assert suite.train(config).status == "finished"
    assert capsys.readouterr().out.count("another process is at it") == 1


def test_a_place_is_the_same_from_the_notebooks_folder_and_from_the_one_above(monkeypatch):
    monkeypatch.chdir(bundled_folder())
    inside = place_of("runs")
    monkeypatch.chdir(bundled_folder().parent)
    assert inside == place_of("runs") == bundled_folder().parent / "runs"
