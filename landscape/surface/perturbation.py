"""Perturbations of the weights, as optimizers make them, and the loss against their size."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.arguments import check_objective
from landscape.config import is_whole, require, require_name
from landscape.errors import ConfigError, MismatchError, shown
from landscape.objective import Objective
from landscape.progress import Progress, progress_bar
from landscape.seeding import derive_seed, preserved_rng
from landscape.surface.directions import Direction, draw_normal, gradient_length, weights_checksum
from landscape.surface.results import Profile
from landscape.surface.single import PlainEngine

KINDS = ("random", "sam", "amp")


def perturbation_direction(objective: Objective, kind: str, *, seed: int = 0) -> Tensor:
    """Compute the unit direction in which a method perturbs the weights.

    Definition, with g the gradient of the loss at the model's present weights and g_t its part for tensor t:

    - "sam": ``g / ||g||``;
    - "amp": ``g_t / ||g_t||`` for every tensor, divided by the square root of how many tensors have a gradient: the
      face of a ball of equal radius per tensor. A perturbation of AMP with radius epsilon that reaches its ball in T
      tensors has the global norm ``epsilon * sqrt(T)``;
    - "random": Gaussian, ``d / ||d||``; every direction is equally likely.

    All are of norm 1 over all weights together, so radii of different kinds can be compared.

    Args:
        objective: Whose weights and loss.
        kind: "random", "sam" or "amp".
        seed: Names the draw of "random"; the others draw nothing.

    Returns:
        (P,), of norm 1, on the objective's device and in its dtype.

    Raises:
        ConfigError: It is no objective, or ``kind`` is unknown.
        NonFiniteError: The gradient is NaN, infinite, or zero everywhere, so it has no direction.

    Example:
        >>> model = torch.nn.Linear(2, 1, bias=False).double()
        >>> data = (torch.tensor([[3.0, 4.0]]).double(), torch.zeros(1, 1).double())
        >>> objective = Objective(model, data, lambda outputs, targets: outputs.mean())
        >>> [round(x, 6) for x in perturbation_direction(objective, "sam").tolist()]
        [0.6, 0.8]

    References:
        P. Foret et al., Sharpness-Aware Minimization, ICLR 2021, equation 2. Y. Zheng, R. Zhang, Y. Mao, Regularizing
        Neural Networks via Adversarial Model Perturbation, CVPR 2021, algorithm 1 (per tensor in the authors' code).
    """
    check_objective(objective, "a perturbation")
    require_name("kind of perturbation", kind, KINDS)
    if kind == "random":
        drawn = draw_normal(objective.size, seed, "perturbation")
        return (drawn / torch.linalg.vector_norm(drawn)).to(device=objective.device, dtype=objective.dtype)
    gradient = objective.gradient().double()
    if kind == "amp":
        gradient = torch.cat([_unit(piece) for piece in gradient.split(list(objective.layout.sizes))])
    return (gradient / gradient_length(gradient, f"perturbation of kind {kind!r}")).to(objective.dtype)


def sam_direction(objective: Objective) -> Direction:
    """Build the direction of SAM's perturbation: alpha is rho, with SAM's perturbed weights at ``w + rho * d``.

    Definition: ``d = g / ||g||``; see :func:`perturbation_direction`.

    Args:
        objective: Whose weights and loss, over all its data (SAM itself perturbs by the gradient of a batch).

    Returns:
        The direction, of norm 1.

    Raises:
        ConfigError: It is no objective.
        NonFiniteError: The gradient has no direction.

    References:
        P. Foret et al., Sharpness-Aware Minimization, ICLR 2021, equation 2.
    """
    return _method_direction(objective, "sam")


def amp_direction(objective: Objective) -> Direction:
    """Build the direction of AMP's perturbation (adversarial model perturbation) with a ball for each tensor.

    Definition: ``g_t / ||g_t||`` for every tensor t, divided by ``sqrt(T)`` with T the tensors that have a gradient, so
    AMP's epsilon is at ``alpha = epsilon * sqrt(T)``; see :func:`perturbation_direction`.

    Args:
        objective: Whose weights and loss, over all its data (AMP itself perturbs by the gradient of a batch).

    Returns:
        The direction, of norm 1.

    Raises:
        ConfigError: It is no objective.
        NonFiniteError: The gradient has no direction.

    References:
        Y. Zheng, R. Zhang, Y. Mao, Regularizing Neural Networks via Adversarial Model Perturbation, CVPR 2021,
        algorithm 1 (per tensor in the authors' code).
    """
    return _method_direction(objective, "amp")


def _method_direction(objective: Objective, kind: str) -> Direction:
    return Direction(
        vector=perturbation_direction(objective, kind),
        kind=kind,
        norm="unit",
        layout=objective.layout.fingerprint,
        weights=weights_checksum(objective.weights()),
    )


def _unit(piece: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(piece)
    return torch.where(norm == 0, torch.zeros_like(piece), piece / norm)


def default_radii() -> np.ndarray:
    """Return the radii of a profile: 0, then 16 from 0.01 to 10, evenly in the logarithm.

    They hold the radii that SAM (rho 0.02 to 2) and AMP (epsilon 0.1 to 1, times the square root of the number of
    tensors) are used with, and are the same for every model, so that models can be compared.
    """
    return np.concatenate([[0.0], np.logspace(-2, 1, 16)])


def perturbation_profile(
    objective: Objective,
    *,
    radii: Sequence[float] | np.ndarray | None = None,
    kinds: Iterable[str] = KINDS,
    draws: int = 10,
    seed: int = 0,
    evaluate_on: Objective | None = None,
    progress: bool = True,
) -> Profile:
    """Measure the loss against the size of a perturbation: ``L(w + r * d)`` with ``||d|| = 1``, for several kinds of d.

    The radius is the global L2 norm of the perturbation for every kind. SAM's rho is that norm; AMP's epsilon is the
    radius per tensor, so AMP's perturbation has a global norm of up to ``epsilon * sqrt(number of tensors)``.

    Args:
        objective: Whose weights; the gradient of its loss makes the directions "sam" and "amp".
        radii: (R,) not negative, or None for 0 and 16 values from 0.01 to 10.
        kinds: Which of "random", "sam", "amp".
        draws: How many random directions are averaged; each is used at all radii. Default 10: a standard error of about
            a third of the spread.
        seed: Names the draws.
        evaluate_on: Where the loss is read, if elsewhere: an objective of the same model, for example on test data.
        progress: Whether a progress bar is shown.

    Returns:
        The profile. NaN and infinite losses are kept. For one draw the standard error is NaN.

    Raises:
        ConfigError: It is no objective, a kind is unknown, a radius is negative or not finite, or ``draws`` is no
            positive integer.
        MismatchError: ``evaluate_on`` has other weights.
        NonFiniteError: The gradient has no direction.
        NonDeterministicError: The model draws random numbers in evaluation mode.

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False).double()
        >>> model.weight.data.fill_(1.0).item()
        1.0
        >>> data = (torch.ones(1, 1).double(), torch.zeros(1, 1).double())
        >>> objective = Objective(model, data, torch.nn.functional.mse_loss)
        >>> profile = perturbation_profile(objective, radii=[0, 1, 2], kinds=["sam"], progress=False)
        >>> profile.loss["sam"].tolist()  # (1 + r)**2
        [1.0, 4.0, 9.0]
    """
    start = time.perf_counter()
    check_objective(objective, "perturbation_profile")
    chosen, sizes = _kinds(kinds), _radii(radii)
    require(is_whole(draws) and draws >= 1, "draws", "a positive integer", draws, "Use draws=10.")
    derive_seed(seed)  # raises where it is none, also where nothing is drawn
    other = objective if evaluate_on is None else evaluate_on
    check_objective(other, "perturbation_profile", name="evaluate_on")
    if other.layout.fingerprint != objective.layout.fingerprint:
        raise MismatchError(
            "evaluate_on has other weights.",
            expected=f"layout {objective.layout.fingerprint}",
            got=f"layout {other.layout.fingerprint}",
            fix="Make both objectives from one model.",
        )
    other.check_deterministic()
    counts = {kind: draws if kind == "random" else 1 for kind in chosen}
    center = objective.weights()
    with (
        preserved_rng(),
        progress_bar(len(sizes) * sum(counts.values()), desc="profile", unit="point", enabled=progress) as bar,
    ):
        base = float(other.evaluate(center).loss)
        curves = {
            kind: _curves(objective, other, center, kind, count, seed, sizes, bar) for kind, count in counts.items()
        }
    provenance = {
        **objective.provenance(),
        "draws": draws,
        "seed": seed,
        "seconds": round(time.perf_counter() - start, 3),
    }
    if evaluate_on is not None:
        provenance["evaluated_on"] = other.provenance()
    return Profile(
        kinds=chosen,
        radii=sizes,
        loss={kind: values.mean(0) for kind, values in curves.items()},
        stderr={kind: _stderr(kind, values) for kind, values in curves.items()},
        base_loss=base,
        provenance=provenance,
    )


def _curves(
    objective: Objective,
    other: Objective,
    center: Tensor,
    kind: str,
    count: int,
    seed: int,
    radii: np.ndarray,
    bar: Progress,
) -> np.ndarray:
    """Return (count, R) losses."""
    rows = []
    for draw in range(count):
        vector = perturbation_direction(objective, kind, seed=derive_seed(seed, "draw", draw))
        engine = PlainEngine(other, [vector], center=center)
        rows.append(torch.stack([engine([radius])[0] for radius in radii.tolist()]))
        bar.update(len(radii))
    return torch.stack(rows).cpu().numpy()


def _stderr(kind: str, values: np.ndarray) -> np.ndarray:
    if kind != "random":
        return np.zeros(values.shape[1])
    if len(values) == 1:
        return np.full(values.shape[1], np.nan)
    with np.errstate(invalid="ignore"):  # infinite losses have no spread: NaN
        return values.std(0, ddof=1) / np.sqrt(len(values))


def _kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    try:
        several: list[Any] = [kinds] if isinstance(kinds, str) else list(kinds)
    except TypeError:  # nothing to go through
        several = [kinds]
    for kind in several:
        require_name("kind of perturbation", kind, KINDS)
    if not several:
        expected = "one or more of " + ", ".join(KINDS)
        raise ConfigError("No kind of perturbation is given.", expected=expected, fix="Leave kinds out for all.")
    return tuple(dict.fromkeys(several))


def _radii(radii: Sequence[float] | np.ndarray | None) -> np.ndarray:
    if radii is None:
        return default_radii()
    try:
        values = np.asarray(radii)
    except (TypeError, ValueError, RuntimeError):
        values = np.zeros(0)
    real = values.dtype.kind in "iuf" and values.ndim == 1 and len(values) > 0
    if not (real and (np.isfinite(values) & (values >= 0)).all()):
        raise ConfigError(
            "The radii are out of range.",
            expected="a list of finite numbers, none negative",
            got=shown(radii),
            fix="Use radii=None for 0 and 16 values from 0.01 to 10.",
        )
    return values.astype(np.float64)
