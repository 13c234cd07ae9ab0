"""Measures of the Hessian as a matrix: its norm, its largest eigenvalue, its trace, its effective dimension."""

from __future__ import annotations

import math

import torch

from landscape.curvature import Estimate
from landscape.curvature.unfinished import whole
from landscape.sharpness.definitions import Measure, Parameter
from landscape.sharpness.dimension import effective_dimension
from landscape.sharpness.estimates import mean_estimate
from landscape.sharpness.ritz_values import published_dimension, published_lambda_max, published_trace
from landscape.sharpness.sources import BISLA, BISLA_CODE, MACKAY
from landscape.sharpness.workbench import Workbench


def frobenius(bench: Workbench, *, samples: int) -> Estimate:
    """Compute the measure "frobenius"."""
    squares = []
    with bench.bar("frobenius", samples, "product") as bar:
        for index in range(samples):
            squares.append((bench.hessian @ bench.normal(index)).double().square().sum())
            bar.update()
    squared = mean_estimate(torch.stack(squares).cpu().numpy(), matvecs=samples)
    value = math.sqrt(squared.value)
    stderr = squared.stderr / (2 * value) if value else squared.stderr
    return Estimate(value=value, stderr=stderr, matvecs=samples, samples=samples)


def lambda_max(bench: Workbench) -> Estimate:
    """Compute the measure "lambda_max"."""
    pairs = whole(lambda: bench.hessian.top(1, seed=bench.seed))
    return Estimate(value=float(pairs.values[0]), stderr=float(pairs.residuals[0]), matvecs=pairs.matvecs)


def trace(bench: Workbench, *, probes: int) -> Estimate:
    """Compute the measure "trace"."""
    return whole(lambda: bench.hessian.trace(probes=probes, seed=bench.seed, progress=bench.progress))


_INVARIANT = frozenset({"loss_shift"})

MEASURES = (
    Measure(
        name="frobenius",
        definition="The Frobenius norm of the Hessian: the square root of the mean squared length of its products with "
        "as many standard normal vectors as samples says.",
        formula=r"\sqrt{\frac{1}{M} \sum_{m=1}^{M} \|H v_m\|^2}, \quad v_m \sim N(0, I), \quad H = \nabla^2 L(\theta)",
        unit="loss per squared weight",
        source=f"{BISLA}, {BISLA_CODE}",
        cost="samples Hessian products",
        larger="sharper",
        invariances=_INVARIANT,
        parameters={
            "samples": Parameter(
                default=10, meaning="M, the number of vectors.", source="the code of Bisla et al. (2022)"
            )
        },
        compute=frobenius,
    ),
    Measure(
        name="lambda_max",
        definition="Largest eigenvalue of the Hessian, by Lanczos to a relative residual of 1e-3. Its standard "
        "error is the residual: an eigenvalue lies that close.",
        formula=r"\max_{\|v\| = 1} v^\top \nabla^2 L(\theta) v",
        unit="loss per squared weight",
        source="Y. LeCun, L. Bottou, G. Orr, K.-R. Mueller, Efficient BackProp, 1998",
        cost="about 10 Hessian products where that eigenvalue stands apart, at most 200",
        larger="sharper",
        invariances=_INVARIANT,
        published=published_lambda_max,
        compute=lambda_max,
    ),
    Measure(
        name="trace",
        definition="Sum of all eigenvalues of the Hessian, by Hutchinson's estimate from as many vectors of signs as "
        "probes says.",
        formula=r"\operatorname{tr} \nabla^2 L(\theta)",
        unit="loss per squared weight",
        source="M. Hutchinson, A Stochastic Estimator of the Trace of the Influence Matrix, 1989",
        cost="probes Hessian products",
        larger="sharper",
        invariances=_INVARIANT,
        parameters={"probes": Parameter(default=100, meaning="The number of vectors.", source="as in PyHessian")},
        published=published_trace,
        compute=trace,
    ),
    Measure(
        name="effective_dimension",
        definition="How many directions the loss determines: the sum of lambda / (lambda + 1) over the eigenvalues of "
        "the Hessian, by stochastic Lanczos quadrature from as many vectors of signs as probes says, so many steps "
        "each. Negative eigenvalues count 0: the fraction has a pole at -1, and a direction in which the loss is "
        "curved downwards is not determined by it. So it bends at 0, where nearly all eigenvalues are: the quadrature "
        "has a node there, and the value is the middle between what all steps give and what all and half of them lead "
        "to for an error that falls as one over the steps. The standard error is of the probes and of that distance.",
        formula=r"\sum_i \frac{\max(\lambda_i, 0)}{\max(\lambda_i, 0) + 1} \approx "
        r"\frac{1}{K} \sum_{k=1}^{K} P \sum_j w_{kj} \frac{\max(\vartheta_{kj}, 0)}{\max(\vartheta_{kj}, 0) + 1}",
        unit="directions",
        source=f"{MACKAY}; as in {BISLA}",
        cost="probes times steps Hessian products",
        larger="sharper",
        invariances=_INVARIANT,
        parameters={
            "probes": Parameter(
                default=4,
                meaning="The number of vectors, K.",
                source="on digits networks, the error of the steps is larger than that of so many probes",
            ),
            "steps": Parameter(default=50, meaning="Steps of Lanczos for each.", source="as Hessian.density"),
        },
        published=published_dimension,
        compute=effective_dimension,
    ),
)
