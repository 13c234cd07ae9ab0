"""Top eigenvalues where runs end: those of the Hessian itself, paired by seed, kept, and said with their errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from landscape.cli import main
from landscape.curvature import Hessian
from landscape.errors import ConfigError, CorruptFileError
from landscape.study import compare_flatness, flatness
from landscape.study.flatness import EndPoint, Flatness, Method
from landscape.training import Run, RunConfig

BASE = RunConfig(model="mlp", model_options={"hidden": [8]}, limit=100, test_limit=40, epochs=3, batch_size=20)
ASKED = {"radii": {"sam": 0.5}, "seeds": 2, "jobs": 1, "progress": False}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return root, compare_flatness(BASE, root=root, **ASKED)


def test_the_eigenvalues_are_those_of_the_dense_hessian_at_the_end_of_each_run(found):
    root, result = found
    assert [method.optimizer for method in result.methods] == ["sgd", "sam"]
    runs = [Run.load(path.parent) for path in sorted(root.glob("*/config.json"))]
    assert len(runs) == 4
    for run in runs:
        dense = Hessian(run.objective("train")).dense().double().numpy()
        method = next(m for m in result.methods if m.optimizer == run.config.optimizer)
        end = method.ends[run.config.seed]
        assert end.converged
        assert end.top == pytest.approx(np.linalg.eigvalsh((dense + dense.T) / 2)[-1], rel=2e-3)  # its own tolerance
        assert end.test_error == run.metrics()[-1]["test_error"]
        assert end.train_loss == run.objective("train").evaluate().loss
        assert run.config.seed == run.config.data_seed


def test_a_second_call_computes_no_product(found, monkeypatch):
    root, result = found
    monkeypatch.setattr(flatness, "Hessian", None)
    assert compare_flatness(BASE, root=root, **ASKED) == result


def test_a_damaged_record_is_computed_again(found):
    root, result = found
    for path in root.glob("*/curvature/top-*.json"):
        path.write_text("{")
    assert compare_flatness(BASE, root=root, **ASKED) == result


def end(top: float) -> EndPoint:
    return EndPoint(top=top, residual=0.0, converged=True, matvecs=3, train_loss=0.1, test_error=0.05)


def made(plain: list[float], its: list[float]) -> Flatness:
    ends = [tuple(end(value) for value in values) for values in (plain, its)]
    sgd = Method(optimizer="sgd", radius=None, ends=ends[0])
    return Flatness(base={}, examples=None, tol=1e-3, methods=(sgd, Method(optimizer="sam", radius=0.05, ends=ends[1])))


def test_differences_are_paired_by_seed():
    result = made([10.0, 20.0, 30.0], [1.0, 12.0, 31.0])  # 9, 8, -1
    gain, error = result.advantage(result.methods[1])
    assert gain == pytest.approx(16 / 3)
    assert error == pytest.approx(math.sqrt((9 - 16 / 3) ** 2 + (8 - 16 / 3) ** 2 + (-1 - 16 / 3) ** 2) / math.sqrt(6))
    assert "| SAM, rho 0.05 | 14.7 ± 8.8 | 5.33 ± 3.2 | 2 of 3 | 0.1 ± 0 | 5 ± 0 |" in result.table()


def test_each_column_has_its_unit():
    head, rule, *_ = made([10.0], [1.0]).table().splitlines()
    unit = "nats per squared weight"
    columns = ["method", f"top eigenvalue, {unit}", f"below SGD's by, {unit}", "seeds below", "training loss, nats"]
    assert head.strip("| ").split(" | ") == [*columns, "test error, %"] and rule.count("---") == 6


def test_one_seed_has_no_standard_error():
    assert "| SGD | 10 |" in made([10.0], [1.0]).table()


def test_what_is_saved_comes_back(found, tmp_path):
    _, result = found
    result.save(tmp_path / "one.json")
    assert Flatness.load(tmp_path / "one.json") == result
    (tmp_path / "one.json").write_text('{"base": {}}')
    with pytest.raises(CorruptFileError, match="no result of this study"):
        Flatness.load(tmp_path / "one.json")


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        (BASE, {"seeds": 0}, "seeds"),
        (BASE, {"radii": {"sgd": 0.1}}, "has no radius"),
        (BASE.replace(optimizer="sam"), {}, "optimizer"),
        (BASE.replace(seed=3), {}, "set by the study"),
        (BASE, {"tol": -1.0}, "tol is out of range"),
        (BASE, {"tol": float("nan")}, "tol is out of range"),
        (BASE, {"examples": 0}, "examples is out of range"),
        (BASE.replace(limit=50), {"examples": 51}, "a whole number from 1 to 50"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, base, changes, message):
    with pytest.raises(ConfigError, match=message):
        compare_flatness(base, root=tmp_path, **{**ASKED, **changes})
    assert not any(tmp_path.iterdir())


def test_the_command(tmp_path, capsys):
    settings = [
        "--model",
        "mlp",
        "--model-option",
        "hidden=[4]",
        "--limit",
        "40",
        "--test-limit",
        "20",
        "--epochs",
        "1",
    ]
    words = [
        "study",
        "flatness",
        *settings,
        "--seeds",
        "1",
        "--against",
        "sam=0.3",
        "--against",
        "amp=0.1",
        "--jobs",
        "1",
    ]
    assert main([*words, "--root", str(tmp_path), "--examples", "20", "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "| SAM, rho 0.3 |" in printed and "| AMP, epsilon 0.1 |" in printed
    (path,) = tmp_path.glob("studies/flatness-digits-mlp-*.json")
    assert Flatness.load(path).examples == 20
    assert main(["study", "flatness", "--against", "sam", "--root", str(tmp_path)]) == 2
    assert "METHOD=RADIUS" in capsys.readouterr().err
