"""What the benchmarks stand on: peers that can be found and installed, and clocks that show what a point costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import common, regularizers
from benchmarks.curvature_checks import dense_hessian, missed_agreement, missed_mistakes, mistakes
from benchmarks.surface_checks import coarse_grid, missed_checks
from benchmarks.surface_peers import Clock, Problem
from landscape.regularizers.registry import REGULARIZERS
from landscape.seeding import seeded
from landscape.surface import Surface

REQUIREMENTS = Path(common.__file__).parent / "requirements.txt"


def test_every_peer_is_installed_and_every_installed_one_is_a_peer():
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    assert sorted(line.removeprefix("--no-deps ") for line in lines) == sorted(common.PEERS)


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "a_peer"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise ImportError('needs something else')\n")
    (folder / "part.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(common.PEERS, "a-peer", "a_peer.part")
    yield
    for name in ("a_peer", "a_peer.part"):
        sys.modules.pop(name, None)


def test_a_peer_that_cannot_be_imported_is_left_out(package, capsys):
    assert common.peer("a-peer") is None
    assert "a-peer is left out: ImportError: needs something else" in capsys.readouterr().out


def test_a_module_can_be_imported_without_its_package(package, monkeypatch):
    monkeypatch.setattr(common, "WITHOUT_PACKAGE", {"a_peer.part"})
    assert common.peer("a-peer").answer == 42


def test_an_absent_package_is_left_out_too(monkeypatch, capsys):
    monkeypatch.setitem(common.PEERS, "no-peer", "no_peer_at_all.part")
    monkeypatch.setattr(common, "WITHOUT_PACKAGE", {"no_peer_at_all.part"})
    assert common.peer("no-peer") is None
    assert "no-peer is left out: ModuleNotFoundError: No module named 'no_peer_at_all'" in capsys.readouterr().out


def test_options_of_a_requirement_reach_pip_as_words():
    recipe = REQUIREMENTS.parents[1].joinpath("Makefile").read_text()
    (line,) = [line for line in recipe.splitlines() if "while read -r peer" in line]
    command = line.split("; do")[0].strip().removeprefix("@").replace("$$", "$")
    said = subprocess.run(
        ["sh", "-c", f"{command}; do printf '%s|' $peer; echo; done"],
        capture_output=True, text=True, check=True, cwd=REQUIREMENTS.parents[1],
    ).stdout  # fmt: skip
    assert "--no-deps|landscaper|\n" in said
    assert " $$peer </dev/null" in recipe


# ------------------------------------------------------------------------------------------------------- the clocks


@pytest.mark.parametrize("calls", [1, 3])
def test_a_clock_counts_whole_points(calls):
    clock = Clock()
    for point in range(5):  # a point takes 2 s; its losses come after 0.1 s, 0.2 s...
        clock.cpu += [2.0 * point + 0.1 * call for call in range(1, calls + 1)]
    clock.wall = [2 * stamp for stamp in clock.cpu]
    assert clock.per_point(5, wall=False) == pytest.approx(2.0)
    assert clock.per_point(5, wall=True) == pytest.approx(4.0)


def test_a_clock_refuses_points_with_different_numbers_of_calls():
    clock = Clock()
    for _ in range(7):
        clock(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))
    with pytest.raises(RuntimeError, match="7 calls of the loss for 4 points"):
        clock.per_point(4, wall=False)


def test_moved_is_the_point_that_we_evaluate():
    with seeded(0, "a linear model"):
        model = torch.nn.Linear(3, 2).double()
        inputs, targets = torch.randn(8, 3).double(), torch.arange(8) % 2
    problem = Problem.of("linear", model, inputs, targets)
    surface = problem.surface((2, 2), "plain")
    there = torch.nn.functional.cross_entropy(problem.moved(-1.0, 1.0)(inputs), targets)
    assert surface.loss[0, 1] == pytest.approx(there.item(), rel=1e-14)  # two additions to a weight, in another order


def test_a_coarse_grid_is_whole_or_not_there():
    status = np.zeros((9, 9), dtype=np.uint8)
    status[::4, ::4] = 1

    def size() -> int:
        axis = np.linspace(-1, 1, 9)
        shape = np.zeros((9, 9))
        surface = Surface(
            alphas=axis, betas=axis, loss=shape, accuracy=shape, status=status, directions=({}, {}), provenance={}
        )
        return coarse_grid(surface)

    assert size() == 3
    status[::2, ::2] = 2
    assert size() == 5
    status[4, 4] = 0
    assert size() == 2


def test_nan_misses_every_bar():
    views = {"first_picture": {"share_of_points": np.nan}, "spline_error": {"median": np.nan}, "covered": False}
    results = {"agreement": {"a model": {"largest_difference": np.nan}}, "views": views}
    assert missed_checks(results) == ["a model: agreement", "first picture", "spline", "spline's estimate"]
    good = {"first_picture": {"share_of_points": 0.1}, "spline_error": {"median": 0.005}, "covered": True}
    assert missed_checks({"agreement": {"a model": {"largest_difference": 1e-6}}, "views": good}) == []


# ------------------------------------------------------------------------------------------- figures of curvature


def test_ours_is_right_where_the_dense_hessian_is_known(monkeypatch):
    monkeypatch.setattr("benchmarks.curvature_checks.peers", lambda *_: {})
    monkeypatch.setattr("benchmarks.curvature_checks.peer", lambda _: None)
    monkeypatch.setattr("benchmarks.curvature_checks._OUR_SEEDS", 5)
    with seeded(0, "a small network"):
        small = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Tanh(), torch.nn.Linear(4, 5))
        found = mistakes(small, torch.randn(40, 8), torch.arange(40) % 5)
    assert missed_mistakes(found) == []
    assert set(found) == {"exact", "ours"}
    wrong = {**found["ours"], "top": float("nan"), "two steps, told": False}
    assert missed_mistakes({"ours": wrong}) == ["top eigenvalue", "two steps are told"]


def test_a_dense_hessian_of_a_linear_model():
    """Cross-entropy over softmax: the mean over examples of (diag(p) - p p^T), times x x^T."""
    model = torch.nn.Linear(2, 3, bias=False).double()
    inputs = torch.tensor([[1.0, 2.0], [0.5, -1.0]]).double()
    found = dense_hessian(model, inputs, torch.tensor([0, 2])).reshape(3, 2, 3, 2)
    p = (inputs @ model.weight.T).softmax(1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    expected = torch.einsum("nij,na,nb->iajb", middle, inputs, inputs) / 2
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


def test_agreement_is_asked_of_those_that_are_right():
    right = {"PyHessian": 1e-9, "curvlinops-for-pytorch": 1e-9, "hessian-eigenthings": 1e-9}
    results = {
        "one batch": right,
        "a ragged last batch": right | {"hessian-eigenthings": 0.04},  # averages batches
        "top": right | {"PyHessian": 2e-3, "landscape": 1e-6},  # stops early
        "trace": right,
        "top_products_resnet20": 9,
    }
    assert missed_agreement(results) == []
    bad = results | {"top": {"landscape": np.nan}, "trace": right | {"PyHessian": 1e-3}, "top_products_resnet20": 13}
    assert missed_agreement(bad) == ["top: landscape", "trace: PyHessian", "products on ResNet-20"]


# ------------------------------------------------------------------------------------------ what regularizers cost


def test_every_row_is_a_regularizer_and_its_step_is_set_against_what_it_counts(monkeypatch):
    assert regularizers.ROWS.keys() == REGULARIZERS.keys()
    monkeypatch.setattr(regularizers, "_SECONDS", 0.0)
    bench = regularizers.Bench("smallcnn", 4, (1, 8, 8))
    found = regularizers.compare("digits", bench, 1, list(regularizers.ROWS))
    for name, row in regularizers.ROWS.items():
        passes = {"plain": found["plain_seconds"], **found["passes"]}
        expected = found[name]["seconds"] / (passes["plain"] + row.adds(passes))
        assert found[name]["over_ideal"]["median"] == pytest.approx(expected)
