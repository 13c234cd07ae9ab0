"""A user's own model: whatever is wrong with it is one sentence before training, and lazy layers train like others."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn

from landscape.cli import main
from landscape.errors import ConfigError, MismatchError, ModelError
from landscape.seeding import preserved_rng
from landscape.training import Run, RunConfig, train
from landscape.training.feasible import check_feasible
from landscape.training.materials import build_run_model, load_run_dataset

CONFIG = RunConfig(model="nets:net", limit=60, test_limit=30, epochs=2, batch_size=20, device="cpu")
DATA = load_run_dataset(CONFIG, "train")


class Net(nn.Module):
    """One layer, and what becomes of its scores."""

    def __init__(self, then=lambda scores, net: scores, before=lambda x: x) -> None:
        super().__init__()
        self.layer, self.then, self.before = nn.Linear(64, 10), then, before

    def forward(self, x):
        return self.then(self.layer(self.before(x).flatten(1)), self)


def raising(error):
    def then(scores, net):
        raise error

    return Net(then)


def in_training(then):
    return Net(lambda scores, net: then(scores, net) if net.training else scores)


def fails(scores, net):
    raise ZeroDivisionError("in training")


def having(**attributes):
    net = Net()
    for name, value in attributes.items():
        if isinstance(value, torch.Tensor) and not isinstance(value, nn.Parameter):
            net.register_buffer(name, value)
        else:
            setattr(net, name, value)
    return net


class Forgetful(Net):
    """Its train() returns nothing."""

    def train(self, mode=True):
        super().train(mode)


class Viewing(nn.Module):
    """Flattens with view, which cannot follow channels that lie last."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.layer = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(256, 10)

    def forward(self, x):
        return self.layer(self.convolution(x).view(len(x), -1))


def expanded():
    net = Net()
    net.layer.weight = nn.Parameter(torch.ones(1, 1).expand(10, 64))
    return net


def infinite():
    net = Net()
    net.layer.weight.data[3, 4] = torch.inf
    return net


WRONG = {
    "no parameters": (lambda: nn.Flatten(), "has no weights to train.*no parameters"),
    "a frozen model": (lambda: Net().requires_grad_(False), "has no weights to train.*frozen"),
    "a tuple": (lambda: Net(lambda s, _: (s, s)), "returns no tensor in evaluation mode.*a tuple"),
    "a dict": (lambda: Net(lambda s, _: {"logits": s}), "returns no tensor in evaluation mode.*a dict"),
    "nothing": (lambda: Net(lambda s, _: None), "returns no tensor in evaluation mode.*NoneType"),
    "a tuple in training": (lambda: in_training(lambda s, _: (s, s)), "no tensor in training mode.*a tuple"),
    "classes": (lambda: Net(lambda s, _: s.argmax(1)), r"shape \(B, 10\).*shape \(B\)"),
    "whole numbers": (lambda: Net(lambda s, _: s.long()), "are no scores.*int64"),
    "complex numbers": (lambda: Net(lambda s, _: s.to(torch.complex64)), "are no scores.*complex64"),
    "another rank": (lambda: Net(lambda s, _: s[..., None]), r"shape \(B, 10, 1\)"),
    "one number": (lambda: Net(lambda s, _: s.sum()), r"shape \(\).*for B = 2"),
    "another device": (lambda: Net(lambda s, _: s.to("meta")), "another device"),
    "KeyError": (lambda: raising(KeyError("x")), "cannot take the data.*KeyError: 'x'"),
    "an error without words": (lambda: raising(AssertionError()), "cannot take the data.*AssertionError"),
    "ValueError without words": (lambda: raising(ValueError()), "cannot take the data.*ValueError"),
    "exit": (lambda: raising(SystemExit(3)), "cannot take the data.*SystemExit: 3"),
    "an error in training": (lambda: in_training(fails), "cannot train on the data.*ZeroDivisionError: in training"),
    "no gradient": (lambda: Net(lambda s, _: s.detach()), "do not depend on any of its weights"),
    "overwritten": (lambda: Net(lambda s, _: s.exp().mul_(s).sigmoid().mul_(2)), "cannot be trained.*inplace"),
    "its inputs": (lambda: Net(before=lambda x: x.mul_(2)), "changes its inputs in place"),
    "half": (lambda: Net().half(), "float32 weights for precision 'float32'.*float16.*model.float()"),
    "double": (lambda: Net().double(), "float32 weights.*float64.*set precision to 'float64'"),
    "complex": (
        lambda: having(z=nn.Parameter(torch.ones(2, dtype=torch.complex64))),
        "'z'.*complex64.*view_as_complex",
    ),
    "integer": (
        lambda: having(z=nn.Parameter(torch.ones(2, dtype=torch.int64), requires_grad=False)),
        "'z'.*int64.*register_buffer",
    ),
    "meta": (lambda: having(z=torch.ones(2, device="meta")), "'z'.*meta device"),
    "sparse": (lambda: having(z=torch.eye(2).to_sparse()), "'z'.*sparse"),
    "expanded": (expanded, "layer.weight.*expanded.*clone"),
    "infinite": (infinite, "layer.weight.*NaN or infinity"),
    "no copy": (lambda: having(lock=threading.Lock()), "cannot be copied.*_thread.lock"),
    "train() of nothing": (Forgetful, r"train\(\).*does not return the model"),
    "view": (Viewing, r"cannot take the data.*flatten\(1\).*channels_last to false"),
    "five dimensions": (lambda: having(z=nn.Parameter(torch.ones(1, 1, 1, 1, 1))), "cannot be moved.*channels_last"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_a_model_does_wrong_is_said_before_training(case):
    build, words = WRONG[case]
    with pytest.raises(ModelError, match=f"(?s){words}"):
        check_feasible(CONFIG, build(), DATA)


def test_what_only_some_settings_mind():
    check_feasible(CONFIG.replace(channels_last=False), Viewing(), DATA)
    check_feasible(CONFIG.replace(precision="float64"), Net().double(), DATA)
    partly = Net()
    partly.layer.frozen = nn.Parameter(torch.ones(2, dtype=torch.float16), requires_grad=False)
    check_feasible(CONFIG, partly, DATA)
    blind = Net(before=lambda x: x.detach())
    check_feasible(CONFIG, blind, DATA)
    with pytest.raises(ModelError, match="no gradient with respect to its inputs.*adversarial_epsilon unset"):
        check_feasible(CONFIG.replace(adversarial_epsilon=0.1), blind, DATA)


@pytest.mark.parametrize("precision", ["float32", "float64", "tf32", "bfloat16", "float16"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_in_another_precision_are_refused(precision, dtype):
    if (precision, dtype) == ("float64", torch.float64):
        return
    with pytest.raises(ModelError, match="does not have the precision of the run.*float"):
        check_feasible(CONFIG.replace(precision=precision), Net().to(dtype), DATA)


@pytest.mark.parametrize("call", ["forward", "function"])
def test_ctrl_c_passes_through(tmp_path, monkeypatch, call):
    with pytest.raises(KeyboardInterrupt):
        if call == "forward":
            check_feasible(CONFIG, raising(KeyboardInterrupt()), DATA)
        else:
            (tmp_path / "nets_ctrl_c.py").write_text("def net():\n    raise KeyboardInterrupt\n")
            monkeypatch.chdir(tmp_path)
            build_run_model(CONFIG.replace(model="nets_ctrl_c:net"), DATA)


def test_the_check_leaves_model_and_generators_alone():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 10)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with preserved_rng():
        drawn = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].copy()
        for then in (lambda s, _: s, fails):
            whole = nn.Sequential(model, Noisy(then))
            if then is fails:
                with pytest.raises(ModelError, match="ZeroDivisionError"):
                    check_feasible(CONFIG, whole.eval(), DATA)
            else:
                check_feasible(CONFIG, whole.eval(), DATA)
        assert torch.equal(torch.get_rng_state(), drawn[0])
        assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], drawn[1])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert all(p.grad is None for p in model.parameters())


class Noisy(nn.Module):
    """Draws from the global generators in every pass."""

    def __init__(self, then) -> None:
        super().__init__()
        self.then = then

    def forward(self, x):
        x = x + torch.rand(1) + float(np.random.rand())
        return self.then(x, self) if self.training else x


def test_training_mode_is_tried_with_as_few_examples_as_there_will_be():
    norm = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))
    check_feasible(CONFIG, norm, DATA)  # two examples have a variance
    with pytest.raises(ConfigError, match="single example.*M 19"):
        check_feasible(CONFIG.replace(optimizer="lpfsgd", M=19, batch_size=19), norm, DATA)
    squeezing = in_training(lambda scores, net: scores.squeeze(0))
    check_feasible(CONFIG, squeezing, DATA)
    with pytest.raises(ModelError, match=r"shape \(10\) in training mode, for B = 1"):
        check_feasible(CONFIG.replace(batch_size=1), squeezing, DATA)


# ------------------------------------------------------------------------------------------------- from a user's file


@pytest.fixture
def nets(tmp_path, monkeypatch, request):
    """Writes a module into the working directory; returns settings that name its function net."""
    name = "nets_" + "".join(c if c.isalnum() else "_" for c in request.node.name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text, **changes):
        (tmp_path / f"{name}.py").write_text(f"import sys\nimport torch\nfrom torch import nn\n\n{text}\n")
        sys.modules.pop(name, None)
        return CONFIG.replace(model=f"{name}:net", **changes)

    yield write
    sys.modules.pop(name, None)


LAZY = """
def net():
    return nn.Sequential(
        nn.LazyConv2d(4, 3, padding=1), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10)
    )
"""


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_lazy_layers_train_and_resume_to_the_same_bits(nets, precision):
    config = nets(LAZY, precision=precision, optimizer="sam")
    whole = train(config, root="whole", progress=False)
    calls = []
    with pytest.raises(KeyboardInterrupt):
        train(config, root="cut", progress=False, stop=lambda: calls.append(0) or len(calls) == 4)
    found = train(config, root="cut", progress=False)
    assert found.weights_checksum() == whole.weights_checksum()
    start = build_run_model(config, DATA)
    for model in (build_run_model(config, DATA), Run.load(whole.path).model(0)):  # of data, and of its shape alone
        assert all(torch.equal(a, b) for a, b in zip(start.parameters(), model.parameters(), strict=True))
    assert start.training and not start[1].num_batches_tracked
    other = build_run_model(config.replace(seed=1), DATA)
    assert not torch.equal(next(start.parameters()), next(other.parameters()))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "def net():\n    return nn.Sequential(nn.LazyConv2d(4, 9), nn.Flatten(), nn.LazyLinear(10))",
            "lazy parameters",
        ),
        (
            "class Half(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        self.a, self.b = nn.Linear(64, 10), nn.LazyLinear(10)\n"
            "    def forward(self, x):\n        return (self.b if self.training else self.a)(x.flatten(1))\n"
            "net = Half",
            "Parameter b.weight has no shape after a pass in evaluation mode",
        ),
        ("class Bare(nn.Module):\n    def __init__(self):\n        pass\nnet = Bare", "never initialized.*super"),
        ("def net():\n    sys.exit('no weights here')", "could not build a model.*SystemExit: no weights here"),
        ("sys.exit(0)", "could not be imported.*SystemExit: 0"),
    ],
)
def test_what_cannot_be_built(nets, text, words):
    for precision in ("float32", "float64"):
        with pytest.raises(ModelError, match=f"(?s){words}"):
            build_run_model(nets(text, precision=precision), DATA)


def test_code_that_changed_since_the_run_began(nets):
    linear = "def net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, {}), nn.Linear({}, 10))"
    config = nets(linear.format(8, 8))
    calls = []
    with pytest.raises(KeyboardInterrupt):
        train(config, root="runs", progress=False, stop=lambda: calls.append(0) or len(calls) == 4)
    run = Run.load(f"runs/{config.folder_name}")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and path.name != "lock"}
    nets(linear.format(9, 9))
    for use in (run.model, lambda: train(config, root="runs", progress=False)):
        with pytest.raises(MismatchError, match=r"step 4 do not fit the model.*size mismatch for 1.weight.*resume"):
            use()
    assert {path: path.read_bytes() for path in before} == before
    nets(linear.format(8, 8))
    assert train(config, root="runs", progress=False).status == "finished"


def test_the_command_says_it_in_one_sentence(nets, capsys):
    config = nets("def net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10).requires_grad_(False))")
    words = ["--dataset", "digits", "--limit", "60", "--model", config.model, "--quiet", "--root", "runs"]
    assert main(["train", *words]) == 2
    assert "error: The model 'nets_" in (error := capsys.readouterr().err)
    assert "has no weights to train" in error and "Traceback" not in error
