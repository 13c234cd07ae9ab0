"""Ends of the spectrum over a plane, against dense Hessians at every point."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from landscape.curvature import Hessian
from landscape.curvature.maps import CurvatureMap, curvature_map
from landscape.curvature.unfinished import ConvergenceWarning, InterruptedWarning
from landscape.surface import random_plane

from .nets import net_objective


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_eigenvalues_are_those_of_the_dense_hessian_at_each_point(name, tmp_path):
    objective = net_objective(name)
    plane = random_plane(objective, seed=1)
    found = curvature_map(objective, plane, extent=0.5, points=(2, 3), tol=1e-5, progress=False)
    for row, a in enumerate(found.alpha):
        for column, b in enumerate(found.beta):
            point = objective.weights() + a * plane.direction1.vector + b * plane.direction2.vector
            values = torch.linalg.eigvalsh(Hessian(objective, weights=point).dense())
            assert found.lowest[row, column] == pytest.approx(float(values[0]), rel=1e-6, abs=1e-8)
            assert found.highest[row, column] == pytest.approx(float(values[-1]), rel=1e-6, abs=1e-8)
    np.testing.assert_array_equal(found.ratio, np.abs(found.lowest / found.highest))
    found.save(tmp_path / "map.npz")
    again = CurvatureMap.load(tmp_path / "map.npz")
    np.testing.assert_array_equal(again.highest, found.highest)
    assert again.complete and again.provenance["tol"] == 1e-5


def test_points_without_a_hessian_are_nan():
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        far = torch.where(outputs.abs() > 1e100, float("nan"), 0.0).sum()
        return torch.nn.functional.cross_entropy(outputs, targets) + far

    objective = net_objective("mlp", loss_fn=loss)
    plane = random_plane(objective, seed=1)
    found = curvature_map(objective, plane, extent=[(0.0, 1e200), (0.0, 1.0)], points=2, progress=False)
    assert np.isfinite(found.lowest[0, 0])
    assert np.isnan(found.lowest[1]).all() and np.isnan(found.highest[1]).all() and found.complete


def test_an_interrupt_keeps_what_is_done(monkeypatch):
    objective, real, calls = net_objective("mlp"), Hessian.top, []

    def top(self, *args, **options):
        calls.append(1)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return real(self, *args, **options)

    monkeypatch.setattr(Hessian, "top", top)
    with pytest.warns(InterruptedWarning, match="after 2 of 9 points"):
        found = curvature_map(objective, random_plane(objective), points=3, progress=False)
    assert np.isfinite(found.highest).sum() == 2 and not found.complete


def test_pairs_that_did_not_converge_are_told_once():
    objective = net_objective("mlp")
    with pytest.warns(ConvergenceWarning, match=r"At \d points") as caught:
        curvature_map(objective, random_plane(objective), points=2, tol=1e-15, progress=False)
    assert len(caught) == 1
