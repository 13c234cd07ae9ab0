"""The penalties on deformations: closed forms on linear models, all pairs looked at one by one, and quiet cases."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from landscape.errors import ConfigError
from landscape.regularizers import Deformations, DeformationStability, TangentPenalty
from landscape.seeding import generator, seeded

LABELS = torch.zeros(5, dtype=torch.long)
BOTH = (DeformationStability, TangentPenalty)


def images(count=5):
    return torch.rand(count, 2, 6, 6, generator=generator(0, "tests", "images"), dtype=torch.float64)


def linear():
    with seeded(0, "tests"):
        return nn.Sequential(nn.Flatten(), nn.Linear(72, 3)).double()


def curved():
    with seeded(0, "tests"):
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)).double()


def moved(penalty, inputs, step):
    """The deformed images (I, count, ...), as the penalty draws them."""
    stream = generator(penalty.seed, "deformation stability", step)
    return penalty.deformations(inputs.repeat_interleave(penalty.count, 0), stream).unflatten(0, (-1, penalty.count))


def tangents(penalty, inputs, step):
    return penalty.deformations.tangents(inputs, generator(penalty.seed, "tangents", step), penalty.count)


def test_the_stability_of_a_linear_model_is_the_largest_product():
    model, inputs = linear(), images()
    penalty = DeformationStability(weight=0.3, examples=4, count=3, seed=7)
    value = penalty(model, inputs, LABELS, step=11)
    change = moved(penalty, inputs[:4], 11) - inputs[:4, None]  # each from its own image
    products = change.flatten(2) @ model[1].weight.T
    assert value.item() == pytest.approx(0.3 * products.square().amax((0, 1)).sum().item(), rel=1e-8)


def test_the_tangent_penalty_of_a_linear_model_is_the_largest_sum_of_squares():
    model, inputs = linear(), images()
    penalty = TangentPenalty(weight=0.3, examples=4, count=3, seed=7)
    value = penalty(model, inputs, LABELS, step=11)
    products = tangents(penalty, inputs[:4], 11).flatten(2) @ model[1].weight.T  # (4, 3, K)
    assert value.item() == pytest.approx(0.3 * products.square().sum(1).amax(0).sum().item(), rel=1e-8)
    by_sum = products.sum(1).argmax(0)
    wrong = products.square().sum(1).gather(0, by_sum[None]).sum().item()
    assert wrong < 0.99 * value.item() / 0.3  # choosing by the sum would find less here


@pytest.mark.parametrize("kind", BOTH)
def test_curved_models_agree_with_looking_at_every_pair_and_so_do_the_gradients(kind):
    model, inputs = curved(), images()
    penalty = kind(weight=0.5, count=3)
    value = penalty(model, inputs, LABELS, step=2)
    if kind is DeformationStability:
        other = model(moved(penalty, inputs, 2).flatten(0, 1)).unflatten(0, (5, 3))
        expected = 0.5 * (other - model(inputs)[:, None]).square().amax((0, 1)).sum()
    else:
        jacobian = torch.autograd.functional.jacobian(lambda x: model(x).sum(0), inputs, create_graph=True)
        sums = torch.einsum("kid,itd->kit", jacobian.flatten(2), tangents(penalty, inputs, 2).flatten(2))
        expected = 0.5 * sums.square().sum(2).amax(1).sum()
    assert value.item() == pytest.approx(expected.item(), rel=1e-8)
    parameters = list(model.parameters())
    found, exact = (torch.autograd.grad(each, parameters, allow_unused=True) for each in (value, expected))
    for mine, theirs in zip(found, exact, strict=True):
        none = torch.zeros(())
        assert torch.allclose(none if mine is None else mine, none if theirs is None else theirs, atol=1e-10)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("fill", [0.0, 0.7])
def test_images_with_nothing_to_see_cost_nothing_and_have_finite_gradients(kind, fill):
    model = curved()
    value = kind()(model, torch.full((3, 2, 6, 6), fill, dtype=torch.float64), LABELS[:3])
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-25)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", BOTH)
def test_all_passes_of_a_step_see_the_same_draws_and_another_step_others(kind):
    model, inputs, penalty = curved(), images(), kind(count=2)
    first, again, later = (penalty(model, inputs, LABELS, step=step).item() for step in (3, 3, 4))
    assert first == again != later
    assert penalty(model, inputs, LABELS).item() == kind(count=2)(model, inputs, LABELS, step=5).item()
    assert kind(count=2, seed=1)(model, inputs, LABELS, step=3).item() != first


@pytest.mark.parametrize("kind", BOTH)
def test_the_model_and_the_inputs_come_back_as_they_were(kind):
    with seeded(0, "tests"):
        model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    model, inputs = model.double().train(), images()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    clean, state = inputs.clone(), torch.get_rng_state()
    kind()(model, inputs, LABELS)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(clean, inputs)
    assert not inputs.requires_grad
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("kind", BOTH)
def test_a_model_that_does_not_look_costs_nothing(kind):
    weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    value = kind()(lambda x: weight.expand(len(x), 3), images(), LABELS)
    (value + weight.sum()).backward()
    assert value.item() == 0.0
    assert torch.equal(weight.grad, torch.ones_like(weight))


@pytest.mark.parametrize("kind", BOTH)
def test_what_is_not_finite_is_seen(kind):
    model = linear()
    nn.init.constant_(model[1].weight, math.nan)
    assert math.isnan(kind()(model, images(), LABELS).item())


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    "settings", [{"weight": -1}, {"examples": 0}, {"count": 2.5}, {"seed": "one"}, {"deformations": 0.1}]
)
def test_settings_out_of_range_are_refused_by_name(kind, settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        kind(**settings)


def test_stronger_deformations_cost_more():
    model, inputs = curved(), images()
    for kind in BOTH:
        weak, strong = (kind(deformations=Deformations(strength=s))(model, inputs, LABELS) for s in (0.01, 0.1))
        assert weak.item() < 0.2 * strong.item()


@pytest.mark.parametrize("make", BOTH)
def test_dropout_is_no_deformation_and_generators_stay_where_they_are(make):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.5), nn.Linear(32, 3)).double().train()
    flat = torch.full((6, 1, 8, 8), 0.7, dtype=torch.float64)  # a deformation changes nothing in it
    before = torch.get_rng_state()
    found = make(weight=1.0)(net, flat, torch.zeros(6, dtype=torch.long))
    torch.testing.assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-20)
    assert torch.equal(torch.get_rng_state(), before)
