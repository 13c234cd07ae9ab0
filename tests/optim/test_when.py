"""Which steps perturb, in objects and in words, and options that move with the steps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from landscape.errors import ConfigError
from landscape.optim import AMP, SAM, Bernoulli, Every, GroupScheduler, Late, ProportionalRho, build_optimizer
from landscape.optim.when import parse_when
from tests.optim.methods import closure_of, problem


@pytest.mark.parametrize(
    ("schedule", "passes"),
    [
        (Late(0.5, 6), [1, 1, 1, 2, 2, 2]),
        (Every(3), [2, 1, 1, 2, 1, 1]),
        (lambda step: step == 4, [1, 1, 1, 1, 2, 1]),
    ],
)
def test_schedules_say_which_steps_perturb_and_survive_a_checkpoint(schedule, passes):
    model, inputs, targets = problem()
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.2, lr=0.1, schedule=schedule)
    seen = []
    for _ in passes:
        fresh = SAM(model.parameters(), torch.optim.SGD, rho=0.2, lr=0.1, schedule=schedule)
        fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        closure = closure_of(model, fresh, inputs, targets)
        fresh.step(closure)
        seen += closure.calls
        optimizer = fresh
    assert seen == passes


def test_a_bernoulli_schedule_hits_its_share_and_is_a_function_of_the_step():
    coin = Bernoulli(0.3, seed=5)
    hits = [coin(step) for step in range(4000)]
    assert abs(sum(hits) / 4000 - 0.3) < 4.5 * (0.3 * 0.7 / 4000) ** 0.5  # standard error of a share of 4000
    assert hits == [Bernoulli(0.3, seed=5)(step) for step in range(4000)]
    assert hits != [Bernoulli(0.3, seed=6)(step) for step in range(4000)]


@pytest.mark.parametrize("words", ["late", "late:2", "every:0", "every:x", "sometimes", "bernoulli:1.5"])
def test_words_for_a_schedule_that_mean_nothing_are_refused(words):
    with pytest.raises(ConfigError, match="out of range|not understood"):
        parse_when(words, 10, 0)


def test_words_for_a_schedule():
    assert parse_when("late:0.2", 10, 0) == Late(0.2, 10)
    assert parse_when("bernoulli:0.5", None, 3) == Bernoulli(0.5, 3)
    optimizer = build_optimizer("sam", nn.Linear(1, 1), lr=0.1, when="late:0.25", total_steps=8)
    assert optimizer.engine.schedule == Late(0.25, 8)
    with pytest.raises(ConfigError, match="not understood"):
        parse_when("late:0.2", None, 0)


def test_group_schedules_move_an_option_and_resume():
    optimizer = SAM([{"params": [nn.Parameter(torch.ones(1))], "rho": 0.5}], torch.optim.SGD, lr=0.1)
    schedule = GroupScheduler(optimizer, "rho", lambda steps: 0.5**steps)
    schedule.step()
    assert optimizer.param_groups[0]["rho"] == 0.25
    other = GroupScheduler(optimizer, "rho", lambda steps: 0.5**steps)
    other.load_state_dict(schedule.state_dict())
    other.step()
    assert optimizer.param_groups[0]["rho"] == 0.125
    with pytest.raises(ConfigError, match="Did you mean 'rho'"):
        GroupScheduler(optimizer, "rhoo", lambda steps: 1.0)
    with pytest.raises(ConfigError, match="out of order"):
        ProportionalRho(optimizer, rho_max=0.1, rho_min=0.2)
    with pytest.raises(ConfigError, match="no rho"):
        ProportionalRho(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1), rho_max=0.1)


def test_a_proportional_radius_goes_on_where_it_stood():
    def make():
        return SAM([nn.Parameter(torch.ones(1))], torch.optim.SGD, rho=0.1, lr=0.4)

    whole = make()
    schedule = ProportionalRho(whole, rho_max=0.2)
    whole.param_groups[0]["lr"] = 0.1
    schedule.step()
    resumed = make()
    resumed.load_state_dict(whole.state_dict())
    again = ProportionalRho(resumed, rho_max=0.2)
    again.load_state_dict(schedule.state_dict())
    assert resumed.param_groups[0]["rho"] == whole.param_groups[0]["rho"] == pytest.approx(0.05)


def test_a_proportional_radius_takes_the_schedulers_highest_rate():
    optimizer = SAM([nn.Parameter(torch.ones(1))], torch.optim.SGD, rho=0.1, lr=0.1, momentum=0.9)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.4, total_steps=10)
    schedule = ProportionalRho(optimizer, rho_max=0.2)
    seen = []
    for _ in range(9):
        optimizer.param_groups[0]["params"][0].grad = torch.ones(1)
        optimizer.base_optimizer.step()
        optimizer._opt_called = True
        rates.step()
        schedule.step()
        group = optimizer.param_groups[0]
        assert group["rho"] == pytest.approx(0.2 * group["lr"] / 0.4)
        seen.append(group["rho"])
    assert max(seen) > 4 * min(seen)


def test_numbers_of_a_step_are_of_that_step() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = SAM([weight], torch.optim.SGD, rho=0.1, lr=0.01, schedule=Every(2))

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert set(optimizer.stats) == {"loss", "loss_perturbed", "grad_norm", "eps_norm"}
    optimizer.step(closure)
    assert set(optimizer.stats) == {"loss"}


def test_a_look_tells_the_first_loss_from_the_later_ones() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = AMP([weight], lr=0.01, epsilon=0.3, inner_iter=3)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    with optimizer.perturbed(closure):
        assert optimizer.stats["loss"] == 5.0 < optimizer.stats["loss_perturbed"]
