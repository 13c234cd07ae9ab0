"""What studies of runs find: eigenvalues along a training, and whether numbers go together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape.surface.archive import StoredResult, frozen_array, span


@dataclass(frozen=True, eq=False, kw_only=True)
class CurvatureHistory(StoredResult):
    """Eigenvalues of the Hessian at the checkpoints of a training. All arrays are read-only.

    Attributes:
        steps: (T,) int64, the checkpoints' steps; 0 holds the initial weights.
        values: (T, k) float64, the eigenvalues of each, in the order asked for, in units of loss per squared weight;
            NaN where the loss is not finite.
        residuals: (T, k) float64, the norms ``||H v - value * v||``.
        matvecs: (T,) int64, products that each took.
        converged: (T, k) bool.
        learning_rate: The run's; gradient descent with it is stable up to an eigenvalue of ``2 / learning_rate``.
        provenance: What was evaluated and how (plain JSON values).
        complete: False where Ctrl-C ended it early: it is then of the checkpoints done by then.

    References:
        J. Cohen et al., Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability, ICLR 2021.
    """

    steps: np.ndarray
    values: np.ndarray
    residuals: np.ndarray
    matvecs: np.ndarray
    converged: np.ndarray
    learning_rate: float
    provenance: dict[str, Any]
    complete: bool = True

    def __post_init__(self) -> None:
        steps = frozen_array("steps", self.steps, (-1,), np.int64)
        values = frozen_array("values", self.values, (len(steps), -1))
        checked = {
            "steps": steps,
            "values": values,
            "residuals": frozen_array("residuals", self.residuals, values.shape),
            "matvecs": frozen_array("matvecs", self.matvecs, steps.shape, np.int64),
            "converged": frozen_array("converged", self.converged, values.shape, np.bool_),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def stable_up_to(self) -> float:
        """``2 / learning_rate``: the edge of stability of plain gradient descent."""
        return 2.0 / self.learning_rate if self.learning_rate else float("inf")

    def __repr__(self) -> str:
        """One line: how many checkpoints, and between which values the eigenvalues lie."""
        part = "" if self.complete else ", interrupted"
        return f"CurvatureHistory({len(self.steps)} checkpoints, eigenvalues {span(self.values)}{part})"

    _names = ("steps", "values", "residuals", "matvecs", "converged")
    _optional = ("complete",)

    def _packed(self) -> tuple[dict[str, np.ndarray], Any]:
        text = {"learning_rate": self.learning_rate, "provenance": self.provenance}
        return {name: np.asarray(getattr(self, name)) for name in (*self._names, "complete")}, text

    @classmethod
    def _unpacked(cls, arrays: dict[str, np.ndarray], text: Any) -> dict[str, Any]:
        return {**arrays, **text, "complete": bool(arrays.get("complete", True))}


@dataclass(frozen=True, kw_only=True)
class RankCorrelation:
    """Kendall's tau between two numbers of some networks.

    Attributes:
        tau: The share of pairs of networks that both numbers rank alike less the share that they rank oppositely, from
            -1 to 1, with Kendall's correction for ties (tau-b); NaN where a number is NaN, or equal in all networks.
        stderr: Its standard error, by leaving out each network in turn (jackknife); NaN for fewer than three.
        p_value: How often numbers that have nothing to do with each other would give a tau as far from 0, two-sided.
        count: How many networks.

    Example:
        >>> round(RankCorrelation(tau=0.2, stderr=0.3, p_value=0.5, count=10).by_chance, 3)
        0.248
    """

    tau: float
    stderr: float
    p_value: float
    count: int

    @property
    def by_chance(self) -> float:
        """The standard deviation of tau where the numbers have nothing to do with each other (and no ties)."""
        n = self.count
        return math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1))) if n > 1 else math.nan

    def __str__(self) -> str:
        """Tau with its standard error, and p."""
        return f"{self.tau:+.2f} ± {self.stderr:.2f} (p = {self.p_value:.2g}, n = {self.count})"
