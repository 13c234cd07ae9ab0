"""Small results of every kind, for figures."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from landscape.curvature.results import Estimate, SpectralDensity
from landscape.surface.results import Line, Profile, Surface

LABELS = {"SGD": 6.0, "SAM (rho 0.1)": 1.2}
DIRECTIONS = ({"norm": "filter"}, {"norm": "filter"})


def _surface(scale: float, points: int = 9) -> Surface:
    axis = np.linspace(-1, 1, points)
    a, b = np.meshgrid(axis, axis[:-2], indexing="ij")
    loss = 0.05 + scale * (a**2 + 2 * b**2)
    status = np.ones(loss.shape, dtype=np.uint8)
    return Surface(
        alphas=axis,
        betas=axis[:-2],
        loss=loss,
        accuracy=np.clip(1 - loss / 20, 0, 1),
        status=status,
        directions=DIRECTIONS,
        provenance={},
    )


def _line(scale: float) -> Line:
    alphas = np.linspace(-1, 1, 11)
    loss = 0.05 + scale * alphas**2
    status = np.ones(11, dtype=np.uint8)
    return Line(
        alphas=alphas, loss=loss, accuracy=1 - loss / 20, status=status, directions=DIRECTIONS[:1], provenance={}
    )


def _profile(scale: float) -> Profile:
    radii = np.array([0.1, 0.5, 1.0])
    curve = 0.05 + scale * radii**2
    kinds = ("random", "sam", "amp")
    return Profile(
        kinds=kinds,
        radii=radii,
        loss={"random": 0.05 + 0.1 * radii, "sam": curve, "amp": 0.8 * curve},
        stderr={"random": 0.02 * radii, "sam": 0 * radii, "amp": 0 * radii},
        base_loss=0.05,
        provenance={},
    )


def _spectrum(scale: float) -> SpectralDensity:
    grid = np.linspace(-1, 10 * scale, 200)
    density = np.exp(-(grid**2)) + 1e-3 * np.exp(-((grid - 8 * scale) ** 2))
    nodes = np.array([[0.0, 8 * scale], [0.1, 8.1 * scale]])
    weights = np.full((2, 2), 0.5)
    return SpectralDensity(
        grid=grid, density=density, band=0.1 * density, nodes=nodes, weights=weights, sigma=1.0, provenance={}
    )


def _metrics(scale: float) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "train_loss": 2 / epoch**2,
            "test_loss": 2 / epoch + 0.01 * scale,
            "test_error": 0.5 / epoch,
            "train_accuracy": 1 - 0.4 / epoch,
        }
        for epoch in range(1, 9)
    ]


@pytest.fixture
def results() -> SimpleNamespace:
    """One mapping label -> result for each kind of figure."""
    many = {
        name: {label: make(scale) for label, scale in LABELS.items()}
        for name, make in {
            "surfaces": _surface,
            "lines": _line,
            "profiles": _profile,
            "spectra": _spectrum,
            "metrics": _metrics,
        }.items()
    }
    rows = {
        "SGD": {
            "test_error": 0.117,
            "test_error_stderr": 0.0099,
            "trace": Estimate(1800.0, 180.0, 100),
            "seconds": 1.0,
        },
        "SAM": {"test_error": 0.046, "test_error_stderr": 0.002, "trace": Estimate(300.0, 30.0, 100), "seconds": 2.0},
    }
    return SimpleNamespace(**many, rows=rows)
