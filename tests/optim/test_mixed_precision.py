"""Gradient scalers: an overflow in any pass skips the whole step; without one the scaler changes nothing."""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from landscape.optim import SAM, perturbation_fidelity
from landscape.optim.norms import global_norm, multiply, radius_factor
from tests.optim.methods import METHODS, buffers, build, closure_of, flat, problem

EACH = pytest.mark.parametrize("method", METHODS)
PASSES = {"amp": 3, "smoothout": 1, "entropy": 3}


@EACH
@pytest.mark.parametrize("where", [1, 2, 3])
def test_an_overflow_in_any_pass_skips_the_step_and_nothing_else(method, where):
    if where > PASSES.get(method, 2):
        pytest.skip("the method has fewer passes")
    model, inputs, targets = problem()
    optimizer = build(method, model.parameters(), model=model)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)

    def step(spoil_at=None):
        closure = closure_of(model, optimizer, inputs, targets, scaler=scaler, spoil_at=spoil_at)
        optimizer.step(closure, scaler=scaler)
        scaler.update()

    for _ in range(2):  # looksam: the third step perturbs again
        step()
    weights, state = flat(model), copy.deepcopy(optimizer.base_optimizer.state_dict()["state"])
    step(spoil_at=where)
    assert torch.equal(flat(model), weights)
    assert scaler.get_scale() == 32.0
    after = optimizer.base_optimizer.state_dict()["state"]
    assert all(torch.equal(after[k]["momentum_buffer"], state[k]["momentum_buffer"]) for k in state)
    assert all(torch.isfinite(buffer.float()).all() for buffer in buffers(model))
    step()  # what was remembered is not poisoned: the very next step goes on
    assert not torch.equal(flat(model), weights)
    step()
    assert torch.isfinite(flat(model)).all()
    assert all(torch.isfinite(value).all() for entry in optimizer.memory.values() for value in entry.values())


@EACH
def test_a_scale_that_is_a_power_of_two_changes_no_bit(method):
    """Scaling by 2^k and back is exact in float32 as long as nothing over- or underflows."""
    ends = []
    for scale in (None, 256.0):
        model, inputs, targets = problem()
        optimizer = build(method, model.parameters(), model=model)
        scaler = None if scale is None else torch.amp.GradScaler("cpu", init_scale=scale)
        for _ in range(4):
            closure = closure_of(model, optimizer, inputs, targets, scaler=scaler)
            optimizer.step(closure, scaler=scaler, max_grad_norm=None)
            if scaler is not None:
                scaler.update()
        ends.append(flat(model))
    # the sums inside GSAM's, LookSAM's and the norms' 1e-12 see other magnitudes
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-6, atol=1e-7)


def test_a_disabled_scaler_is_none():
    ends = []
    for scaler in (None, torch.amp.GradScaler("cpu", enabled=False)):
        model, inputs, targets = problem()
        optimizer = build("amp", model.parameters(), model=model)
        optimizer.step(closure_of(model, optimizer, inputs, targets, scaler=scaler), scaler=scaler)
        ends.append(flat(model))
    assert torch.equal(ends[0], ends[1])


def test_two_calls_with_a_scaler():
    ends = []
    for style in ("closure", "two calls"):
        model, inputs, targets = problem()
        optimizer = build("gnp", model.parameters(), model=model)
        scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
        closure = closure_of(model, optimizer, inputs, targets, scaler=scaler)
        for _ in range(3):
            if style == "closure":
                optimizer.step(closure, scaler=scaler, max_grad_norm=0.5)
            else:
                closure()
                optimizer.first_step(zero_grad=True, scaler=scaler)
                closure()
                optimizer.second_step(zero_grad=True, scaler=scaler, max_grad_norm=0.5)
            scaler.update()
        ends.append(flat(model))
    assert torch.equal(ends[0], ends[1])


@pytest.mark.parametrize("scale", [None, 1024.0])
def test_clipping_is_of_the_final_unscaled_gradient(scale):
    model, inputs, targets = problem(norm=False)
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.2, lr=1.0)
    scaler = None if scale is None else torch.amp.GradScaler("cpu", init_scale=scale)
    before = flat(model)
    optimizer.step(closure_of(model, optimizer, inputs, targets, scaler=scaler), scaler=scaler, max_grad_norm=0.01)
    assert (flat(model) - before).norm().item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_survive_a_gradient_of_zero(dtype):
    weight = nn.Parameter(torch.ones(4, dtype=dtype))
    optimizer = SAM([weight], torch.optim.SGD, rho=0.05, lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (0.0 * weight).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert torch.equal(weight.detach(), torch.ones(4, dtype=dtype))


def test_norms_of_half_precision_do_not_overflow():
    many = [torch.full((1000,), 300.0, dtype=torch.float16) for _ in range(2)]  # the squares do not fit into float16
    assert global_norm(many).item() == pytest.approx(300 * math.sqrt(2000), rel=1e-3)
    tensors = [torch.full((3,), 6e4, dtype=torch.float16)]
    multiply(tensors, torch.tensor(1e-9))  # the factor itself is 0 in float16
    assert tensors[0][0].item() == pytest.approx(6e-5, rel=1e-2)


def test_a_norm_that_is_not_finite_spreads():
    assert radius_factor(0.05, torch.tensor(torch.inf)).isnan()
    assert radius_factor(0.05, torch.tensor(0.0)).item() == pytest.approx(0.05e12)


def test_fidelity_against_a_hand_made_case():
    """bfloat16 has 8 significant bits: 1 + 2^-7 is one of its numbers, 1 + 2^-10 rounds to 1."""
    weight = nn.Parameter(torch.ones(2))
    optimizer = SAM([weight], torch.optim.SGD, rho=math.hypot(2**-7, 2**-10), lr=0.1)
    weight.grad = torch.tensor([2.0**-7, 2.0**-10])
    found = perturbation_fidelity(optimizer, torch.bfloat16)
    assert found.unchanged == 0.5
    assert found.length == pytest.approx(1 / math.hypot(1, 1 / 8), rel=1e-4)
    assert found.cosine == pytest.approx(1 / math.hypot(1, 1 / 8), rel=1e-4)
    assert perturbation_fidelity(optimizer, torch.float32).cosine == pytest.approx(1.0, rel=1e-6)
    assert torch.equal(weight.grad, torch.tensor([2.0**-7, 2.0**-10]))


def test_tf32_rounds_as_float16_does_where_that_has_the_range():
    """Both have 10 bits after the leading one."""
    weight = nn.Parameter(torch.rand(10_000, generator=torch.Generator().manual_seed(0)) + 0.1)
    optimizer = SAM([weight], torch.optim.SGD, rho=0.02, lr=0.1)
    weight.grad = torch.randn(10_000, generator=torch.Generator().manual_seed(1))
    coarse = perturbation_fidelity(optimizer, "tf32")
    assert coarse == perturbation_fidelity(optimizer, torch.float16)
    assert 0.1 < coarse.unchanged < 0.9
    weight.data *= 2.0**30  # out of float16's range, where TF32 is as exact as before
    optimizer.param_groups[0]["rho"] *= 2.0**30
    far = perturbation_fidelity(optimizer, "tf32")
    assert far.unchanged == pytest.approx(coarse.unchanged, abs=1e-3)
    weight.data[0] = torch.inf
    assert math.isnan(perturbation_fidelity(optimizer, "tf32").length)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_global_norm_of_small_and_large_tensors_together(dtype):
    tensors = [torch.full((n,), 0.5, dtype=dtype) for n in (1, 7, 5000, 30)] + [torch.full((3, 2), 0.5, dtype=dtype)]
    assert global_norm(tensors).item() == pytest.approx(0.5 * math.sqrt(5044), rel=1e-3)
    assert global_norm(tensors[2:3]).dtype in (torch.float32, torch.float64)


@EACH
def test_autocast_around_the_step_is_autocast_in_its_passes(method):
    """An outer context keeps half-precision copies of the weights, which the perturbation must not leave in use."""

    def end(outside):
        model, inputs, targets = problem()
        optimizer = build(method, model.parameters(), model=model)
        losses = []

        def closure():
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = nn.functional.cross_entropy(model(inputs), targets)
            losses.append(loss.item())
            loss.backward()
            return loss

        with torch.autocast("cpu", torch.bfloat16) if outside else nullcontext():
            for _ in range(3):
                optimizer.step(closure)
        return flat(model), losses

    (weights, losses), (expected, reference) = end(True), end(False)
    assert losses == reference and torch.equal(weights, expected)


def test_autocast_around_the_two_calls():
    def end(outside):
        model, inputs, targets = problem()
        optimizer = build("sam", model.parameters(), model=model)

        def backward():
            with torch.autocast("cpu", torch.bfloat16):
                loss = nn.functional.cross_entropy(model(inputs), targets)
            loss.backward()

        with torch.autocast("cpu", torch.bfloat16) if outside else nullcontext():
            for _ in range(2):
                backward()
                optimizer.first_step(zero_grad=True)
                backward()
                optimizer.second_step(zero_grad=True)
            backward()
            with optimizer.perturbed(), torch.autocast("cpu", torch.bfloat16):
                seen = model(inputs)
        return flat(model), seen

    (weights, seen), (expected, reference) = end(True), end(False)
    assert torch.equal(weights, expected) and torch.equal(seen, reference)


@pytest.mark.parametrize("method", ["fsam", "vasso"])
def test_an_overflow_at_the_first_step_does_not_begin_the_mean(method):
    def end(overflow):
        model, inputs, targets = problem(norm=False)
        optimizer = build(method, model.parameters(), model=model)
        scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
        for number in range(3 if overflow else 2):
            spoil = 1 if overflow and number == 0 else None
            optimizer.step(closure_of(model, optimizer, inputs, targets, scaler=scaler, spoil_at=spoil), scaler=scaler)
            scaler.update()
        return flat(model), [entry["mean"] for entry in optimizer.memory.values()]

    (spoiled, means), (clean, expected) = end(True), end(False)
    torch.testing.assert_close(spoiled, clean, rtol=1e-6, atol=1e-7)  # the scales differ by a power of two
    for mean, other in zip(means, expected, strict=True):
        torch.testing.assert_close(mean, other, rtol=1e-6, atol=1e-7)
