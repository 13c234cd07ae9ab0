"""Putting the weights back and SGD's step at once: the same bits as one after the other, wherever it is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from landscape.optim import AMP, LPFSGD, SAM, passes, sgd_step
from landscape.optim.sgd_step import is_plain_sgd
from landscape.seeding import generator, seeded

SGD = torch.optim.SGD
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "all": {"momentum": 0.9, "weight_decay": 0.03, "nesterov": True},
    "dampening": {"momentum": 0.8, "dampening": 0.3, "weight_decay": 0.03},
    "weight decay": {"weight_decay": 0.03},
}


class Net(nn.Module):
    """Weights in two layouts, a scalar, and a layer that every second pass leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
        self.head = nn.Linear(5, 4)
        self.gain = nn.Parameter(torch.tensor(1.5))
        self.sometimes = nn.Linear(4, 4)
        self.strided = nn.Parameter(torch.randn(6, 4).t())
        self.calls = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        hidden = self.head(self.conv(inputs).relu().mean((2, 3))) * self.gain
        return (self.sometimes(hidden) if self.calls % 2 else hidden) @ self.strided


class Problem:
    """A net and an optimizer; ``watched`` bases have a hook, so that torch's own step is called."""

    def __init__(self, method: Callable[..., Any], base: dict[str, Any], *, watched: bool) -> None:
        stream = generator(0, "tests", "sgd step")
        with seeded(0, "tests", "sgd step"):
            self.model = Net()
        self.inputs = torch.randn(8, 3, 6, 6, generator=stream)
        self.targets = torch.randint(6, (8,), generator=stream)
        self.optimizer = method(self.model.parameters(), base)
        if watched:
            self.optimizer.base_optimizer.register_step_pre_hook(lambda *_: None)

    def closure(self) -> torch.Tensor:
        loss = nn.functional.cross_entropy(self.model(self.inputs), self.targets)
        loss.backward()
        return loss

    def steps(self, number: int = 5, **options: Any) -> list[torch.Tensor]:
        for _ in range(number):
            self.optimizer.zero_grad()
            self.optimizer.step(self.closure, **options)
        return [p.detach().clone() for p in self.model.parameters()]


def sam(parameters: Any, base: dict[str, Any], kind: type = SGD) -> SAM:
    return SAM(parameters, kind, rho=0.3, lr=0.2, **base)


METHODS: dict[str, Callable[..., Any]] = {
    "sam": sam,
    "amp": lambda parameters, base: AMP(parameters, lr=0.2, epsilon=0.3, inner_iter=2, base_optimizer=SGD, **base),
    "lpf": lambda parameters, base: LPFSGD(parameters, lr=0.2, std=0.05, M=1, base_optimizer=SGD, **base),
}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows with every step that was taken from the backup."""
    found: list[bool] = []
    real = passes.sgd_step_from
    monkeypatch.setattr(passes, "sgd_step_from", lambda *given: (found.append(True), real(*given)))
    return found


@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("small", [0, 30, 4096], ids=["one by one", "mixed", "together"])
@pytest.mark.parametrize("base", OPTIONS)
@pytest.mark.parametrize("method", METHODS)
def test_the_bits_are_those_of_two_passes(monkeypatch, taken, method, base, small, clip) -> None:
    monkeypatch.setattr(sgd_step, "_SMALL", small)
    one, two = (Problem(METHODS[method], OPTIONS[base], watched=watched) for watched in (False, True))
    ours, theirs = one.steps(max_grad_norm=clip), two.steps(max_grad_norm=clip)
    assert len(taken) == 5  # by the first; the second never
    assert all(torch.equal(a, b) and a.stride() == b.stride() for a, b in zip(ours, theirs, strict=True))
    left, right = one.optimizer.state_dict(), two.optimizer.state_dict()
    assert left["param_groups"] == right["param_groups"] and left["state"].keys() == right["state"].keys()
    for number, entry in left["state"].items():
        assert entry.keys() == right["state"][number].keys()
        assert all(torch.equal(value, right["state"][number][name]) for name, value in entry.items())


def test_gradients_that_come_and_go(taken) -> None:
    """A parameter without a gradient in the last pass comes back; a frozen one steps if its gradient is filled in."""
    outcomes = []
    for watched in (False, True):
        problem = Problem(sam, {"momentum": 0.9}, watched=watched)
        problem.model.gain.requires_grad_(False)
        before = problem.model.sometimes.weight.detach().clone()
        real = problem.closure

        def closure(problem: Problem = problem, real: Callable[[], torch.Tensor] = real) -> torch.Tensor:
            loss = real()
            problem.model.gain.grad = torch.tensor(0.25)
            return loss

        problem.optimizer.step(closure)
        assert torch.equal(problem.model.sometimes.weight, before)  # perturbed by the first pass, not in the second
        assert problem.model.gain.item() == pytest.approx(1.5 - 0.2 * 0.25)
        outcomes.append([p.detach().clone() for p in problem.model.parameters()])
    assert len(taken) == 1
    assert all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))


class Another(SGD):
    """SGD by another name: it may do anything."""


def _hook(problem: Problem) -> Any:
    return problem.optimizer.base_optimizer.register_step_post_hook(lambda *_: None)


def _schedule(problem: Problem) -> None:
    torch.optim.lr_scheduler.StepLR(problem.optimizer.base_optimizer, 100)


@pytest.mark.parametrize("watch", [_hook, _schedule], ids=["hook", "scheduler"])
def test_a_base_that_is_watched_steps_itself(taken, watch) -> None:
    problem = Problem(sam, {}, watched=False)
    watch(problem)
    problem.steps(2)
    assert not taken


def test_a_hook_of_all_optimizers_is_called(taken) -> None:
    called = []
    handle = register_optimizer_step_pre_hook(lambda optimizer, *_: called.append(type(optimizer).__name__))
    try:
        Problem(sam, {}, watched=False).steps(2)
    finally:
        handle.remove()
    assert called.count("SGD") == 2 and not taken


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (Another, {}),
        (torch.optim.Adam, {}),
        (SGD, {"maximize": True}),
        (SGD, {"foreach": True}),
        (SGD, {"fused": True}),
    ],
)
def test_other_bases_step_themselves(taken, kind, base) -> None:
    problem = Problem(lambda parameters, options: sam(parameters, options, kind), base, watched=False)
    problem.steps(2)
    assert not taken


def test_a_differentiable_base_is_left_to_torch() -> None:
    weight = torch.zeros(2)
    assert is_plain_sgd(SGD([weight]))
    assert not is_plain_sgd(SGD([weight], differentiable=True))


def test_a_learning_rate_on_the_device_is_left_to_torch(taken) -> None:
    problem = Problem(sam, {}, watched=False)
    problem.optimizer.param_groups[0]["lr"] = torch.tensor(0.2)
    problem.steps(1)
    assert not taken


def test_a_scheduler_around_the_method_changes_nothing(taken) -> None:
    """The usual one: it watches the method, whose step was called."""
    problem = Problem(sam, {}, watched=False)
    schedule = torch.optim.lr_scheduler.StepLR(problem.optimizer, 1)
    problem.steps(1)
    schedule.step()  # warns, which is an error here, where it saw no step
    problem.steps(1)
    assert len(taken) == 2 and problem.optimizer.param_groups[0]["lr"] == pytest.approx(0.02)


@pytest.mark.parametrize("where", ["clip", "step"])
def test_an_interrupt_in_the_step_leaves_the_weights(monkeypatch, where) -> None:
    monkeypatch.setattr(sgd_step, "_SMALL", 30)
    problem = Problem(sam, {}, watched=False)
    problem.steps(1)
    before = [p.detach().clone() for p in problem.model.parameters()]

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    if where == "clip":
        monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", interrupt)
    else:
        monkeypatch.setattr(torch, "add", interrupt)  # the small weights have stepped by then
    with pytest.raises(KeyboardInterrupt):
        problem.steps(1, max_grad_norm=1.0)
    monkeypatch.undo()
    assert all(torch.equal(a, b) for a, b in zip(before, problem.model.parameters(), strict=True))
    assert problem.optimizer.state_dict()  # the weights are not away any more
    problem.steps(1)


def test_another_pass_adds_to_a_gradient_alone(taken) -> None:
    """The first momentum is a copy of the gradient: what the caller does to a gradient later is the caller's."""
    problem = Problem(sam, {"momentum": 0.9}, watched=False)
    problem.steps(1)
    kept = [entry["momentum_buffer"].clone() for entry in problem.optimizer.state.values()]
    for parameter in problem.model.parameters():
        if parameter.grad is not None:
            parameter.grad.zero_()
    assert taken
    assert all(
        torch.equal(a, e["momentum_buffer"]) for a, e in zip(kept, problem.optimizer.state.values(), strict=True)
    )


def test_an_interrupt_between_the_passes_and_the_step(monkeypatch) -> None:
    problem = Problem(sam, {}, watched=False)
    before = [p.detach().clone() for p in problem.model.parameters()]

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(passes.PassOptimizer, "_base_step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        problem.steps(1)
    assert all(torch.equal(a, b) for a, b in zip(before, problem.model.parameters(), strict=True))


@pytest.mark.parametrize("parts", [1, 2])
def test_only_a_step_of_one_perturbed_closure_starts_from_the_backup(taken, parts) -> None:
    problem = Problem(sam, {}, watched=False)
    problem.optimizer.step([problem.closure] * parts)
    assert len(taken) == (parts == 1)
    problem.optimizer.param_groups[0]["rho"] = 0.0  # not perturbed: the base's own step
    problem.steps(1)
    assert len(taken) == (parts == 1)


@pytest.mark.parametrize("size", [300, 5000])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("base", OPTIONS)
def test_half_precision_has_the_same_bits(taken, dtype, base, size) -> None:
    """Beside a parameter of another precision in the same group."""
    ends = []
    for watched in (False, True):
        weight = nn.Parameter(torch.randn(size, generator=generator(0, "tests", "half")).to(dtype))
        beside = nn.Parameter(torch.linspace(-1, 1, 50))
        optimizer = sam([weight, beside], OPTIONS[base])
        if watched:
            optimizer.base_optimizer.register_step_pre_hook(lambda *_: None)

        def closure(
            weight: nn.Parameter = weight, beside: nn.Parameter = beside, optimizer: SAM = optimizer
        ) -> torch.Tensor:
            optimizer.zero_grad()
            loss = weight.float().pow(4).mean() + beside.square().sum()
            loss.backward()
            return loss

        for _ in range(10):
            optimizer.step(closure)
        ends.append(torch.cat([weight.detach().float(), beside.detach()]))
    assert len(taken) == 10 and torch.equal(*ends)


@pytest.mark.parametrize("size", [100, 5000])
@pytest.mark.parametrize("how", ["one memory", "one part of it", "twice in a group"])
@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate parameters")
def test_parameters_that_share_memory_step_one_after_the_other(taken, size, how) -> None:
    ends = []
    for watched in (False, True):
        memory = torch.linspace(-1, 1, size)
        one = nn.Parameter(memory)
        start = {"one memory": 0, "one part of it": 10}.get(how)
        two = one if start is None else nn.Parameter(memory[start:])
        optimizer = sam([one, two], {"momentum": 0.9})
        if watched:
            optimizer.base_optimizer.register_step_pre_hook(lambda *_: None)

        def closure(one: nn.Parameter = one, two: nn.Parameter = two, optimizer: SAM = optimizer) -> torch.Tensor:
            optimizer.zero_grad()
            loss = one.square().sum() + two.pow(3).sum()
            loss.backward()
            return loss

        for _ in range(3):
            optimizer.step(closure)
        ends.append(memory.clone())
    assert not taken and torch.equal(*ends)
