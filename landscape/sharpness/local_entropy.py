"""Local entropy: the logarithm of exp(-L), smoothed around the weights."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from landscape.curvature import Estimate
from landscape.sharpness.around import NOISE, losses_around
from landscape.sharpness.definitions import Measure, Parameter, Published
from landscape.sharpness.estimates import exact
from landscape.sharpness.sources import BISLA, BISLA_CODE, CHAUDHARI
from landscape.sharpness.workbench import Workbench

INTERVALS = 32
"""Between the points at which the loss is read along the gradient; even."""


def local_entropy(bench: Workbench, *, sigma: float, samples: int) -> Estimate:
    """Compute the measure "local_entropy"."""
    exponents = -losses_around(bench, sigma, samples)
    peak = float(exponents.max())
    if math.isinf(peak):
        return Estimate(value=peak, stderr=math.nan, matvecs=0)
    sizes = np.exp(exponents - peak)
    spread = float(sizes.std(ddof=1) / sizes.mean()) if samples > 1 else math.nan
    value = peak + math.log(sizes.mean()) if not math.isnan(peak) else peak
    return Estimate(value=value, stderr=spread / math.sqrt(samples), matvecs=0, samples=samples)


def published_local_entropy(bench: Workbench, *, sigma: float, samples: int) -> Estimate:
    """Compute what the published code returns for "local_entropy"."""
    losses = losses_around(bench, sigma, samples)
    peak = float(losses.max())
    sizes = np.exp(losses - peak) if math.isfinite(peak) else np.full(samples, math.nan)
    spread = float(sizes.std(ddof=1) / sizes.mean()) if samples > 1 else math.nan
    volume = bench.objective.size / 2 * math.log(2 * math.pi) - math.log(1 / sigma) / 2
    value = -(peak + float(np.log(sizes.mean())) + volume)
    return Estimate(value=value, stderr=spread / math.sqrt(samples), matvecs=0, samples=samples)


def clenshaw_curtis(intervals: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the points and weights of a rule for integrals from -1 to 1, exact for polynomials up to its degree.

    Every second point is one of the rule with half as many intervals.

    Args:
        intervals: Even; there is one point more.

    Example:
        >>> clenshaw_curtis(2)[1].round(6).tolist()  # Simpson's rule
        [0.333333, 1.333333, 0.333333]
    """
    angles = np.pi * np.arange(intervals + 1) / intervals
    order = np.arange(1, intervals // 2 + 1)
    factors = np.where(order == intervals // 2, 1, 2) / (4.0 * order**2 - 1)
    weights = 2 / intervals * (1 - np.cos(2 * np.outer(angles, order)) @ factors)
    weights[[0, -1]] /= 2
    return np.cos(angles), weights


def log_integral(exponents: np.ndarray) -> Estimate:
    """Return the logarithm of the integral of exp(f) from -1 to 1, and how far a rule with half the points is from it.

    Args:
        exponents: (intervals + 1,) values of f at the points of :func:`clenshaw_curtis`, whose intervals a multiple of
            4 divides.
    """
    peak = exponents.max()
    if not math.isfinite(peak):
        return Estimate(value=float(peak), stderr=math.nan, matvecs=0)
    sizes = np.exp(exponents - peak)
    fine, coarse = (float(peak + np.log(part @ clenshaw_curtis(len(part) - 1)[1])) for part in (sizes, sizes[::2]))
    return Estimate(value=fine, stderr=abs(fine - coarse), matvecs=0)


def along(bench: Workbench, direction: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return distances from -1 to 1 and the losses there, at the points of :func:`clenshaw_curtis`.

    Args:
        bench: What is measured.
        direction: (P,).
    """
    places = clenshaw_curtis(INTERVALS)[0]
    losses = []
    with bench.bar("local_entropy_along_gradient", len(places), "pass") as bar:
        for place in places.tolist():
            losses.append(bench.loss_at(bench.weights.add(direction, alpha=place)))
            bar.update()
    return places, torch.stack(losses).cpu().numpy()


def local_entropy_along_gradient(bench: Workbench, *, gamma: float) -> Estimate:
    """Compute the measure "local_entropy_along_gradient"."""
    places, losses = along(bench, bench.uphill)
    return log_integral(-losses - gamma / 2 * places**2)


def published_along_gradient(bench: Workbench, *, gamma: float) -> Estimate:
    """Compute what the published code returns for "local_entropy_along_gradient"."""
    pieces = [
        piece / torch.linalg.vector_norm(piece) for piece in bench.objective.layout.named(bench.gradient).values()
    ]
    direction = torch.cat([piece.reshape(-1) for piece in pieces]) / math.sqrt(len(pieces))
    places, losses = along(bench, direction)
    if np.isnan(losses).any():
        return exact(math.nan)
    found = log_integral(-losses - gamma / 2 * np.abs(places))
    return Estimate(value=-found.value, stderr=found.stderr, matvecs=0)


MEASURES = (
    Measure(
        name="local_entropy",
        definition="The logarithm of exp(-L) averaged over M = samples points drawn around the weights, each weight "
        "with the standard deviation sigma. The local entropy of Entropy-SGD, with gamma = 1 / sigma^2, is this plus "
        "(P/2) log(2 pi sigma^2), which all networks of one size share.",
        formula=r"\ln \frac{1}{M} \sum_{m=1}^{M} e^{-L(\theta + \tau_m)}, \quad \tau_m \sim N(0, \sigma^2 I)",
        unit="loss",
        source=CHAUDHARI,
        cost="samples forward passes, shared with lpf and lpf_normalized",
        larger="flatter",
        parameters=NOISE,
        published=Published(
            differs="Minus the logarithm of the mean of exp(+L), where exp(-L) is meant, minus (P/2) ln(2 pi) minus "
            "(1/2) ln(sigma): the sign of the loss is wrong. The noise's standard deviation is 1 / gamma for the gamma "
            "given, 100, where gamma would be 1 / sigma^2.",
            compute=published_local_entropy,
            parameters=NOISE,
        ),
        compute=local_entropy,
    ),
    Measure(
        name="local_entropy_along_gradient",
        definition="The local entropy on a line: the logarithm of the integral of exp(-L - gamma t^2 / 2) over "
        "distances t from -1 to 1 along the gradient. The loss is read at 33 points (Clenshaw and Curtis); the "
        "standard error is the distance from what every second of them gives. Where the gradient is zero there is no "
        "line, and L is the loss at the weights for all t.",
        formula=r"\ln \int_{-1}^{1} e^{-L(\theta + t g / \|g\|) - \gamma t^2 / 2} \, dt, \quad g = \nabla L(\theta)",
        unit="loss",
        source=f"{BISLA}, {BISLA_CODE}; after {CHAUDHARI}",
        cost="1 gradient and 33 forward passes",
        larger="flatter",
        parameters={
            "gamma": Parameter(
                default=0.1, meaning="Scope: how fast distance counts less.", source="the code of Bisla et al. (2022)"
            )
        },
        published=Published(
            differs="Minus the logarithm; exp(-L - gamma |t| / 2) is integrated, and the direction is the gradient "
            "with each tensor divided by its own norm, so it is NaN where a tensor's gradient is zero.",
            compute=published_along_gradient,
            parameters={
                "gamma": Parameter(
                    default=0.1,
                    meaning="Scope: how fast distance counts less.",
                    source="the code of Bisla et al. (2022)",
                )
            },
        ),
        compute=local_entropy_along_gradient,
    ),
)
