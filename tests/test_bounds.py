"""How large results can become: never larger than said, and nothing said where nothing is known."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from landscape.bounds import SAFE
from landscape.folding import FoldedModel
from landscape.models import build_model
from landscape.seeding import generator
from landscape.tracing import traced


class Block(nn.Module):
    """Two convolutions, a shortcut, and what may stand between."""

    def __init__(self, middle=None, shortcut=None) -> None:
        super().__init__()
        self.one, self.norm, self.two = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.middle, self.shortcut = middle or (lambda x: x), shortcut or (lambda x: x)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.one(x)))
        y = self.middle(y)
        return F.relu(self.two(y) + self.shortcut(y))


def made(model: nn.Module, most: float, *, fused: bool = True) -> FoldedModel:
    folded = FoldedModel(model.eval(), fused=fused)
    folded.most = most
    with torch.no_grad():
        folded.refresh()
    return folded


def finite(folded: FoldedModel) -> list[bool]:
    return [its.finite for its in folded._called.values()]


def every_result(folded: FoldedModel, inputs: Tensor) -> dict[fx.Node, float]:
    """The largest size of each node's result."""
    found: dict[fx.Node, float] = {}

    class Look(fx.Interpreter):
        def run_node(self, n: fx.Node):
            result = super().run_node(n)
            if isinstance(result, Tensor):
                found[n] = float(result.abs().amax())
            return result

    with torch.no_grad():
        Look(folded._module).run(inputs)
    return found


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("name", ["resnet20", "vgg11_bn", "smallcnn"])
def test_no_result_is_larger_than_its_bound(name: str, scale: float) -> None:
    draws = generator(0, "tests", "bounds", name)
    channels = 1 if name == "smallcnn" else 3
    model = build_model(name, **({"input_shape": (1, 8, 8), "classes": 10} if name == "smallcnn" else {}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(scale * 0.1 * torch.randn(parameter.shape, generator=draws))
    size = 8 if name == "smallcnn" else 32
    inputs = 3 * torch.randn(2, channels, size, size, generator=draws)
    folded = made(model, float(inputs.abs().amax()))
    bounds = folded._bounds.of({n: c.sizes() for n, c in folded._called.items()}, most=folded.most)
    sizes = every_result(folded, inputs)
    known = {node: bound for node, bound in bounds.items() if bound <= SAFE and node in sizes}
    assert len(known) > len(folded._called) / 2
    assert all(sizes[node] <= bound * (1 + 1e-5) for node, bound in known.items())  # rounding of sums


def test_a_bound_is_reached() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()).eval()
    with torch.no_grad():
        model[0].weight.fill_(3.0)
        model[0].bias.fill_(1.0)
    folded = made(model, 2.0)
    (bound,) = [value for node, value in folded._bounds.of(dict.fromkeys(folded._called, (3.0, 1.0)), most=2.0).items()
                if node in folded._called]  # fmt: skip
    assert bound == 7.0 == float(folded(torch.full((1, 1, 2, 2), 2.0)).amax())


def test_one_summand_twice_counts_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            x = x + x
            return F.relu(self.conv(x) + x)

    folded = made(Twice(), 1.0)
    found = folded._bounds.of(dict.fromkeys(folded._called, (5.0, 0.0)), most=1.0)
    assert found[next(iter(folded._called))] == 2 * 5 + 2


@pytest.mark.parametrize("most", [SAFE, math.inf, math.nan, 1.0])
def test_large_inputs_are_not_safe(most: float) -> None:
    assert finite(made(Block(), most)) == [most == 1.0] * 2


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e37])
def test_weights_that_may_overflow_are_not_safe(value: float) -> None:
    model = Block()
    with torch.no_grad():
        model.two.weight[0, 0, 0, 0] = value
    assert finite(made(model, 1.0)) == [True, False]


def doubled(x: Tensor) -> Tensor:
    return x.mul_(1e38)


@pytest.mark.parametrize(
    ("middle", "known"),
    [
        (nn.AvgPool2d(2), True),
        (nn.AvgPool2d(2, divisor_override=1), False),
        (nn.MaxPool2d(2, padding=1), True),
        (nn.Dropout(), True),
        (nn.Softplus(), False),
        (doubled, False),
        (lambda x: x * 1e38, False),
        (lambda x: x + x, True),
        (lambda x: x + 1e38, False),
        (lambda x: torch.add(x, x, alpha=1e38), False),
        (lambda x: F.pad(x, (1, 1, 1, 1)), True),
        (lambda x: F.pad(x, (1, 1, 1, 1), value=1e38), False),
        (lambda x: F.pad(x, (1, 1, 1, 1), "constant", 1e38), False),
        (lambda x: x[:, :, ::2, ::2], True),
        (lambda x: x.sum((2, 3), keepdim=True), False),
        (lambda x: x.mean((2, 3), keepdim=True), True),
    ],
)
def test_what_is_not_known_is_not_safe(middle, known: bool) -> None:
    assert finite(made(Block(middle), 1.0)) == [True, known]


def test_a_hook_may_do_anything() -> None:
    model = Block(nn.Dropout())
    model.middle.register_forward_hook(lambda module, args, out: out * 1e38)
    assert finite(made(model, 1.0))[-1] is False


def test_where_nothing_overflows_the_plain_rectifier_gives_the_same() -> None:
    model = build_model("resnet20").eval()
    inputs = torch.randn(4, 3, 32, 32, generator=generator(0, "tests", "bounds"))
    leaky, plain = made(model, math.inf), made(model, float(inputs.abs().amax()))
    assert not any(finite(leaky)) and all(finite(plain))
    with torch.no_grad():
        expected = model(inputs)
        for found in (plain(inputs), leaky(inputs)):
            assert float((found - expected).abs().amax()) < 1e-5 * float(expected.abs().amax())


def test_a_graph_without_convolutions_has_bounds_of_its_inputs_only() -> None:
    from landscape.bounds import Bounds

    modules = traced(nn.Sequential(nn.Tanh(), nn.ReLU()))
    assert list(Bounds(modules, set()).of({}, most=2.0).values()) == [2.0]
