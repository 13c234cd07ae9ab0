"""PAC-Bayes measures: how much noise the weights bear, and how far they are from where they began."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from landscape.curvature import Estimate
from landscape.sharpness.crossing import EVALUATIONS, crossing
from landscape.sharpness.definitions import Measure, Parameter, Published
from landscape.sharpness.estimates import exact, unknown
from landscape.sharpness.sources import BISLA, BISLA_CODE, JIANG
from landscape.sharpness.workbench import Workbench

START, LARGEST = 1e-3, 100.0  # of sigma, as in the code of Bisla et al.
CONFIDENCE = 1e-6  # the probability with which the bound may fail, as there
_STEP = 0.05  # relative, for the slope of the rise in sigma: its error is far below that of the mean


def noise_borne(bench: Workbench, *, epsilon: float, samples: int, tolerance: float) -> Estimate:
    """Find the standard deviation of the weights' noise at which the mean loss has risen by epsilon.

    All standard deviations share one set of draws, so the mean rise is a smooth function of it, and the search ends.

    Args:
        bench: What is measured.
        epsilon: The rise.
        samples: Draws in the mean.
        tolerance: The rise may be so far from epsilon.

    Returns:
        The standard deviation; infinity where the mean does not rise so much up to 100, and NaN where it turns NaN
        before that. Its standard error is that of the mean rise over the rise's slope.
    """
    if not math.isfinite(bench.loss):
        return unknown()
    with bench.bar("pac_bayes", EVALUATIONS, "mean rise") as bar:

        def rises(sigma: float) -> np.ndarray:
            points = (bench.weights.add(bench.normal(index), alpha=sigma) for index in range(samples))
            return torch.stack([bench.loss_at(point) for point in points]).cpu().numpy() - bench.loss

        def rise(sigma: float) -> float:
            return float(rises(sigma).mean())

        sigma = crossing(rise, epsilon, start=START, largest=LARGEST, tolerance=tolerance, bar=bar)
        if not math.isfinite(sigma):
            return exact(sigma)
        sample = rises(sigma)
        slope = (rise((1 + _STEP) * sigma) - float(sample.mean())) / (_STEP * sigma)
    spread = float(sample.std(ddof=1)) / math.sqrt(samples) if samples > 1 else math.nan
    return Estimate(value=sigma, stderr=spread / slope if slope > 0 else math.nan, matvecs=0, samples=samples)


def _noise(bench: Workbench, epsilon: float, samples: int, tolerance: float) -> Estimate:
    key = ("noise", epsilon, samples, tolerance)
    return bench.once(key, lambda: noise_borne(bench, epsilon=epsilon, samples=samples, tolerance=tolerance))


def pac_bayes_sigma(bench: Workbench, *, epsilon: float, samples: int, tolerance: float) -> Estimate:
    """Compute the measure "pac_bayes_sigma"."""
    return _noise(bench, epsilon, samples, tolerance)


def pac_bayes(bench: Workbench, *, epsilon: float, samples: int, tolerance: float) -> Estimate:
    """Compute the measure "pac_bayes"."""
    assert bench.initial_weights is not None  # measure() has asked for them
    return _bound(bench, bench.weights - bench.initial_weights, _noise(bench, epsilon, samples, tolerance))


def published_pac_bayes(bench: Workbench, *, epsilon: float, samples: int, tolerance: float) -> Estimate:
    """Compute what the published code returns for "pac_bayes"."""
    return _bound(bench, bench.weights, _noise(bench, epsilon, samples, tolerance))


def _bound(bench: Workbench, travelled: Tensor, noise: Estimate) -> Estimate:
    squared = float(torch.linalg.vector_norm(travelled.double())) ** 2
    first = squared / (4 * noise.value**2)
    stderr = 2 * first / noise.value * noise.stderr
    value = first + math.log(2 * bench.objective.examples / CONFIDENCE)
    return Estimate(value=value, stderr=stderr, matvecs=0, samples=noise.samples)


_PARAMETERS = {
    "epsilon": Parameter(
        default=0.1, meaning="The rise of the mean loss, in its unit.", source="the code of Bisla et al. (2022)"
    ),
    "samples": Parameter(default=10, meaning="Draws in the mean.", source="the code of Bisla et al. (2022)"),
    "tolerance": Parameter(
        default=1e-6, meaning="The rise may be so far from epsilon.", source="the code of Bisla et al. (2022)"
    ),
}
_COST = "samples times at most 102 forward passes, 10 to 20 times as a rule, shared by pac_bayes and pac_bayes_sigma"

MEASURES = (
    Measure(
        name="pac_bayes",
        definition="The PAC-Bayes bound's complexity: the squared distance of the weights from where training began, "
        "over 4 sigma squared, plus log(2 n / 1e-6) for n examples. sigma is the standard deviation of the weights' "
        "noise at which the mean loss, over as many draws as samples says, has risen by epsilon, right to the "
        "tolerance; the same draws serve for every sigma. Where the loss does not rise so much up to sigma = 100, "
        "sigma counts as infinite.",
        formula=r"\frac{\|\theta - \theta_0\|^2}{4 \sigma^2} + \ln \frac{2 n}{10^{-6}} \quad \text{with} \quad "
        r"E_{\tau \sim N(0, \sigma^2 I)} L(\theta + \tau) - L(\theta) = \epsilon",
        unit="nats",
        source=f"{JIANG}; as in {BISLA}, {BISLA_CODE}",
        cost=_COST,
        larger="sharper",
        invariances=frozenset({"loss_shift"}),
        needs=("initial_weights",),
        parameters=_PARAMETERS,
        published=Published(
            differs="The weights that training began from are replaced by 0, whatever is given, so the squared norm of "
            "the weights stands for the squared distance.",
            compute=published_pac_bayes,
            parameters=_PARAMETERS,
        ),
        compute=pac_bayes,
    ),
    Measure(
        name="pac_bayes_sigma",
        definition="The standard deviation of the weights' noise at which the mean loss, over as many draws as samples "
        "says, has risen by epsilon, right to the tolerance: sigma itself, not one over it, so the larger, the "
        "flatter. Infinite where the loss does not rise so much up to sigma = 100; NaN where it turns NaN before.",
        formula=r"\sigma \quad \text{with} \quad "
        r"E_{\tau \sim N(0, \sigma^2 I)} L(\theta + \tau) - L(\theta) = \epsilon",
        unit="weight",
        source=f"{BISLA}, supplement; after {JIANG}",
        cost=_COST,
        larger="flatter",
        invariances=frozenset({"loss_shift"}),
        parameters=_PARAMETERS,
        compute=pac_bayes_sigma,
    ),
)
