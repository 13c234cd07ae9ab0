"""What a training costs: gradients are counted in the training loop, times are those of its metrics."""

from __future__ import annotations

import itertools

import pytest
import torch

from landscape.errors import ConfigError, LandscapeError
from landscape.optim import OPTIMIZERS
from landscape.study import gradients_per_step, longer, method_configs, step_times, with_cost
from landscape.training import RunConfig, train


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 1.0),
        ({"optimizer": "adamw"}, 1.0),
        ({"optimizer": "sam"}, 2.0),
        ({"optimizer": "sam", "base": "adam"}, 2.0),
        ({"optimizer": "sam", "when": "every:5"}, 1.2),
        ({"optimizer": "sam", "when": "late:0.25"}, 1.25),
        ({"optimizer": "amp", "inner_iter": 2}, 3.0),
        ({"optimizer": "lpfsgd", "std": 0.01, "M": 4}, 1.0),
        ({"optimizer": "nso", "optimizer_options": {"pairs": 2}}, 4.0),
        ({"optimizer": "looksam", "optimizer_options": {"k": 3}}, 1 + 1 / 3),
        ({"optimizer": "entropysgd"}, 5.0),
        ({"adversarial_epsilon": 0.1, "adversarial_steps": 2}, 3.0),
    ],
)
def test_the_gradients_of_a_step_are_counted(settings, count):
    before = torch.get_rng_state()
    assert gradients_per_step(RunConfig(dataset="cifar10", model="resnet18", **settings)) == pytest.approx(count)
    assert torch.equal(before, torch.get_rng_state())


SMALL = RunConfig(dataset="digits", model="mlp", model_options={"hidden": [4]}, limit=60, test_limit=20, batch_size=20)


def test_costs_add_up(tmp_path):
    run = train(SMALL.replace(epochs=3, optimizer="sam", rho=0.1), root=tmp_path, progress=False)
    rows, plain = with_cost(run), run.metrics()
    assert [row["gradients"] for row in rows] == [2.0, 4.0, 6.0]
    assert [row["time"] for row in rows] == pytest.approx([sum(r["seconds"] for r in plain[: k + 1]) for k in range(3)])
    assert [row["train_loss"] for row in rows] == [row["train_loss"] for row in plain]


def test_steps_are_timed_in_turn_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = torch.get_rng_state()
    configs = {"SGD": SMALL, "SAM": SMALL.replace(optimizer="sam"), "again": SMALL}
    found = step_times(configs, rounds=4, steps=5)
    assert found["SGD"]["step_ratio"] == 1.0 and found["SGD"]["step_ratio_stderr"] == 0.0
    assert found["SAM"]["step_ratio"] > 1.1 and found["SAM"]["step_ms_stderr"] > 0
    assert torch.equal(before, torch.get_rng_state()) and not list(tmp_path.iterdir())
    for wrong in ({"rounds": 1}, {"steps": 0}, {"seconds": 0.0}, {"configs": {}}):
        with pytest.raises(ConfigError, match="out of range"):
            step_times(**{"configs": configs, **wrong})


@pytest.mark.parametrize(("seconds", "steps"), [(1000.0, 2), (9.0, 1)])
def test_the_times_of_a_step_are_means_over_the_rounds(seconds, steps, monkeypatch):
    first = [0, 9, 0, 9, 0, 1, 0, 2]  # what is done once; then one step of each, which takes 3 seconds in all
    clock = iter(itertools.accumulate([*first, *(steps * gap for gap in (0, 1, 0, 2, 0, 2, 0, 6))]))
    monkeypatch.setattr("landscape.study.cost.time.perf_counter", lambda: next(clock))
    found = step_times({"a": SMALL, "b": SMALL}, rounds=2, steps=2, seconds=seconds)
    assert found["a"] == {"step_ms": 1500.0, "step_ms_stderr": 500.0, "step_ratio": 1.0, "step_ratio_stderr": 0.0}
    assert found["b"] == {"step_ms": 4000.0, "step_ms_stderr": 2000.0, "step_ratio": 2.5, "step_ratio_stderr": 0.5}


def test_runs_differ_in_the_optimizer_only():
    base = RunConfig(label_noise=0.2, base=None, lr=0.1, epochs=3)
    radii = {"rho": 0.1, "rho_asam": 2.0, "epsilon": 0.3, "std": 0.02}
    configs = method_configs(base, ["sam", "asam", "amp", "lpfsgd", "entropysgd", "sgd", "gsam"], **radii)
    assert list(configs) == ["SGD", "SAM", "ASAM", "AMP", "LPF-SGD", "Entropy-SGD", "GSAM"]
    assert configs["SGD"] == base
    assert [configs[label].rho for label in ("SAM", "ASAM", "GSAM")] == [0.1, 2.0, 0.1]
    assert configs["AMP"].epsilon == 0.3 and configs["LPF-SGD"].std == 0.02
    for config in configs.values():
        assert config.replace(optimizer="sgd", rho=None, epsilon=None, std=None) == base


def test_a_published_method_keeps_its_own_options():
    base = RunConfig(optimizer="sam", rho=0.7, adaptive="official", when="every:2", base="adam", nesterov=False)
    configs = method_configs(base, ["sam", "amp", "sgd"], rho=0.1, epsilon=0.3)
    assert configs["SAM"] == base and list(configs) == ["SAM", "AMP", "SGD"]
    assert (configs["AMP"].when, configs["AMP"].base, configs["AMP"].rho) == ("every:2", "adam", None)
    assert (configs["SGD"].when, configs["SGD"].base) == (None, None)
    with pytest.raises(ConfigError, match="Unknown optimizer 'smith'"):
        method_configs(base, ["smith"])
    with pytest.raises(LandscapeError, match="rho"):
        method_configs(RunConfig(), ["sam"], rho=-1.0)


def test_a_longer_run_stretches_its_schedule():
    plateau = longer(RunConfig(epochs=10, schedule="plateau", patience=3, warmup_epochs=1.5), 2)
    assert (plateau.epochs, plateau.patience, plateau.warmup_epochs) == (20, 6, 3.0)
    assert longer(RunConfig(epochs=3), 1.2).epochs == 4
    assert longer(RunConfig(epochs=1), 0.1).epochs == 1


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_the_gradients_that_its_entry_says(name):
    said = {"1": 1, "2": 2, "L": 5, "inner_iter + 1": 4, "2 * pairs": 2, "1 + 1/k": 1.2}
    options = {"inner_iter": 3} if name == "amp" else {}
    expected = said.get(OPTIMIZERS[name].passes, 1)
    assert gradients_per_step(RunConfig(optimizer=name, **options)) == pytest.approx(expected)
