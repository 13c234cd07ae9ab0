"""What studies of runs find: eigenvalues and wrong labels along a training, and whether numbers go together."""

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


@dataclass(frozen=True, eq=False, kw_only=True)
class Memorization(StoredResult):
    """What a network makes of its training labels, right and wrong, at the checkpoints of a training.

    All arrays are read-only; shares are of all training examples of their kind, so no estimates, and fractions.

    Attributes:
        steps: (T,) int64, the checkpoints' steps; 0 holds the initial weights.
        epochs: (T,) float64, the passes over the data behind each.
        learned: (T,) of the examples with a wrong label, the share to which the network gives that wrong label: what it
            knows by heart. NaN where no label is wrong.
        seen_through: (T,) of the same examples, the share to which it gives the true label all the same.
        right: (T,) of the other examples, the share to which it gives their label; NaN where every label is wrong.
        test_error: (T,) on the test split, NaN where it was not tested at that step.
        wrong: How many training examples have a wrong label.
        examples: How many there are in all.
        provenance: What was evaluated (plain JSON values).

    References:
        D. Arpit et al., A Closer Look at Memorization in Deep Networks, ICML 2017.
    """

    steps: np.ndarray
    epochs: np.ndarray
    learned: np.ndarray
    seen_through: np.ndarray
    right: np.ndarray
    test_error: np.ndarray
    wrong: int
    examples: int
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        steps = frozen_array("steps", self.steps, (-1,), np.int64)
        object.__setattr__(self, "steps", steps)
        for name in self._names[1:]:
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), steps.shape))

    def __repr__(self) -> str:
        """One line: how many wrong labels, and how many of them are known by heart at the end."""
        last = f"{self.learned[-1]:.1%}" if len(self.steps) else "none"
        labels = f"{self.wrong} of {self.examples} labels wrong"
        return f"Memorization({len(self.steps)} checkpoints, {labels}, {last} of them learned)"

    _names = ("steps", "epochs", "learned", "seen_through", "right", "test_error")

    def _packed(self) -> tuple[dict[str, np.ndarray], Any]:
        text = {"wrong": self.wrong, "examples": self.examples, "provenance": self.provenance}
        return {name: np.asarray(getattr(self, name)) for name in self._names}, text

    @classmethod
    def _unpacked(cls, arrays: dict[str, np.ndarray], text: Any) -> dict[str, Any]:
        return {**arrays, **text}


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
