"""The questions that every curvature matrix answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.density import spectral_density
from landscape.curvature.eigenpairs import top_eigenpairs
from landscape.curvature.results import Eigenpairs, Estimate, SpectralDensity
from landscape.curvature.trace import trace_estimate
from landscape.errors import ConfigError, MismatchError

_BLOCK = 64  # columns of the dense matrix at once


class CurvatureOperator(ABC):
    """A symmetric matrix (P, P) over the weights, known by its products with vectors."""

    @property
    @abstractmethod
    def size(self) -> int:
        """P, the number of weights."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The dtype of products: the objective's."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where products are computed."""

    @abstractmethod
    def __matmul__(self, vector: Tensor) -> Tensor:
        """Multiply with a vector (P,), or with K vectors (P, K)."""

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Say what this is the curvature of; plain JSON values."""

    @property
    def shape(self) -> tuple[int, int]:
        """(P, P)."""
        return self.size, self.size

    def rows_of(self, vector: Tensor) -> Tensor:
        """Bring a vector, or several, to the operator's device and dtype: one in each row.

        Args:
            vector: (P,), or (P, K).

        Returns:
            (K, P), contiguous and new; K = 1 for one vector.

        Raises:
            MismatchError: The shape is another one.
        """
        if not isinstance(vector, Tensor) or vector.ndim not in (1, 2) or len(vector) != self.size:
            raise MismatchError(
                f"The {type(self).__name__} cannot be multiplied with this.",
                expected=f"a tensor of shape ({self.size},) or ({self.size}, K)",
                got=f"shape {tuple(vector.shape)}" if isinstance(vector, Tensor) else type(vector).__name__,
            )
        rows = vector.detach().to(device=self.device, dtype=self.dtype).reshape(self.size, -1).T
        return rows.clone(memory_format=torch.contiguous_format)

    def dense(self, *, limit: int = 10_000) -> Tensor:
        """Return the whole matrix, by P products.

        Args:
            limit: The largest P for which that is done. Default 10,000: 800 MB in float64.

        Returns:
            (P, P), in the operator's dtype, symmetrized.

        Raises:
            ConfigError: P is above the limit.
        """
        if self.size > limit:
            raise ConfigError(
                "The matrix is too large to be written down.",
                expected=f"at most {limit} weights",
                got=self.size,
                fix="Use top, trace and density, which need products only; or raise limit.",
            )
        found = torch.empty(self.size, self.size, dtype=self.dtype, device=self.device)
        for start in range(0, self.size, _BLOCK):
            block = torch.zeros(self.size, min(_BLOCK, self.size - start), dtype=self.dtype, device=self.device)
            block[start : start + _BLOCK].fill_diagonal_(1)
            found[:, start : start + _BLOCK] = self @ block
        return (found + found.T) / 2

    def to_scipy(self) -> Any:
        """Return it as a ``scipy.sparse.linalg.LinearOperator`` (P, P), for ``eigsh`` and its like.

        Products are computed in the operator's dtype and come back in float64 or float32.
        """
        from scipy.sparse.linalg import LinearOperator

        wide = torch.promote_types(self.dtype, torch.float32)  # NumPy has no bfloat16

        def product(array: np.ndarray) -> np.ndarray:
            return (self @ torch.from_numpy(np.ascontiguousarray(array))).to(wide).cpu().numpy()

        dtype = torch.empty(0, dtype=wide).numpy().dtype
        found: Any = LinearOperator
        return found(shape=self.shape, dtype=dtype, matvec=product, rmatvec=product, matmat=product, rmatmat=product)

    def top(
        self, k: int = 1, *, tol: float = 1e-3, which: str = "LA", max_matvecs: int | None = None, seed: int = 0
    ) -> Eigenpairs:
        """Compute eigenvalues at one end of the spectrum, and their vectors.

        Lanczos with full re-orthogonalization. It stops when the Ritz residual ``||H v - theta v||`` is at most
        ``tol * |theta|``, so an eigenvalue lies that close to each value returned. For k > 1 a second search,
        orthogonal to what was found, looks for further copies of multiple eigenvalues; it about doubles the products.

        Args:
            k: How many, at most P.
            tol: Relative residual at which a pair counts as converged. An error of 1e-3 in the residual is one of about
                1e-6 in the eigenvalue where it is well separated. Beside an eigenvalue of 0, rounding is the limit, but
                never more than ``tol`` times the norm of H. Needs float32 or float64.
            which: "LA" the largest, "SA" the smallest, "LM" the largest in size.
            max_matvecs: Products to stop after; by default ``max(200, 20 k)``. Each keeps one vector (P,) in memory.
            seed: Names the start vector.

        Returns:
            The pairs; those that did not converge are marked.

        Raises:
            ConfigError: An option is unknown or out of range.
            NonFiniteError: A product is NaN or infinite.

        Warns:
            ConvergenceWarning: Not all pairs converged.

        References:
            B. Parlett, The Symmetric Eigenvalue Problem, chapters 6 and 13.
        """
        return top_eigenpairs(self, k, tol=tol, which=which, max_matvecs=max_matvecs, seed=seed)

    def trace(self, *, probes: int = 100, method: str = "hutchinson", seed: int = 0, progress: bool = True) -> Estimate:
        """Estimate the trace, the sum of all eigenvalues.

        - "hutchinson": the mean of ``v^T H v`` over vectors v of independent signs, which is unbiased. Its variance is
          twice the sum of squares of H's entries off the diagonal.
        - "hutch++": a third of the products find the range of H, a third take its trace there exactly, a third estimate
          the rest. Better where few eigenvalues dominate; holds ``probes / 3`` vectors in memory.
        - "exact": all P unit vectors; ``probes`` is not used.

        All probes are always used: stopping where the mean looks steady would bias it.

        Args:
            probes: The number of products. Default 100: as in PyHessian.
            method: One of the names above.
            seed: Names the probes.
            progress: Whether a progress bar is shown.

        Returns:
            The estimate with its standard error from the sample.

        Raises:
            ConfigError: ``method`` is unknown, or there are too few probes.

        References:
            M. Hutchinson, A Stochastic Estimator of the Trace of the Influence Matrix, 1989. R. Meyer et al., Hutch++:
            Optimal Stochastic Trace Estimation, SOSA 2021.
        """
        return trace_estimate(self, probes=probes, method=method, seed=seed, progress=progress)

    def density(
        self,
        *,
        probes: int = 10,
        steps: int = 50,
        seed: int = 0,
        grid: int | np.ndarray = 1000,
        sigma: float | None = None,
        progress: bool = True,
    ) -> SpectralDensity:
        """Estimate how the eigenvalues are spread, by stochastic Lanczos quadrature.

        Definition: each probe is a vector v of independent signs, of norm 1. Lanczos from v gives Ritz values theta_i
        and weights ``w_i = (first component of T's i-th eigenvector)**2``, which sum to 1, with
        ``sum_i w_i f(theta_i)`` close to ``v^T f(H) v``, and equal to it for polynomials up to degree ``2 steps - 1``.
        So the mean over probes of ``P * sum_i w_i theta_i`` is Hutchinson's estimate of the trace.

        Args:
            probes: Random start vectors. Default 10: the band is then about a third of the spread between probes.
            steps: Lanczos steps of each, at most P are used. Default 50: the bulk is resolved to about a fiftieth of
                the range, and eigenvalues that stand apart much better.
            seed: Names the probes.
            grid: How many points the density is given at, evenly from 5 sigma below the lowest node to 5 sigma above
                the highest; or the points themselves.
            sigma: Standard deviation of the Gaussian for one node; by default 1 % of the range of all nodes.
            progress: Whether a progress bar is shown.

        Returns:
            The density, which integrates to 1, with its standard error over the probes.

        Raises:
            ConfigError: An option is out of range.
            NonFiniteError: A product is NaN or infinite.

        References:
            B. Ghorbani, S. Krishnan, Y. Xiao, An Investigation into Neural Net Optimization via Hessian Eigenvalue
            Density, ICML 2019. G. Golub, G. Meurant, Matrices, Moments and Quadrature, chapter 6.
        """
        return spectral_density(self, probes=probes, steps=steps, seed=seed, grid=grid, sigma=sigma, progress=progress)
