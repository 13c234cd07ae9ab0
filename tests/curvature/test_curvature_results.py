"""What curvature gives comes back from its file bit for bit, and only as what it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from landscape.curvature import CurvatureMap, DiagonalEstimate, Eigenpairs, Estimate, SpectralDensity
from landscape.errors import CorruptFileError, MismatchError
from landscape.seeding import generator
from landscape.surface.archive import save_result


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


PAIRS = {"values": np.ones(2), "vectors": np.ones((3, 2)), "residuals": np.ones(2), "converged": np.ones(2, bool)}
NUMBERS = {"value": np.array(1.0), "stderr": np.array(0.5), "matvecs": np.array(3)}
ENTRIES = {"values": np.ones(3), "stderr": np.ones(3), "complete": np.array(True)}
AXES = {"alpha": np.arange(2.0), "beta": np.arange(2.0)} | dict.fromkeys(("lowest", "highest", "residuals"), np.eye(2))


@pytest.mark.parametrize(
    ("kind", "arrays", "text"),
    [
        (Eigenpairs, PAIRS | {"matvecs": np.array(3)}, "nonsense"),
        (Eigenpairs, PAIRS | {"matvecs": np.array(3)}, "load"),
        (Eigenpairs, PAIRS | {"matvecs": np.array(3)}, None),
        (Eigenpairs, PAIRS | {"matvecs": np.ones(4)}, "float64"),
        (Eigenpairs, PAIRS | {"matvecs": np.array(3), "vectors": np.ones(3)}, "float64"),
        (Eigenpairs, PAIRS | {"matvecs": np.array(3), "vectors": np.array([["a", "b"]])}, "float64"),
        (Estimate, NUMBERS | {"value": np.ones(2)}, {}),
        (Estimate, NUMBERS | {"value": np.array("a")}, {}),
        (DiagonalEstimate, ENTRIES | {"matvecs": np.ones(2)}, {}),
        (CurvatureMap, AXES, {}),
        (CurvatureMap, AXES, [1]),
        (CurvatureMap, AXES, {"complete": True, "provenance": {}, "more": 1}),
    ],
)
def test_whole_files_of_other_values_are_named(tmp_path, kind, arrays, text):
    """As another version, or somebody else's program, may write them."""
    path = tmp_path / "result.npz"
    save_result(path, kind.__name__, arrays, text)
    with pytest.raises(CorruptFileError, match=rf"result.npz holds values that make no {kind.__name__}.*again"):
        kind.load(path)


def test_an_error_that_is_not_known_is_said_so() -> None:
    assert str(Estimate(value=2.0, stderr=float("nan"), matvecs=0)) == "2 ± unknown"
