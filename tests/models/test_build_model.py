"""Named models: published sizes, shapes, and everything that the analyses need of them."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.errors import ConfigError, ModelError
from landscape.models import MODELS, build_model
from landscape.models.preactresnet import PreActBottleneck, PreActResNet
from landscape.models.pyramidnet import PyramidNet
from landscape.models.resnet import Bottleneck, PaddedShortcut, ResNet
from landscape.models.shakeshake import ShakeShake
from landscape.models.wideresnet import WideResNet
from landscape.seeding import generator, seeded

# name, options, shape of one input: small enough for derivatives in float64
SMALL = [
    ("mlp", {"hidden": (7, 5)}, (1, 3, 3)),
    ("mlp", {"hidden": (7,), "batch_norm": True}, (4,)),
    ("mlp", {"hidden": ()}, (2, 5)),
    ("smallcnn", {"channels": (3, 4, 5)}, (1, 8, 8)),
    ("smallcnn", {"channels": [3, 4, 5], "batch_norm": True}, (3, 5, 6)),
    ("cnn1d", {"channels": 4}, (1, 40)),
    ("cnn1d", {"channels": 4, "batch_norm": True}, (2, 8)),
    ("lenet", {}, (1, 6, 7)),
    ("resnet20", {"width": 2}, (3, 8, 8)),
    ("resnet20", {"width": 2, "batch_norm": False}, (1, 7, 9)),
    ("resnet20", {"width": 2, "skip": False}, (3, 8, 8)),
    ("resnet18", {"width": 2}, (3, 8, 8)),
    ("resnet18", {"width": 2, "batch_norm": False, "skip": False}, (1, 8, 8)),
    ("resnet18_nobn", {"width": 2}, (1, 8, 8)),
    ("vgg11", {"width": 2, "hidden": 6}, (3, 32, 32)),
    ("vgg13_bn", {"width": 2, "hidden": 6, "dropout": 0.1}, (1, 32, 32)),
    ("vgg5_stable", {"width": 2}, (1, 8, 8)),
    ("preactresnet18", {"width": 2, "dropout": 0.1}, (3, 8, 8)),
]
# families whose named members are deep, by their classes with one or two blocks
CLASSES = {
    "bottlenecks": (ResNet, {"width": 2, "stages": (1, 1), "block": Bottleneck}, (3, 8, 8)),
    "preact bottlenecks": (
        PreActResNet,
        {"width": 2, "stages": (2, 1), "block": PreActBottleneck, "bias": False, "raw_identity": True},
        (1, 8, 9),
    ),
    "wide": (WideResNet, {"blocks": 2, "widening": 1}, (3, 8, 8)),
    "wide, amp": (WideResNet, {"blocks": 1, "widening": 1, "form": "amp", "dropout": 0.2}, (3, 7, 8)),
    "wide, no bn": (WideResNet, {"blocks": 2, "widening": 1, "batch_norm": False}, (1, 8, 8)),
    "pyramid": (PyramidNet, {"blocks": 1, "alpha": 7, "bottleneck": False, "dropout": 0.1}, (1, 7, 8)),
    "pyramid bottlenecks": (PyramidNet, {"blocks": 1, "alpha": 7, "bottleneck": True}, (3, 8, 8)),
    "shake": (ShakeShake, {"blocks": 2, "width": 3}, (3, 7, 8)),
}
SMALL += [(name, options, shape) for name, (_, options, shape) in CLASSES.items()]
cases = pytest.mark.parametrize(("name", "options", "shape"), SMALL)


def build(name, options, shape, classes=4, seed=0):
    with seeded(seed, "tests", "model"):
        if name in CLASSES:
            return CLASSES[name][0](shape[0], classes, **options)
        return build_model(name, classes=classes, input_shape=shape, **options)


def inputs(shape, count=6):
    return torch.randn(count, *shape, dtype=torch.float64, generator=generator(0, "tests", "inputs"))


def size(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(  # those of the larger models are in test_model_sizes.py
    ("name", "options", "expected"),
    [
        ("mlp", {}, 64 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10),
        ("smallcnn", {}, (9 * 32 + 32) + (9 * 32 * 64 + 64) + (9 * 64 * 64 + 64) + (4 * 64 * 10 + 10)),
        ("cnn1d", {}, 5210),  # MNIST-1D paper
        ("lenet", {}, 1_199_882),  # PyTorch's MNIST example
        ("resnet20", {}, 269_722),  # He et al.: 0.27 M
        ("resnet18", {}, 11_173_962),
        ("resnet18", {"classes": 100}, 11_220_132),
        ("lenet", {"input_shape": (3, 32, 32)}, 320 + 576 + 18_496 + 64 * 14 * 14 * 128 + 128 + 1290),
    ],
)
def test_sizes_are_the_published_ones(name, options, expected):
    assert size(build_model(name, **options)) == expected


def test_every_builder_has_a_small_case_here():
    def builder(name):
        return getattr(MODELS[name].build, "func", MODELS[name].build)

    by_class = {builder(name) for name in ("resnet18", "wrn28-2", "pyramidnet110-48", "shakeshake26-96")}
    assert {builder(name) for name, *_ in SMALL if name in MODELS} | by_class == {builder(name) for name in MODELS}


@cases
def test_outputs_are_logits_in_both_precisions(name, options, shape):
    model = build(name, options, shape).eval()
    single = model(inputs(shape).float())
    double = model.double()(inputs(shape))
    assert single.shape == double.shape == (6, 4)
    # Up to 20 layers of float32 sums: 1e-4 of the largest output leaves two digits of room.
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-4 * float(double.detach().abs().max()))
    assert float(double.detach().std()) > 0


@cases
def test_derivatives_twice(name, options, shape):
    """The Hessian-vector product against a central difference of the gradient."""
    model = build(name, options, shape).double()
    if isinstance(model, ShakeShake):
        model.eval()  # in training mode its gradient is not that of its loss, by design
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    parameters, x, y = list(model.parameters()), inputs(shape), torch.tensor([0, 1, 2, 3, 0, 1])
    # Biases start at 0, where units without input sit exactly on the kink of their ReLU: move off it.
    noise = [torch.randn(p.shape, dtype=p.dtype, generator=generator(1, "tests", i)) for i, p in enumerate(parameters)]
    start = [p.detach() + 0.1 * n for p, n in zip(parameters, noise, strict=True)]
    direction = [torch.randn(p.shape, dtype=p.dtype, generator=generator(0, "tests", i)) for i, p in enumerate(start)]
    step = 1e-6 / max(float(d.norm()) for d in direction)  # so small that no ReLU changes side

    def gradient(shift, create_graph=False):
        with torch.no_grad():
            for p, s, d in zip(parameters, start, direction, strict=True):
                p.copy_(s + shift * d)
        return torch.autograd.grad(F.cross_entropy(model(x), y), parameters, create_graph=create_graph)

    product = torch.autograd.grad(
        sum((g * d).sum() for g, d in zip(gradient(0.0, True), direction, strict=True)), parameters, allow_unused=True
    )
    product = [torch.zeros_like(s) if h is None else h for h, s in zip(product, start, strict=True)]
    difference = [(a - b) / (2 * step) for a, b in zip(gradient(step), gradient(-step), strict=True)]
    exact, measured = (torch.cat([part.flatten() for part in parts]) for parts in (product, difference))
    # Rounding of the gradient, 1e-16 relative, over a step of 1e-6 and less: 1e-6 relative leaves room.
    assert float((exact - measured).norm()) <= 1e-6 * float(exact.norm()) and float(exact.norm()) > 0


@cases
def test_copies_and_state(name, options, shape):
    model = build(name, options, shape).eval()
    x = inputs(shape).float()
    expected = model(x)
    assert torch.equal(copy.deepcopy(model)(x), expected)
    other = build(name, options, shape, seed=1).eval()
    assert not torch.equal(other(x), expected)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), expected)


@cases
def test_the_global_generator_decides_the_weights(name, options, shape):
    first, second = (build(name, options, shape).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


@cases
def test_the_gradient_reaches_every_parameter(name, options, shape):
    model = build(name, options, shape).double()
    with torch.no_grad():  # a bias of 0 leaves some units of the smallest networks dead: move all weights a little
        for number, p in enumerate(model.parameters()):
            p += 0.1 * torch.randn(p.shape, dtype=p.dtype, generator=generator(0, "tests", number))
    # before batch normalization a convolution's bias has no effect: its gradient is nothing but rounding
    F.cross_entropy(model(inputs(shape)), torch.tensor([0, 1, 2, 3, 0, 1])).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_no_relu_works_in_place():
    for name, options, shape in SMALL:
        assert not any(getattr(module, "inplace", False) for module in build(name, options, shape).modules())


@cases
def test_inputs_keep_their_values(name, options, shape):
    model = build(name, options, shape)
    x = inputs(shape).float()
    before = x.clone()
    model(x)
    assert torch.equal(x, before)


def test_residual_networks_start_with_hes_weights():
    with seeded(0, "tests"):
        model = build_model("resnet18")
    for layer in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
        count, fan_in = layer.weight.numel(), layer.weight[0].numel()
        expected = (2.0 / fan_in) ** 0.5
        # A standard deviation over n normal values has a relative error of 1/sqrt(2n); five of them.
        assert abs(float(layer.weight.detach().double().std()) - expected) < 5 * expected / (2 * count) ** 0.5


@pytest.mark.parametrize("name", ["mlp", "smallcnn", "lenet"])
def test_plain_networks_start_as_torchs_own_layers_do(name):
    with seeded(0, "tests"):
        model = build_model(name)
    for layer in (m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)):
        bound = layer.weight[0].numel() ** -0.5  # torch draws from U(-1/sqrt(fan_in), 1/sqrt(fan_in))
        assert 0.9 * bound < float(layer.weight.detach().abs().max()) <= bound


@pytest.mark.parametrize("name", ["resnet20", "resnet18"])
def test_a_resnet_without_batch_norm_starts_with_outputs_of_size_one(name):
    """Without the smaller branches, the variance would double with each of 8 or 9 blocks."""
    model = build(name, {"batch_norm": False, "width": 16}, (3, 16, 16), classes=10)
    with torch.no_grad():
        assert 0.1 < float(model(inputs((3, 16, 16), 32).float()).std()) < 5


def test_the_padded_shortcut():
    x = torch.arange(1.0, 33.0).reshape(1, 2, 4, 4)
    out = PaddedShortcut(2, 4, 2)(x)
    assert out.shape == (1, 4, 2, 2)
    assert torch.equal(out[:, 1:3], x[:, :, ::2, ::2]) and not out[:, [0, 3]].any()


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("resnet118", {}, ModelError, "Did you mean 'resnet18'"),
        ("mlp", {"hiden": [3]}, ConfigError, "Unknown mlp option 'hiden'.*Did you mean 'hidden'"),
        ("mlp", {"hidden": [3, 0]}, ConfigError, "hidden"),
        ("mlp", {"hidden": "64"}, ConfigError, "hidden"),
        ("mlp", {"classes": 0}, ConfigError, "classes"),
        ("mlp", {"classes": 2.5}, ConfigError, "classes"),
        ("mlp", {"batch_norm": "yes"}, ConfigError, "True or False"),
        ("mlp", {"input_shape": ()}, ModelError, "shape of one input"),
        ("smallcnn", {"channels": (3, 4)}, ConfigError, "3 positive integers"),
        ("smallcnn", {"input_shape": (1, 3, 8)}, ModelError, "4x4 pixels or more"),
        ("cnn1d", {"input_shape": (3, 32, 32)}, ModelError, "signals"),
        ("cnn1d", {"channels": 0}, ConfigError, "channels"),
        ("lenet", {"dropout": (0.5,)}, ConfigError, "dropout"),
        ("lenet", {"dropout": (0.5, 1.0)}, ConfigError, "dropout"),
        ("resnet18", {"input_shape": (1, 40)}, ModelError, "'cnn1d' or 'mlp' for signals"),
        ("resnet20", {"input_shape": (3, 32, 2)}, ModelError, "4x4"),
        ("resnet20", {"width": 0}, ConfigError, "width"),
        ("resnet20", {"input_shape": (3, 32.0, 32)}, ModelError, "shape of one input"),
    ],
)
def test_what_cannot_be_built(name, options, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        build_model(name, **options)


def test_options_are_listed_with_their_defaults():
    assert MODELS["resnet20"].options == {
        "classes": 10,
        "input_shape": (3, 32, 32),
        "width": 16,
        "batch_norm": True,
        "skip": True,
    }
    assert all(spec.description and spec.reference for spec in MODELS.values())
