"""Ctrl-C, or no memory, at any line of a step: the weights come back, and the next step is right."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from landscape.optim import AMP, GSAM, LPFSGD, SAM, EntropySGD, LookSAM, backup, gradients, passes, sgd_step

METHODS: dict[str, Callable[[Any], Any]] = {
    "sam on sgd": lambda p: SAM(p, torch.optim.SGD, rho=5.0, lr=0.0),
    "sam on adam": lambda p: SAM(p, torch.optim.Adam, rho=5.0, lr=0.0),
    "gsam": lambda p: GSAM(p, torch.optim.SGD, rho=5.0, lr=0.0),
    "looksam": lambda p: LookSAM(p, torch.optim.SGD, rho=5.0, lr=0.0),
    "amp": lambda p: AMP(p, lr=0.0, epsilon=5.0, inner_iter=2),
    "lpf": lambda p: LPFSGD(p, lr=0.0, std=0.5, M=2),
    "entropy": lambda p: EntropySGD(p, lr=0.0, L=2),
}
FILES = {module.__file__ for module in (backup, gradients, passes, sgd_step)}


class Step:
    """A step whose weights stay where they are, at a learning rate of 0."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.optimizer = make([self.weight])

    def closure(self) -> torch.Tensor:
        self.optimizer.zero_grad()
        loss = self.weight.square().sum()
        loss.backward()
        return loss

    def take(self) -> None:
        self.optimizer.step(self.closure)


def interrupt_at(line: int) -> Callable[..., Any]:
    """A tracer that raises at the n-th line that runs within the engine's files."""
    count = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            count += 1
            if count == line:
                raise KeyboardInterrupt
        return trace

    return trace


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("warm", [False, True], ids=["first step", "later step"])
def test_ctrl_c_at_every_line_of_a_step(name: str, warm: bool) -> None:
    before, lines = sys.gettrace(), 0
    for line in range(1, 1000):
        step = Step(METHODS[name])
        if warm:
            step.take()
        try:
            sys.settrace(interrupt_at(line))
            step.take()
        except KeyboardInterrupt:
            lines += 1
        else:
            break
        finally:
            sys.settrace(before)
        place = f"interrupted at line {line} of the run"
        assert step.weight.tolist() == [1.0, 2.0], place
        step.take()
        assert step.weight.tolist() == [1.0, 2.0], place
        assert step.optimizer.state_dict()
    assert lines > 50


@pytest.mark.parametrize("name", ["gsam", "looksam", "amp", "entropy"])
def test_after_a_failed_allocation_the_next_step_allocates_again(monkeypatch, name: str) -> None:
    step, real = Step(METHODS[name]), torch.zeros

    def full(*args: Any, **options: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(gradients.torch, "zeros", full)
    with pytest.raises(torch.OutOfMemoryError):
        step.take()
    monkeypatch.setattr(gradients.torch, "zeros", real)
    step.take()
    assert step.weight.tolist() == [1.0, 2.0]


def test_a_schedule_is_asked_once_a_step() -> None:
    """A function of one's own may answer otherwise the second time."""
    asked: list[int] = []

    def schedule(step: int) -> bool:
        asked.append(step)
        return random.Random(len(asked)).random() < 0.5

    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = SAM([weight], torch.optim.SGD, rho=0.1, lr=0.01, schedule=schedule)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum() / 2
        loss.backward()
        return loss

    lengths = []
    for _ in range(20):
        optimizer.step(closure)
        lengths.append(weight.norm().item())
    assert asked == list(range(20))
    assert lengths == sorted(lengths, reverse=True)
    closure()
    optimizer.first_step()
    optimizer.second_step()
    assert asked == list(range(21))
