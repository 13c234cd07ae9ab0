"""Comparing minima: one start for all methods, numbers that belong to the runs, and honest words."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest
import torch

from landscape.curvature import Estimate, Hessian, InterruptedWarning
from landscape.datasets import load_dataset
from landscape.errors import ConfigError
from landscape.models import build_model
from landscape.objective import Objective
from landscape.study import Effort, choose_effort, flattest, measure_minima, minima_configs, rank_correlation
from landscape.study import minima as minima_module
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
        assert row["train_loss"] == minimum.objective.evaluate().loss
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


def test_an_interrupt_leaves_the_networks_done(runs, monkeypatch, capsys):
    whole = measure_minima({"SGD": runs["SGD"]}, effort=TINY, progress=False)
    real, left = Hessian.__matmul__, 0

    def stopping(self, vector):
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return real(self, vector)

    monkeypatch.setattr(Hessian, "__matmul__", stopping)
    left = 10_000
    measure_minima({"SGD": runs["SGD"]}, effort=TINY, progress=False)
    products = 10_000 - left
    three = {label: runs[label] for label in ("SGD", "SAM", "AMP")}
    for more in (12, products - 3):  # in the second network's trace and density
        left = products + more
        with pytest.warns(InterruptedWarning, match="after 1 of 3 networks"):
            found = measure_minima(three, effort=TINY, progress=False)
        assert left == 0 and list(found) == ["SGD"]
        assert str(found["SGD"].row()) == str(whole["SGD"].row())
    left = 12
    with pytest.raises(KeyboardInterrupt):
        measure_minima(three, effort=TINY, progress=False)
    assert capsys.readouterr() == ("", "")  # no bar of its own, and none of a measure's


def test_how_many_examples_and_why_is_said(runs, monkeypatch, capsys):
    monkeypatch.setattr(minima_module, "measure_minimum", lambda *_, **__: None)
    for examples, share in ((60, "60 of the 100"), (100, "all 100")):
        monkeypatch.setattr(minima_module, "choose_effort", lambda *_, n=examples, **__: replace(TINY, examples=n))
        measure_minima({"SGD": runs["SGD"]}, seconds=1.5)
        said = f"\nThat is what fits into about 1.5 s on two cores: {share} training examples.\n"
        assert f"Each network: {examples} examples, " in (out := capsys.readouterr().out) and said in out
    measure_minima({"SGD": runs["SGD"]}, effort=TINY)
    assert "fits into" not in capsys.readouterr().out  # the sizes were given


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


class Dawdling(torch.nn.Linear):
    """Takes a tenth of a second for a batch."""

    def forward(self, inputs):
        time.sleep(0.1)
        return super().forward(inputs)


def test_effort_depends_on_the_work_and_not_on_the_clock():
    data = torch.ones(300, 3), torch.zeros(300, dtype=torch.long)
    swift, slow = Objective(torch.nn.Linear(3, 2), data), Objective(Dawdling(3, 2), data, batch_size=100)
    assert choose_effort(swift, seconds=2.0) == choose_effort(slow, seconds=2.0)
    part = Objective(torch.nn.Linear(3, 2), tuple(tensor[:50] for tensor in data))
    assert choose_effort(part, examples=300, seconds=0.1) == choose_effort(swift, seconds=0.1)


def test_effort_of_the_tour_as_it_comes():
    data = load_dataset("digits", split="train")
    model = build_model("mlp", input_shape=data.input_shape, classes=data.classes)
    chosen = choose_effort(Objective(model, data.subset(torch.arange(256))), examples=len(data), seconds=30.0)
    assert chosen == Effort(examples=1000, points=21, trace_probes=100, density_probes=4, density_steps=50)


def test_effort_where_operations_cannot_be_counted():
    class Scaled(torch.nn.Module):
        """Multiplies elementwise: no operation that is counted."""

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(4000))

        def forward(self, inputs):
            return inputs * self.scale

    objective = Objective(Scaled(), (torch.ones(300, 4000), torch.zeros(300, 4000)), torch.nn.functional.mse_loss)
    # 3 products of 6 FLOPs per weight and example at 40 GFLOP/s, and 4 passes of 0.3 ms for each of 2 batches
    product = 3 * 6 * 4000 * 300 / 40e9 + 8 * 3e-4
    assert choose_effort(objective, seconds=1.0).trace_probes == int(0.2 / product)


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


def test_flatness_and_error_are_ranked_as_everywhere():
    traces, errors = [3.0, 3.0, 1.0, float("inf")], [0.2, 0.1, 0.1, 0.3]
    rows = {
        f"{k}": {"test_error": error, "trace": trace}
        for k, (trace, error) in enumerate(zip(traces, errors, strict=True))
    }
    tau = rank_correlation(traces, errors).tau
    assert f"over these 4 networks: Kendall's tau {tau:+.2f}." in "\n".join(flattest(rows))
    assert 0 < tau < 1


def test_minima_within_their_errors_are_not_told_apart():
    rows = {
        "SGD": {"test_error": 0.12, "test_error_stderr": 0.01, "trace": Estimate(90.0, 2.0, 5)},
        "AMP": {"test_error": 0.11, "test_error_stderr": 0.01, "trace": Estimate(33.0, 1.0, 5)},
        "LPF-SGD": {"test_error": 0.08, "test_error_stderr": 0.01, "trace": Estimate(30.0, 1.2, 5)},
        "SAM": {"test_error": 0.30, "test_error_stderr": 0.01, "trace": Estimate(34.0, 1.0, 5)},
    }
    text = "\n".join(flattest(rows))  # combined: sqrt(1 + 1.44) = 1.56; 3 is less than 2 of them, 4 is more
    assert "Hessian trace: LPF-SGD and AMP are flattest, not told apart (30 and 33), 3.0 times below SGD (90)." in text
    assert "test error: LPF-SGD is lowest, 8.0 % against SGD's 12.0 %." in text
    rows["SGD"]["test_error"] = 0.1
    assert "test error: LPF-SGD and SGD are lowest, not told apart (8.0 % and 10.0 %)." in "\n".join(flattest(rows))
    rows["SAM"]["trace"] = Estimate(30.5, math.nan, 1)
    assert "LPF-SGD, SAM and AMP are flattest, not told apart (30, 30.5 and 33)" in "\n".join(flattest(rows))


def test_an_unequal_fit_is_told():
    rows = {"SGD": {"train_loss": 0.02, "trace": 50.0}, "ASAM": {"train_loss": 1.4, "trace": 2.0}}
    said = flattest(rows)[-1]
    assert said.startswith("training loss: from 0.02 (SGD) to 1.4 (ASAM)") and "learned little" in said
    rows["ASAM"]["train_loss"] = 0.09  # three times as much of next to nothing
    assert not any(sentence.startswith("training loss") for sentence in flattest(rows))


def test_negative_radii_are_refused():
    with pytest.raises(ConfigError, match="rho is out of range"):
        minima_configs(RunConfig(), rho=-1.0)
