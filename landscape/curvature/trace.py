"""Trace estimation: which method, and what it gives."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.curvature.hutch_plus_plus import HutchPlusPlus
from landscape.curvature.probes import random_signs, unit_vectors
from landscape.curvature.products import Products
from landscape.curvature.results import Estimate
from landscape.curvature.sampling import LEAST, Mean, Sample, check_probes, check_rel_error, collect
from landscape.curvature.xtrace import XTrace
from landscape.errors import unknown_name
from landscape.progress import Progress, progress_bar

METHODS = ("hutchinson", "hutch++", "xtrace", "exact")
LEAST_PROBES = {"hutch++": 3, "xtrace": 4}
"""Method to the fewest probes that it can work with, where one is too few."""


def trace_estimate(
    operator: Products,
    *,
    probes: int,
    method: str,
    seed: int,
    progress: bool,
    rel_error: float | None = None,
) -> Estimate:
    """Estimate the trace; see :meth:`landscape.curvature.Hessian.trace`.

    Raises:
        ConfigError: ``method`` is unknown, ``rel_error`` is out of range, or there are too few probes.
        KeyboardInterrupt: It came before there was anything to estimate from.
    """
    if method not in METHODS:
        raise unknown_name("trace method", method, METHODS)
    check_probes(probes, LEAST_PROBES.get(method, 1))
    check_rel_error(rel_error)
    if method == "xtrace" and operator.size <= (probes if rel_error is None else min(probes, LEAST)):
        method = "exact"  # it takes fewer products
    total = operator.size if method == "exact" else probes
    with progress_bar(total, desc="trace", unit="product", enabled=progress) as bar:
        if method == "exact":
            forms = [_form(operator, vector, bar) for vector in unit_vectors(operator)]
            return Estimate(value=float(torch.stack(forms).sum()), stderr=0.0, matvecs=total)
        sample = _sample(operator, probes, method, seed, bar, stages=rel_error is not None)
        complete = collect(sample, what="trace", probes=probes, rel_error=rel_error)
    value, stderr = sample.numbers()
    return Estimate(value=value, stderr=stderr, matvecs=sample.matvecs, samples=sample.count, complete=complete)


def _sample(operator: Products, probes: int, method: str, seed: int, bar: Progress, *, stages: bool) -> Sample:
    if method == "hutch++":
        return HutchPlusPlus(operator, probes, seed, bar, stages=stages)
    if method == "xtrace":
        return XTrace(operator, min(probes // 2, operator.size), seed, bar)
    return Mean(lambda number: _form(operator, random_signs(operator, seed, "trace", number)), probes, bar)


def _form(operator: Products, vector: Tensor, bar: Progress | None = None) -> Tensor:
    """Return ``v^T H v``, float64."""
    form = (vector * (operator @ vector)).sum(dtype=torch.float64)
    if bar is not None:
        bar.update()
    return form
