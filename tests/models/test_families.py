"""What is particular to each family: forms, initial weights, dropout, the widths of the pyramid, the shaking."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import landscape.models
from landscape.errors import ConfigError, ModelError
from landscape.models import MODELS, build_model
from landscape.models.pyramidnet import PyramidBlock, block_widths
from landscape.models.shakeshake import ShakeBlock, ShakeShake, ShiftedShortcut, shake
from landscape.models.wideresnet import WideBlock, WideResNet
from landscape.optim import SAM
from landscape.seeding import RNGState, generator, seeded


def build(name, **options):
    with seeded(0, "tests"):
        return build_model(name, **options)


def deviation_fits(weight, expected):
    # The standard deviation of n normal values has a relative error of 1/sqrt(2n); five of them.
    return abs(float(weight.detach().double().std()) - expected) < 5 * expected / (2 * weight.numel()) ** 0.5


FAN_OUT = [
    ("vgg11_bn", {"width": 16, "hidden": 32}),
    ("preactresnet18", {"width": 16}),
    ("wrn16-4", {}),
    ("pyramidnet110-48", {}),
    ("shakeshake26-96", {"width": 16}),
]


@pytest.mark.parametrize(("name", "options"), [*FAN_OUT, ("vgg11", {"width": 16, "hidden": 32})])
def test_convolutions_start_by_fan_out(name, options):
    model = build(name, **options)
    for layer in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
        outputs, kernel = layer.weight.shape[0], layer.weight[0, 0].numel()
        assert deviation_fits(layer.weight, (2 / (outputs * kernel)) ** 0.5)


@pytest.mark.parametrize(("name", "options"), FAN_OUT)
def test_logits_start_with_biases_of_zero_and_torchs_weights(name, options):
    (*_, last) = (m for m in build(name, **options).modules() if isinstance(m, nn.Linear))
    bound = last.in_features**-0.5
    assert not last.bias.any()
    assert 0.9 * bound < float(last.weight.detach().abs().max()) <= bound


def test_vgg_without_batch_norm_starts_with_convolution_biases_of_zero():
    model = build("vgg11", width=4, hidden=8)
    assert not any(m.bias.any() for m in model.modules() if isinstance(m, nn.Conv2d))
    assert all(m.bias.all() for m in model.modules() if isinstance(m, nn.Linear))


@pytest.mark.parametrize(
    ("shape", "pools", "features"),
    [((1, 28, 28), 4, 512), ((1, 8, 8), 3, 512), ((3, 32, 32), 4, 2048), ((1, 2, 9), 1, 2048), ((1, 1, 1), 0, 512)],
)
def test_the_stable_vgg_pools_while_a_pixel_is_left_and_has_no_bias(shape, pools, features):
    model = build("vgg5_stable", input_shape=shape)
    assert sum(isinstance(layer, nn.AvgPool2d) for layer in model) == pools
    assert model[-1].in_features == features
    assert not any(name.endswith("bias") for name, _ in model.named_parameters())
    assert not model(torch.zeros(2, *shape)).any()  # so nothing comes of nothing
    assert model(torch.ones(2, *shape)).shape == (2, 10)


def test_resnet18_without_batch_norm_starts_as_torchs_layers_do_and_has_no_biases():
    model = build("resnet18_nobn", width=16)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert all(layer.bias is None for layer in layers)
    for layer in layers:
        bound = layer.weight[0].numel() ** -0.5
        assert 0.9 * bound < float(layer.weight.detach().abs().max()) <= bound


def test_a_wide_resnet_without_batch_norm_starts_with_outputs_of_size_one():
    with seeded(0, "tests"):
        model = WideResNet(3, 10, blocks=6, widening=2, batch_norm=False)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert not any(m.bias.any() for m in model.modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():  # without smaller branches, 18 blocks would make it 2**9 times as large
        assert 0.05 < float(model(torch.randn(32, 3, 16, 16, generator=generator(0, "tests"))).std()) < 5


# ------------------------------------------------------------------------------------------------------------ dropout


@pytest.mark.parametrize(
    "name", ["vgg11_bn", "vgg11", "preactresnet18", "preactresnet50", "wrn16-4", "pyramidnet110-48"]
)
def test_dropout_is_off_by_default_and_set_everywhere_at_once(name):
    with torch.device("meta"):
        plain, dropped = build_model(name), build_model(name, dropout=0.25)
    rates = [{m.p for m in model.modules() if isinstance(m, nn.Dropout)} for model in (plain, dropped)]
    assert rates[0] == {0.0} and max(rates[1]) == 0.25
    assert plain.state_dict().keys() == dropped.state_dict().keys()  # weights move from one to the other


def test_dropout_of_zero_draws_nothing():
    model, before = build("wrn16-4", input_shape=(3, 8, 8)), torch.get_rng_state()
    model(torch.zeros(2, 3, 8, 8))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["vgg11", "preactresnet18", "wrn16-4", "pyramidnet110-48"])
@pytest.mark.parametrize("rate", [-0.1, 1.0, "0.1", True, float("nan")])
def test_dropout_that_is_no_probability(name, rate):
    with pytest.raises(ConfigError, match="'dropout'.*in \\[0, 1\\)"):
        build_model(name, dropout=rate)


# ------------------------------------------------------------------------------------------------------ wide, pyramid


def test_the_two_forms_of_wide_blocks():
    paper, amp = (WideBlock(4, 6, 2, dropout=0.3, form=form) for form in ("paper", "amp"))
    layers = [[type(m).__name__ for m in block.branch] for block in (paper, amp)]
    assert layers[0] == ["Conv2d", "BatchNorm2d", "ReLU", "Dropout", "Conv2d"]
    assert layers[1] == ["Conv2d", "Dropout", "BatchNorm2d", "ReLU", "Conv2d"]
    strides = [[m.stride[0] for m in block.branch if isinstance(m, nn.Conv2d)] for block in (paper, amp)]
    assert strides == [[2, 1], [1, 2]]


def test_what_wide_blocks_project():
    """With branches of zero, only the shortcut is left: of a negative input, its activation shows nothing."""
    x = -torch.ones(1, 2, 4, 4)
    for form, shows in (("paper", False), ("amp", True)):
        block = WideBlock(2, 3, 2, form=form).eval()
        nn.init.zeros_(block.branch[-1].weight)
        assert bool(block(x).any()) is shows


def test_a_wide_resnet_of_amps_form_ends_with_its_momentum_and_dropout():
    with torch.device("meta"):
        model = build_model("wrn28-10", form="amp", dropout=0.1)
    assert model.activation[0].momentum == 0.9 and model.dropout.p == 0.1
    with pytest.raises(ConfigError, match="'paper' or 'amp'"):
        build_model("wrn28-10", form="AMP")


def test_the_widths_of_a_pyramid():
    assert block_widths(54, 270) == list(range(21, 287, 5))
    assert block_widths(90, 200)[-1] == 216 and block_widths(54, 48)[:3] == [17, 18, 19]  # 16.89, 17.78, 18.67


@pytest.mark.parametrize("bottleneck", [False, True])
def test_the_shortcut_of_a_pyramid_averages_and_pads_at_the_end(bottleneck):
    block = PyramidBlock(2, 3, 2, bottleneck=bottleneck).eval()
    nn.init.zeros_(block.branch[-1].weight)
    x = torch.randn(2, 2, 5, 4, generator=generator(0, "tests"))
    out = block(x)
    assert out.shape == (2, 12 if bottleneck else 3, 3, 2)
    torch.testing.assert_close(out[:, :2, 0, 0], x[:, :, :2, :2].mean((2, 3)))
    assert not out[:, 2:].any()


# --------------------------------------------------------------------------------------------------------- Shake-Shake


def branches(dtype=torch.float64, count=400):
    return [torch.full((count, 2, 3), value, dtype=dtype, requires_grad=True) for value in (1.0, 0.0)]


def test_shaking_mixes_each_image_by_its_own_uniform_number():
    first, second = branches()
    with seeded(0, "tests"):
        alpha = shake(first, second, training=True)
    assert (alpha == alpha[:, :1, :1]).all()
    alpha = alpha[:, 0, 0].detach()
    # Uniform over [0, 1]: mean 1/2 and variance 1/12, with standard errors of sqrt(1/12n) and 1/sqrt(180n); five each.
    assert abs(float(alpha.mean()) - 1 / 2) < 5 * (12 * len(alpha)) ** -0.5
    assert abs(float(alpha.var()) - 1 / 12) < 5 * (180 * len(alpha)) ** -0.5
    assert float(alpha.min()) >= 0 and float(alpha.max()) <= 1


def test_the_way_back_has_an_independent_number_and_both_sum_to_one():
    first, second = branches()
    with seeded(0, "tests"):
        mixture = shake(first, second, training=True)
    to_first, to_second = torch.autograd.grad(mixture.sum(), (first, second))
    torch.testing.assert_close(to_first + to_second, torch.ones_like(first))
    alpha, beta = mixture[:, 0, 0].detach(), to_first[:, 0, 0]
    assert (to_first == to_first[:, :1, :1]).all() and float(beta.min()) < 0.1 and float(beta.max()) > 0.9
    # The correlation of n independent pairs has a standard error of 1/sqrt(n); four of them.
    assert abs(float(torch.corrcoef(torch.stack((alpha, beta)))[0, 1])) < 4 * len(alpha) ** -0.5


def test_without_training_the_branches_are_averaged_and_nothing_is_drawn():
    first, second = branches()
    before = torch.get_rng_state()
    assert (shake(first, second, training=False) == 0.5).all()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_shaking_draws_the_same_numbers_in_every_precision(dtype):
    with seeded(0, "tests"):
        expected = shake(*branches(), training=True)
    with seeded(0, "tests"):
        found = shake(*branches(dtype), training=True)
    assert found.dtype == dtype
    # One rounding of alpha, and one of each of three sums.
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_generator_put_back_gives_the_same_pass_again(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    with seeded(0, "tests"):
        model = ShakeShake(3, 4, blocks=1, width=4).to(device)
        x = torch.randn(8, 3, 8, 8, device=device)
        state, found = RNGState.capture(), []
        for again in (True, True, False):
            if again:
                state.restore()
            loss = model(x).square().sum()
            found.append((loss, *torch.autograd.grad(loss, list(model.parameters()))))
    if device == "cpu":
        assert all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    for first, second in zip(found[0], found[1], strict=True):  # cuDNN may sum in another order
        torch.testing.assert_close(first, second)
    assert abs(float(found[0][0].detach() - found[2][0].detach())) > 1e-3


@pytest.mark.parametrize("same", [True, False])
def test_both_passes_of_sam_shake_alike_where_it_is_told_to(same):
    with seeded(0, "tests"):
        model, x = ShakeShake(3, 4, blocks=1, width=4), torch.randn(8, 3, 8, 8)
        # a radius below rounding: both passes are at the same weights, and any difference is the shaking
        optimizer = SAM(model.parameters(), torch.optim.SGD, rho=1e-20, lr=0.1, same_rng=same)
        losses = []

        def closure():
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            losses.append(float(loss.detach()))
            return loss

        optimizer.step(closure)
    assert len(losses) == 2 and (losses[0] == losses[1]) is same


def test_the_second_half_of_the_shortcut_sees_the_pixels_that_the_first_drops():
    shortcut = ShiftedShortcut(1, 2, 2)
    nn.init.ones_(shortcut.plain.weight)
    nn.init.ones_(shortcut.shifted.weight)
    shortcut.normalization = nn.Identity()
    x = torch.arange(1.0, 17.0).reshape(1, 1, 4, 4)
    out = shortcut(x)
    assert out[0, 0].tolist() == [[1, 3], [9, 11]]
    assert out[0, 1].tolist() == [[0, 0], [0, 6]]  # moved by one pixel right and down: zeros come in


def test_a_shake_block_between_equal_shapes_keeps_its_input():
    block = ShakeBlock(3, 3, 1).eval()
    for branch in (block.first, block.second):
        nn.init.zeros_(branch[-1].weight)
    x = torch.randn(2, 3, 4, 4, generator=generator(0, "tests"))
    assert torch.equal(block(x), x)


# -------------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("vgg16", {}, ModelError, "Did you mean 'vgg16_bn'"),
        ("wrn-28-10", {}, ModelError, "Did you mean 'wrn28-10'"),
        ("pyramidnet110_270", {}, ModelError, "Did you mean 'pyramidnet110-270'"),
        ("ShakeShake26-96", {}, ModelError, "Did you mean 'shakeshake26-96'"),
        ("densenet121", {}, ModelError, "Did you mean 'torchvision:densenet121'"),
        ("vgg11", {"input_shape": (3, 28, 28)}, ModelError, "32x32 pixels or more"),
        ("vgg11", {"hidden": 0}, ConfigError, "hidden"),
        ("preactresnet18", {"width": 0}, ConfigError, "width"),
        ("preactresnet18", {"bias": 1}, ConfigError, "True or False"),
        ("shakeshake26-96", {"width": 9.5}, ConfigError, "width"),
        ("resnet18_nobn", {"batch_norm": True}, ConfigError, "Unknown resnet18_nobn option"),
        ("wrn28-10", {"depth": 16}, ConfigError, "Unknown wrn28-10 option 'depth'"),
    ],
)
def test_what_the_families_cannot_build(name, options, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        build_model(name, **options)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_option_is_a_keyword_with_a_default(name):
    options = MODELS[name].options
    assert options["classes"] == 10 and all(size >= 1 for size in options["input_shape"])
    assert MODELS[name].description and MODELS[name].reference


def test_the_packages_own_page_names_every_model():
    page = landscape.models.__doc__
    assert [name for name in MODELS if f"``{name}``" not in page] == []
