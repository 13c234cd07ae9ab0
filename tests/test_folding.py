"""A folded model computes what the model computes, whatever its weights and statistics are."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.errors import ModelError
from landscape.folding import FoldedModel, fused_available, halved, patches_of
from landscape.models import build_model
from landscape.seeding import generator, seeded

NAMES = ("resnet20", "resnet18", "preactresnet18", "vgg11_bn", "wrn16-4", "shakeshake26-96", "pyramidnet110-48")


def unlike_the_first(model: nn.Module) -> nn.Module:
    """Give every weight and statistic a value of its own, with dead and mirrored channels among the scales."""
    stream = generator(0, "folding")
    for tensor in (*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())):
        tensor.data.add_(0.1 * torch.randn(tensor.shape, generator=stream, dtype=torch.float64).to(tensor.dtype))
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) and norm.running_var is not None:
            norm.running_var.abs_().add_(0.1)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("name", NAMES)
def test_folding_changes_no_output(name):
    """1e-10 in float64: the products are rounded in another order, layer after layer."""
    with seeded(0, "tests", "folding"):
        model = unlike_the_first(build_model(name, classes=5, input_shape=(3, 32, 32)).double())
        x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    folded = FoldedModel(copy.deepcopy(model), fused=False)
    torch.testing.assert_close(folded(x), model(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["resnet20", "vgg11_bn", "smallcnn"])
def test_fused_convolutions_change_no_output(name):
    """1e-4 in float32: oneDNN sums in another order, and the differences grow from layer to layer."""
    if not fused_available(torch.device("cpu"), torch.float32):
        pytest.skip("oneDNN's fused convolutions are not there")
    shape = (1, 8, 8) if name == "smallcnn" else (3, 32, 32)
    with seeded(0, "tests", "folding"):
        model = unlike_the_first(build_model(name, classes=5, input_shape=shape))
        x = torch.randn(3, *shape)
    folded = FoldedModel(copy.deepcopy(model), fused=True)
    expected = model(x)
    error = (folded(x.contiguous(memory_format=torch.channels_last)) - expected).abs().max() / expected.abs().max()
    assert error < 1e-4


def test_it_follows_weights_and_statistics():
    model = nn.Sequential(nn.Conv2d(2, 3, 3, bias=True), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    model(torch.randn(4, 2, 5, 5))
    model = model.double().eval().requires_grad_(False)
    folded = FoldedModel(model, fused=False)
    x = torch.randn(4, 2, 5, 5, dtype=torch.float64)
    before = folded(x)
    unlike_the_first(model)
    assert torch.equal(folded(x)[:0], before[:0])
    folded.refresh()
    torch.testing.assert_close(folded(x), model(x), rtol=1e-12, atol=1e-12)
    assert not torch.equal(folded(x), before)


class Odd(nn.Module):
    """What must not be folded: a convolution used twice, a result used twice, an addition of a number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.BatchNorm2d(2)
        self.again, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, affine=False)
        self.last = nn.Conv2d(2, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = F.relu(self.first(self.conv(x)))
        b = self.second(self.conv(a))
        y = self.again(b)
        z = self.norm(y) + y
        w = torch.relu(self.last(z) + 1.0) + a
        return (w + self.last(w) * 2).mean((2, 3))


def test_only_what_belongs_together_is_folded():
    with seeded(0, "tests", "odd"):
        model = unlike_the_first(Odd().double())
        x = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    folded = FoldedModel(copy.deepcopy(model), fused=False)
    torch.testing.assert_close(folded(x), model(x), rtol=1e-12, atol=1e-12)
    assert folded.folds == 2  # each use of the shared convolution with its own normalization


def test_statistics_of_the_batch_are_not_folded():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False)).eval()
    with pytest.raises(ModelError, match="no convolution"):
        FoldedModel(model, fused=False)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) if x.sum() > 0 else x


def test_a_forward_that_looks_at_values_is_refused():
    with pytest.raises(ModelError, match="asks for a value"):
        FoldedModel(Branching().eval(), fused=False)


def fused() -> None:
    if not fused_available(torch.device("cpu"), torch.float32):
        pytest.skip("oneDNN's fused convolutions are not there")


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize(
    "options", [{"padding": 1}, {"stride": 2}, {"dilation": 2, "padding": (2, 1)}, {"padding": 1, "bias": False}]
)
def test_a_first_convolution_of_few_channels_is_a_product_with_patches(norm, options):
    """1e-5 of the largest output: float32 sums in another order."""
    fused()
    with seeded(0, "tests", "patches"):
        layers = [nn.Conv2d(3, 5, 3, **options), *([nn.BatchNorm2d(5)] if norm else []), nn.ReLU(), nn.Conv2d(5, 4, 2)]
        model, x = unlike_the_first(nn.Sequential(*layers)), torch.randn(6, 3, 9, 7)
    expected = model(x)
    folded = FoldedModel(copy.deepcopy(model), fused=True, patches=True)
    prepared = folded.prepare(x)
    assert prepared.ndim == 4 and prepared.shape[-1] == 27
    found = folded(prepared)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert found.shape == expected.shape


@pytest.mark.parametrize("model", [nn.Conv2d(4, 8, 3), nn.Conv2d(2, 4, 3, groups=2)])
def test_other_convolutions_get_images(model):
    fused()
    whole = nn.Sequential(model, nn.ReLU()).eval().requires_grad_(False)
    x = torch.randn(2, model.in_channels, 6, 6)
    assert FoldedModel(whole, fused=True, patches=True).prepare(x).shape == x.shape


def test_inputs_that_something_else_uses_too_stay_images():
    fused()

    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x).relu() + x

    model, x = Beside().eval().requires_grad_(False), torch.randn(2, 1, 6, 6)
    folded = FoldedModel(copy.deepcopy(model), fused=True, patches=True)
    torch.testing.assert_close(folded(folded.prepare(x)), model(x))


class Placed(nn.Module):
    """Something of its own added to the first convolution: of its shape, or of another, or a number."""

    def __init__(self, shape: tuple[int, ...], *, rectified: bool, last: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)
        self.place = nn.Parameter(torch.randn(shape))
        self.rectified, self.last = rectified, last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        x = self.place + x if self.last else x + self.place
        return self.head(torch.relu(x) if self.rectified else x)


@pytest.mark.parametrize("shape", [(5, 4, 6, 6), (1, 4, 6, 6), (5, 4, 6, 1), (4, 1, 1), (6,), ()])
@pytest.mark.parametrize(("rectified", "last"), [(True, False), (False, True)])
@pytest.mark.parametrize(("fast", "patches"), [(True, True), (True, False), (False, False)])
def test_what_is_added_to_the_first_convolution_is_added(shape, rectified, last, fast, patches):
    """1e-5 of the largest output: float32 sums in another order."""
    if fast:
        fused()
    with seeded(0, "tests", "placed"):
        model, x = unlike_the_first(Placed(shape, rectified=rectified, last=last)), torch.randn(5, 3, 6, 6)
    expected = model(x)
    folded = FoldedModel(copy.deepcopy(model), fused=fast, patches=patches)
    if fast and not patches and len(shape) < 4:
        with pytest.raises(RuntimeError, match="same dimensions"):  # so the engine does without oneDNN
            folded(folded.prepare(x))
        return
    found = folded(folded.prepare(x))
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_patches_times_filters_are_the_convolution():
    conv = nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), bias=False).double()
    x = torch.randn(4, 2, 8, 7, dtype=torch.float64)
    found = (patches_of(x, conv) @ conv.weight.flatten(1).T).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, conv(x))


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (2, 3)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_halving_is_max_pooling_bit_for_bit(size, layout):
    x = torch.randn(3, 4, *size).contiguous(memory_format=layout)
    x[0, 0, 0, 0], x[1, 1, 1, 1], x[2, 2, 0, 1] = float("nan"), float("inf"), -float("inf")
    assert torch.equal(halved(x).nan_to_num(7.0), F.max_pool2d(x, 2).nan_to_num(7.0))


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, ceil_mode=True)])
def test_pooling_stays_what_it_is(pool):
    fused()
    model, x = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), pool).eval().requires_grad_(False), torch.randn(2, 1, 9, 9)
    folded = FoldedModel(copy.deepcopy(model), fused=True)
    torch.testing.assert_close(folded(folded.prepare(x)), model(x), rtol=1e-5, atol=1e-5)
