"""Balanced networks: the same function, filters of norm 1, and no scale left for a measure to see."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.curvature import Hessian
from landscape.errors import ModelError
from landscape.objective import Objective
from landscape.parameters import Layout
from landscape.sharpness import MEASURES, balance, measure
from landscape.surface import evaluate_line, random_direction
from tests.sharpness.nets import NETS, build
from tests.sharpness.problems import drawn, few, relu_data, relu_net, relu_objective, rescaled


def filter_norms(model: nn.Module) -> Tensor:
    """Of all trainable tensors of two or more dimensions, and of normalization layers' weights."""
    layout = Layout.of(model)
    norms = []
    for name, tensor in layout.named(layout.flatten(model)).items():
        if tensor.ndim >= 2:
            norms.append(tensor.flatten(1).norm(dim=1))
        owner, _, parameter = name.rpartition("parametrizations.")
        if parameter == "weight.original" and "Norm" in type(model.get_submodule(owner.rstrip("."))).__name__:
            norms.append(tensor.abs())
    return torch.cat(norms)


def scale_of(balanced: nn.Module, key: str) -> Tensor:
    """What each entry of a balanced tensor is multiplied by."""
    held = balanced.get_parameter(key)
    if not key.endswith(".original"):
        return torch.ones_like(held)
    return balanced.get_submodule(key.removesuffix("original") + "0")(torch.ones_like(held))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NETS)
def test_the_same_function_of_filters_of_norm_1(name: str, dtype: torch.dtype) -> None:
    """1e-6 of the outputs' size, also in float32, whose rounding is 6e-8."""
    net, inputs = build(name, dtype)
    balanced = balance(net)
    with torch.no_grad():
        expected, outputs = net(inputs), balanced(inputs)
    assert float((outputs - expected).norm() / expected.norm()) < 1e-6
    norms = filter_norms(balanced)
    zero = norms == 0
    assert int(zero.sum()) == (name == "tied")  # the padding's row
    torch.testing.assert_close(norms[~zero], torch.ones_like(norms[~zero]))
    assert Layout.of(balanced).size == Layout.of(net).size


@pytest.mark.parametrize("name", ["mlp", "cnn", "transposed", "attention", "tied"])
def test_it_works_as_any_model(name: str) -> None:
    """Objectives, Hessians, copies, state dictionaries; the gradient is the chain rule's."""
    net, inputs = build(name)
    targets = torch.arange(len(inputs)) % 3
    balanced, objective = balance(net), Objective(net, (inputs, targets))
    one = Objective(balanced, (inputs, targets))
    assert one.evaluate().loss == pytest.approx(objective.evaluate().loss, rel=1e-9)
    if name != "transposed":  # whose weights lie in another order
        scales = torch.cat([scale_of(balanced, key).reshape(-1) for key in one.layout.names])
        names = [key.replace("parametrizations.", "").removesuffix(".original") for key in one.layout.names]
        starts = dict(zip(objective.layout.names, objective.layout.offsets, strict=True))
        sizes = dict(zip(objective.layout.names, objective.layout.sizes, strict=True))
        order = torch.cat([torch.arange(starts[n], starts[n] + sizes[n]) for n in names])  # where each one was
        expected = scales[:, None] * Hessian(objective).dense()[order][:, order] * scales
        torch.testing.assert_close(Hessian(one).dense(), expected, rtol=1e-7, atol=1e-10)
    twin = copy.deepcopy(balanced)
    again = balance(build(name)[0])
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.zero_()
        again.load_state_dict(balanced.state_dict())
        assert torch.equal(twin(inputs), balanced(inputs)) and torch.equal(again(inputs), balanced(inputs))
        next(twin.parameters()).mul_(2)
        assert not torch.equal(twin(inputs), balanced(inputs))
    with torch.no_grad():
        torch.testing.assert_close(one.outputs(), net(inputs))
    line = evaluate_line(one, random_direction(one), points=3, progress=False)
    assert line.loss[1] == pytest.approx(objective.evaluate().loss)


def test_the_model_is_not_changed(snapshot, assert_unchanged) -> None:
    net, inputs = build("cnn")
    net(inputs).sum().backward()
    net[2].train()
    before = snapshot(net)
    balanced = balance(net)
    assert_unchanged(before, net)
    assert type(net[0]) is nn.Conv2d
    assert all(parameter.grad is None for parameter in balanced.parameters())
    assert next(m.training for m in balanced.modules() if isinstance(m, nn.ReLU))
    with torch.no_grad():
        for parameter in balanced.parameters():
            parameter.zero_()
    assert_unchanged(before, net)


# ----------------------------------------------------------------------------------------------- rescaled twins


@torch.no_grad()
def twin_of(name: str, net: nn.Module) -> nn.Module:
    """The same function with other weights: every channel times a factor of its own, what reads it over that."""
    twin = copy.deepcopy(net)
    c, d = (torch.exp(0.7 * drawn(6, name=f"factors {k}")) for k in (1, 2))
    if name == "cnn":  # the normalization's scale and shift make the channels
        twin[1].weight.mul_(c[:4]), twin[1].bias.mul_(c[:4])
        twin[3].weight.div_(c[:4].reshape(2, 2).repeat_interleave(3, 0)[:, :, None, None])
        twin[4].weight.mul_(d), twin[4].bias.mul_(d)
        twin[8].weight.div_(d.repeat_interleave(4))
    elif name == "residual":  # all that writes into the stream, and all that reads it
        for writer in (twin.stem, twin.two, twin.four):
            writer.weight.mul_(c[:4, None, None, None])
            if writer.bias is not None:
                writer.bias.mul_(c[:4])
        for reader in (twin.one, twin.three):
            reader.weight.div_(c[:4][:, None, None])
        twin.head.weight.div_(c[:4])
        for inner, outer in ((twin.one, twin.two), (twin.three, twin.four)):
            inner.weight.mul_(d[:5, None, None, None]), inner.bias.mul_(d[:5])
            outer.weight.div_(d[:5][:, None, None])
    elif name == "transposed":
        twin[0].weight.mul_(c[:4, None, None, None]), twin[0].bias.mul_(c[:4])
        twin[2].weight.div_(c[:4, None, None, None])  # inputs first
        twin[3].weight.mul_(d), twin[3].bias.mul_(d)
        twin[5].weight.div_(d[:, None, None, None])
    elif name == "attention":
        c = torch.exp(0.7 * drawn(8, name="hidden"))
        twin.up.weight.mul_(c[:, None]), twin.up.bias.mul_(c)
        twin.down.weight.div_(c)
        twin.norm.weight.mul_(d), twin.norm.bias.mul_(d)
        twin.up.weight.div_(d)
    else:
        twin = rescaled(net)
    return twin


TWINS = ("mlp", "cnn", "residual", "transposed", "attention")


@pytest.mark.parametrize("name", TWINS)
def test_twins_are_the_same_when_balanced(name: str) -> None:
    """In their weights to 1e-12, while the raw ones are apart; so in everything that is computed from them."""
    net, inputs = build(name)
    twin = twin_of(name, net)
    with torch.no_grad():
        torch.testing.assert_close(twin(inputs), net(inputs))
    raw, balanced = ([Layout.of(m).flatten(m) for m in pair] for pair in ((net, twin), map(balance, (net, twin))))
    assert (raw[0] - raw[1]).norm() > 0.1 * raw[0].norm()
    torch.testing.assert_close(balanced[0], balanced[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", TWINS)
def test_measures_of_balanced_twins_are_the_same(name: str) -> None:
    """1e-6: rounding, and what the searches for a rise stop at; also where the raw measure is not the same."""
    net, inputs = build(name)
    data = inputs, torch.arange(len(inputs)) % 3
    options = {chosen: few(chosen) for chosen in MEASURES}

    def values(model: nn.Module) -> dict[str, float]:
        objective = Objective(model, data)
        given = drawn(objective.size, name="initial weights")
        found = measure(objective, MEASURES, initial_weights=given, parameters=options, progress=False)
        return {chosen: estimate.value for chosen, estimate in found.items()}

    twin = twin_of(name, net)
    assert values(balance(twin)) == pytest.approx(values(balance(net)), rel=1e-6)
    if name == "mlp":
        one, other = values(net), values(twin)
        same = {chosen for chosen in MEASURES if one[chosen] == pytest.approx(other[chosen], rel=1e-6)}
        assert same == {chosen for chosen in MEASURES if "relu_rescaling" in MEASURES[chosen].invariances}


def test_a_zero_filter_stays_and_its_bias_has_no_scale_either() -> None:
    net = relu_net()
    with torch.no_grad():
        net[0].weight[2] = 0
    one, other = balance(net), balance(rescaled(net))
    weights = one[0].parametrizations.weight.original
    assert torch.equal(weights[2], torch.zeros(6)) and one[0].parametrizations.bias.original[2].abs() == 1
    torch.testing.assert_close(*(Layout.of(model).flatten(model) for model in (one, other)))


def test_a_unit_that_is_zero_throughout_stays() -> None:
    net = relu_net()
    with torch.no_grad():
        net[2].weight[1], net[2].bias[1] = 0, 0
    balanced = balance(net)
    for name in ("weight", "bias"):
        assert torch.equal(getattr(balanced[2], name), getattr(balanced[2], name).nan_to_num())
        assert not getattr(balanced[2].parametrizations, name).original[1].any()
    torch.testing.assert_close(balanced(relu_data()[0]), net(relu_data()[0]))


def test_without_a_graph_each_layer_is_taken_by_itself() -> None:
    """One factor for a whole layer without biases is undone; factors for each unit are not."""
    net, _ = build("branching")
    nn.init.zeros_(net.first.bias), nn.init.zeros_(net.second.bias)
    whole, each = copy.deepcopy(net), copy.deepcopy(net)
    with torch.no_grad():
        whole.first.weight.mul_(3), whole.second.weight.div_(3)
        c = torch.linspace(0.5, 2, 5, dtype=torch.float64)
        each.first.weight.mul_(c[:, None]), each.second.weight.div_(c)
    first, second, third = (Layout.of(model).flatten(model) for model in map(balance, (net, whole, each)))
    torch.testing.assert_close(first, second)
    assert (first - third).norm() > 0.1


def test_frozen_weights_stay_as_they_are() -> None:
    net = relu_net()
    net[2].weight.requires_grad_(False)
    balanced = balance(net)
    assert torch.equal(balanced[2].weight, net[2].weight) and not balanced[2].weight.requires_grad
    assert Layout.of(balanced).size == Layout.of(net).size == 74 - 20
    torch.testing.assert_close(balanced(relu_data()[0]), net(relu_data()[0]))


def test_tied_weights_stay_tied() -> None:
    net, _ = build("tied")
    balanced = balance(net)
    first, second = (balanced.get_submodule(n).parametrizations.weight.original for n in ("first", "second"))
    assert first is second
    assert balanced.last.parametrizations.weight.original is balanced.embedding.parametrizations.weight.original
    assert first is not copy.deepcopy(balanced).first.parametrizations.weight.original


def test_a_layer_that_is_called_twice() -> None:
    layer = nn.Linear(4, 4)
    net = nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(4, 3)).double()
    balanced, inputs = balance(net), drawn(5, 4)
    torch.testing.assert_close(balanced(inputs), net(inputs))
    assert balanced[0] is balanced[2] and balanced[0].parametrizations.weight[0].columns is None


def test_what_cannot_be_balanced() -> None:
    with pytest.raises(ModelError, match="nn.LSTM|LSTM.*in a list of its own"):
        balance(nn.Sequential(nn.LSTM(2, 3), nn.Identity()))
    with pytest.raises(ModelError, match="'0' has parametrizations already.*remove_parametrizations"):
        balance(balance(relu_net()))
    with pytest.raises(ModelError, match="no trainable weights"):
        balance(nn.ReLU())
    odd = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.ConvTranspose1d(4, 4, 1))
    square = nn.Parameter(torch.randn(4, 4, 1))
    odd[2].weight = square
    odd.append(nn.Conv1d(4, 4, 1))
    odd[3].weight = square  # as rows here, as columns there
    with pytest.raises(ModelError, match="ConvTranspose1d.weight and Conv1d.weight are one tensor.*a copy of its own"):
        balance(odd)
    stuck = relu_net()
    stuck.last = stuck(relu_data()[0])
    with pytest.raises(ModelError, match="Sequential cannot be copied"):
        balance(stuck)


def test_pickling_says_what_to_do() -> None:
    """torch's own words."""
    with pytest.raises(RuntimeError, match="only supported through state_dict"):
        pickle.dumps(balance(relu_net()))


def test_the_scale_is_gone_from_the_weights_only() -> None:
    """Training goes on: a step of the balanced weights changes the function, and the buffers stay."""
    balanced = balance(relu_net())
    objective = relu_objective(balanced)
    buffers = {name: buffer.clone() for name, buffer in balanced.named_buffers()}
    optimizer = torch.optim.SGD(balanced.parameters(), lr=0.1)
    before = objective.evaluate().loss
    inputs, targets = relu_data()
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(balanced(inputs), targets).backward()
        optimizer.step()
    assert objective.evaluate().loss < before
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in balanced.named_buffers())
