"""What a training loop meets: statistics, dropout, schedules, micro-batches, averaging, compiled models, addresses."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.errors import ConfigError, OptimizerError
from landscape.optim import (
    LPFSGD,
    SAM,
    Bernoulli,
    EntropySGD,
    Every,
    GroupScheduler,
    Late,
    ProportionalRho,
    averaged_model,
    build_optimizer,
    frozen_statistics,
    micro_batches,
)
from landscape.optim.registry import parse_when
from tests.optim.methods import METHODS, buffers, build, closure_of, flat, problem

EACH = pytest.mark.parametrize("method", METHODS)
CLEAN = [method for method in METHODS if METHODS[method][0].clean_pass]


@EACH
def test_running_statistics_are_those_of_one_pass(method):
    model, inputs, targets = problem()
    optimizer = build(method, model.parameters(), model=model, lr=0.0)
    reference, _, _ = problem()
    for steps in (1, 2, 3):
        optimizer.step(closure_of(model, optimizer, inputs, targets))
        reference(inputs)
        assert model[1].num_batches_tracked.item() == steps
        if method in CLEAN:
            assert all(torch.equal(a, b) for a, b in zip(buffers(model), buffers(reference), strict=True))
        else:
            assert not torch.equal(model[1].running_mean, reference[1].running_mean)


@EACH
def test_micro_batches_update_the_statistics_once_each(method):
    if method == "looksam":
        pytest.skip("takes one closure")
    model, inputs, targets = problem()
    optimizer = build(method, model.parameters(), model=model)
    closures = [closure_of(model, optimizer, inputs[part], targets[part]) for part in (slice(0, 6), slice(6, 12))]
    optimizer.step(closures)
    assert model[1].num_batches_tracked.item() == 2


@pytest.mark.parametrize("method", ["sam", "lpf"])
def test_a_closure_that_comes_twice_is_one_batch_for_the_statistics(method):
    model, inputs, targets = problem()
    optimizer = build(method, model.parameters(), model=model)
    closure = closure_of(model, optimizer, inputs, targets)
    optimizer.step([closure, closure])
    assert model[1].num_batches_tracked.item() == 1


def test_all_buffers_are_guarded_on_request():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

        def forward(self, inputs):
            self.calls += 1
            return self.layer(inputs)

    for which, expected in (("norm", 2), ("all", 1)):
        model = Counting()
        optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.1, model=model, buffers=which)
        optimizer.step(closure_of(model, optimizer, torch.ones(3, 2), torch.zeros(3, dtype=torch.long)))
        assert model.calls.item() == expected


def test_frozen_statistics_nest_and_survive_an_exception():
    model, inputs, _ = problem()
    before = buffers(model)
    with pytest.raises(ZeroDivisionError), frozen_statistics(model), frozen_statistics(model):
        model(inputs)
        raise ZeroDivisionError
    assert all(torch.equal(a, b) for a, b in zip(buffers(model), before, strict=True))
    model(inputs)
    assert model[1].num_batches_tracked.item() == 1


@pytest.mark.parametrize("same", [False, True])
def test_dropout_masks_are_the_same_on_request(same):
    layer = nn.Sequential(nn.Linear(50, 50), nn.Dropout(0.5))
    optimizer = SAM(layer.parameters(), torch.optim.SGD, rho=1e-6, lr=0.0, same_rng=same)
    masks = []

    def closure():
        optimizer.zero_grad()
        outputs = layer(torch.ones(1, 50))
        masks.append(outputs.detach() == 0)
        loss = outputs.square().sum()
        loss.backward()
        return loss

    state = torch.get_rng_state()
    torch.manual_seed(3)
    for _ in range(2):
        optimizer.step(closure)
    torch.set_rng_state(state)
    assert torch.equal(masks[0], masks[1]) == same
    assert not torch.equal(masks[1], masks[2])  # another step, other masks
    if same:
        optimizer.zero_grad()
        layer(torch.ones(1, 50)).sum().backward()
        with pytest.raises(OptimizerError, match="same_rng"):
            optimizer.step(closure)


@EACH
def test_one_closure_in_a_list_is_that_closure(method):
    ends = []
    for wrap in (lambda c: c, lambda c: [c]):
        model, inputs, targets = problem()
        optimizer = build(method, model.parameters(), model=model)
        for _ in range(3):
            optimizer.step(wrap(closure_of(model, optimizer, inputs, targets)))
        ends.append(flat(model))
    assert torch.equal(*ends)


def test_micro_batches_equal_a_loop_by_hand():
    model, inputs, targets = problem(norm=False)
    model, inputs = model.double(), inputs.double()
    start = copy.deepcopy(model)
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.3, lr=0.5)
    closures, weights = micro_batches(
        lambda part: closure_of(model, optimizer, inputs[part], targets[part])(), examples=12, m=5
    )
    optimizer.step(closures, weights=weights)
    total = 0.0
    for part in (slice(0, 5), slice(5, 10), slice(10, 12)):
        net = copy.deepcopy(start)
        one = SAM(net.parameters(), torch.optim.SGD, rho=0.3, lr=1.0)
        one.step(closure_of(net, one, inputs[part], targets[part]))
        total = total + (flat(start) - flat(net)) * len(targets[part]) / 12
    torch.testing.assert_close(flat(model), flat(start) - 0.5 * total, rtol=1e-12, atol=1e-14)
    with pytest.raises(ConfigError, match="m is out of range"):
        micro_batches(lambda part: None, examples=3, m=0)
    with pytest.raises(OptimizerError, match="differ in number"):
        optimizer.step(closures, weights=[1.0])
    with pytest.raises(OptimizerError, match="out of range"):
        optimizer.step(closures, weights=[0.0, 0.0, 0.0])


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


def test_norm_over_the_perturbed_groups_only():
    """SAM-ON: with rho = 0 elsewhere, the normalization layer alone moves, by the full radius."""
    for over, length in (("perturbed", 0.2), ("all", None)):
        model, inputs, targets = problem()
        groups = [
            {"params": [*model[0].parameters(), *model[3].parameters()], "rho": 0.0},
            {"params": list(model[1].parameters())},
        ]
        optimizer = SAM(groups, torch.optim.SGD, rho=0.2, lr=0.1, norm_over=over)
        optimizer.step(closure_of(model, optimizer, inputs, targets))
        if length is not None:
            assert optimizer.stats["eps_norm"].item() == pytest.approx(length, rel=1e-5)
        else:
            assert 0 < optimizer.stats["eps_norm"].item() < 0.2


def test_the_cosine_is_between_perturbation_and_last_gradient():
    weight = nn.Parameter(torch.tensor([1.0, 1.0], dtype=torch.float64))
    optimizer = SAM([weight], torch.optim.SGD, rho=1.0, lr=0.1, track_cosine=True)
    curvature = torch.tensor([1.0, 3.0], dtype=torch.float64)

    def closure():
        optimizer.zero_grad()
        loss = (curvature * weight**2).sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    first = curvature / curvature.norm()
    last = curvature * (1 + first)
    assert optimizer.stats["cos"].item() == pytest.approx((first @ last / last.norm()).item(), rel=1e-12)


@pytest.mark.parametrize("decay", [None, 0.5])
def test_averaged_weights_are_those_of_the_true_iterates(decay):
    model, inputs, targets = problem()
    optimizer = build("sam", model.parameters(), model=model)
    averaged = averaged_model(model, decay)
    expected = None
    for steps in range(4):
        optimizer.step(closure_of(model, optimizer, inputs, targets))
        averaged.update_parameters(model)
        now = flat(model)
        share = 1 / (steps + 1) if decay is None else 1 - decay
        expected = now if expected is None else expected + share * (now - expected)
    torch.testing.assert_close(flat(averaged.module), expected, rtol=1e-6, atol=1e-7)
    torch.optim.swa_utils.update_bn([(inputs, targets)], averaged)
    averaged.module[0].eval()
    torch.testing.assert_close(averaged.module[1].running_mean, averaged.module[0](inputs).mean(0))
    with pytest.raises(ConfigError, match="decay is out of range"):
        averaged_model(model, 1.5)


@EACH
def test_addresses_are_constant_over_a_hundred_steps(method):
    model, inputs, targets = problem()
    optimizer = build(method, model.parameters(), model=model)

    def addresses():
        held = [*optimizer._backup.weights, *optimizer._statistics._copies, *optimizer._kept._flat]
        held += [tensor for entry in optimizer.memory.values() for tensor in entry.values()]
        return [p.data_ptr() for p in model.parameters()] + [tensor.data_ptr() for tensor in held]

    for _ in range(2):
        optimizer.step(closure_of(model, optimizer, inputs, targets))
    first = addresses()
    assert len(optimizer._backup.weights) == len(list(model.parameters()))
    for _ in range(100):
        optimizer.step(closure_of(model, optimizer, inputs, targets))
    assert addresses() == first


@EACH
def test_a_compiled_model_is_compiled_in_the_first_two_steps_only(method):
    model, inputs, targets = problem()
    graphs = []

    def count(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(model, backend=count)
    optimizer = build(method, model.parameters(), model=model)
    for _ in range(2):
        optimizer.step(closure_of(compiled, optimizer, inputs, targets))
    first = len(graphs)
    assert first >= 1
    for _ in range(6):
        optimizer.step(closure_of(compiled, optimizer, inputs, targets))
    assert len(graphs) == first


def test_first_step_without_zero_grad_leaves_the_gradients():
    """The next backward pass then adds to them, as it does in the widespread implementation."""
    model, inputs, targets = problem(norm=False)
    optimizer = build("sam", model.parameters())
    F.cross_entropy(model(inputs), targets).backward()
    before = [p.grad.clone() for p in model.parameters()]
    optimizer.first_step()
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), before, strict=True))
    optimizer.zero_grad()
    F.cross_entropy(model(inputs), targets).backward()
    optimizer.second_step()


def test_stale_gradients_are_no_first_pass():
    model, inputs, targets = problem(norm=False)
    optimizer = build("sam", model.parameters())
    optimizer.step(closure_of(model, optimizer, inputs, targets))
    with pytest.raises(OptimizerError, match="those of the last step"):
        optimizer.first_step()


def test_a_failing_perturbation_leaves_the_weights():
    table = nn.Embedding(5, 2, sparse=True)
    dense = nn.Linear(2, 2)
    optimizer = SAM([{"params": dense.parameters()}, {"params": table.parameters()}], torch.optim.SGD, lr=0.1)
    before = flat(dense)
    dense(table(torch.tensor([1]))).sum().backward()
    with pytest.raises(OptimizerError, match="sparse"):
        optimizer.first_step()
    assert torch.equal(flat(dense), before)
    with pytest.raises(OptimizerError, match="without first_step"):
        optimizer.second_step()


def test_perturbed_walks_through_all_passes_with_a_closure():
    model, inputs, targets = problem()
    optimizer = build("amp", model.parameters(), model=model, inner_iter=3, lr=0.0)
    where = []
    counted = closure_of(model, optimizer, inputs, targets)

    def closure():
        where.append(flat(model))
        return counted()

    optimizer.step(closure)
    before, gradients, statistics = flat(model), [p.grad for p in model.parameters()], buffers(model)
    with optimizer.perturbed(counted):
        assert torch.equal(flat(model), where[-1])
    assert torch.equal(flat(model), before)
    assert all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(buffers(model), statistics, strict=True))
    with pytest.raises(OptimizerError, match="perturbs 3 times"), optimizer.perturbed():
        pass
    assert torch.equal(flat(model), before)


@pytest.mark.parametrize("method", ["fsam", "vasso"])
def test_looking_at_the_perturbation_changes_no_memory(method):
    model, inputs, targets = problem()
    optimizer = build(method, model.parameters(), model=model)
    optimizer.step(closure_of(model, optimizer, inputs, targets))
    before = copy.deepcopy(optimizer.state_dict()["method"])
    F.cross_entropy(model(inputs), targets).backward()
    with optimizer.perturbed():
        pass
    after = optimizer.state_dict()["method"]
    assert all(torch.equal(after[k]["mean"], before[k]["mean"]) for k in before)


def test_looking_at_noise_shows_the_next_steps_own():
    weight = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = LPFSGD([weight], lr=0.0, std=0.1)
    seen = []

    def closure():
        optimizer.zero_grad()
        seen.append(weight.tolist())
        weight.sum().backward()
        return torch.zeros(())

    with optimizer.perturbed():
        shown = weight.tolist()
    optimizer.step(closure)
    assert seen == [shown]


@pytest.mark.parametrize("make", [lambda p: EntropySGD(p, lr=0.1, L=3), lambda p: build("nso", p)])
def test_methods_with_more_looks_refuse_two_calls_or_do_one(make):
    model, inputs, targets = problem(norm=False)
    optimizer = make(model.parameters())
    F.cross_entropy(model(inputs), targets).backward()
    if isinstance(optimizer, EntropySGD):
        with pytest.raises(OptimizerError, match="Use step"):
            optimizer.first_step()


def test_a_closure_that_returns_a_dict_is_detached():
    model, inputs, targets = problem()
    optimizer = build("sam", model.parameters())

    def closure():
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = F.cross_entropy(outputs, targets)
        loss.backward()
        return {"loss": loss, "parts": [outputs]}

    found = optimizer.step(closure)
    assert not found["loss"].requires_grad and not found["parts"][0].requires_grad
