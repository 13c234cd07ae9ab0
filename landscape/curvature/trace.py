"""Trace estimation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from landscape.config import is_whole
from landscape.curvature.lanczos import random_signs
from landscape.curvature.products import Products
from landscape.curvature.results import Estimate
from landscape.errors import ConfigError, unknown_name
from landscape.progress import Progress, progress_bar

METHODS = ("hutchinson", "hutch++", "exact")


def trace_estimate(operator: Products, *, probes: int, method: str, seed: int, progress: bool) -> Estimate:
    """Estimate the trace; see :meth:`landscape.curvature.Hessian.trace`.

    Raises:
        ConfigError: ``method`` is unknown, or there are too few probes.
    """
    if method not in METHODS:
        raise unknown_name("trace method", method, METHODS)
    least = 3 if method == "hutch++" else 1
    if not is_whole(probes) or probes < least:
        raise ConfigError(
            "The number of probes is out of range.", expected=f"an integer of at least {least}", got=repr(probes)
        )
    total = operator.size if method == "exact" else probes
    with progress_bar(total, desc="trace", unit="product", enabled=progress) as bar:
        if method == "exact":
            terms = _quadratic_forms(operator, _unit_vectors(operator), bar)
            return Estimate(value=float(terms.sum()), stderr=0.0, matvecs=total)
        if method == "hutchinson":
            vectors = (random_signs(operator, seed, "trace", probe) for probe in range(probes))
            return _mean(_quadratic_forms(operator, vectors, bar), 0.0, probes)
        return _hutch_plus_plus(operator, probes, seed, bar)


def _hutch_plus_plus(operator: Products, probes: int, seed: int, bar: Progress) -> Estimate:
    sketch = min(probes // 3, operator.size)
    rest = probes - 2 * sketch
    images = []
    for column in range(sketch):
        images.append(operator @ random_signs(operator, seed, "sketch", column))
        bar.update()
    basis = torch.linalg.qr(torch.stack(images, dim=1)).Q
    inside = float(_quadratic_forms(operator, basis.unbind(1), bar).sum())
    drawn = (random_signs(operator, seed, "trace", probe) for probe in range(rest))
    outside = (vector - basis @ (basis.T @ vector) for vector in drawn)
    return _mean(_quadratic_forms(operator, outside, bar), inside, probes)


def _unit_vectors(operator: Products) -> Iterator[Tensor]:
    for index in range(operator.size):
        vector = torch.zeros(operator.size, dtype=operator.dtype, device=operator.device)
        vector[index] = 1
        yield vector


def _quadratic_forms(operator: Products, vectors: Iterable[Tensor], bar: Progress) -> np.ndarray:
    """Return ``v^T H v`` for each vector; nothing is read from the device before the end."""
    terms = []
    for vector in vectors:
        terms.append((vector * (operator @ vector)).sum(dtype=torch.float64))
        bar.update()
    return torch.stack(terms).cpu().numpy()


def _mean(sample: np.ndarray, offset: float, matvecs: int) -> Estimate:
    count = len(sample)
    stderr = float(sample.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
    return Estimate(value=offset + float(sample.mean()), stderr=stderr, matvecs=matvecs)
