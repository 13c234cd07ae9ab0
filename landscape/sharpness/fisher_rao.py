"""Quadratic forms of the weights themselves: with the Fisher information, and with the Hessian."""

from __future__ import annotations

import torch

from landscape.curvature import CurvatureOperator, Estimate, Fisher
from landscape.sharpness.definitions import Measure, Published
from landscape.sharpness.estimates import exact
from landscape.sharpness.sources import BISLA, BISLA_CODE, LIANG
from landscape.sharpness.workbench import Workbench


def fisher_rao(bench: Workbench) -> Estimate:
    """Compute the measure "fisher_rao"."""
    with Fisher(bench.objective, kind="exact") as fisher:
        return _form(bench, fisher)


def weights_hessian(bench: Workbench) -> Estimate:
    """Compute the measure "weights_hessian"."""
    return _form(bench, bench.hessian)


def _form(bench: Workbench, operator: CurvatureOperator) -> Estimate:
    value = torch.dot(bench.weights.double(), (operator @ bench.weights).double())
    return exact(float(value), matvecs=1)


_INVARIANT = frozenset({"relu_rescaling", "loss_shift"})

MEASURES = (
    Measure(
        name="fisher_rao",
        definition="The Fisher-Rao norm, squared: the weights' quadratic form with the Fisher information F of the "
        "classifier's own predictions p. (With the labels in place of p, F would be the empirical Fisher, which "
        "vanishes where the data is fitted exactly.)",
        formula=r"\theta^\top F \theta, \quad F = \frac{1}{N} \sum_n \sum_c p_c(x_n) "
        r"\nabla \log p_c(x_n) \nabla \log p_c(x_n)^\top",
        unit="nats",
        source=LIANG,
        cost="1 product with the Fisher information",
        larger="sharper",
        invariances=_INVARIANT,
        needs=("cross_entropy",),
        published=Published(
            differs="The quadratic form is the Hessian's, not the Fisher information's: it is the measure "
            "weights_hessian.",
            compute=weights_hessian,
        ),
        compute=fisher_rao,
    ),
    Measure(
        name="weights_hessian",
        definition="The weights' quadratic form with the Hessian: the second derivative of the loss where all weights "
        "are multiplied by one factor, at 1. It may be negative.",
        formula=r"\theta^\top \nabla^2 L(\theta) \, \theta",
        unit="loss",
        source=f"{BISLA}, {BISLA_CODE}, where it is called Fisher-Rao norm",
        cost="1 Hessian product",
        larger="sharper",
        invariances=_INVARIANT,
        compute=weights_hessian,
    ),
)
