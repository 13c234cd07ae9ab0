"""Comparing minima: one start for all methods, numbers that belong to the runs, and honest words."""

from __future__ import annotations

import math

import pytest
import torch

from landscape.curvature import Estimate
from landscape.errors import ConfigError
from landscape.objective import Objective
from landscape.study import Effort, choose_effort, flattest, measure_minima, minima_configs
from landscape.training import RunConfig, train

TINY = Effort(examples=60, points=5, trace_probes=8, density_probes=2, density_steps=6, random_draws=2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    base = RunConfig(
        limit=100, test_limit=50, model="mlp", model_options={"hidden": [8]}, epochs=2, label_noise=0.2, batch_size=50
    )
    root = tmp_path_factory.mktemp("runs")
    configs = minima_configs(base, rho=0.1, rho_asam=1.0, epsilon=0.1, std=0.05)
    return {label: train(config, root=root, progress=False) for label, config in configs.items()}


def test_the_runs_differ_in_the_optimizer_only(runs):
    settings = [run.config.to_dict() for run in runs.values()]
    own = {"optimizer", "rho", "epsilon", "std"}
    assert len({str({k: v for k, v in values.items() if k not in own}) for values in settings}) == 1
    first, *others = [run.checkpoint(0).model for run in runs.values()]
    for other in others:
        assert all(torch.equal(first[name], other[name]) for name in first)


def test_the_numbers_are_those_of_the_runs(runs):
    minima = measure_minima({"SGD": runs["SGD"], "SAM": runs["SAM"]}, effort=TINY, progress=False)
    for label, minimum in minima.items():
        row, last = minimum.row(), runs[label].metrics()[-1]
        assert minimum.objective.examples == 60
        assert row["test_error"] == last["test_error"]
        assert row["test_error_stderr"] == pytest.approx(math.sqrt(row["test_error"] * (1 - row["test_error"]) / 50))
        assert minimum.surface.loss.shape == (5, 5)
        assert minimum.surface.center_loss == minimum.objective.evaluate().loss
        hessian = torch.autograd.functional.hessian(
            lambda w, o=minimum.objective: sum(o.loss_terms(w)), minimum.objective.weights()
        )
        # float32 products against a float32 dense Hessian: 1e-3 relative
        assert row["top_eigenvalue"] == pytest.approx(torch.linalg.eigvalsh(hessian)[-1].item(), rel=1e-3)
        assert abs(row["trace"].value - hessian.trace().item()) < 5 * row["trace"].stderr
        assert row["lpf_rise"].value == pytest.approx(row["lpf"].value - minimum.objective.evaluate().loss, abs=1e-12)
    again = measure_minima({"SGD": runs["SGD"]}, effort=TINY, progress=False)
    assert (again["SGD"].surface.loss == minima["SGD"].surface.loss).all()


def test_effort_shrinks_with_time_and_keeps_its_floors():
    model = torch.nn.Linear(3, 2)
    objective = Objective(model, (torch.ones(300, 3), torch.zeros(300, dtype=torch.long)))
    plenty, none = choose_effort(objective, seconds=1e6), choose_effort(objective, seconds=1e-9)
    assert plenty == Effort(examples=300)
    assert none == Effort(
        examples=64, points=9, trace_probes=10, density_probes=2, density_steps=15, random_draws=none.random_draws
    )
    assert choose_effort(objective, examples=10**9, seconds=10.0).examples < 10**9
    with pytest.raises(ConfigError, match="seconds is out of range"):
        choose_effort(objective, seconds=0)


def test_words_name_the_flattest_and_say_what_they_rest_on():
    rows = {
        "SGD": {"test_error": 0.3, "top_eigenvalue": 10.0, "trace": Estimate(30.0, 1.0, 5), "lpf_rise": float("nan")},
        "SAM": {"test_error": 0.2, "top_eigenvalue": 5.0, "trace": Estimate(40.0, 1.0, 5), "lpf_rise": 1.0},
        "AMP": {"test_error": 0.1, "top_eigenvalue": 2.0, "trace": Estimate(50.0, 1.0, 5), "lpf_rise": 2.0},
    }
    text = "\n".join(flattest(rows))
    assert "top Hessian eigenvalue: AMP is flattest, 2, 5.0 times below SGD (10)." in text
    assert "top Hessian eigenvalue against test error over these 3 networks: Kendall's tau +1.00." in text
    assert "Hessian trace: SGD is flattest, 30." in text
    assert "Hessian trace against test error over these 3 networks: Kendall's tau -1.00." in text
    assert "LPF rise: SAM is flattest, 1." in text
    assert "test error: AMP is lowest, 10.0 % against SGD's 30.0 %." in text


def test_negative_radii_are_refused():
    with pytest.raises(ConfigError, match="rho is out of range"):
        minima_configs(RunConfig(), rho=-1.0)
