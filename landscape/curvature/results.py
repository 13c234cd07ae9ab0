"""What curvature is: estimates with their errors, eigenpairs with their residuals, a density with its band, a map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.config import is_number
from landscape.errors import ConfigError, MismatchError
from landscape.surface.archive import StoredResult, frozen_array, span


@dataclass(frozen=True)
class Estimate(StoredResult):
    """A number with its uncertainty and its cost.

    Attributes:
        value: The estimate.
        stderr: Its standard error, from the sample; 0 for what is exact, NaN for a sample of one.
        matvecs: How many products with the curvature matrix it took; 0 for what needs none.
        samples: How many random terms the standard error is from; None where it is from something else, or exact.
        complete: False where Ctrl-C ended it early: it is then from the probes finished by then.

    Example:
        >>> print(Estimate(value=2.0, stderr=0.25, matvecs=10))
        2 ± 0.25
        >>> {"trace": Estimate(value=2.0, stderr=0.25, matvecs=10), "norm": Estimate(value=3.0, stderr=0.0, matvecs=0)}
        {'trace': Estimate(2 ± 0.25, 10 products), 'norm': Estimate(3 ± 0)}
    """

    value: float
    stderr: float
    matvecs: int
    samples: int | None = None
    complete: bool = True

    def __repr__(self) -> str:
        """One short line, of which several fit on a screen: value, standard error, and what it cost."""
        cost = f", {self.matvecs} product{'s' * (self.matvecs != 1)}" if self.matvecs else ""
        return f"Estimate({self}{cost}{'' if self.complete else ', interrupted'})"

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {'unknown' if math.isnan(self.stderr) else f'{self.stderr:.2g}'}"

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the bounds that the true number lies between with a given probability, about.

        Definition: ``value ± t * stderr``, with t the quantile of Student's distribution with ``samples - 1`` degrees
        of freedom, which allows for the error of the standard error itself; of the normal one where ``samples`` is
        None. It holds as far as the mean of the terms is normally distributed. The worst case is Hutchinson's trace of
        a matrix with one eigenvalue that outweighs all others: 95 % intervals then hold in 85 % of cases with 12
        probes, in 89 % with 30, in 94 % with 100.

        Args:
            confidence: The probability. Default 0.95, by custom.

        Returns:
            The lower and the upper bound; both the value where it is exact, NaN for a sample of one.

        Raises:
            ConfigError: ``confidence`` is not between 0 and 1.

        Example:
            >>> [round(bound, 3) for bound in Estimate(0.0, 1.0, 10).interval()]
            [-1.96, 1.96]
            >>> [round(bound, 3) for bound in Estimate(0.0, 1.0, 10, samples=10).interval()]  # 9 degrees of freedom
            [-2.262, 2.262]
        """
        from scipy.special import ndtri, stdtrit

        if not (is_number(confidence) and 0 < confidence < 1):
            raise ConfigError("confidence is out of range.", expected="0 < confidence < 1", got=repr(confidence))
        upper = (1 + confidence) / 2
        width = self.stderr * float(ndtri(upper) if self.samples is None else stdtrit(self.samples - 1, upper))
        return self.value - width, self.value + width

    _names = ("value", "stderr", "matvecs")
    _optional = ("samples", "complete")

    def _packed(self) -> tuple[dict[str, np.ndarray], Any]:
        arrays = {"value": np.array(float(self.value)), "stderr": np.array(float(self.stderr))}
        counts = {"matvecs": np.array(self.matvecs), "complete": np.array(self.complete)}
        return {**arrays, **counts, **_count(self.samples)}, {}

    @classmethod
    def _unpacked(cls, arrays: dict[str, np.ndarray], text: Any) -> dict[str, Any]:
        numbers = {name: array.item() for name, array in arrays.items()}
        return {**numbers, **{name: float(numbers[name]) for name in ("value", "stderr")}}


@dataclass(frozen=True, eq=False, kw_only=True)
class DiagonalEstimate(StoredResult):
    """The diagonal of a matrix, each entry with its uncertainty.

    Attributes:
        values: (P,) the estimates, on the operator's device; in its dtype, but float32 at least.
        stderr: (P,) their standard errors, from the sample; 0 where exact, NaN for a sample of one.
        matvecs: How many products with the matrix were used.
        samples: How many random terms the standard errors are from; None where exact.
        complete: False where Ctrl-C ended it early: it is then from the probes finished by then.

    Raises:
        MismatchError: ``values`` and ``stderr`` are no vectors of one length.

    Example:
        >>> DiagonalEstimate(values=torch.tensor([1.0, 4.0]), stderr=torch.zeros(2), matvecs=2)
        DiagonalEstimate(P = 2, values 1 to 4, standard errors 0 to 0, 2 products)
    """

    values: Tensor
    stderr: Tensor
    matvecs: int
    samples: int | None = None
    complete: bool = True

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or self.values.shape != self.stderr.shape:
            raise MismatchError(
                "The diagonal's values and standard errors do not belong together.",
                expected="two tensors of shape (P,)",
                got=f"shapes {tuple(self.values.shape)} and {tuple(self.stderr.shape)}",
                fix="Build results with the functions that compute them, or load them from their files.",
            )

    def __repr__(self) -> str:
        """One line: between which values the diagonal lies, and how well it is known."""
        values, errors = (span(part.detach().double().cpu().numpy()) for part in (self.values, self.stderr))
        part = "" if self.complete else ", interrupted"
        return (
            f"DiagonalEstimate(P = {len(self.values)}, values {values}, standard errors {errors}, "
            f"{self.matvecs} products{part})"
        )

    _names = ("values", "stderr", "matvecs", "complete")
    _optional = ("samples",)

    def _packed(self) -> tuple[dict[str, np.ndarray], Any]:
        arrays = {name: getattr(self, name).detach().cpu().numpy() for name in ("values", "stderr")}
        counts = {"matvecs": np.array(self.matvecs), "complete": np.array(self.complete)}
        return {**arrays, **counts, **_count(self.samples)}, {}

    @classmethod
    def _unpacked(cls, arrays: dict[str, np.ndarray], text: Any) -> dict[str, Any]:
        numbers = {name: array.item() for name, array in arrays.items() if not array.ndim}
        return {**numbers, **{name: torch.from_numpy(np.array(arrays[name])) for name in ("values", "stderr")}}


def _count(samples: int | None) -> dict[str, np.ndarray]:
    return {} if samples is None else {"samples": np.array(samples)}


@dataclass(frozen=True, eq=False, kw_only=True)
class Eigenpairs(StoredResult):
    """Eigenvalues, their vectors, and how far from converged they are.

    Attributes:
        values: (k,) float64, in the order asked for: descending for "LA", ascending for "SA", by size for "LM".
        vectors: (P, k) of unit norm, on the operator's device and in its dtype; the largest entry of each is positive.
        residuals: (k,) float64, the norms ``||H v - value * v||``: some eigenvalue lies that close to the value.
        matvecs: How many products with the matrix were used.
        converged: (k,) bool.
        complete: False where Ctrl-C ended the search early.
    """

    values: np.ndarray
    vectors: Tensor
    residuals: np.ndarray
    matvecs: int
    converged: np.ndarray
    complete: bool = True

    def __post_init__(self) -> None:
        count = self.vectors.shape[1]
        for name, dtype in (("values", np.float64), ("residuals", np.float64), ("converged", np.bool_)):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), (count,), dtype))

    def __repr__(self) -> str:
        """One line: the values, and whether they converged."""
        first = ", ".join(f"{value:.4g}" for value in self.values[:5]) + ", ..." * (len(self.values) > 5)
        size, good = len(self.vectors), int(self.converged.sum())
        return f"Eigenpairs([{first}], P = {size}, {good} of {len(self.values)} converged, {self.matvecs} products)"

    _names = ("values", "vectors", "residuals", "matvecs", "converged")
    _optional = ("complete",)

    def _packed(self) -> tuple[dict[str, np.ndarray], Any]:
        dtype = str(self.vectors.dtype).removeprefix("torch.")
        vectors = self.vectors.detach().cpu()
        plain = vectors.float() if dtype == "bfloat16" else vectors  # a number format that numpy does not have
        arrays = {"values": self.values, "residuals": self.residuals, "converged": self.converged}
        counts = {"matvecs": np.array(self.matvecs), "complete": np.array(self.complete)}
        return {**arrays, "vectors": plain.numpy(), **counts}, dtype

    @classmethod
    def _unpacked(cls, arrays: dict[str, np.ndarray], text: Any) -> dict[str, Any]:
        dtype = getattr(torch, text)
        if not isinstance(dtype, torch.dtype):
            raise TypeError(f"{text} is no dtype")
        vectors = torch.from_numpy(np.array(arrays["vectors"])).to(dtype)
        numbers = {"matvecs": int(arrays["matvecs"]), "complete": bool(arrays.get("complete", True))}
        return {**arrays, "vectors": vectors, **numbers}


@dataclass(frozen=True, eq=False, kw_only=True)
class SpectralDensity(StoredResult):
    """How the eigenvalues are spread: ``density(t) = mean over probes of sum_i weights[i] * N(t; nodes[i], sigma**2)``.

    It integrates to 1; times P it counts eigenvalues per unit of t. All arrays are read-only float64.

    Attributes:
        grid: (G,) where the density is given, in units of loss per squared weight.
        density: (G,), in units of 1 / grid.
        band: (G,) standard error of the density over the probes; NaN for one probe.
        nodes: (probes, steps) Ritz values of each probe.
        weights: (probes, steps) their quadrature weights: not negative, each row sums to 1. A probe that exhausted its
            invariant subspace early has weights of 0 at its end.
        sigma: Standard deviation of the Gaussian that stands for one node.
        provenance: What was evaluated and how (plain JSON values).
        complete: False where Ctrl-C ended it early: it is then from the probes finished by then.
    """

    grid: np.ndarray
    density: np.ndarray
    band: np.ndarray
    nodes: np.ndarray
    weights: np.ndarray
    sigma: float
    provenance: dict[str, Any]
    complete: bool = True

    def __post_init__(self) -> None:
        grid = frozen_array("grid", self.grid, (-1,))
        nodes = frozen_array("nodes", self.nodes, (-1, -1))
        checked = {
            "grid": grid,
            "density": frozen_array("density", self.density, grid.shape),
            "band": frozen_array("band", self.band, grid.shape),
            "nodes": nodes,
            "weights": frozen_array("weights", self.weights, nodes.shape),
            "sigma": float(self.sigma),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """One line: how it was made, and where the spectrum lies."""
        probes, steps = self.nodes.shape
        real = self.nodes[self.weights > 1e-12]
        made = f"{probes} probes of {steps} steps, Ritz values {span(real)}"
        finite = f"{np.isfinite(self.density).mean():.0%} finite"
        return f"SpectralDensity({made}, {len(self.grid)} points {span(self.grid)}, sigma {self.sigma:.3g}, {finite})"

    _names = ("grid", "density", "band", "nodes", "weights", "sigma")
    _optional = ("complete",)

    def _packed(self) -> tuple[dict[str, np.ndarray], Any]:
        return {name: np.asarray(getattr(self, name)) for name in (*self._names, "complete")}, self.provenance

    @classmethod
    def _unpacked(cls, arrays: dict[str, np.ndarray], text: Any) -> dict[str, Any]:
        complete = bool(arrays.get("complete", True))
        return {**arrays, "sigma": float(arrays["sigma"]), "provenance": text, "complete": complete}


@dataclass(frozen=True, eq=False, kw_only=True)
class CurvatureMap(StoredResult):
    """The smallest and the largest eigenvalue of the Hessian on a grid over a plane. All arrays are read-only float64.

    Attributes:
        alpha: (A,) coordinates along the first direction, in its own length.
        beta: (B,) coordinates along the second.
        lowest: (A, B) smallest eigenvalues, in units of loss per squared weight; NaN where there is none: where the
            loss is not finite, or the work was interrupted before.
        highest: (A, B) largest eigenvalues.
        residuals: (A, B) the larger of the two residuals ``||H v - lambda v||``.
        complete: Whether all points were computed.
        provenance: What was evaluated and how (plain JSON values).
        converged: (A, B) bool, whether both eigenpairs of a point did; None where a file of an earlier version does not
            say.
    """

    alpha: np.ndarray
    beta: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    residuals: np.ndarray
    complete: bool
    provenance: dict[str, Any]
    converged: np.ndarray | None = None

    def __post_init__(self) -> None:
        axes = {name: frozen_array(name, getattr(self, name), (-1,)) for name in ("alpha", "beta")}
        shape = len(axes["alpha"]), len(axes["beta"])
        values = {name: frozen_array(name, getattr(self, name), shape) for name in ("lowest", "highest", "residuals")}
        if self.converged is not None:
            values["converged"] = frozen_array("converged", self.converged, shape, np.bool_)
        for name, value in {**axes, **values}.items():
            object.__setattr__(self, name, value)

    @property
    def ratio(self) -> np.ndarray:
        """(A, B) ``|lowest / highest|``: near 0 the loss is convex there, however the picture looks; 1 is a saddle."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.abs(self.lowest / self.highest)

    def __repr__(self) -> str:
        """One line: the size, and between which values the eigenvalues lie."""
        return f"CurvatureMap({self.lowest.shape}, lowest {span(self.lowest)}, highest {span(self.highest)})"

    _names = ("alpha", "beta", "lowest", "highest", "residuals")
    _optional = ("converged",)

    def _packed(self) -> tuple[dict[str, np.ndarray], Any]:
        text = {"complete": self.complete, "provenance": self.provenance}
        held = [name for name in (*self._names, *self._optional) if getattr(self, name) is not None]
        return {name: np.asarray(getattr(self, name)) for name in held}, text

    @classmethod
    def _unpacked(cls, arrays: dict[str, np.ndarray], text: Any) -> dict[str, Any]:
        return {**arrays, **text}
