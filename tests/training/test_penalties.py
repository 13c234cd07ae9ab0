"""Penalties in a run: with every optimizer, in every pass of a step, across interruptions, and counted apart."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.cli import main
from landscape.cli_options import GivenSettings, with_options
from landscape.errors import ConfigError
from landscape.regularizers import REGULARIZERS
from landscape.training import Run, RunConfig, train
from landscape.training.penalty_settings import penalty_settings

TINY = {"dataset": "digits", "limit": 48, "test_limit": 30, "model": "mlp", "model_options": {"hidden": [8]}}
NEEDED = {"vat": {"epsilon": 0.5}, "pgd-l2": {"epsilon": 0.5}, "pgd-linf": {"epsilon": 0.1}}
OPTIMIZERS = {
    "sgd": {},
    "sam": {"rho": 0.1},
    "amp": {"epsilon": 0.1},
    "lpfsgd": {"std": 0.05, "M": 2},
}


def tiny(*penalties: str, **changes) -> RunConfig:
    options = {f"{name}.{key}": value for name in penalties for key, value in NEEDED.get(name, {}).items()}
    given = {**TINY, "epochs": 2, "batch_size": 16, "penalty": penalties, "penalty_options": options}
    return RunConfig(**{**given, **changes})


def run(config, root, **options) -> Run:
    return train(config, root=root, progress=False, **options)


def state(run: Run):
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in run.metrics()]
    return run.weights_checksum(), rows


def stop_after(steps: int):
    calls = [0]

    def stop() -> bool:
        calls[0] += 1
        return calls[0] == steps

    return stop


@pytest.mark.parametrize("name", REGULARIZERS)
def test_a_run_with_a_penalty_resumes_to_the_same_bits(tmp_path, name):
    config = tiny(name, model="smallcnn", model_options={})
    whole = run(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "cut", stop=stop_after(4))
    assert state(run(config, tmp_path / "cut")) == state(whole)


@pytest.mark.parametrize("name", ["pgd-l2", "vat"])
def test_masks_of_dropout_are_the_same_after_an_interruption(tmp_path, name):
    config = tiny(name, model="lenet", model_options={})
    whole = run(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "cut", stop=stop_after(2))
    torch.rand(7)  # wherever the generators stand by then
    assert state(run(config, tmp_path / "cut")) == state(whole)


@pytest.mark.parametrize("name", REGULARIZERS)
def test_a_penalty_changes_the_weights(tmp_path, name):
    plain = run(tiny(), tmp_path)
    options = {"tau": 0.05} if name == "spectral-projection" else {}
    config = tiny(name)
    found = run(config.replace(penalty_options={**config.penalty_options, **options}), tmp_path)
    assert found.weights_checksum() != plain.weights_checksum()
    row = found.metrics()[-1]
    assert ("penalty" in row) == (REGULARIZERS[name].kind == "penalty")
    assert all(torch.isfinite(value).all() for value in found.model().state_dict().values())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_all_go_together_with_every_optimizer(tmp_path, optimizer):
    names = [name for name in REGULARIZERS if name != "pgd-linf"]
    config = tiny(*names, optimizer=optimizer, precision="float64", **OPTIMIZERS[optimizer])
    whole = run(config, tmp_path / "whole")
    assert whole.metrics()[-1]["penalty"] > 0
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "cut", stop=stop_after(3))
    assert state(run(config, tmp_path / "cut")) == state(whole)


@pytest.mark.parametrize("name", ["gradient", "grad-l2", "spectral", "deformation", "tangent", "trades", "vat"])
def test_a_weight_of_zero_is_no_penalty(tmp_path, name):
    config = tiny(name, precision="float64")
    config = config.replace(penalty_options={**config.penalty_options, "weight": 0.0})
    plain, found = run(tiny(precision="float64"), tmp_path), run(config, tmp_path)
    for one, other in zip(plain.model().parameters(), found.model().parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)  # inputs with a gradient: another order of sums
    assert found.metrics()[-1]["penalty"] == 0.0
    assert found.metrics()[-1]["train_loss"] == pytest.approx(plain.metrics()[-1]["train_loss"], rel=1e-12)


@pytest.mark.parametrize("name", [name for name, spec in REGULARIZERS.items() if spec.kind != "constraint"])
def test_running_statistics_are_those_of_training_alone(tmp_path, name):
    net = {"model": "resnet20", "model_options": {}, "lr": 0.0, "weight_decay": 0.0, "limit": 16, "epochs": 1}
    plain, found = (run(tiny(*names, **net), tmp_path) for names in ((), (name,)))
    moved = REGULARIZERS[name].kind == "inputs"  # then those of the moved inputs
    for (key, one), (_, other) in zip(plain.model().named_buffers(), found.model().named_buffers(), strict=True):
        if key.endswith("num_batches_tracked") or not moved:
            torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-7, msg=key)


def test_the_projection_bounds_every_layer_of_the_run(tmp_path):
    config = tiny("spectral-projection", penalty_options={"tau": 0.4, "kappa": 1e-3})
    for parameter in run(config, tmp_path).model().parameters():
        if parameter.ndim > 1:
            assert torch.linalg.svdvals(parameter.flatten(1)).max() <= 0.4 * (1 + 1e-5)


def test_the_projection_of_convolutions_bounds_what_they_do_to_the_runs_images(tmp_path):
    options = {"tau": 0.4, "kappa": 1e-3, "operator": "convolution"}
    config = tiny("spectral-projection", penalty_options=options, model="smallcnn", model_options={})
    found, size = run(config, tmp_path).model().double(), 8
    for layer in found.modules():
        if isinstance(layer, nn.Conv2d):
            basis = torch.eye(layer.in_channels * size**2).double().view(-1, layer.in_channels, size, size)
            matrix = F.conv2d(basis, layer.weight, padding=layer.padding).flatten(1)
            assert torch.linalg.matrix_norm(matrix, 2) <= 0.4 * (1 + 1e-5)
            size //= 2  # by the pooling after it


def test_whose_epsilon_it_is():
    assert penalty_settings(tiny("adversarial", epsilon=0.5))["adversarial"] == {"epsilon": 0.5}
    assert tiny("adversarial", epsilon=0.5).method_options() == {}
    both = tiny("adversarial", optimizer="amp", epsilon=0.5, penalty_options={"epsilon": 2.0})
    assert both.method_options() == {"epsilon": 0.5} and penalty_settings(both)["adversarial"] == {"epsilon": 2.0}
    assert penalty_settings(tiny("adversarial", optimizer="amp", epsilon=0.5))["adversarial"] == {}


def test_an_option_for_all_and_one_of_its_own():
    options = {"gradient.weight": 3.0, "weight": 2.0, "spectral.iterations": 4}
    found = penalty_settings(tiny("gradient", "spectral", penalty_options=options))
    assert found == {"gradient": {"weight": 3.0}, "spectral": {"weight": 2.0, "iterations": 4}}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"penalty": ("gradent",)}, "gradient"),
        ({"penalty": ("gradient", "gradient")}, "each name once"),
        ({"penalty": ("gradient",), "epsilon": 1.0}, "epsilon"),
        ({"epsilon": 1.0}, "epsilon"),
        ({"penalty_options": {"weight": 1.0}}, "without a penalty"),
        ({"penalty": ("gradient",), "penalty_options": {"wieght": 1.0}}, "weight"),
        ({"penalty": ("gradient",), "penalty_options": {"spectral.weight": 1.0}}, "spectral"),
        ({"penalty": ("gradient",), "penalty_options": {"gradient.tau": 1.0}}, "tau"),
        ({"penalty": ("gradient",), "penalty_options": {"weight": -1.0}}, "weight"),
        ({"penalty": ("gradient",), "penalty_options": {"weight": "much"}}, "weight"),
        ({"penalty": ("gradient",), "penalty_options": {"weight": float("nan")}}, "weight"),
        ({"penalty": ("pgd-l2", "pgd-linf"), "penalty_options": {"epsilon": 0.1}}, "one way"),
        ({"penalty": ("pgd-l2",), "penalty_options": {"epsilon": 0.1}, "adversarial_epsilon": 0.1}, "one way"),
        ({"penalty": ("grad-l2",), "mixup": 1.0}, "mixup"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(ConfigError, match=words):
        RunConfig(**{**TINY, **settings})


def test_the_command_names_penalties_and_their_options(tmp_path, capsys):
    words = ["train", "--dataset", "digits", "--limit", "40", "--test-limit", "20", "--epochs", "1", "--model", "mlp"]
    words += ["--penalty", "adversarial", "spectral-projection", "--epsilon", "0.5", "--penalty-option", "tau=0.8"]
    assert main([*words, "--penalty-option", "spectral-projection.kappa=50", "--root", str(tmp_path), "--quiet"]) == 0
    (path,) = tmp_path.glob("digits-mlp-sgd-adversarial-spectral-projection-*")
    config = json.loads((path / "config.json").read_text())
    assert config["penalty"] == ["adversarial", "spectral-projection"] and config["epsilon"] == 0.5
    assert config["penalty_options"] == {"tau": 0.8, "spectral-projection.kappa": 50}
    assert "penalty" in Run.load(path).metrics()[-1]
    capsys.readouterr()
    assert main([*words, "--penalty-option", "tau"]) == 2
    assert "KEY=VALUE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--penalty gradient --penalty-option .weight=1", "Write weight for all that read it, or gradient.weight."),
        ("--penalty gradient gradient vat --epsilon 1", "Write --penalty gradient vat, or ('gradient', 'vat')"),
        ("--penalty gradient --penalty-option weight=1 --penalty-option weight=2", "Got: weight=1, weight=2."),
        ("--penalty gradient --penalty-option weight=1 gradient.weight=2", "Leave weight=1 out."),
        ("--penalty gradient --penalty-option vat.weight=1", "Add the penalty (--penalty gradient vat)"),
        ("--optimizer looksam --optimizer-option k=5 k=6", "--optimizer-option gives k 2 times."),
        ("--model-option .hidden=[8]", "--model-option is not understood. Expected: KEY=VALUE. Got: .hidden=[8]."),
    ],
)
def test_the_command_says_which_option_is_wrong_and_what_to_write(words, said, capsys, tmp_path):
    assert main(["train", *words.split(), "--model", "mlp", "--root", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_option_of_one_penalty_beside_that_of_all():
    settings = GivenSettings(penalty=("gradient", "spectral"))
    config = with_options(settings, (), (), ["weight=1", "gradient.weight=2"])
    assert penalty_settings(config) == {"gradient": {"weight": 2}, "spectral": {"weight": 1}}


@pytest.mark.parametrize("name", ["deformation", "tangent"])
def test_signals_are_not_deformed_and_nothing_is_written(tmp_path, name):
    config = RunConfig(dataset="mnist1d", model="cnn1d", limit=40, test_limit=20, epochs=1, penalty=(name,))
    with pytest.raises(ConfigError, match=r"deforms images.*\(C, H, W\)"):
        run(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_help_says_what_each_penalty_is_and_reads(capsys):
    assert main(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name, spec in REGULARIZERS.items():
        assert f"{name}: {spec.description} Reads" in text
    assert "Reads tau 0.5, kappa 2.0, operator reshaped" in text
