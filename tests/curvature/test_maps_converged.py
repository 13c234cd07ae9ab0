"""A map says at which points its eigenpairs converged, and on which plane it lies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from landscape.curvature import ConvergenceWarning, CurvatureMap, Hessian, curvature_map
from landscape.errors import MismatchError
from landscape.surface import random_plane

from .nets import net_objective


def test_each_point_says_whether_its_pairs_converged(monkeypatch, tmp_path):
    objective, real, calls = net_objective("mlp"), Hessian.top, []

    def top(self, *args, **options):
        calls.append(1)
        found = real(self, *args, **options)
        return replace(found, converged=np.array([len(calls) != 3]))  # the first pair of the second point

    monkeypatch.setattr(Hessian, "top", top)
    plane = random_plane(objective, seed=1)
    with pytest.warns(ConvergenceWarning, match="At 1 points"):
        found = curvature_map(objective, plane, extent=0.5, points=2, progress=False)
    np.testing.assert_array_equal(found.converged, [[True, False], [True, True]])
    assert found.provenance["plane"] == plane.record()
    found.save(tmp_path / "map.npz")
    np.testing.assert_array_equal(CurvatureMap.load(tmp_path / "map.npz").converged, found.converged)
    replace(found, converged=None).save(tmp_path / "old.npz")  # as an earlier version wrote it
    assert CurvatureMap.load(tmp_path / "old.npz").converged is None
    with pytest.raises(MismatchError, match="converged"):
        replace(found, converged=[True])
