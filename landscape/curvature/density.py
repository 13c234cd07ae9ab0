"""Spectral density by stochastic Lanczos quadrature."""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from typing import Any, Protocol

import numpy as np

from landscape.config import is_number, is_whole
from landscape.curvature.lanczos import Lanczos
from landscape.curvature.probes import random_signs
from landscape.curvature.products import Products
from landscape.curvature.results import SpectralDensity
from landscape.curvature.unfinished import InterruptedWarning
from landscape.errors import ConfigError
from landscape.progress import Progress, progress_bar


class _Known(Products, Protocol):
    def provenance(self) -> dict[str, Any]: ...


def spectral_density(
    operator: _Known,
    *,
    probes: int,
    steps: int,
    seed: int,
    grid: int | np.ndarray,
    sigma: float | None,
    progress: bool,
) -> SpectralDensity:
    """Estimate the density; see :meth:`landscape.curvature.Hessian.density`.

    Raises:
        ConfigError: An option is out of range.
        NonFiniteError: A product is NaN or infinite.
        KeyboardInterrupt: It came before the first probe was done.
    """
    start = time.perf_counter()
    for name, value in (("probes", probes), ("steps", steps)):
        if not is_whole(value) or value < 1:
            raise ConfigError(f"{name} is out of range.", expected="a positive integer", got=repr(value))
    if sigma is not None and not (is_number(sigma) and math.isfinite(sigma) and sigma > 0):
        raise ConfigError("sigma is out of range.", expected="a positive number", got=repr(sigma))
    points = _check_grid(grid)
    count = min(steps, operator.size)
    with progress_bar(probes * count, desc="density", unit="product", enabled=progress) as bar:
        pairs = _quadratures(operator, count, probes, seed, bar)
    done = len(pairs)
    nodes, weights = (np.stack(part) for part in zip(*pairs, strict=True))
    width = _default_sigma(nodes) if sigma is None else float(sigma)
    if not isinstance(points, np.ndarray):
        points = np.linspace(nodes.min() - 5 * width, nodes.max() + 5 * width, points)
    curves = np.stack([smooth(points, *pair, width) for pair in zip(nodes, weights, strict=True)])
    unknown = np.full(len(points), np.nan)
    seconds = round(time.perf_counter() - start, 3)
    return SpectralDensity(
        grid=points,
        density=curves.mean(0),
        band=curves.std(0, ddof=1) / np.sqrt(done) if done > 1 else unknown,
        nodes=nodes,
        weights=weights,
        sigma=width,
        provenance={**operator.provenance(), "probes": done, "steps": count, "seed": seed, "seconds": seconds},
        complete=done == probes,
    )


def _quadratures(
    operator: Products, steps: int, probes: int, seed: int, bar: Progress
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return nodes and weights of each probe; of those that were done when Ctrl-C came."""
    pairs = []
    try:
        while len(pairs) < probes:
            pairs.append(_quadrature(operator, steps, seed, len(pairs), bar))
    except KeyboardInterrupt:
        if not pairs:
            raise
        said = f"Interrupted after {len(pairs)} of {probes} probes: the density is from these, and less certain."
        warnings.warn(said, InterruptedWarning, stacklevel=4)
    return pairs


def _quadrature(operator: Products, steps: int, seed: int, probe: int, bar: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights (steps,) of one probe; where its space is exhausted, weights of 0 fill up."""
    lanczos = probed(operator, steps, seed, probe, bar)
    values, vectors, _ = lanczos.ritz()
    missing, weights = steps - lanczos.steps, vectors[0] ** 2
    return np.pad(values, (0, missing), mode="edge"), np.pad(weights / weights.sum(), (0, missing))


def probed(operator: Products, steps: int, seed: int, probe: int, bar: Progress) -> Lanczos:
    """Take steps of Lanczos from one of the densities' random probes, until its space is exhausted.

    Args:
        operator: The matrix.
        steps: How many, at most P.
        seed: Names the probes.
        probe: Which of them, from 0.
        bar: Goes on by all the steps, also by those that an exhausted space leaves out.
    """
    lanczos = Lanczos(operator, random_signs(operator, seed, "density", probe))
    while lanczos.steps < steps and not lanczos.exhausted:
        lanczos.step()
        bar.update()
    bar.update(steps - lanczos.steps)
    return lanczos


def smooth(grid: np.ndarray, nodes: np.ndarray, weights: np.ndarray, sigma: float) -> np.ndarray:
    """Evaluate ``sum_i weights[i] * N(t; nodes[i], sigma**2)`` on a grid.

    Args:
        grid: (G,).
        nodes: (m,).
        weights: (m,).
        sigma: Standard deviation.

    Returns:
        (G,).

    Example:
        >>> round(float(smooth(np.zeros(1), np.zeros(1), np.ones(1), 1.0)[0]), 4)  # 1 / sqrt(2 pi)
        0.3989
    """
    distance = (grid[:, None] - nodes[None, :]) / sigma
    return np.exp(-0.5 * distance**2) @ weights / (sigma * math.sqrt(2 * math.pi))


def _default_sigma(nodes: np.ndarray) -> float:
    """1 % of the range of all nodes; of their size, or of 1, where they all agree."""
    width = float(nodes.max() - nodes.min())
    size = float(np.abs(nodes).max())
    return 0.01 * (width if width > 1e-12 * size else size or 1.0)


def _check_grid(grid: int | np.ndarray) -> int | np.ndarray:
    if is_whole(grid) and grid >= 2:
        return int(grid)
    values = np.empty(0)
    if isinstance(grid, np.ndarray | list | tuple):
        with contextlib.suppress(ValueError, TypeError):  # texts, complex numbers, or rows of several lengths
            values = np.asarray(grid).astype(np.float64, casting="same_kind")
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ConfigError("grid is out of range.", expected="a number of points, or the points (G,)", got=repr(grid))
    return values
