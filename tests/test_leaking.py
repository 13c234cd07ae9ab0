"""A rectifier leaks only where minus infinity, of which it should have made 0, is seen in the end."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.folding import FoldedConvolution, FoldedModel, fused_available
from landscape.models import build_model
from landscape.seeding import seeded

pytestmark = pytest.mark.skipif(
    not fused_available(torch.device("cpu"), torch.float32), reason="oneDNN's fused convolutions are not there"
)


def folded(model: nn.Module, *, patches: bool = False) -> FoldedModel:
    return FoldedModel(copy.deepcopy(model).eval().requires_grad_(False), fused=True, patches=patches)


def leaky(model: nn.Module) -> list[bool]:
    """Of each convolution with a rectifier, in order."""
    parts = folded(model)._module.modules()
    return [part.leaky for part in parts if isinstance(part, FoldedConvolution) and part.rectified]


def conv() -> list[nn.Module]:
    return [nn.Conv2d(2, 2, 1), nn.ReLU()]


END = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)]


class Calls(nn.Module):
    """The same steps as functions and methods."""

    def __init__(self, last: str = "linear", size: int = 2) -> None:
        super().__init__()
        self.conv, self.linear, self.last, self.size = nn.Conv2d(2, 2, 1), nn.Linear(2, 3), last, size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv(x) + x), self.size)
        x = torch.flatten(F.adaptive_avg_pool2d(x, 1), 1).view(x.size(0), -1)
        return self.linear(x) if self.last == "linear" else getattr(x, self.last)()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (nn.Sequential(*conv(), *conv(), *END), [True, True]),
        (nn.Sequential(*conv(), nn.MaxPool2d(2), *END), [True]),
        (nn.Sequential(*conv(), *conv(), nn.MaxPool2d(2), *conv(), *END), [False, True, True]),
        (nn.Sequential(*conv(), nn.Sigmoid(), *END), [False]),
        (nn.Sequential(*conv(), nn.ReLU6(), *END), [False]),
        (nn.Sequential(*conv(), nn.BatchNorm2d(2), nn.Dropout(), *END), [True]),
        (nn.Sequential(*conv(), nn.BatchNorm2d(2, track_running_stats=False), *END), [False]),
        (nn.Sequential(*conv(), *conv()), [False, False]),
        (nn.Sequential(*conv(), *conv(), *END[:2]), [False, False]),
        (Calls(), [True]),
        (Calls(size=3), [True]),
        (nn.Sequential(*conv(), Calls()), [False, True]),
        (Calls("log"), [False]),
        (Calls("sqrt"), [False]),
    ],
)
def test_which_rectifiers_leak(model: nn.Module, expected: list[bool]) -> None:
    assert leaky(model) == expected


def test_a_hook_may_do_anything() -> None:
    model = nn.Sequential(*conv(), *END)
    model[2].register_forward_hook(lambda module, inputs, outputs: outputs.nan_to_num())
    assert leaky(model) == [False]


def test_all_rectifiers_of_a_residual_network_leak() -> None:
    with seeded(0, "tests", "leaking"):
        model = build_model("resnet20", classes=3, input_shape=(3, 16, 16))
    assert leaky(model) == [True] * 19


def set_weights(model: nn.Module, **values: list[float]) -> nn.Module:
    for name, value in values.items():
        parameter = model.get_parameter(name.replace("_", "."))
        parameter.data = torch.tensor(value).view_as(parameter)
    return model


def test_a_maximum_hides_nothing() -> None:
    """One pixel overflows to minus infinity; behind the next layer it is the largest of all."""
    layers = [nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(1, 1, 1)]
    model = set_weights(
        nn.Sequential(*layers, nn.Flatten()),
        **{"0_weight": [-1e10, 1e-25], "0_bias": [0.0, 0.0], "2_weight": [1.0, 1.0], "2_bias": [0.0]},
        **{"5_weight": [1.0], "5_bias": [1.0]},
    )
    x = torch.ones(1, 1, 2, 2)
    x[0, 0, 0, 0] = 1e30
    found, seen = (made := folded(model))(x), model(x)
    assert seen.item() == pytest.approx(1e5, rel=1e-4)
    assert made.doubtful or torch.allclose(found, seen)


def test_outputs_of_0_are_0() -> None:
    """A loss may take their root."""
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Flatten())
    x = torch.randn(3, 2, 4, 4)
    found, seen = folded(model)(x), model(x)
    assert torch.equal(found == 0, seen == 0) and not found.sqrt().isnan().any()


def test_a_network_that_is_dead_is_doubtful() -> None:
    model = set_weights(nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2, bias=False)),
                        **{"0_weight": [1.0], "0_bias": [-9.0]})  # fmt: skip
    x = torch.ones(1, 1, 2, 2)
    made = folded(model)
    made(x)
    assert made.doubtful and torch.equal(model(x), torch.zeros(1, 2))
    made.refresh()
    assert not made.doubtful


def test_outputs_that_are_0_for_another_reason_are_not_doubtful() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(*conv(), nn.Flatten())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x) * 0.0

    made = folded(Masked())
    assert not made(torch.ones(1, 2, 2, 2)).any() and not made.doubtful
