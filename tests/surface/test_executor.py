"""Points evaluated by processes of the caller's: the same bits, and clear words where it cannot work."""

from __future__ import annotations

import copy
import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from landscape import Objective
from landscape.errors import ModelError
from landscape.seeding import generator, seeded
from landscape.surface import Plane, Surface, evaluate_line, evaluate_surface, random_direction, random_plane


def conv() -> Objective:
    with seeded(0, "tests", "executor"):
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)
        )  # fmt: skip
        inputs = torch.randn(40, 1, 8, 8, generator=generator(1, "tests"))
        model(inputs)
    return Objective(model, (inputs, torch.arange(40) % 3), batch_size=16)


@pytest.fixture(scope="module")
def pool():
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn, initializer=torch.set_num_threads, initargs=(2,)) as found:
        yield found


def surface(objective: Objective, **options: object) -> Surface:
    settings = {"points": 5, "engine": "plain", "progress": False} | options
    return evaluate_surface(objective, random_plane(objective), **settings)


def bits(found) -> tuple[bytes, ...]:
    return found.loss.tobytes(), found.accuracy.tobytes(), found.status.tobytes()


@pytest.mark.parametrize("engine", ["plain", "folded", "stacked"])
def test_other_processes_give_the_same_bits(pool, engine: str) -> None:
    objective = conv()
    assert bits(surface(objective, engine=engine, executor=pool)) == bits(surface(objective, engine=engine, workers=1))


def test_lines_and_recomputed_statistics_too(pool) -> None:
    objective = conv()
    direction = random_direction(objective, seed=0)
    settings = {"points": 7, "engine": "plain", "batch_norm": "recompute", "progress": False}
    found = evaluate_line(objective, direction, executor=pool, **settings)
    assert bits(found) == bits(evaluate_line(objective, direction, workers=1, **settings))


def test_what_the_caller_casts_is_cast_there(pool) -> None:
    objective = conv()
    with torch.autocast("cpu", torch.bfloat16):
        found, here = surface(objective, executor=pool), surface(objective, workers=1)
    assert bits(found) == bits(here) and bits(found) != bits(surface(objective, workers=1))


def test_threads_of_an_executor_do_not_share_a_replica() -> None:
    objective = conv()
    with ThreadPoolExecutor(3) as executor:
        found = [surface(objective, executor=executor, points=11) for _ in range(3)]
    assert {bits(each) for each in found} == {bits(surface(objective, workers=1, points=11))}


class Once(ThreadPoolExecutor):
    """Ends after some tasks, as a cluster does."""

    left = 2

    def submit(self, *args, **kwargs) -> Future:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("no more workers")
        task = super().submit(*args, **kwargs)
        task.result()
        return task


def test_what_was_finished_is_in_the_store(tmp_path: Path) -> None:
    objective = conv()
    whole = bits(surface(objective, workers=1))
    with Once(1) as executor, pytest.raises(RuntimeError, match="no more workers"):
        surface(objective, executor=executor, store=tmp_path)
    with ThreadPoolExecutor(1) as executor:
        again = surface(objective, executor=executor, store=tmp_path)
    assert bits(again) == whole and again.provenance["points_resumed"] == 2 * 6 + 1  # two tasks of six, and the center


def failing(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    if multiprocessing.parent_process() is not None:
        raise ValueError("a loss that fails elsewhere")
    return torch.nn.functional.cross_entropy(outputs, targets)


def on_one_core(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    if multiprocessing.parent_process() is not None and torch.get_num_threads() != 1:
        raise ValueError("two cores for one point")
    return torch.nn.functional.cross_entropy(outputs, targets)


def test_each_worker_computes_with_one_core(pool) -> None:
    data = tuple(torch.cat(parts) for parts in zip(*conv().batches(), strict=True))
    assert np.isfinite(surface(Objective(conv().model, data, on_one_core), executor=pool).loss).all()


def test_errors_come_back_and_what_cannot_be_sent_is_said(pool) -> None:
    objective = conv()
    batches = list(objective.batches())
    data = tuple(torch.cat(parts) for parts in zip(*batches, strict=True))
    with pytest.raises(ValueError, match="fails elsewhere"):
        surface(Objective(objective.model, data, failing), executor=pool)
    with pytest.raises(ModelError, match="cannot send.*top level"):
        surface(Objective(objective.model, data, lambda x, y: nn.functional.cross_entropy(x, y)), executor=pool)


def test_a_sent_objective_has_a_replica_of_its_own(pool) -> None:
    objective = conv()
    assert not {"_flat", "_replica"} & set(objective.__getstate__())
    again = pool.submit(copy.copy, objective).result()  # there and back
    weights = objective.weights() + 0.1
    assert again.evaluate(weights) == objective.evaluate(weights) != objective.evaluate()
    assert again.provenance() == objective.provenance()
    assert np.isfinite(again.evaluate().loss)


def tensors_of(objective: Objective, plane: Plane) -> dict[str, torch.Tensor]:
    found = {**dict(objective.model.named_parameters()), **dict(objective.model.named_buffers())}
    found |= {f"direction {number}": direction.vector for number, direction in enumerate(plane.directions)}
    return found | {f"loss {name}": tensor for name, tensor in objective.loss_fn.named_buffers()}


@pytest.mark.parametrize("batch_norm", ["running", "recompute"])
def test_what_is_sent_are_copies(pool, snapshot, assert_unchanged, batch_norm: str) -> None:
    """A tensor that is sent as it is moves to memory that other processes read and see written."""
    model, loss = conv().model, nn.CrossEntropyLoss(weight=torch.ones(3))
    data = tuple(torch.cat(parts) for parts in zip(*conv().batches(), strict=True))
    objective = Objective(model, data, loss, batch_size=16)
    plane = random_plane(objective)
    mine = tensors_of(objective, plane)
    places, before = {name: tensor.data_ptr() for name, tensor in mine.items()}, snapshot(model)
    settings = {"points": 4, "progress": False, "engine": "plain", "batch_norm": batch_norm}
    found = evaluate_surface(objective, plane, executor=pool, **settings)
    assert bits(found) == bits(evaluate_surface(objective, plane, workers=1, **settings))
    assert not [name for name, tensor in mine.items() if tensor.is_shared() or tensor.data_ptr() != places[name]]
    assert not any(tensor.is_shared() for tensor in data)
    assert_unchanged(before, model)


class Late(ThreadPoolExecutor):
    """Begins a task only after somebody has trained on."""

    model: nn.Module

    def submit(self, function, *args, **kwargs) -> Future:
        with torch.no_grad():
            for tensor in (*self.model.parameters(), *self.model.buffers()):
                tensor.mul_(2 if tensor.is_floating_point() else 1)
        return super().submit(function, *args, **kwargs)


def test_what_happens_to_the_model_meanwhile_passes_the_workers_by() -> None:
    objective = conv()
    plane = random_plane(objective)
    settings = {"points": 4, "progress": False, "engine": "plain"}
    expected = bits(evaluate_surface(objective, plane, workers=1, **settings))
    with Late(1) as executor:
        executor.model = objective.model
        assert bits(evaluate_surface(objective, plane, executor=executor, **settings)) == expected


class Uncopied(nn.Module):
    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(outputs, targets)

    def __deepcopy__(self, memo: object) -> nn.Module:
        raise RuntimeError("one of a kind")


def test_what_cannot_be_copied_is_said() -> None:
    data = tuple(torch.cat(parts) for parts in zip(*conv().batches(), strict=True))
    with ThreadPoolExecutor(1) as executor, pytest.raises(ModelError, match="cannot send.*one of a kind"):
        surface(Objective(conv().model, data, Uncopied()), executor=executor)
