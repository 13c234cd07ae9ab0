"""Epsilon-sharpness along the gradient: how near the loss has risen by epsilon."""

from __future__ import annotations

import math

import torch

from landscape.curvature import Estimate
from landscape.sharpness.crossing import EVALUATIONS, crossing
from landscape.sharpness.definitions import Measure, Parameter
from landscape.sharpness.estimates import exact, unknown
from landscape.sharpness.sources import BISLA, BISLA_CODE, KESKAR
from landscape.sharpness.workbench import Workbench

REACH = 1e6
"""How far the search goes, in units of 1 + the norm of the weights."""


def epsilon_sharpness(bench: Workbench, *, epsilon: float, tolerance: float) -> Estimate:
    """Compute the measure "epsilon_sharpness"."""
    if not (math.isfinite(bench.loss) and math.isfinite(bench.gradient_norm)):
        return unknown()
    if bench.gradient_norm == 0:
        return exact(0)
    with bench.bar("epsilon_sharpness", EVALUATIONS, "pass") as bar:

        def rise(distance: float) -> float:
            return float(bench.loss_at(bench.weights.add(bench.uphill, alpha=distance))) - bench.loss

        reached = crossing(
            rise,
            epsilon,
            start=min(bench.gradient_norm, 1.0),
            largest=REACH * (1 + float(torch.linalg.vector_norm(bench.weights.double()))),
            tolerance=tolerance,
            bar=bar,
        )
    return exact(1 / reached)


MEASURES = (
    Measure(
        name="epsilon_sharpness",
        definition="One over the distance along the gradient at which the loss has risen by epsilon, found by growing "
        "it by factors of 5 and closing in until the rise is right to the tolerance. 0 where the gradient is zero, or "
        "the loss does not rise so much up to a million times 1 + the norm of the weights; NaN where it turns NaN "
        "before that.",
        formula=r"\frac{1}{\eta \|g\|} \quad \text{with} \quad L(\theta + \eta g) - L(\theta) = \epsilon, "
        r"\quad g = \nabla L(\theta)",
        unit="1 / weight",
        source=f"{BISLA}, {BISLA_CODE}; after {KESKAR}",
        cost="1 gradient and at most 100 forward passes, 10 to 20 as a rule",
        larger="sharper",
        invariances=frozenset({"loss_shift"}),
        parameters={
            "epsilon": Parameter(
                default=0.1, meaning="The rise, in the loss's unit.", source="the code of Bisla et al. (2022)"
            ),
            "tolerance": Parameter(
                default=1e-6, meaning="The rise may be so far from epsilon.", source="the code of Bisla et al. (2022)"
            ),
        },
        compute=epsilon_sharpness,
    ),
)
