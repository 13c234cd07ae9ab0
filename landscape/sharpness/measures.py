"""Measures of sharpness: how fast the loss grows around the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from landscape.curvature import Estimate, Hessian
from landscape.errors import ConfigError, unknown_name
from landscape.objective import Objective
from landscape.seeding import preserved_rng
from landscape.surface.directions import draw_normal
from landscape.surface.single import PlainEngine

LPF_SIGMA = 0.01
LPF_SAMPLES = 100
TRACE_PROBES = 100


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a measure is.

    Attributes:
        name: Its name in :data:`MEASURES`.
        definition: What it is, in words, with its parameters.
        formula: What it is, in LaTeX.
        unit: The unit of its value.
        source: Where it comes from.
        compute: Its computation.
    """

    name: str
    definition: str
    formula: str
    unit: str
    source: str
    compute: Callable[[_Workbench], Estimate]


class _Workbench:
    """What several measures of one call share: the draws around the weights, and the Hessian."""

    def __init__(self, objective: Objective, seed: int) -> None:
        self.objective, self.seed = objective, seed

    @cached_property
    def hessian(self) -> Hessian:
        return Hessian(self.objective)

    @cached_property
    def loss(self) -> float:
        """The loss at the weights themselves."""
        return self.objective.evaluate().loss

    @cached_property
    def around(self) -> np.ndarray:
        """(LPF_SAMPLES,) losses at normally distributed points around the weights."""
        objective = self.objective
        objective.check_deterministic()
        losses = []
        with preserved_rng():
            for sample in range(LPF_SAMPLES):
                noise = draw_normal(objective.size, self.seed, "lpf", sample)
                losses.append(PlainEngine(objective, [noise])([LPF_SIGMA])[0])
        return torch.stack(losses).cpu().numpy()


def _mean(sample: np.ndarray) -> Estimate:
    with np.errstate(invalid="ignore"):  # infinite losses have no spread: NaN
        stderr = float(sample.std(ddof=1) / np.sqrt(len(sample)))
    return Estimate(value=float(sample.mean()), stderr=stderr, matvecs=0)


def _lpf(bench: _Workbench) -> Estimate:
    return _mean(bench.around)


def _lpf_normalized(bench: _Workbench) -> Estimate:
    with np.errstate(divide="ignore", invalid="ignore"):  # a loss of 0 gives infinity, which is what it is
        return _mean(np.abs(bench.around - bench.loss) / bench.loss)


def _lambda_max(bench: _Workbench) -> Estimate:
    pairs = bench.hessian.top(1, seed=bench.seed)
    return Estimate(value=float(pairs.values[0]), stderr=float(pairs.residuals[0]), matvecs=pairs.matvecs)


def _trace(bench: _Workbench) -> Estimate:
    return bench.hessian.trace(probes=TRACE_PROBES, seed=bench.seed, progress=False)


_BISLA = (
    "D. Bisla, J. Wang, A. Choromanska, Low-Pass Filtering SGD for Recovering Flat Optima in the Deep Learning "
    "Optimization Landscape, AISTATS 2022"
)

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(
            name="lpf",
            definition=f"Mean loss at {LPF_SAMPLES} points drawn around the weights, each weight with standard "
            f"deviation {LPF_SIGMA}; the loss of the weights themselves is not subtracted.",
            formula=r"\frac{1}{M} \sum_{m=1}^{M} L(\theta + \tau_m), \quad \tau_m \sim N(0, \sigma^2 I)",
            unit="loss",
            source=_BISLA,
            compute=_lpf,
        ),
        Measure(
            name="lpf_normalized",
            definition="Mean distance of the loss at these points from the loss of the weights, relative to it.",
            formula=r"\frac{1}{M} \sum_{m=1}^{M} \frac{|L(\theta + \tau_m) - L(\theta)|}{L(\theta)}",
            unit="1",
            source=_BISLA + ", the authors' code",
            compute=_lpf_normalized,
        ),
        Measure(
            name="lambda_max",
            definition="Largest eigenvalue of the Hessian, by Lanczos to a relative residual of 1e-3. Its standard "
            "error is the residual: an eigenvalue lies that close.",
            formula=r"\max_{\|v\| = 1} v^\top \nabla^2 L(\theta) v",
            unit="loss per squared weight",
            source="Y. LeCun, L. Bottou, G. Orr, K.-R. Mueller, Efficient BackProp, 1998",
            compute=_lambda_max,
        ),
        Measure(
            name="trace",
            definition=f"Sum of all eigenvalues of the Hessian, by Hutchinson's estimate from {TRACE_PROBES} probes.",
            formula=r"\operatorname{tr} \nabla^2 L(\theta)",
            unit="loss per squared weight",
            source="M. Hutchinson, A Stochastic Estimator of the Trace of the Influence Matrix, 1989",
            compute=_trace,
        ),
    )
}
"""Name to measure: definition, formula, unit, source."""


def measure(
    objective: Objective, names: str | Iterable[str], *, seed: int = 0, initial_weights: Tensor | None = None
) -> dict[str, Estimate]:
    """Measure how sharp the loss is at the model's present weights.

    Args:
        objective: What to measure. Its model is not changed.
        names: One or more names of :data:`MEASURES`, which says what each one is.
        seed: Names all draws; measures of one call share them, so they can be compared.
        initial_weights: (P,) the weights that training began from, for measures of the distance travelled. None of the
            present measures uses it.

    Returns:
        Name to estimate, with its standard error, in the order of ``names``.

    Raises:
        ConfigError: A name is unknown, or none is given.
        MismatchError: ``initial_weights`` does not fit.
        NonFiniteError: The loss at the weights is NaN or infinite, and a measure needs its curvature.
        NonDeterministicError: The model draws random numbers in evaluation mode.

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False).double()
        >>> data = (torch.ones(1, 1).double(), torch.zeros(1, 1).double())
        >>> objective = Objective(model, data, torch.nn.functional.mse_loss)
        >>> round(measure(objective, ["lambda_max"])["lambda_max"].value, 6)  # L = w**2
        2.0
    """
    chosen = list(dict.fromkeys([names] if isinstance(names, str) else names))
    if not chosen:
        raise ConfigError("No measure is named.", expected="one or more of " + ", ".join(MEASURES))
    for name in chosen:
        if name not in MEASURES:
            raise unknown_name("measure", name, MEASURES)
    if initial_weights is not None:
        objective.check_vector(initial_weights)
    bench = _Workbench(objective, seed)
    return {name: MEASURES[name].compute(bench) for name in chosen}
