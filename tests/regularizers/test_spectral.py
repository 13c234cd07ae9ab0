"""Spectral norms against dense matrices, the penalty on them and its memory, the constraint and its bound."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from landscape.errors import ConfigError, MismatchError, ModelError
from landscape.regularizers import SpectralPenalty, SpectralProjection, spectral_norms
from landscape.regularizers.operator_norm import circular_size, frequencies, input_sizes, taps, weight_layers
from landscape.seeding import generator, seeded

LABELS = torch.zeros(2, dtype=torch.long)
FORMS = [
    {"padding": 1}, {"padding": 1, "stride": 2}, {"padding": 2, "dilation": 2}, {"padding": 1, "groups": 2},
    {"padding": "same"}, {"padding": "valid"}, {"padding": 1, "padding_mode": "circular"},
]  # fmt: skip


def drawn(*shape, name="inputs"):
    return torch.randn(shape, generator=generator(0, "tests", name), dtype=torch.float64)


def convolution(**options):
    with seeded(0, "tests"):
        return nn.Sequential(nn.Conv2d(4, 6, 3, **options)).double()


def network():
    with seeded(0, "tests"):
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(),
            nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(24, 3),
        ).double()  # fmt: skip


def dense(layer, size):
    """The matrix of a convolution, by applying it to unit images."""
    units = torch.eye(layer.in_channels * math.prod(size), dtype=torch.float64).unflatten(1, (layer.in_channels, *size))
    with torch.no_grad():
        zero = 0 if layer.bias is None else layer(torch.zeros_like(units[:1]))
        return (layer(units) - zero).flatten(1).T


def top(matrix):
    return torch.linalg.svdvals(matrix).amax().item()


# -------------------------------------------------------------------------------------------------------------- norms


@pytest.mark.parametrize(("size", "dilation"), [((6, 5), 1), ((5, 8), 1), ((6, 8), 2)])
def test_the_norm_of_a_circular_convolution_is_that_of_its_dense_matrix_and_of_the_fft(size, dilation):
    model = convolution(padding=dilation, dilation=dilation, padding_mode="circular")
    found = spectral_norms(model, operator="circular", inputs=drawn(2, 4, *size))["0.weight"].item()
    weight = torch.zeros(6, 4, 2 * dilation + 1, 2 * dilation + 1, dtype=torch.float64)
    weight[:, :, ::dilation, ::dilation] = model[0].weight.detach()
    by_frequency = torch.fft.fft2(weight, s=size).permute(2, 3, 0, 1)
    half = by_frequency[:, : size[1] // 2 + 1]
    assert torch.allclose(frequencies(model[0], size)[0], half, atol=1e-12)
    assert found == pytest.approx(top(dense(model[0], size)), rel=1e-8)
    assert found == pytest.approx(top(by_frequency), rel=1e-8)


@pytest.mark.parametrize("options", FORMS)
def test_power_iterations_find_the_norm_of_what_the_layer_computes(options):
    model = convolution(**options)
    inputs = drawn(2, 4, 5, 4)
    found = spectral_norms(model, operator="convolution", inputs=inputs, iterations=800)["0.weight"].item()
    exact = top(dense(model[0], (5, 4)))
    assert found == pytest.approx(exact, rel=1e-6)
    assert exact <= spectral_norms(model, operator="circular", inputs=inputs)["0.weight"].item() * (1 + 1e-12)


def test_the_reshaped_kernel_has_another_norm_than_the_operator_within_the_known_bounds():
    model = convolution(padding=1)
    inputs = drawn(2, 4, 9, 9)
    flat = spectral_norms(model)["0.weight"].item()
    around = spectral_norms(model, operator="circular", inputs=inputs)["0.weight"].item()
    assert flat == pytest.approx(top(model[0].weight.detach().flatten(1)), rel=1e-8)
    assert 1.05 * flat < around <= 3.0 * flat  # another norm; sqrt(3 * 3)
    ones = convolution(padding=1)
    nn.init.ones_(ones[0].weight)
    flat, around = (
        spectral_norms(ones, operator=o, inputs=inputs)["0.weight"].item() for o in ("reshaped", "circular")
    )
    assert around == pytest.approx(3 * flat, rel=1e-12)  # as far apart as they can be


def test_one_dimension_and_linear_layers():
    with seeded(0, "tests"):
        model = nn.Sequential(nn.Conv1d(3, 5, 3, padding=1, padding_mode="circular"), nn.Flatten(), nn.Linear(35, 2))
    model = model.double()
    found = spectral_norms(model, operator="circular", inputs=drawn(2, 3, 7))
    assert found["0.weight"].item() == pytest.approx(top(dense(model[0], (7,))), rel=1e-8)
    assert found["2.weight"].item() == pytest.approx(top(model[2].weight.detach()), rel=1e-8)


def test_biases_and_normalization_are_no_operators_and_a_weight_with_two_names_is_one():
    model = network()
    assert list(weight_layers(model)) == ["0.weight", "5.weight", "7.weight"]
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    assert list(weight_layers(tied)) == ["0.weight"]
    assert list(weight_layers(nn.DataParallel(model))) == ["0.weight", "5.weight", "7.weight"]
    with pytest.raises(ModelError, match="no spectral norms"):
        weight_layers(nn.Sequential(nn.ReLU()))


def test_the_sizes_come_from_one_pass_that_leaves_no_trace():
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    assert input_sizes(model, drawn(1, 1, 8, 8)) == {"0.weight": (8, 8), "5.weight": (4, 4)}
    assert model.training
    assert model[1].training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())
    with pytest.raises(ModelError, match="cannot be found"):
        input_sizes(model, drawn(1, 3, 8, 8))


@pytest.mark.parametrize("size", [(6, 5), (5, 8), (3, 4)])
def test_a_kernel_comes_back_from_its_frequencies(size):
    layer = convolution(padding=1, groups=2)[0]
    assert torch.allclose(taps(layer, frequencies(layer, size), size), layer.weight, atol=1e-14)
    assert circular_size(layer, size) == (size[0] + 2, size[1] + 2)


# ------------------------------------------------------------------------------------------------------------ penalty


@pytest.mark.parametrize("operator", ["reshaped", "convolution"])
@pytest.mark.parametrize("method", ["svd", "power"])
def test_the_penalty_is_the_sum_of_squared_norms_and_its_gradient_the_top_singular_vectors(method, operator):
    model, inputs = network(), drawn(2, 1, 8, 8)
    penalty = SpectralPenalty(weight=0.3, method=method, operator=operator, iterations=100)
    value = penalty(model, inputs, LABELS, step=0)
    kind = "circular" if method == "svd" and operator == "convolution" else operator
    norms = spectral_norms(model, operator=kind, inputs=inputs, iterations=100)
    assert value.item() == pytest.approx(0.3 * sum(norm.item() ** 2 for norm in norms.values()), rel=1e-8)
    value.backward()
    u, s, v = torch.linalg.svd(model[7].weight.detach(), full_matrices=False)
    assert torch.allclose(model[7].weight.grad, 0.6 * s[0] * torch.outer(u[:, 0], v[0]), atol=1e-8)
    step = 1e-6 * drawn(*model[0].weight.shape, name="step")
    with torch.no_grad():
        model[0].weight.add_(step)
        higher = penalty(model, inputs, LABELS, step=0)
        model[0].weight.sub_(2 * step)
        lower = penalty(model, inputs, LABELS, step=0)
    slope = (model[0].weight.grad * step).sum().item()
    assert (higher - lower).item() / 2 == pytest.approx(slope, rel=1e-3)
    assert model[0].bias.grad is None
    assert model[1].weight.grad is None


def test_the_iterations_advance_once_a_step_and_converge_over_steps():
    model, inputs = network(), drawn(2, 1, 8, 8)
    penalty = SpectralPenalty(weight=1.0)
    exact = SpectralPenalty(weight=1.0, method="svd")(model, inputs, LABELS).item()
    first, again = (penalty(model, inputs, LABELS, step=0).item() for _ in range(2))
    assert first == again < exact
    values = [penalty(model, inputs, LABELS, step=step).item() for step in range(1, 120)]
    assert values[0] > first
    assert values[-1] == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("operator", ["reshaped", "convolution"])
def test_a_resumed_penalty_goes_on_bit_for_bit(operator):
    model, inputs = network(), drawn(2, 1, 8, 8)

    def run(penalty, steps):
        return [penalty(model, inputs, LABELS).item() for _ in range(steps)]

    whole = SpectralPenalty(operator=operator)
    values = run(whole, 6)
    first = SpectralPenalty(operator=operator)
    early, state = run(first, 3), first.state_dict()
    run(first, 1)  # the state is a copy
    rest = SpectralPenalty(operator=operator)
    rest.load_state_dict(state)
    assert all(torch.equal(value, rest.state_dict()[name]) for name, value in state.items())  # also before it is used
    assert early + run(rest, 3) == values
    assert SpectralPenalty().state_dict() == {}


def test_a_state_of_another_model_is_refused():
    penalty, other = SpectralPenalty(), SpectralPenalty()
    penalty(nn.Linear(2, 3), torch.zeros(1, 2), LABELS)
    other.load_state_dict(penalty.state_dict())
    with pytest.raises(MismatchError, match="another model"):
        other(nn.Linear(4, 3), torch.zeros(1, 4), LABELS)
    with pytest.raises(MismatchError, match="no state"):
        other.load_state_dict({"weight.u": torch.zeros(3)})


@pytest.mark.parametrize("operator", ["reshaped", "convolution"])
@pytest.mark.parametrize("method", ["svd", "power"])
def test_weights_of_zero_and_of_tiny_values_are_finite_and_nan_stays_nan(method, operator):
    model, inputs = network(), drawn(2, 1, 8, 8)
    for fill, expected in ((0.0, 0.0), (1e-170, 0.0)):
        for parameter in model.parameters():
            nn.init.constant_(parameter, fill)
        value = SpectralPenalty(method=method, operator=operator)(model, inputs, LABELS)
        value.backward()
        assert value.item() == pytest.approx(expected, abs=1e-300)
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    nn.init.constant_(model[0].weight, math.nan)
    assert math.isnan(SpectralPenalty(method=method, operator=operator)(model, inputs, LABELS).item())
    SpectralProjection(operator=operator, input_shape=(1, 8, 8)).apply(model, epoch=0.0)
    assert model[0].weight.isnan().all()


# --------------------------------------------------------------------------------------------------------- projection


@pytest.mark.parametrize("epoch", [0.0, 1.0, 100.0])
def test_after_the_projection_no_singular_value_is_above_the_bound_and_the_others_are_as_before(epoch):
    model = network()
    for layer in (model[0], model[5], model[7]):
        nn.init.normal_(layer.weight, generator=generator(0, "tests", "weights"))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    projection = SpectralProjection(tau=0.5, kappa=2.0)
    projection.apply(model, epoch=epoch)
    bound = 0.5 * (1 + 4 * math.exp(-epoch / 2))
    assert projection.bound(epoch) == pytest.approx(bound, rel=1e-12)
    for name, parameter in model.named_parameters():
        if name not in ("0.weight", "5.weight", "7.weight"):
            assert torch.equal(parameter, before[name])
            continue
        u, s, v = torch.linalg.svd(before[name].flatten(1), full_matrices=False)
        nearest = (u * s.clamp(max=bound)) @ v
        assert torch.allclose(parameter.detach().flatten(1), nearest, atol=1e-10)
        assert top(parameter.detach().flatten(1)) <= bound * (1 + 1e-8)


@pytest.mark.parametrize("options", FORMS)
def test_the_projection_of_the_operator_keeps_what_the_layer_computes_within_the_bound(options):
    model, inputs = convolution(**options), drawn(2, 4, 7, 6)
    SpectralProjection(tau=0.3, operator="convolution", input_shape=(4, 7, 6)).apply(model, epoch=1e9)
    around = spectral_norms(model, operator="circular", inputs=inputs)["0.weight"].item()
    assert around == pytest.approx(0.3, rel=1e-8)  # not above, and no smaller than it must be
    assert top(dense(model[0], (7, 6))) <= 0.3 * (1 + 1e-8)


@pytest.mark.parametrize("operator", ["reshaped", "convolution"])
def test_weights_within_the_bound_stay_bit_for_bit(operator):
    model = network()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    SpectralProjection(tau=100.0, operator=operator, input_shape=(1, 8, 8)).apply(model, epoch=1.0)
    assert all(torch.equal(new, old) for new, old in zip(model.parameters(), before, strict=True))


def test_the_projection_of_float32_weights_is_as_close_as_they_are():
    with seeded(0, "tests"):
        model = nn.Linear(300, 200)
    nn.init.normal_(model.weight, generator=generator(0, "tests", "weights"))
    SpectralProjection(tau=0.5).apply(model, epoch=1e9)
    assert top(model.weight.detach().double()) <= 0.5 * (1 + 1e-6)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: SpectralPenalty(weight=-1.0), "weight"),
        (lambda: SpectralPenalty(weight=math.nan), "weight"),
        (lambda: SpectralPenalty(method="eig"), "method"),
        (lambda: SpectralPenalty(iterations=0), "iterations"),
        (lambda: SpectralPenalty(operator="circular"), "operator"),
        (lambda: SpectralProjection(tau=0.0), "tau"),
        (lambda: SpectralProjection(kappa=-1.0), "kappa"),
        (lambda: SpectralProjection(operator="convolution"), "input_shape"),
        (lambda: SpectralProjection(operator="convolution", input_shape=3), "input_shape"),
        (lambda: SpectralProjection(rounds=0), "rounds"),
        (lambda: spectral_norms(nn.Linear(1, 1), operator="circular"), "inputs"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(build, named):
    with pytest.raises(ConfigError, match=named):
        build()


@pytest.mark.parametrize("operator", ["reshaped", "convolution"])
def test_the_projection_leaves_frozen_weights_alone(operator):
    model = network()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    model[0].weight.requires_grad_(False)
    projection = SpectralProjection(tau=0.01, operator=operator, input_shape=(1, 8, 8))
    with torch.no_grad():
        projection.apply(model, epoch=1e9)
    moved = [not torch.equal(new, old) for new, old in zip(model.parameters(), before, strict=True)]
    assert [name for (name, _), each in zip(model.named_parameters(), moved, strict=True) if each] == [
        "5.weight", "7.weight",
    ]  # fmt: skip
    model[0].weight.requires_grad_(True)  # from here on it is trained
    projection.apply(model, epoch=1e9)
    assert not torch.equal(model[0].weight, before[0])


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm"])
def test_all_layers_whose_weights_are_computed_count_and_stay_as_they_are(kind):
    computed = getattr(nn.utils.parametrizations, kind)
    model = nn.Sequential(*[computed(nn.Linear(4, 4).double()) for _ in range(6)])
    before = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    found = spectral_norms(model)
    assert list(found) == [f"{number}.weight" for number in range(6)]
    penalty = SpectralPenalty(weight=1.0, method="svd")
    values = [penalty(model, drawn(2, 4), torch.zeros(2).long()) for _ in range(3)]
    values[0].backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.ndim > 1)
    model.requires_grad_(False)
    SpectralProjection(tau=0.1).apply(model, epoch=1e9)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        exact = [torch.linalg.matrix_norm(layer.weight, 2) for layer in model.eval()]
    torch.testing.assert_close(torch.stack([*found.values()]), torch.stack(exact), rtol=0.3, atol=0)  # one step on
    if kind == "weight_norm":
        torch.testing.assert_close(torch.stack(values), torch.stack(exact).square().sum().expand(3), rtol=1e-8, atol=0)


def test_a_model_that_is_all_frozen_is_left_alone_also_where_weights_are_computed():
    model = nn.Sequential(nn.Linear(4, 3), nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    before = [parameter.detach().clone() for parameter in model.requires_grad_(False).parameters()]
    SpectralProjection(tau=0.01).apply(model, epoch=1e9)
    assert all(torch.equal(new, old) for new, old in zip(model.parameters(), before, strict=True))
    model[1].requires_grad_(True)
    with torch.no_grad(), pytest.raises(ModelError, match="computed from other parameters"):
        SpectralProjection(tau=0.01).apply(model, epoch=1e9)
