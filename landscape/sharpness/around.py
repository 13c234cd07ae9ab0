"""The loss at points drawn around the weights."""

from __future__ import annotations

import numpy as np
import torch

from landscape.curvature import Estimate
from landscape.sharpness.definitions import Measure, Parameter
from landscape.sharpness.estimates import mean_estimate
from landscape.sharpness.sources import BISLA, BISLA_CODE
from landscape.sharpness.workbench import Workbench

NOISE = {
    "sigma": Parameter(
        default=0.01,
        meaning="Standard deviation of each weight's noise, in the weights' unit.",
        source="Bisla et al. (2022), the measures",
    ),
    "samples": Parameter(default=100, meaning="M, the number of points.", source="Bisla et al. (2022), the measures"),
}


def losses_around(bench: Workbench, sigma: float, samples: int) -> np.ndarray:
    """Return the losses at normally distributed points around the weights.

    Args:
        bench: What is measured; the points are the same for all measures of one call.
        sigma: Standard deviation of each weight's noise.
        samples: How many points.

    Returns:
        (samples,) float64.
    """

    def evaluate() -> np.ndarray:
        losses = []
        with bench.bar("losses around the weights", samples, "pass") as bar:
            for index in range(samples):
                losses.append(bench.loss_at(bench.weights.add(bench.normal(index), alpha=sigma)))
                bar.update()
        return torch.stack(losses).cpu().numpy()

    return bench.once(("around", sigma, samples), evaluate)


def lpf(bench: Workbench, *, sigma: float, samples: int) -> Estimate:
    """Compute the measure "lpf"."""
    return mean_estimate(losses_around(bench, sigma, samples))


def lpf_normalized(bench: Workbench, *, sigma: float, samples: int) -> Estimate:
    """Compute the measure "lpf_normalized"."""
    distances = np.abs(losses_around(bench, sigma, samples) - bench.loss)
    with np.errstate(divide="ignore", invalid="ignore"):  # a loss of 0 gives infinity, which is what it is
        return mean_estimate(distances / bench.loss)


MEASURES = (
    Measure(
        name="lpf",
        definition="Mean loss at M = samples points drawn around the weights, each weight with the standard deviation "
        "sigma. The loss of the weights themselves is not subtracted.",
        formula=r"\frac{1}{M} \sum_{m=1}^{M} L(\theta + \tau_m), \quad \tau_m \sim N(0, \sigma^2 I)",
        unit="loss",
        source=BISLA,
        cost="samples forward passes, shared with lpf_normalized and local_entropy",
        larger="sharper",
        parameters=NOISE,
        compute=lpf,
    ),
    Measure(
        name="lpf_normalized",
        definition="Mean distance of the loss at M = samples points, drawn with the standard deviation sigma, from the "
        "loss of the weights, relative to it.",
        formula=r"\frac{1}{M} \sum_{m=1}^{M} \frac{|L(\theta + \tau_m) - L(\theta)|}{L(\theta)}, "
        r"\quad \tau_m \sim N(0, \sigma^2 I)",
        unit="1",
        source=f"{BISLA}, {BISLA_CODE}",
        cost="samples forward passes, shared with lpf and local_entropy",
        larger="sharper",
        parameters=NOISE,
        compute=lpf_normalized,
    ),
)
