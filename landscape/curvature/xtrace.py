"""XTrace: each random vector tests the trace of what the others did not see."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy import diagonal as diag

from landscape.curvature.probes import random_normal
from landscape.curvature.products import Products
from landscape.curvature.sampling import Sample, doubling
from landscape.curvature.sketch import Sketch
from landscape.progress import Progress

_FIRST = 32  # products before the standard error is first looked at: from 16 vectors


class XTrace(Sample):
    """The XTrace estimate of a trace, with a standard error that knows that its terms depend on each other.

    Let Q_i be an orthonormal basis of the range of H times all random vectors but w_i, and ``u = w_i - Q_i Q_i^T w_i``.
    The term of w_i is ``t_i = tr(Q_i^T H Q_i) + (P - k + 1) u^T H u / u^T u``; given the others it is unbiased for
    normal w_i. All Q_i come from one basis Q: ``Q_i Q_i^T = Q (I - s_i s_i^T) Q^T``, with s_i the normalized column i
    of ``R^-T``. So all terms together take matrix products of the size k by k, after two products with H per vector.

    Args:
        operator: H, symmetric (P, P).
        vectors: k, from 2 to P.
        seed: Names the random vectors.
        bar: Counts products.

    References:
        E. Epperly, J. Tropp, R. Webber, XTrace: Making the Most of Every Sample in Stochastic Trace Estimation, SIAM J.
        Matrix Anal. Appl. 2024, sections 2.2, 2.3 (the scaling) and 3.2 (the formulas).
    """

    def __init__(self, operator: Products, vectors: int, seed: int, bar: Progress) -> None:
        self.operator, self.vectors = operator, vectors
        self._draw = lambda number: random_normal(operator, seed, "xtrace", number)
        self._sketch = Sketch(operator, self._draw, seed, bar)

    @property
    def matvecs(self) -> int:
        """Products taken so far."""
        return self._sketch.matvecs

    @property
    def count(self) -> int:
        """One term a vector."""
        return self._sketch.count

    @property
    def finished(self) -> bool:
        """Whether all vectors are drawn."""
        return self.count >= self.vectors

    def draw(self) -> None:
        """Take one more vector in."""
        self._sketch.grow()

    def looks(self) -> Iterator[int]:
        """Look first after 32 products; then all terms change, so only when there are twice as many."""
        return doubling(_FIRST)

    def numbers(self) -> tuple[float, float]:
        """Return the estimate and its standard error.

        The terms are unbiased, but not independent: with ``Cov(t_i, t_j) = c``, the mean has the variance ``v / k + (k
        - 1) c / k``, while the sample variance of the terms estimates ``v - c``. Let ``d_ij`` be what w_j, as part of
        the range, changes in t_i. As t_i without w_j is unbiased too, given all vectors but w_i, ``E[d_ij d_ji] = c``.
        So the sample variance over k, plus the mean of ``d_ij d_ji`` over all pairs, is unbiased for the variance.
        """
        if self.count == self.operator.size:  # the basis is the whole space
            return self._sketch.trace(), 0.0
        with np.errstate(invalid="ignore", over="ignore"):  # products that are not finite give NaN
            terms, changes = self._terms()
            shared = (changes * changes.T).sum() / (self.count * (self.count - 1))
            variance = terms.var(ddof=1) / self.count + np.maximum(shared, 0)
        return float(terms.mean()), float(np.sqrt(variance))

    def _terms(self) -> tuple[np.ndarray, np.ndarray]:
        """Return t_i, (k,), and d_ij in row j and column i, (k, k), 0 on the diagonal."""
        k, size = self.count, self.operator.size
        sketch, inside, triangle = self._sketch, self._sketch.inside(), self._sketch.triangle()
        squares = sketch.squares()
        forms = torch.stack(sketch.forms()).cpu().numpy()
        parts = torch.stack([sketch.parts(self._draw(number)) for number in range(k)], dim=1).cpu().numpy()
        apart = self._directions(triangle)
        # small products: with a = s_i, of row i and column j; the vector w_j is written as its parts w = Q^T w_j
        h, a_w, a_hw, a_a = apart.T @ inside @ apart, apart.T @ parts, apart.T @ inside @ parts, apart.T @ apart
        w_w, w_hw, w_r = (parts**2).sum(0), (parts * (inside @ parts)).sum(0), (parts * triangle).sum(0)
        a_r = (apart * triangle).sum(0)
        own, trace, along = diag(h), inside.trace(), diag(a_w)

        # range without w_i: x = w - a (a.w) is what Q_i has of w_i
        x_x, x_r = w_w - along**2, w_r - along * a_r
        x_hx = w_hw - 2 * along * diag(a_hw) + along**2 * own
        terms = trace - own + (size - k + 1) / (squares - x_x) * (forms - 2 * x_r + x_hx)

        # range without w_i and w_j: b is s_j without its part along a = s_i, normalized
        length = np.sqrt(np.maximum(1 - a_a**2, 1e-14))
        b_w, b_r = (along - a_a * a_w) / length, a_r / length
        b_hw, a_hb = (diag(a_hw) - a_a * a_hw) / length, (h - a_a * own[:, None]) / length
        b_hb = (own - 2 * a_a * h + a_a**2 * own[:, None]) / length**2
        x_x, x_r = w_w - a_w**2 - b_w**2, w_r - b_w * b_r
        x_hx = w_hw - 2 * a_w * a_hw - 2 * b_w * b_hw + a_w**2 * own[:, None] + 2 * a_w * b_w * a_hb + b_w**2 * b_hb
        fewer = trace - own[:, None] - b_hb + (size - k + 2) / (squares - x_x) * (forms - 2 * x_r + x_hx)
        changes = terms - fewer
        np.fill_diagonal(changes, 0)
        return terms, changes

    def _directions(self, triangle: np.ndarray) -> np.ndarray:
        """Return s_i in column i, (k, k).

        A 0 on R's diagonal becomes a small number: the limit is right, as the basis vector of that place belongs to no
        range.
        """
        least = 100 * torch.finfo(self.operator.dtype).eps * np.abs(triangle).max() or 1.0
        filled = triangle + np.diag(np.where(np.abs(diag(triangle)) < least, least, 0))
        inverse = np.linalg.inv(filled)
        return inverse.T / np.linalg.norm(inverse, axis=1)
