"""The entropy of a classifier's predictions."""

from __future__ import annotations

import torch

from landscape.curvature import Estimate
from landscape.sharpness.definitions import Measure
from landscape.sharpness.estimates import exact
from landscape.sharpness.sources import BISLA, PEREYRA
from landscape.sharpness.workbench import Workbench


def shannon_entropy(bench: Workbench) -> Estimate:
    """Compute the measure "shannon_entropy"."""
    total = torch.zeros((), dtype=torch.float64, device=bench.objective.device)
    with torch.no_grad():
        for outputs, _ in bench.objective.output_terms(bench.weights):
            total += torch.special.entr(outputs.double().softmax(dim=1)).sum()
    return exact(float(total) / bench.objective.examples)


MEASURES = (
    Measure(
        name="shannon_entropy",
        definition="Mean entropy of the predicted probabilities p, the softmax of the outputs: how unsure the "
        "classifier is of the data. It says nothing of the weights' surroundings; the study of Bisla et al. has it "
        "among its measures.",
        formula=r"-\frac{1}{N} \sum_n \sum_c p_c(x_n) \ln p_c(x_n)",
        unit="nats",
        source=f"{PEREYRA}; as in {BISLA}",
        cost="1 forward pass",
        larger="flatter",
        invariances=frozenset({"relu_rescaling", "loss_shift"}),
        needs=("classifier",),
        compute=shannon_entropy,
    ),
)
