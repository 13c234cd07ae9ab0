"""What curvature is: estimates with their errors, eigenpairs with their residuals, a density with its band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.surface.archive import StoredResult, frozen_array, span


@dataclass(frozen=True)
class Estimate(StoredResult):
    """A number with its uncertainty and its cost.

    Attributes:
        value: The estimate.
        stderr: Its standard error, from the sample; 0 for what is exact, NaN for a sample of one.
        matvecs: How many products with the curvature matrix it took; 0 for what needs none.

    Example:
        >>> print(Estimate(value=2.0, stderr=0.25, matvecs=10))
        2 ± 0.25
    """

    value: float
    stderr: float
    matvecs: int

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.stderr:.2g}"

    _names = ("value", "stderr", "matvecs")

    def _packed(self) -> tuple[dict[str, np.ndarray], Any]:
        arrays = {"value": np.array(float(self.value)), "stderr": np.array(float(self.stderr))}
        return {**arrays, "matvecs": np.array(self.matvecs)}, {}

    @classmethod
    def _unpacked(cls, arrays: dict[str, np.ndarray], text: Any) -> dict[str, Any]:
        return {name: arrays[name].item() for name in cls._names}


@dataclass(frozen=True, eq=False, kw_only=True)
class Eigenpairs(StoredResult):
    """Eigenvalues, their vectors, and how far from converged they are.

    Attributes:
        values: (k,) float64, in the order asked for: descending for "LA", ascending for "SA", by size for "LM".
        vectors: (P, k) of unit norm, on the operator's device and in its dtype; the largest entry of each is positive.
        residuals: (k,) float64, the norms ``||H v - value * v||``: some eigenvalue lies that close to the value.
        matvecs: How many products with the matrix were used.
        converged: (k,) bool.
    """

    values: np.ndarray
    vectors: Tensor
    residuals: np.ndarray
    matvecs: int
    converged: np.ndarray

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

    def _packed(self) -> tuple[dict[str, np.ndarray], Any]:
        dtype = str(self.vectors.dtype).removeprefix("torch.")
        vectors = self.vectors.detach().cpu()
        plain = vectors.float() if dtype == "bfloat16" else vectors  # a number format that numpy does not have
        arrays = {"values": self.values, "residuals": self.residuals, "converged": self.converged}
        return {**arrays, "vectors": plain.numpy(), "matvecs": np.array(self.matvecs)}, dtype

    @classmethod
    def _unpacked(cls, arrays: dict[str, np.ndarray], text: Any) -> dict[str, Any]:
        vectors = torch.from_numpy(np.array(arrays["vectors"])).to(getattr(torch, text))
        return {**arrays, "vectors": vectors, "matvecs": int(arrays["matvecs"])}


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
    """

    grid: np.ndarray
    density: np.ndarray
    band: np.ndarray
    nodes: np.ndarray
    weights: np.ndarray
    sigma: float
    provenance: dict[str, Any]

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

    def _packed(self) -> tuple[dict[str, np.ndarray], Any]:
        return {name: np.asarray(getattr(self, name)) for name in self._names}, self.provenance

    @classmethod
    def _unpacked(cls, arrays: dict[str, np.ndarray], text: Any) -> dict[str, Any]:
        return {**arrays, "sigma": float(arrays["sigma"]), "provenance": text}
