"""An interrupted surface goes on where it stopped, with exactly the missing points and the same bits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from landscape.errors import CorruptFileError, LockedError, MismatchError, StorageError
from landscape.objective import Objective
from landscape.storage import FolderLock
from landscape.surface import Line, Surface, evaluate_line, evaluate_surface, random_direction, random_plane


class Loss:
    """Cross-entropy that counts its calls, can stop at one, and is NaN where the loss is large."""

    __name__ = "loss"

    def __init__(self, stop_at: int | None = None, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.calls, self.stop_at, self.error = 0, stop_at, error

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.stop_at:
            raise self.error("stop")
        mean = F.cross_entropy(outputs, targets)
        return torch.where(mean > 1.13, torch.full_like(mean, float("nan")), mean)


def make(problem, loss: Loss, **options: object) -> Objective:
    return Objective(problem.model, problem.data, loss, batch_size=40, **options)  # one call of the loss per point


def run(objective: Objective, store: Path | None = None, **options: object) -> Surface:
    settings = {"points": 5, "progress": False} | options
    return evaluate_surface(objective, random_plane(objective, seed=1), store=store, **settings)


def same(a: Surface | Line, b: Surface | Line) -> bool:
    return all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in ("loss", "accuracy", "status"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
@pytest.mark.parametrize("stop_at", [1, 2, 14, 25])
def test_resume_computes_exactly_the_missing_points(
    tiny_problem, tmp_path: Path, stop_at: int, error: type[BaseException]
) -> None:
    whole = run(make(tiny_problem, Loss()))
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
        return evaluate_line(objective, random_direction(objective), points=7, store=store, progress=False)

    with pytest.raises(KeyboardInterrupt):
        line(Loss(4), tmp_path)
    rest = Loss()
    assert same(line(rest, tmp_path), line(Loss(), None)) and rest.calls == 4


def test_blocks_go_to_the_disk_while_the_surface_runs(
    tiny_problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import landscape.surface.engine as engine

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
    run(objective, tmp_path / "s")
    with FolderLock(tmp_path / "s"), pytest.raises(LockedError, match="Another process"):
        run(objective, tmp_path / "s")
    with open(tmp_path / "s" / "points.jsonl", "a") as file:
        file.write('{"points": [99], "loss": [1.0], "accuracy": [1.0]}\n')
    with pytest.raises(CorruptFileError, match="outside its grid"):
        run(objective, tmp_path / "s")
    with open(tmp_path / "s" / "points.jsonl", "a") as file:
        file.write('{"points": [1], "loss": [], "accuracy": [1.0]}\n')
    with pytest.raises(CorruptFileError, match="no block of points"):
        run(objective, tmp_path / "s")
    (tmp_path / "s" / "identity.json").unlink()
    with pytest.raises(CorruptFileError, match="nobody knows"):
        run(objective, tmp_path / "s")
