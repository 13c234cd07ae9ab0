"""What curvature gives comes back from its file bit for bit, and only as what it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from landscape.curvature import Eigenpairs, Estimate, SpectralDensity
from landscape.errors import MismatchError
from landscape.seeding import generator


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_eigenpairs_come_back(tmp_path, dtype):
    vectors = torch.randn(5, 2, generator=generator(0, "vectors"), dtype=torch.float64).to(dtype)
    pairs = Eigenpairs(values=[2.0, -1.0], vectors=vectors, residuals=[0.1, math.nan], matvecs=7, converged=[1, 0])
    pairs.save(tmp_path / "pairs.npz")
    again = Eigenpairs.load(tmp_path / "pairs.npz")
    assert torch.equal(again.vectors, vectors) and again.vectors.dtype == dtype
    for name in ("values", "residuals", "converged"):
        np.testing.assert_array_equal(getattr(again, name), getattr(pairs, name))
    assert again.matvecs == 7


@pytest.mark.parametrize("stderr", [0.46, math.nan, math.inf])
def test_an_estimate_comes_back_and_is_nothing_else(tmp_path, stderr):
    estimate = Estimate(36.94, stderr, 100)
    estimate.save(tmp_path / "trace.npz")
    assert str(Estimate.load(tmp_path / "trace.npz")) == str(estimate)
    assert Estimate.load(tmp_path / "trace.npz").matvecs == 100
    with pytest.raises(MismatchError, match="no Eigenpairs"):
        Eigenpairs.load(tmp_path / "trace.npz")
    with pytest.raises(MismatchError, match="no SpectralDensity"):
        SpectralDensity.load(tmp_path / "trace.npz")
