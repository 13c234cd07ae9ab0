"""A recorded step is the step: same weights, same checkpoints; what cannot be recorded is said and trains as ever."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from landscape.training import Run, RunConfig, graphed_step, train

TINY = {
    "dataset": "digits", "limit": 72, "test_limit": 50, "model": "smallcnn", "epochs": 3, "batch_size": 32,
    "lr": 0.0625, "schedule": "multistep", "milestones": (1, 2), "gamma": 0.5,  # rates that float32 holds exactly
    "fused": True,
}  # fmt: skip
METHODS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adam": {"lr": 2.0**-10},
    "adamw": {"lr": 2.0**-10},
    "sam": {"rho": 0.1},
    "sam on adam": {"optimizer": "sam", "base": "adam", "lr": 2.0**-10},
    "asam": {},
    "amp": {"inner_iter": 2},
    "gsam": {},
    "gnp": {"optimizer_options": {"alpha": 0.7}},
}
GRAPH = "each step a CUDA graph"


def run(root, stop=None, **changes):
    return train(RunConfig(**{**TINY, **changes}), root=root, progress=False, stop=stop)


class Played:
    """A graph as far as a CPU has one: what is played reads and writes the same memory each time."""

    optimizer: torch.optim.Optimizer

    def __init__(self) -> None:
        self.recorded = self.plays = 0

    def __call__(self, function: Callable[[], Tensor], device: torch.device) -> tuple[Tensor, Callable[[], None]]:
        for _ in range(4):  # warming up; the recording itself
            values = function()
        self.recorded += 1

        def replay() -> None:
            self.plays += 1
            groups = [dict(group) for group in self.optimizer.param_groups]
            values.copy_(function())
            for group, before in zip(self.optimizer.param_groups, groups, strict=True):
                group.update(before)  # a graph runs no Python

        return values, replay


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Played:
    played = Played()
    loop = sys.modules["landscape.training.loop"]
    real = loop.build_optimizer

    def build_optimizer(*args: Any, **options: Any) -> torch.optim.Optimizer:
        played.optimizer = real(*args, **options)
        return played.optimizer

    monkeypatch.setattr(loop, "build_optimizer", build_optimizer)
    monkeypatch.setattr(graphed_step, "available", lambda device: True)
    monkeypatch.setattr(graphed_step, "capture", played)
    return played


@pytest.mark.parametrize("name", METHODS)
def test_recorded_steps_train_to_the_same_bits(graphs, tmp_path, name):
    """But for the last batch of each epoch, of 8 instead of 32 examples, all are played."""
    settings = {"optimizer": name, **METHODS[name]}
    plain, found = run(tmp_path, **settings), run(tmp_path, cuda_graphs=True, **settings)
    assert GRAPH in found.log_text() and "no CUDA graph" in plain.log_text()
    assert graphs.plays == 1 + 3 * 2  # one to check the record
    assert found.weights_checksum() == plain.weights_checksum()
    for a, b in zip(found.metrics(), plain.metrics(), strict=True):
        assert {**a, "seconds": 0, "images_per_second": 0} == {**b, "seconds": 0, "images_per_second": 0}
    ours, theirs = found.checkpoint().optimizer, plain.checkpoint().optimizer
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"].keys() == theirs["state"].keys()
    for number, entry in ours["state"].items():
        assert all(torch.equal(value, theirs["state"][number][key]) for key, value in entry.items())


@pytest.mark.parametrize("name", ["sgd", "adam", "sam"])
@pytest.mark.parametrize("cut", [2, 4])
def test_a_resumed_run_records_again_and_has_the_same_bits(graphs, tmp_path, name, cut):
    settings = {"optimizer": name, "cuda_graphs": True, **METHODS[name]}
    whole = run(tmp_path / "whole", **settings)
    steps = iter(range(100))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", stop=lambda: next(steps) == cut - 1, **settings)
    with pytest.raises(KeyboardInterrupt):
        steps = iter(range(100))
        run(tmp_path / "plain", stop=lambda: next(steps) == cut - 1, **{**settings, "cuda_graphs": False})
    left, right = (next((tmp_path / name).glob("*")) for name in ("cut", "plain"))
    ours, theirs = Run.load(left).checkpoint().optimizer, Run.load(right).checkpoint().optimizer
    assert ours["param_groups"] == theirs["param_groups"]
    resumed = run(tmp_path / "cut", **settings)
    assert graphs.recorded == 3 and "resumed at step" in resumed.log_text()
    assert resumed.weights_checksum() == whole.weights_checksum()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"optimizer": "lpfsgd"}, "optimizer lpfsgd"),
        ({"optimizer": "looksam"}, "optimizer looksam"),
        ({"optimizer": "sam", "when": "every:2"}, "steps of two kinds"),
        ({"fused": False}, "the base optimizer is not fused"),
        ({"precision": "float16"}, "a gradient scaler"),
        ({"mixup": 0.5}, "mixup"),
        ({"adversarial_epsilon": 0.01}, "adversarial inputs"),
        ({"penalty": ("grad-l2",)}, "penalties"),
        ({"random_perturbation": 0.1}, "random moves"),
        (
            {"model": "preactresnet18", "model_options": {"width": 2, "dropout": 0.1}, "limit": 32},
            "The model draws random numbers",
        ),
    ],
)
def test_what_cannot_be_recorded_is_said_and_trains_as_ever(graphs, tmp_path, changes, reason):
    plain, found = run(tmp_path, **changes), run(tmp_path, cuda_graphs=True, **changes)
    assert f"no CUDA graph: {reason}" in found.log_text()
    assert graphs.plays == 0
    assert found.weights_checksum() == plain.weights_checksum()


def test_the_cpu_has_no_graphs(tmp_path):
    assert "no CUDA graph: cpu has no CUDA graphs" in run(tmp_path, cuda_graphs=True, device="cpu").log_text()


@pytest.mark.parametrize("name", ["sgd", "adam", "sam"])
@pytest.mark.parametrize("trouble", ["raises", "does nothing", "forgets the batch"])
def test_a_record_that_fails_or_is_wrong_is_not_used(monkeypatch, tmp_path, name, trouble):
    def capture(function: Callable[[], Tensor], device: torch.device) -> tuple[Tensor, Callable[[], None]]:
        values = function()
        if trouble == "raises":
            raise RuntimeError("operation not permitted when stream is capturing\nand more")

        def replay() -> None:
            for parameter in parameters() if trouble == "forgets the batch" else []:
                parameter.mul_(0.99)

        return values, replay

    trainers: list[Any] = []
    loop = sys.modules["landscape.training.loop"]
    real = loop.Trainer.fit
    monkeypatch.setattr(loop.Trainer, "fit", lambda self, *a, **k: (trainers.append(self), real(self, *a, **k)))

    def parameters() -> list[Tensor]:
        return [p.detach() for p in trainers[-1].model.parameters()]

    settings = {"optimizer": name, **METHODS[name]}
    plain = run(tmp_path, **settings)
    monkeypatch.setattr(graphed_step, "available", lambda device: True)
    monkeypatch.setattr(graphed_step, "capture", capture)
    found = run(tmp_path, cuda_graphs=True, **settings)
    said = {"raises": "operation not permitted when stream is capturing"}.get(trouble, "of its length off")
    assert "no CUDA graph: " in found.log_text() and said in found.log_text() and "and more" not in found.log_text()
    assert found.weights_checksum() == plain.weights_checksum()


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_recorded_steps_on_a_device(tmp_path, name, precision):
    settings = {"optimizer": name, "precision": precision, "device": "cuda", **METHODS[name]}
    plain, found = run(tmp_path, **settings), run(tmp_path, cuda_graphs=True, **settings)
    assert GRAPH in found.log_text()
    for a, b in zip(found.metrics(), plain.metrics(), strict=True):  # another kernel may be chosen within a record
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-3 if precision == "float32" else 3e-2)
    again = run(tmp_path / "again", cuda_graphs=True, **settings)
    assert again.weights_checksum() == found.weights_checksum()
