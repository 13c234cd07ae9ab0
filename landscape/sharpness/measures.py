"""All measures by name, and the call that computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.arguments import check_objective
from landscape.config import require_name
from landscape.curvature import Estimate, Fisher
from landscape.errors import ConfigError, NonFiniteError, shown
from landscape.loss_checks import is_classification
from landscape.objective import Objective
from landscape.seeding import preserved_rng
from landscape.sharpness import (
    adaptive,
    around,
    box,
    curvature_based,
    entropy,
    epsilon,
    fisher_rao,
    langevin,
    local_entropy,
    pac_bayes,
    relative_flatness,
    sam,
)
from landscape.sharpness.definitions import Measure, chosen_parameters
from landscape.sharpness.estimates import unknown
from landscape.sharpness.workbench import Workbench

_FILES = (
    around,
    epsilon,
    box,
    sam,
    adaptive,
    pac_bayes,
    curvature_based,
    fisher_rao,
    relative_flatness,
    entropy,
    local_entropy,
    langevin,
)

MEASURES: dict[str, Measure] = {entry.name: entry for file in _FILES for entry in file.MEASURES}
"""Name to measure: definition, formula, unit, source, cost, parameters, invariances, and what was published instead."""


def chosen_measures(names: str | Iterable[str] | None) -> list[str]:
    """Return the names of measures that are meant, each once.

    Args:
        names: One name of :data:`MEASURES`, or several; None for all.

    Raises:
        ConfigError: A name is unknown, or none is given.

    Example:
        >>> chosen_measures("trace"), chosen_measures(["sam_sharpness", "trace", "sam_sharpness"])
        (['trace'], ['sam_sharpness', 'trace'])
    """
    listed = isinstance(names, Iterable) and not isinstance(names, str)
    chosen: list[Any] = list(MEASURES) if names is None else list(names) if listed else [names]
    if not chosen:
        raise ConfigError("No measure is named.", expected="one or more of " + ", ".join(MEASURES))
    for name in chosen:
        require_name("measure", name, MEASURES)
    return list(dict.fromkeys(chosen))


def measure(
    objective: Objective,
    names: str | Iterable[str] | None = None,
    *,
    seed: int = 0,
    initial_weights: Tensor | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    as_published: bool = False,
    progress: bool = True,
) -> dict[str, Estimate]:
    """Measure how sharp the loss is at the model's present weights.

    Most measures change when a ReLU network is rescaled without changing its function; which ones do not is in their
    ``invariances``. :func:`landscape.sharpness.balance` takes that freedom away:
    ``measure(Objective(balance(model), data), names)``.

    Args:
        objective: What to measure. Its model is not changed.
        names: One or more names of :data:`MEASURES`, which says what each one is and costs; None for all that apply
            here. All of them take, at the defaults, about 320 Hessian products, 400 forward passes and at most 60
            gradients over all data.
        seed: Names all draws; measures of one call share them, so they can be compared.
        initial_weights: (P,) the weights that training began from, for measures of the distance travelled; of
            ``balance(initial_model)`` where the model is balanced.
        parameters: Name to parameters that are not to have their defaults, for example
            ``{"sam_sharpness": {"rho": 0.1}}``.
        as_published: Compute what the code behind published tables computes, where that is something else: mistakes
            that each measure's ``published`` describes. For comparison with those tables.
        progress: Whether progress bars are shown.

    Returns:
        Name to estimate, with its standard error, in the order of ``names``. Where the loss or its gradient at the
        weights is NaN, or infinite so that a measure has no value, that is NaN.

    Raises:
        ConfigError: A name is unknown, or the list is empty; a parameter is unknown or out of range; or a named measure
            does not apply: it needs the initial weights, a classifier, cross-entropy or a linear layer.
        MismatchError: ``initial_weights`` does not fit.
        NonDeterministicError: The model draws random numbers in evaluation mode.

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False).double()
        >>> data = (torch.ones(1, 1).double(), torch.zeros(1, 1).double())
        >>> objective = Objective(model, data, torch.nn.functional.mse_loss)
        >>> found = measure(objective, ["lambda_max", "frobenius"], progress=False)  # L = w**2
        >>> round(found["lambda_max"].value, 6)
        2.0
        >>> "initial_weights" in MEASURES["pac_bayes"].needs
        True
    """
    check_objective(objective, "measure")
    chosen, given = chosen_measures(names), _given(parameters)
    versions = {name: MEASURES[name].version(as_published=as_published) for name in chosen}
    options = {name: chosen_parameters(name, version, given.get(name, {})) for name, version in versions.items()}
    if initial_weights is not None:
        objective.check_vector(initial_weights)
    with torch.inference_mode(False), preserved_rng(), np.errstate(all="ignore"):  # NaN is data
        bench = Workbench(objective, seed=seed, initial_weights=initial_weights, progress=progress)
        for name, version in list(versions.items()):
            try:
                for need in version.needs:
                    _CHECKS[need](bench, name, options[name])
            except ConfigError:
                if names is not None:
                    raise
                del versions[name]
        return {name: _computed(bench, version.compute, options[name]) for name, version in versions.items()}


def _given(parameters: Any) -> dict[Any, Any]:
    """What is not to have its default, measure by measure."""
    given = {} if parameters is None else parameters
    if not isinstance(given, Mapping) or not all(isinstance(value, Mapping) for value in given.values()):
        raise ConfigError(
            "parameters cannot be read.",
            expected="name of a measure to its parameters, by name",
            got=shown(parameters),
            fix='For example {"sam_sharpness": {"rho": 0.1}}.',
        )
    for name in given:
        require_name("measure", name, MEASURES)
    return dict(given)


def _computed(bench: Workbench, compute: Callable[..., Estimate], options: dict[str, Any]) -> Estimate:
    try:
        return compute(bench, **options)
    except NonFiniteError:  # there is no curvature where the loss or its gradient is not finite
        return unknown()


def _need_initial_weights(bench: Workbench, name: str, options: dict[str, Any]) -> None:
    if bench.initial_weights is None:
        raise ConfigError(
            f"{name} needs the weights that training began from.",
            expected=f"initial_weights, a tensor of shape ({bench.objective.size},)",
            got="none",
            fix="Pass initial_weights=objective.layout.flatten(initial_model), or leave this measure out.",
        )


def _need_classifier(bench: Workbench, name: str, options: dict[str, Any]) -> None:
    with torch.no_grad():
        outputs, targets = next(iter(bench.objective.output_terms(bench.weights)))
    if not is_classification(outputs, targets):
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ConfigError(
            f"{name} needs a classifier.",
            expected="outputs (N, K) of two or more classes and targets (N,) of class numbers",
            got=f"outputs {shape}, targets {tuple(targets.shape)} of {targets.dtype}",
            fix="Leave this measure out.",
        )


def _need_cross_entropy(bench: Workbench, name: str, options: dict[str, Any]) -> None:
    _need_classifier(bench, name, options)
    try:
        Fisher(bench.objective, kind="exact", memory=0).close()
    except ConfigError as error:
        raise ConfigError(
            f"{name} needs predicted probabilities.",
            expected="the loss cross_entropy, without weights or label smoothing",
            got=bench.objective.loss_name,
            fix="Make the objective with torch.nn.functional.cross_entropy, or use weights_hessian.",
        ) from error


def _need_linear_layer(bench: Workbench, name: str, options: dict[str, Any]) -> None:
    relative_flatness.layer_weight(bench, options["layer"])


_CHECKS: dict[str, Callable[[Workbench, str, dict[str, Any]], None]] = {
    "initial_weights": _need_initial_weights,
    "classifier": _need_classifier,
    "cross_entropy": _need_cross_entropy,
    "linear_layer": _need_linear_layer,
}
