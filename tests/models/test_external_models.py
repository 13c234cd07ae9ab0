"""torchvision's models, and a user's own function from the working directory."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from landscape.errors import ConfigError, ModelError
from landscape.models import build_model
from landscape.seeding import seeded

NETS = """
import torch
from torch import nn

def plain():
    return nn.Linear(3, 2)


def both(num_classes, in_channels=1):
    return nn.Conv2d(in_channels, num_classes, 1)


def everything(**options):
    model = nn.Linear(1, 1)
    model.options = options
    return model


def ours(classes, input_shape, *, width=4):
    return nn.Linear(input_shape[-1], classes * width)


def needy(num_classes, depth):
    return nn.Linear(depth, num_classes)


def nothing():
    return "a model"


def broken():
    raise KeyError("weights")


def leaving():
    raise SystemExit(4)


class Bare(nn.Module):
    def __init__(self):
        pass


def late():
    import {helper}
    return {helper}.make()


class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.head = nn.Linear(2, num_classes)


number = 3
"""


@pytest.fixture
def nets(tmp_path, monkeypatch, request):
    """The name of a module in the working directory; every test has its own, as modules are imported once."""
    name = "user_nets_" + "".join(c if c.isalnum() else "_" for c in request.node.name)
    (tmp_path / f"{name}.py").write_text(NETS.replace("{helper}", f"{name}_helper"))
    (tmp_path / f"{name}_helper.py").write_text("from torch import nn\n\ndef make():\n    return nn.Linear(1, 1)\n")
    monkeypatch.chdir(tmp_path)
    path = [entry for entry in sys.path if entry not in ("", str(tmp_path))]
    monkeypatch.setattr(sys, "path", path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = list(path)
    yield name
    assert sys.path is path and path == before  # whatever happened
    for module in (name, f"{name}_helper"):
        sys.modules.pop(module, None)


# -------------------------------------------------------------------------------------------------- a user's function


def test_a_function_gets_what_its_signature_takes(nets):
    assert build_model(f"{nets}:plain", classes=5, input_shape=(3, 8, 8)).out_features == 2
    model = build_model(f"{nets}:both", classes=5, input_shape=(4, 8, 8))
    assert (model.in_channels, model.out_channels) == (4, 5)
    assert build_model(f"{nets}:everything", classes=5, input_shape=(4, 8)).options == {
        "num_classes": 5,
        "in_channels": 4,
    }
    assert build_model(f"{nets}:ours", classes=5, input_shape=(4, 7)).weight.shape == (20, 7)
    assert build_model(f"{nets}:Net", classes=5, input_shape=(4, 7)).head.out_features == 5


def test_the_users_options_reach_the_function_and_win(nets):
    assert build_model(f"{nets}:ours", classes=5, input_shape=(4, 7), width=2).weight.shape == (10, 7)
    assert build_model(f"{nets}:both", classes=5, input_shape=(4, 8, 8), in_channels=1).in_channels == 1
    assert build_model(f"{nets}:everything", classes=2, input_shape=(1,), depth=3).options["depth"] == 3


def test_the_function_may_import_its_neighbors_when_called(nets):
    assert isinstance(build_model(f"{nets}:late"), nn.Linear)


def test_the_same_seed_gives_the_same_weights(nets):
    weights = []
    for seed in (0, 0, 1):
        with seeded(seed, "model"):
            weights.append(build_model(f"{nets}:plain").weight)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_working_directory_that_is_known_stays_known(nets, tmp_path):
    sys.path.append(str(tmp_path))
    try:
        build_model(f"{nets}:plain")
        assert sys.path[-1] == str(tmp_path)
    finally:
        sys.path.remove(str(tmp_path))


@pytest.mark.parametrize(
    ("function", "options", "error", "words"),
    [
        ("plane", {}, ModelError, "Unknown function of the module .* 'plane'.*Did you mean 'plain'"),
        ("", {}, ModelError, "Unknown function"),
        ("number", {}, ModelError, "is no function"),
        ("nothing", {}, ModelError, "returned no model. Expected: a torch.nn.Module. Got: a str"),
        ("broken", {}, ModelError, "could not build a model.*KeyError: 'weights'"),
        ("leaving", {}, ModelError, "could not build a model.*SystemExit: 4"),
        ("Bare", {}, ModelError, "never initialized.*a Bare.*super"),
        ("needy", {}, ConfigError, "needs options.*depth"),
        ("ours", {"widht": 3}, ConfigError, "option 'widht'.*Did you mean 'width'"),
        ("plain", {"classes": 0}, ConfigError, "classes"),
    ],
)
def test_what_functions_do_wrong(nets, function, options, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        build_model(f"{nets}:{function}", **options)


def test_a_missing_module(nets, tmp_path):
    with pytest.raises(ModelError, match=f"(?s)no module 'no_such_nets'.*no_such_nets.py into {tmp_path}"):
        build_model("no_such_nets:plain")
    with pytest.raises(ModelError, match="(?s)no module 'no_such_nets'"):
        build_model("no_such_nets.deep.inside:plain")
    with pytest.raises(ModelError, match=f"(?s)no module '{nets}.inside'"):
        build_model(f"{nets}.inside:plain")
    with pytest.raises(ModelError, match="(?s)no module 'torchvison'.*Did you mean 'torchvision:resnet18'"):
        build_model("torchvison:resnet18")


@pytest.mark.parametrize("name", [":plain", "nets.py:plain:more:", "my nets:plain", "../nets:plain", "C:/nets.py:f"])
def test_what_is_no_modules_name(name):
    with pytest.raises(ModelError, match="cannot be looked up|no module"):
        build_model(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_package_at_all", "could not be imported.*No module named 'no_such_package_at_all'"),
        ("1 / 0", "could not be imported.*ZeroDivisionError"),
        ("import sys; sys.exit()", "could not be imported.*SystemExit"),
        ("def f(:", "could not be imported.*SyntaxError"),
    ],
)
def test_a_module_that_fails(nets, tmp_path, text, words):
    (tmp_path / f"{nets}_bad.py").write_text(text)
    with pytest.raises(ModelError, match=f"(?s){words}"):
        build_model(f"{nets}_bad:f")


# -------------------------------------------------------------------------------------------------------- torchvision


def meta(name, **options):
    with torch.device("meta"):
        return build_model(name, **options)


@pytest.mark.parametrize(
    ("name", "options", "published"),  # torchvision's documentation (num_params), with 1000 classes
    [
        ("resnet18", {}, 11_689_512),
        ("mobilenet_v2", {}, 3_504_872),
        ("vit_b_16", {}, 86_567_656),
        ("googlenet", {}, 6_624_904),
        ("swin_t", {}, 28_288_354),
    ],
)
def test_torchvisions_models_are_theirs(name, options, published):
    model = meta(f"torchvision:{name}", classes=1000, input_shape=(3, 224, 224), **options)
    assert sum(p.numel() for p in model.parameters()) == published
    assert model.training and model(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "inception_v3", "maxvit_t"])
def test_torchvisions_models_for_other_classes_and_sizes(name):
    side = {"inception_v3": 96, "maxvit_t": 224}.get(name, 32)
    model = meta(f"torchvision:{name}", classes=7, input_shape=(3, side, side))
    assert model(torch.empty(2, 3, side, side, device="meta")).shape == (2, 7)


def test_a_torchvision_model_computes():
    with seeded(0, "model"):
        model = build_model("torchvision:shufflenet_v2_x0_5", classes=4, input_shape=(3, 32, 32))
    with seeded(0, "model"):
        again = build_model("torchvision:shufflenet_v2_x0_5", classes=4, input_shape=(3, 32, 32))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert not any(getattr(module, "inplace", False) for module in model.modules())
    model(torch.ones(4, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_checking_the_size_leaves_the_model_alone():
    with seeded(0, "model"):
        model = build_model("torchvision:mnasnet0_5", classes=4, input_shape=(3, 64, 64))
    assert all(module.training for module in model.modules())
    assert all(value.device.type == "cpu" for value in model.state_dict().values())
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())
    assert all(not value for key, value in model.state_dict().items() if key.endswith("num_batches_tracked"))


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("resnet81", {}, ModelError, "Unknown torchvision model 'resnet81'.*Did you mean 'resnet18'"),
        ("fcn_resnet50", {}, ModelError, "Unknown torchvision model"),  # no classifier
        ("", {}, ModelError, "Unknown torchvision model"),
        ("resnet18", {"input_shape": (1, 28, 28)}, ModelError, "three channels only"),
        ("resnet18", {"input_shape": (40,)}, ModelError, "images"),
        ("alexnet", {"input_shape": (3, 32, 32)}, ModelError, "cannot take inputs of shape \\(3, 32, 32\\)"),
        ("vit_b_16", {"input_shape": (3, 30, 30)}, ModelError, "cannot take inputs"),
        ("vit_b_16", {"input_shape": (3, 32, 48)}, ModelError, "square"),
        ("resnet18", {"weights": "DEFAULT"}, ConfigError, "fresh weights"),
        ("resnet18", {"widht": 2}, ConfigError, "does not take these options.*widht"),
        ("resnet18", {"classes": -1}, ConfigError, "classes"),
    ],
)
def test_what_torchvision_cannot_build(name, options, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        meta(f"torchvision:{name}", **options)


def test_options_reach_torchvisions_constructor():
    model = meta("torchvision:resnet18", classes=3, input_shape=(3, 32, 32), width_per_group=64, norm_layer=nn.Identity)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
