"""An interrupted surface goes on where it stopped, with exactly the missing points and the same bits."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.datasets import Dataset
from landscape.errors import CorruptFileError, LockedError, MismatchError, StorageError
from landscape.objective import Objective
from landscape.storage import FolderLock, Ledger
from landscape.surface import Line, Surface, evaluate_line, evaluate_surface, random_direction, random_plane
from landscape.surface.store import Center


class Loss:
    """Cross-entropy that counts its calls, can stop at one, and is NaN where the loss is large."""

    __name__ = "loss"

    def __init__(self, stop_at: int | None = None, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.calls, self.stop_at, self.error = -1000, stop_at, error

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.stop_at:
            raise self.error("stop")
        mean = F.cross_entropy(outputs, targets)
        return torch.where(mean > 1.13, torch.full_like(mean, float("nan")), mean)


BESIDE = 3  # calls of the loss with a store beside those of the points: two of one batch to compare, and the center


def make(problem, loss: Loss, *, beside: int = BESIDE) -> Objective:
    """One call of the loss per point is counted."""
    objective = Objective(problem.model, problem.data, loss, batch_size=40)
    loss.calls = -beside
    return objective


def run(objective: Objective, store: Path | None = None, **options: object) -> Surface:
    settings = {"points": 5, "progress": False, "engine": "plain", "workers": 1} | options
    return evaluate_surface(objective, random_plane(objective, seed=1), store=store, **settings)


def same(a: Surface | Line, b: Surface | Line) -> bool:
    return all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in ("loss", "accuracy", "status"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
@pytest.mark.parametrize("stop_at", [1, 2, 14, 25])
def test_resume_computes_exactly_the_missing_points(
    tiny_problem, tmp_path: Path, stop_at: int, error: type[BaseException]
) -> None:
    whole = run(make(tiny_problem, Loss(), beside=2))
    assert (whole.status == 2).any() and (whole.status == 1).any()
    with pytest.raises(error):
        run(make(tiny_problem, Loss(stop_at, error)), tmp_path / "s")
    rest = Loss()
    resumed = run(make(tiny_problem, rest), tmp_path / "s")
    assert rest.calls == 25 - (stop_at - 1)
    assert resumed.provenance["points_resumed"] == stop_at - 1
    assert same(resumed, whole)
    nothing = Loss()  # NaN points count as done
    again = run(make(tiny_problem, nothing), tmp_path / "s", order="rows")
    assert nothing.calls == 0 and same(again, whole)


def test_a_torn_last_block_is_computed_again(tiny_problem, tmp_path: Path) -> None:
    whole = run(make(tiny_problem, Loss()))
    with pytest.raises(KeyboardInterrupt):
        run(make(tiny_problem, Loss(9)), tmp_path)
    with open(tmp_path / "points.jsonl", "ab") as file:
        file.write(b'{"points": [3, 4], "loss": [0.1')  # a crash in the middle of a write
    rest = Loss()
    assert same(run(make(tiny_problem, rest), tmp_path), whole)
    assert rest.calls == 25 - 8


def test_lines_resume_too(tiny_problem, tmp_path: Path) -> None:
    def line(loss: Loss, store: Path | None) -> Line:
        objective = make(tiny_problem, loss)
        how = {"engine": "plain", "workers": 1, "progress": False}
        return evaluate_line(objective, random_direction(objective), points=7, store=store, **how)

    with pytest.raises(KeyboardInterrupt):
        line(Loss(4), tmp_path)
    rest = Loss()
    assert same(line(rest, tmp_path), line(Loss(), None)) and rest.calls == 4


def test_blocks_go_to_the_disk_while_the_surface_runs(
    tiny_problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import landscape.surface.collector as engine

    ticks = iter(range(10_000))
    monkeypatch.setattr(engine.time, "monotonic", lambda: 0.1 * next(ticks))
    found = run(make(tiny_problem, Loss()), tmp_path)
    rows = [json.loads(row) for row in (tmp_path / "points.jsonl").read_text().splitlines()]
    assert 2 < len(rows) < 25
    points = [point for row in rows for point in row["points"]]
    assert sorted(points) == list(range(25))
    values = np.empty(25)
    values[points] = [value for row in rows for value in row["loss"]]
    assert values.tobytes() == found.loss.tobytes()


def test_a_store_of_something_else(tiny_problem, tmp_path: Path) -> None:
    objective = make(tiny_problem, Loss())
    run(objective, tmp_path / "s")
    with pytest.raises(MismatchError, match=r"another alphas, betas.*Name another folder"):
        run(objective, tmp_path / "s", extent=2.0)
    with pytest.raises(MismatchError, match="another directions"):
        evaluate_surface(objective, random_plane(objective, seed=2), points=5, store=tmp_path / "s", progress=False)
    with pytest.raises(MismatchError, match="another kind"):
        evaluate_line(objective, random_direction(objective), points=5, store=tmp_path / "s", progress=False)
    with pytest.raises(MismatchError, match="another batch_size"):
        run(Objective(tiny_problem.model, tiny_problem.data, Loss(), batch_size=8), tmp_path / "s")
    with torch.no_grad():
        tiny_problem.model[0].weight += 0.1
    with pytest.raises(MismatchError, match="weights_sha256"):
        run(objective, tmp_path / "s")


def test_running_statistics_are_part_of_what_a_surface_is_of(conv_objective: Objective, tmp_path: Path) -> None:
    plane = random_plane(conv_objective)
    evaluate_surface(conv_objective, plane, points=2, store=tmp_path, progress=False)
    conv_objective.model[1].running_mean += 1
    with pytest.raises(MismatchError, match="another fixed_sha256"):
        evaluate_surface(conv_objective, plane, points=2, store=tmp_path, progress=False)


def test_a_store_that_cannot_be_used(tiny_problem, tmp_path: Path) -> None:
    objective = make(tiny_problem, Loss())
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="is a file"):
        run(objective, tmp_path / "file")
    with pytest.raises(KeyboardInterrupt):
        run(make(tiny_problem, Loss(9)), tmp_path / "s")
    with FolderLock(tmp_path / "s"), pytest.raises(LockedError, match="Another process"):
        run(objective, tmp_path / "s")
    with open(tmp_path / "s" / "points.jsonl", "a") as file:
        file.write('{"points": [1], "loss": [1.0], "accuracy": [1.0]}\n')
    with pytest.raises(CorruptFileError, match="is damaged"):
        run(objective, tmp_path / "s")
    (tmp_path / "s" / "identity.json").unlink()
    with pytest.raises(CorruptFileError, match="nobody knows"):
        run(objective, tmp_path / "s")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"points": [99], "loss": [1.0], "accuracy": [1.0]}, "outside its grid"),
        ({"points": [1], "loss": [], "accuracy": [1.0]}, "no block of points"),
        ({"points": ["1"], "loss": [1.0], "accuracy": [1.0]}, "no block of points"),
        ({"points": [1.5], "loss": [1.0], "accuracy": [1.0]}, "no block of points"),
        ({"points": [1], "loss": ["low"], "accuracy": [1.0]}, "no block of points"),
        ({"points": None, "loss": None, "accuracy": None}, "no block of points"),
    ],
)
def test_rows_that_are_no_points(tiny_problem, tmp_path: Path, row: dict, message: str) -> None:
    objective = make(tiny_problem, Loss())
    run(objective, tmp_path)
    Ledger(tmp_path / "points.jsonl").append(row)
    with pytest.raises(CorruptFileError, match=message):
        run(objective, tmp_path)


def scaled(factor: float):
    return lambda outputs, targets: factor * F.cross_entropy(outputs, targets)


def activation(problem, module: type[nn.Module]) -> nn.Module:
    model = copy.deepcopy(problem.model)
    model[1] = module()
    return model


def images(problem, mean: float) -> Dataset:
    return Dataset(
        name="d", inputs=problem.inputs, targets=problem.targets, classes=3, mean=(mean,) * 6, std=(1.0,) * 6
    )


DIFFERENT = {
    "settings of a module": lambda p: [
        Objective(p.model, p.data, nn.CrossEntropyLoss(label_smoothing=value)) for value in (0.0, 0.5)
    ],
    "weights of a module": lambda p: [
        Objective(p.model, p.data, nn.CrossEntropyLoss(weight=torch.full((3,), value).double())) for value in (1.0, 2.0)
    ],
    "partials": lambda p: [
        Objective(p.model, p.data, functools.partial(F.cross_entropy, label_smoothing=value)) for value in (0.0, 0.5)
    ],
    "lambdas": lambda p: [
        Objective(p.model, p.data, lambda o, t: F.cross_entropy(o, t)),
        Objective(p.model, p.data, lambda o, t: F.cross_entropy(2 * o, t)),
    ],
    "what a lambda closes over": lambda p: [Objective(p.model, p.data, scaled(value)) for value in (1.0, 2.0)],
    "modules without weights": lambda p: [Objective(activation(p, kind), p.data) for kind in (nn.Tanh, nn.ReLU)],
    "normalization": lambda p: [Objective(p.model, images(p, value)) for value in (0.0, 1.0)],
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_points_of_another_objective_are_not_taken(tiny_problem, tmp_path: Path, case: str) -> None:
    """The weights, the data and the names of model and loss are the same in each pair."""
    first, second = DIFFERENT[case](tiny_problem)
    plane = random_plane(first, seed=1)
    evaluate_surface(first, plane, points=3, store=tmp_path, progress=False)
    again = evaluate_surface(DIFFERENT[case](tiny_problem)[0], plane, points=3, store=tmp_path, progress=False)
    assert again.provenance["points_resumed"] == 9
    with pytest.raises(MismatchError, match="belongs to"):
        evaluate_surface(second, plane, points=3, store=tmp_path, progress=False)


class Factor:
    """A loss whose setting no checksum can see."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.factor * F.cross_entropy(outputs, targets)


@pytest.mark.parametrize("factor", [1.001, float("nan"), float("inf")])
def test_another_loss_at_the_center_is_another_objective(tiny_problem, tmp_path: Path, factor: float) -> None:
    objective = Objective(tiny_problem.model, tiny_problem.data, Factor(1.0))
    run(objective, tmp_path / "a")
    with pytest.raises(MismatchError, match="another objective: its loss at the same weights is another one"):
        run(Objective(tiny_problem.model, tiny_problem.data, Factor(factor)), tmp_path / "a")
    other = Objective(tiny_problem.model, tiny_problem.data, Factor(factor))
    assert same(run(other, tmp_path / "b"), run(other, tmp_path / "b"))  # NaN is the same as NaN


def test_other_surroundings_may_change_the_last_bits() -> None:
    here = Center(loss=1.0, accuracy=0.5, precision=2.0**-23, surroundings={"threads": 1})
    assert here.agrees({"loss": 1.0 + 1e-6, "surroundings": {"threads": 1}})
    assert not here.agrees({"loss": 1.0 + 1e-4, "surroundings": {"threads": 1}})
    assert here.agrees({"loss": 1.0 + 1e-4, "surroundings": {"threads": 2}})
    assert not here.agrees({"loss": 1.0 + 1e-3, "surroundings": {"threads": 2}})
    assert not any(map(here.agrees, (None, [], {}, {"loss": "1.0"})))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_have_surfaces(tiny_problem, tmp_path: Path, dtype: torch.dtype) -> None:
    """NumPy has no bfloat16; checksums are of bytes."""
    model = copy.deepcopy(tiny_problem.model).to(dtype)
    model.register_buffer("scale", torch.ones(2, dtype=dtype))
    objective = Objective(model, tiny_problem.data)
    first = run(objective, tmp_path)
    assert (first.status == 1).all() and first.center_loss == objective.evaluate().loss
    assert same(run(objective, tmp_path), first)
    line = evaluate_line(objective, random_direction(objective), points=3, progress=False)
    assert line.loss[1] == first.center_loss
