"""The questions that every curvature matrix answers from its products with vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.density import spectral_density
from landscape.curvature.diagonal import diagonal_estimate
from landscape.curvature.eigenpairs import top_eigenpairs
from landscape.curvature.frobenius import frobenius_estimate
from landscape.curvature.results import DiagonalEstimate, Eigenpairs, Estimate, SpectralDensity
from landscape.curvature.trace import trace_estimate


class Estimators(ABC):
    """A symmetric matrix (P, P), known by its products with vectors, that is asked for its spectrum."""

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

    def top(
        self,
        k: int = 1,
        *,
        tol: float = 1e-3,
        which: str = "LA",
        max_matvecs: int | None = None,
        seed: int = 0,
        start: Tensor | Eigenpairs | None = None,
    ) -> Eigenpairs:
        """Compute eigenvalues at one end of the spectrum, and their vectors.

        Lanczos with full re-orthogonalization. It stops when the Ritz residual ``||H v - theta v||`` is at most
        ``tol * |theta|``, so an eigenvalue lies that close to each value returned. For k > 1 a second search,
        orthogonal to what was found, looks for further copies of multiple eigenvalues; it about doubles the products.

        In memory are at most 64 vectors (P,), or 2 k + 20 where that is more. When so many are reached, the search
        goes on from the best Ritz vectors (thick restart); that costs few products, as it keeps more than half of them.

        Ctrl-C keeps what there is once k products are done: the best pairs so far, ``complete`` False.

        Args:
            k: How many, at most P.
            tol: Relative residual at which a pair counts as converged. An error of 1e-3 in the residual is one of about
                1e-6 in the eigenvalue where it is well separated. Beside an eigenvalue of 0, rounding is the limit, but
                never more than ``tol`` times the norm of H. Needs float32 or float64.
            which: "LA" the largest, "SA" the smallest, "LM" the largest in size.
            max_matvecs: Products to stop after; by default ``max(200, 20 k)``.
            seed: Names the start vector.
            start: Vectors to start from, (P,) or (P, n), or the pairs of an earlier search: of the checkpoint before.
                The first k are used. What they lead to is always checked by a second search, from a random vector;
                where they are no help, the search begins anew. So they change the cost and never the answer, and they
                pay for several pairs or a small ``tol``, not for one pair to 1e-3.

        Returns:
            The pairs; those that did not converge are marked.

        Raises:
            ConfigError: An option is unknown or out of range.
            MismatchError: ``start`` is of another shape.
            NonFiniteError: A product or ``start`` is NaN or infinite.
            KeyboardInterrupt: Ctrl-C came before k products were done.

        Warns:
            ConvergenceWarning: Not all pairs converged, or those of ``start`` could not be checked.
            InterruptedWarning: Ctrl-C came later.

        References:
            B. Parlett, The Symmetric Eigenvalue Problem, chapters 6 and 13. K. Wu, H. Simon, Thick-Restart Lanczos
            Method for Large Symmetric Eigenvalue Problems, SIAM J. Matrix Anal. Appl. 2000.
        """
        return top_eigenpairs(self, k, tol=tol, which=which, max_matvecs=max_matvecs, seed=seed, start=start)

    def trace(
        self,
        *,
        probes: int = 100,
        method: str = "hutchinson",
        rel_error: float | None = None,
        seed: int = 0,
        progress: bool = True,
    ) -> Estimate:
        """Estimate the trace, the sum of all eigenvalues.

        - "hutchinson": the mean of ``v^T H v`` over vectors v of independent signs, which is unbiased. Its variance is
          twice the sum of squares of H's entries off the diagonal.
        - "hutch++": a third of the products find the range of H, a third take its trace there exactly, a third estimate
          the rest. Better where few eigenvalues dominate; holds ``probes / 3`` vectors in memory, with ``rel_error``
          twice as many. Its standard error is that of the rest.
        - "xtrace": half of the products find the range of H, the others take its trace there; each of the vectors that
          found it also estimates what all others left out. Better than "hutch++" with as many products; holds ``probes
          / 2`` vectors in memory. Its standard error allows for the dependence of these estimates. Where P is no larger
          than ``probes``, the trace is exact, from P products.
        - "exact": all P unit vectors; ``probes`` and ``rel_error`` are not used.

        All probes are used, unless ``rel_error`` is given. Then the standard error is looked at now and then: for
        "hutchinson" after 30 products and whenever there are an eighth more, for "hutch++" after 48 and "xtrace" after
        32 and whenever there are twice as many. Such a rule ends rather where the sample happens to vary little, so the
        standard error is a little too small, and the estimate a little biased where its terms are skewed. The first
        look comes when the standard error is known to 13 % ("hutchinson") or 18 %, and looks are few; this keeps it
        small. A rule that ends where the running mean looks steady has no such bound, and is not offered.

        Ctrl-C keeps what there is once two probes are done, with the larger standard error of fewer probes and
        ``complete`` False; an interrupted "hutch++" that is still at the range gives Hutchinson's estimate from the
        vectors that find it. "exact" has no use for a part.

        Args:
            probes: The number of products, or with ``rel_error`` the largest. Default 100: as in PyHessian.
            method: One of the names above.
            rel_error: Stop when the standard error is at most so large a part of the estimate: 0.05 for 5 %.
            seed: Names the probes.
            progress: Whether a progress bar is shown.

        Returns:
            The estimate with its standard error from the sample. With few probes use its ``interval()``.

        Raises:
            ConfigError: ``method`` is unknown, ``rel_error`` is not positive, or there are too few probes.
            KeyboardInterrupt: Ctrl-C came before two probes were done.

        Warns:
            ConvergenceWarning: The error is still larger than ``rel_error`` after all probes.
            InterruptedWarning: Ctrl-C came after two probes.

        Example:
            >>> from landscape.curvature import Hessian
            >>> from landscape.objective import Objective
            >>> model = torch.nn.Linear(2, 1, bias=False).double()
            >>> data = (torch.tensor([[1.0, 0.0], [0.0, 2.0]]).double(), torch.zeros(2, 1).double())
            >>> H = Hessian(Objective(model, data, torch.nn.functional.mse_loss))  # the diagonal matrix of 1 and 4
            >>> print(H.trace(probes=30, progress=False))
            5 ± 0

        References:
            M. Hutchinson, A Stochastic Estimator of the Trace of the Influence Matrix, 1989. R. Meyer et al., Hutch++:
            Optimal Stochastic Trace Estimation, SOSA 2021. E. Epperly, J. Tropp, R. Webber, XTrace: Making the Most of
            Every Sample in Stochastic Trace Estimation, SIAM J. Matrix Anal. Appl. 2024.
        """
        return trace_estimate(self, probes=probes, method=method, rel_error=rel_error, seed=seed, progress=progress)

    def diagonal(
        self,
        *,
        probes: int = 100,
        method: str = "bekas",
        rel_error: float | None = None,
        seed: int = 0,
        progress: bool = True,
    ) -> DiagonalEstimate:
        """Estimate the diagonal, the curvature along each weight alone.

        - "bekas": the mean of ``v * H v``, entry by entry, over vectors v of independent signs, which is unbiased. The
          variance of entry i is the sum of squares of row i of H without ``H[i, i]``. Six vectors in memory.
        - "exact": all P unit vectors; ``probes`` and ``rel_error`` are not used.

        Stopping by ``rel_error`` biases a little, and Ctrl-C keeps what there is: see :meth:`trace`.

        Args:
            probes: The number of products, or with ``rel_error`` the largest. Default 100: as for the trace.
            method: One of the names above.
            rel_error: Stop when the standard errors together are at most so large a part of the diagonal, by lengths:
                ``||stderr|| <= rel_error * ||values||``. Looked at after 30 probes, and whenever there are an eighth
                more.
            seed: Names the probes.
            progress: Whether a progress bar is shown.

        Returns:
            Estimates and standard errors of all entries.

        Raises:
            ConfigError: ``method`` is unknown, ``rel_error`` is not positive, or there are too few probes.
            KeyboardInterrupt: Ctrl-C came before two probes were done.

        Warns:
            ConvergenceWarning: The error is still larger than ``rel_error`` after all probes.
            InterruptedWarning: Ctrl-C came after two probes.

        Example:
            >>> from landscape.curvature import Hessian
            >>> from landscape.objective import Objective
            >>> model = torch.nn.Linear(2, 1, bias=False).double()
            >>> data = (torch.tensor([[1.0, 0.0], [0.0, 2.0]]).double(), torch.zeros(2, 1).double())
            >>> H = Hessian(Objective(model, data, torch.nn.functional.mse_loss))  # L = (w1**2 + (2 w2)**2) / 2
            >>> H.diagonal(method="exact", progress=False).values.tolist()
            [1.0, 4.0]

        References:
            C. Bekas, E. Kokiopoulou, Y. Saad, An Estimator for the Diagonal of a Matrix, Appl. Numer. Math. 2007.
        """
        return diagonal_estimate(self, probes=probes, method=method, rel_error=rel_error, seed=seed, progress=progress)

    def frobenius_norm(
        self,
        *,
        probes: int = 100,
        method: str = "hutchinson",
        rel_error: float | None = None,
        seed: int = 0,
        progress: bool = True,
    ) -> Estimate:
        """Estimate the Frobenius norm, the root of the sum of squares of all entries, or of all eigenvalues.

        - "hutchinson": the root of the mean of ``||H v||**2`` over vectors v of independent signs. The mean is
          unbiased; it is Hutchinson's estimate of the trace of ``H**2``. Signs rather than normal numbers: their
          variance lacks the part of the diagonal of ``H**2``, so it is never larger, and 0 for a diagonal H.
        - "exact": all P unit vectors; ``probes`` and ``rel_error`` are not used.

        The standard error of the root is that of the mean, over twice the root (delta method). The root is biased
        downwards by about half the square of its relative standard error: by 0.1 % where that is 5 %. Stopping by
        ``rel_error`` biases a little more, and Ctrl-C keeps what there is: see :meth:`trace`.

        Args:
            probes: The number of products, or with ``rel_error`` the largest. Default 100: as for the trace.
            method: One of the names above.
            rel_error: Stop when the standard error is at most so large a part of the estimate. Looked at after 30
                probes, and whenever there are an eighth more.
            seed: Names the probes.
            progress: Whether a progress bar is shown.

        Returns:
            The estimate with its standard error.

        Raises:
            ConfigError: ``method`` is unknown, ``rel_error`` is not positive, or there are too few probes.
            KeyboardInterrupt: Ctrl-C came before two probes were done.

        Warns:
            ConvergenceWarning: The error is still larger than ``rel_error`` after all probes.
            InterruptedWarning: Ctrl-C came after two probes.

        Example:
            >>> from landscape.curvature import Hessian
            >>> from landscape.objective import Objective
            >>> model = torch.nn.Linear(2, 1, bias=False).double()
            >>> data = (torch.tensor([[1.0, 0.0], [0.0, 2.0]]).double(), torch.zeros(2, 1).double())
            >>> H = Hessian(Objective(model, data, torch.nn.functional.mse_loss))  # the diagonal matrix of 1 and 4
            >>> round(H.frobenius_norm(probes=2, progress=False).value ** 2, 6)  # 1**2 + 4**2
            17.0

        References:
            M. Hutchinson, A Stochastic Estimator of the Trace of the Influence Matrix, 1989.
        """
        return frobenius_estimate(self, probes=probes, method=method, rel_error=rel_error, seed=seed, progress=progress)

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

        Ctrl-C keeps the probes that were done, at least one: a density with a wider band and ``complete`` False.

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
            KeyboardInterrupt: Ctrl-C came before the first probe was done.

        Warns:
            InterruptedWarning: Ctrl-C came later.

        References:
            B. Ghorbani, S. Krishnan, Y. Xiao, An Investigation into Neural Net Optimization via Hessian Eigenvalue
            Density, ICML 2019. G. Golub, G. Meurant, Matrices, Moments and Quadrature, chapter 6.
        """
        return spectral_density(self, probes=probes, steps=steps, seed=seed, grid=grid, sigma=sigma, progress=progress)
