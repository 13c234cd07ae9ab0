"""The same function at other weights: what is multiplied, what is divided, and what cannot be."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from landscape.curvature import Hessian
from landscape.errors import ConfigError, ModelError
from landscape.objective import Objective
from landscape.parameters import Layout
from landscape.seeding import generator, seeded
from landscape.sharpness import balance, rescalable_layers, rescale
from landscape.surface import evaluate_line, random_direction
from tests.sharpness.nets import build
from tests.sharpness.problems import relu_net

CHANGED = {
    "mlp": ["0.weight", "0.bias", "2.weight"],
    "cnn": ["1.weight", "1.bias", "3.weight"],
    "transposed": ["0.weight", "0.bias", "2.weight"],
    "residual": ["one.weight", "one.bias", "two.weight"],
    "signal": ["0.weight", "0.bias", "2.weight"],
    "resnet20": ["blocks.0.branch.1.weight", "blocks.0.branch.1.bias", "blocks.0.branch.3.weight"],
}


def changed(one: nn.Module, other: nn.Module) -> list[str]:
    pairs = zip(one.named_parameters(), other.named_parameters(), strict=True)
    return [name for (name, mine), (_, theirs) in pairs if not torch.equal(mine, theirs)]


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("name", CHANGED)
def test_the_outputs_are_the_same_and_the_weights_are_not(name: str, seed: int | None) -> None:
    net, inputs = build(name)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    other = rescale(net, 7.0, seed=seed)
    with torch.no_grad():
        torch.testing.assert_close(other(inputs), net(inputs), rtol=1e-12, atol=1e-12)
    assert len(changed(net, other)) >= 2
    assert changed(net, other) == CHANGED[name]
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())


def test_one_factor_multiplies_the_layer_and_divides_what_reads_it() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double()
    other = rescale(net, 4.0)
    for index, factor in ((0, 4.0), (2, 0.25), (4, 1.0)):
        assert torch.equal(other[index].weight, factor * net[index].weight)  # 4 is a power of two: exact
    assert torch.equal(other[0].bias, 4 * net[0].bias) and torch.equal(other[2].bias, net[2].bias)
    assert changed(net, rescale(net, 4.0, layer="2")) == ["2.weight", "2.bias", "4.weight"]


def test_with_a_seed_each_unit_has_a_factor_of_its_own_in_the_range() -> None:
    net = nn.Sequential(nn.Linear(3, 400), nn.ReLU(), nn.Linear(400, 2)).double()
    factors = (rescale(net, 10.0, seed=1)[0].weight / net[0].weight)[:, 0]
    logarithms = factors.log10()
    assert -1 <= logarithms.min() < -0.9 and 0.9 < logarithms.max() <= 1
    assert abs(logarithms.mean()) < 0.1  # uniform on -1..1: standard error 0.029
    assert torch.equal(factors, (rescale(net, 10.0, seed=1)[0].weight / net[0].weight)[:, 0])
    assert not torch.allclose(factors, (rescale(net, 10.0, seed=2)[0].weight / net[0].weight)[:, 0])


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("mlp", ["0", "2"]),
        ("cnn", ["1", "4"]),  # the normalizations; no factor passes them
        ("transposed", ["0", "3", "5"]),
        ("residual", ["one", "three"]),
        ("resnet20", [f"blocks.{number}.branch.1" for number in range(9)]),
    ],
)
def test_the_layers_that_can_be_rescaled_are_named_in_their_order(name: str, layers: list[str]) -> None:
    net, inputs = build(name)
    found = rescalable_layers(net)
    assert list(found) == layers
    for layer in found:
        other = rescale(net, 3.0, layer=layer)
        with torch.no_grad():
            torch.testing.assert_close(other(inputs), net(inputs), rtol=1e-12, atol=1e-12)
    for layer in {label for label, module in net.named_modules() if isinstance(module, nn.Linear)} - set(found):
        with pytest.raises(ModelError):
            rescale(net, 3.0, layer=layer)


def test_where_nothing_can_be_rescaled_no_layer_is_named() -> None:
    assert rescalable_layers(nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 2))) == ()
    assert rescalable_layers(Watched()) == ()


class Branches(nn.Module):
    """One layer that two others read, through functions and methods."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.left, self.right = nn.Conv2d(1, 3, 3), nn.Linear(3 * 36, 2), nn.Conv2d(3, 2, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.nn.functional.relu(self.first(x))
        return self.left(x.view(x.size(0), -1)) + self.right(
            torch.nn.functional.dropout(x, 0.5, self.training)
        ).flatten(1)


def test_all_readers_are_divided() -> None:
    with seeded(0):
        net = Branches().double().eval()
    inputs = torch.randn(4, 1, 8, 8, dtype=torch.float64, generator=generator(0, "inputs"))
    for seed in (None, 3):
        other = rescale(net, 9.0, seed=seed)
        with torch.no_grad():
            torch.testing.assert_close(other(inputs), net(inputs), rtol=1e-12, atol=1e-12)
        assert changed(net, other) == ["first.weight", "first.bias", "left.weight", "right.weight"]


def test_what_is_behind_a_normalization_is_chosen_and_sums_are_left_alone() -> None:
    norm = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)
    ).double()
    assert changed(norm, rescale(norm, 3.0)) == ["1.weight", "3.weight"]  # its bias is 0
    for layer in ("0", "3", "5"):  # into a normalization, into tanh, into the outputs
        with pytest.raises(ModelError, match=f"The scale of the layer '{layer}' cannot be moved"):
            rescale(norm, 3.0, layer=layer)
    net, _ = build("residual")
    for layer in ("stem", "two"):
        with pytest.raises(ModelError, match="cannot be moved"):
            rescale(net, 3.0, layer=layer)


class Watched(nn.Module):
    """Its hidden units are read by a layer, and come out as well."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(self.first(x))
        return self.second(hidden), hidden


def test_what_cannot_be_done_is_said() -> None:
    net = relu_net()
    for factor in (0.0, -1.0, float("inf"), float("nan"), "3"):
        with pytest.raises(ConfigError, match="factor"):
            rescale(net, factor)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="There is no layer whose scale"):
        rescale(nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 2)), 2.0)
    with pytest.raises(ModelError, match="There is no layer whose scale"):
        rescale(Watched(), 2.0)
    with pytest.raises(ModelError, match="Unknown layer 'nope'"):
        rescale(net, 2.0, layer="nope")
    tied = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    tied[2].weight = tied[0].weight
    with pytest.raises(ModelError, match="Unknown layer '0'"):
        rescale(tied, 2.0, layer="0")
    with pytest.raises(ModelError, match="There is no layer"):  # nor can what two modules share be divided
        rescale(tied, 2.0)


def test_the_layout_and_the_mode_stay() -> None:
    net = relu_net().train()
    other = rescale(net, 3.0)
    assert other.training and Layout.of(other).fingerprint == Layout.of(net).fingerprint
    assert copy.deepcopy(other) is not other


def test_a_raw_slice_is_fooled_filter_normalization_repairs_one_factor_and_balance_every_one() -> None:
    """What the notebook on slices shows, exactly in float64."""
    net = relu_net()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(4)  # far from a flat region
    data = (torch.randn(40, 6, dtype=torch.float64, generator=generator(0, "x")), torch.arange(40) % 3)
    nets = {"as it is": net, "one factor": rescale(net, 10.0), "a factor each": rescale(net, 10.0, seed=1)}
    objectives = {label: Objective(one, data) for label, one in nets.items()}
    step = random_direction(objectives["as it is"], norm="model", seed=2)

    def curves(norm: str | None, of: dict[str, Objective]) -> dict[str, Tensor]:
        return {
            label: torch.tensor(
                evaluate_line(
                    one, random_direction(one, norm=norm, seed=2) if norm else step, points=9, progress=False
                ).loss
            )
            for label, one in of.items()
        }

    raw, filtered = curves(None, objectives), curves("filter", objectives)
    balanced = curves("filter", {label: Objective(balance(one), data) for label, one in nets.items()})
    for label in ("one factor", "a factor each"):
        assert (raw[label] - raw["as it is"]).abs().max() > 0.1
        torch.testing.assert_close(balanced[label], balanced["as it is"], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(filtered["one factor"], filtered["as it is"], rtol=1e-9, atol=1e-12)
    assert (filtered["a factor each"] - filtered["as it is"]).abs().max() > 1e-3
    tops = [Hessian(one).top(1, seed=0).values[0] for one in objectives.values()]
    assert tops[1] > 5 * tops[0]
