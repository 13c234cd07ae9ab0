"""The rise of the loss at the points where SAM and ASAM take their gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.curvature import Estimate
from landscape.sharpness.definitions import Measure, Parameter
from landscape.sharpness.estimates import exact
from landscape.sharpness.sources import FORET, KWON
from landscape.sharpness.workbench import Workbench


def sam_sharpness(bench: Workbench, *, rho: float) -> Estimate:
    """Compute the measure "sam_sharpness"."""
    return _rise(bench, rho * bench.uphill)


def asam_sharpness(bench: Workbench, *, rho: float, eta: float) -> Estimate:
    """Compute the measure "asam_sharpness"."""
    layout = bench.objective.layout
    held = torch.tensor(layout.is_bias_or_norm).repeat_interleave(torch.tensor(layout.sizes))
    sizes = torch.where(held.to(bench.weights.device), 1.0, bench.weights.abs() + eta).double()
    scaled = sizes * bench.gradient.double()
    norm = torch.linalg.vector_norm(scaled)
    step = torch.where(norm == 0, scaled, rho * sizes * scaled / norm)
    return _rise(bench, step.to(bench.weights.dtype))


def _rise(bench: Workbench, step: Tensor) -> Estimate:
    return exact(float(bench.loss_at(bench.weights + step)) - bench.loss)


MEASURES = (
    Measure(
        name="sam_sharpness",
        definition="How much the loss rises by SAM's perturbation: the distance rho along the gradient over all data, "
        "where the loss is largest to first order among all points so near. 0 where the gradient is zero.",
        formula=r"L(\theta + \rho \frac{g}{\|g\|}) - L(\theta), \quad g = \nabla L(\theta)",
        unit="loss",
        source=FORET,
        cost="1 gradient and 2 forward passes",
        larger="sharper",
        invariances=frozenset({"loss_shift"}),
        parameters={
            "rho": Parameter(default=0.05, meaning="Radius, in the weights' unit.", source="the paper, for CIFAR-10")
        },
        compute=sam_sharpness,
    ),
    Measure(
        name="asam_sharpness",
        definition="How much the loss rises by ASAM's perturbation, of radius rho relative to the size of each weight: "
        "T is |w| + eta for tensors of two or more dimensions, and 1 for all others (biases, normalization layers). 0 "
        "where the gradient is zero. With eta and biases it is nearly, not quite, the same for a rescaled network.",
        formula=r"L(\theta + \rho \frac{T^2 g}{\|T g\|}) - L(\theta), \quad T = |\theta| + \eta, "
        r"\quad g = \nabla L(\theta)",
        unit="loss",
        source=f"{KWON}, equation 5 and section 5",
        cost="1 gradient and 2 forward passes",
        larger="sharper",
        invariances=frozenset({"loss_shift"}),
        parameters={
            "rho": Parameter(default=0.5, meaning="Radius, relative to the weights.", source="the paper, for CIFAR-10"),
            "eta": Parameter(
                default=0.01, meaning="Added to each weight's size, in its unit.", source="the paper", zero=True
            ),
        },
        compute=asam_sharpness,
    ),
)
