"""Adaptive sharpness with normalized logits, on average and in the worst case."""

from __future__ import annotations

import torch

from landscape.curvature import Estimate
from landscape.objective import Objective
from landscape.sharpness.ascent import largest_in_box
from landscape.sharpness.definitions import Measure, Parameter
from landscape.sharpness.estimates import mean_estimate
from landscape.sharpness.logits import with_normalized_logits
from landscape.sharpness.minibatches import Minibatches
from landscape.sharpness.sources import ANDRIUSHCHENKO
from landscape.sharpness.workbench import Workbench


def _normalized(bench: Workbench) -> Objective:
    return bench.once("normalized", lambda: with_normalized_logits(bench.objective))


def average_adaptive_sharpness(bench: Workbench, *, rho: float, samples: int) -> Estimate:
    """Compute the measure "average_adaptive_sharpness"."""
    objective, sizes = _normalized(bench), bench.weights.abs()
    first = objective.evaluate_at(bench.weights)[0]
    rises = []
    with bench.bar("average_adaptive_sharpness", samples, "pass") as bar:
        for index in range(samples):
            point = bench.weights.addcmul(bench.normal(index), sizes, value=rho)
            rises.append(objective.evaluate_at(point)[0] - first)
            bar.update()
    return mean_estimate(torch.stack(rises).cpu().numpy())


def worst_case_adaptive_sharpness(bench: Workbench, *, rho: float, batch_size: int, steps: int) -> Estimate:
    """Compute the measure "worst_case_adaptive_sharpness"."""
    batches = Minibatches(_normalized(bench), batch_size, bench.seed)
    widths = rho * bench.weights.abs()
    rises = []
    with bench.bar("worst_case_adaptive_sharpness", steps * len(batches), "gradient") as bar:
        for batch in batches:
            first, best = largest_in_box(batch.value_and_gradient, bench.weights, widths, steps=steps, bar=bar)
            rises.append((best - first).double())
    return mean_estimate(torch.stack(rises).cpu().numpy())


_INVARIANT = frozenset({"relu_rescaling", "loss_shift", "logit_scale"})
_LOGITS = "Each example's logits are centered and divided by their norm first, as in the authors' code."

MEASURES = (
    Measure(
        name="average_adaptive_sharpness",
        definition="Mean rise of the loss over as many points as samples says, drawn around the weights, each weight "
        f"with the standard deviation rho times its size. {_LOGITS}",
        formula=r"E_{\delta \sim N(0, \rho^2 \operatorname{diag}(\theta^2))} \tilde L(\theta + \delta) - "
        r"\tilde L(\theta), \quad \tilde f = \frac{f - \bar f}{\|f - \bar f\|}",
        unit="loss",
        source=ANDRIUSHCHENKO,
        cost="1 + samples forward passes",
        larger="sharper",
        invariances=_INVARIANT,
        needs=("classifier",),
        parameters={
            "rho": Parameter(
                default=0.1,
                meaning="Standard deviation of the noise, relative to each weight.",
                source="of the authors' grids for CIFAR-10, what those for ResNets and transformers share",
            ),
            "samples": Parameter(default=100, meaning="Points in the mean.", source="the authors' code"),
        },
        compute=average_adaptive_sharpness,
    ),
    Measure(
        name="worst_case_adaptive_sharpness",
        definition="Largest rise of the loss where no weight moves by more than rho times its size, for each batch of "
        f"at most batch_size examples by itself, and its mean over the batches. {_LOGITS} The largest loss is looked "
        "for by at most so many steps along the sign of the gradient, at first across the whole box and halved where "
        "they do not lead up (the authors' Auto-PGD has momentum beside that). A lower bound. The standard error is "
        "over the batches, and NaN for one.",
        formula=r"E_{S, |S| = m} \max_{|\delta_i| \leq \rho |\theta_i|} \tilde L_S(\theta + \delta) - "
        r"\tilde L_S(\theta), \quad \tilde f = \frac{f - \bar f}{\|f - \bar f\|}",
        unit="loss",
        source=ANDRIUSHCHENKO,
        cost="1 + at most steps gradients",
        larger="sharper",
        invariances=_INVARIANT,
        needs=("classifier",),
        parameters={
            "rho": Parameter(
                default=0.002,
                meaning="Half-width of the box, relative to each weight.",
                source="of the authors' grids for CIFAR-10, within those for ResNets and transformers",
            ),
            "batch_size": Parameter(default=128, meaning="The most examples in a batch, m.", source="the paper"),
            "steps": Parameter(default=20, meaning="The most steps for each batch.", source="the authors' code"),
        },
        compute=worst_case_adaptive_sharpness,
    ),
)
