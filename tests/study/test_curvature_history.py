"""Eigenvalues along a training, against a search of its own at each checkpoint."""

from __future__ import annotations

import numpy as np
import pytest

from landscape.curvature import Hessian
from landscape.curvature.unfinished import InterruptedWarning
from landscape.errors import StorageError
from landscape.study import CurvatureHistory, curvature_history
from landscape.training import Run, RunConfig, train


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    config = RunConfig(model="mlp", lr=0.05, epochs=3, limit=200, test_limit=50, keep_every=1)
    return train(config, root=tmp_path_factory.mktemp("runs"), progress=False)


def test_each_checkpoints_eigenvalues_are_its_own(run, tmp_path):
    found = curvature_history(run, k=2, limit=100, tol=1e-4, progress=False)
    assert found.steps.tolist() == [step for step, _ in run.checkpoints()] and found.steps[0] == 0
    for step, values in zip(found.steps, found.values, strict=True):
        own = Hessian(run.objective("train", 100, step=int(step))).top(2, tol=1e-4)
        np.testing.assert_allclose(values, own.values, rtol=1e-5)
    assert found.converged.all() and found.stable_up_to == 40.0
    found.save(tmp_path / "history.npz")
    again = CurvatureHistory.load(tmp_path / "history.npz")
    np.testing.assert_array_equal(again.values, found.values)
    assert again.provenance["run"] == run.path.name


def test_some_checkpoints(run):
    last = run.checkpoints()[-1][0]
    assert curvature_history(run, steps=[last], limit=50, progress=False).steps.tolist() == [last]
    with pytest.raises(StorageError, match="no checkpoint of step 77777"):
        curvature_history(run, steps=[77777], progress=False)


def test_an_interrupt_keeps_the_checkpoints_done(run, monkeypatch):
    real, calls = Hessian.top, []

    def top(self, *args, **options):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return real(self, *args, **options)

    monkeypatch.setattr(Hessian, "top", top)
    with pytest.warns(InterruptedWarning, match="after 2 of"):
        assert len(curvature_history(run, limit=50, progress=False).steps) == 2


def test_an_interrupt_within_a_search_ends_the_history(run, monkeypatch, tmp_path):
    """And not that search alone, with its unfinished pairs taken for those of the checkpoint."""
    expected = curvature_history(run, limit=50, progress=False)
    real, left = Hessian.__matmul__, int(expected.matvecs[0]) + 7

    def stopping(self, vector):
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return real(self, vector)

    monkeypatch.setattr(Hessian, "__matmul__", stopping)
    with pytest.warns(InterruptedWarning, match="after 1 of") as caught:
        found = curvature_history(run, limit=50, progress=False)
    assert left == 0 and len(caught) == 1 and expected.complete and not found.complete
    found.save(tmp_path / "part.npz")
    assert not CurvatureHistory.load(tmp_path / "part.npz").complete and "interrupted" in repr(found)
    np.testing.assert_array_equal(found.values, expected.values[:1])
