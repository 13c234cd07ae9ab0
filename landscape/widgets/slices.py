"""The plane that a perturbation is looked at in, and the ball of a method cut by it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from landscape.optim.noise import filter_norms
from landscape.parameters import Layout
from landscape.surface import perturbation_direction
from landscape.surface.directions import draw_normal
from landscape.surface.grid import evaluation_order
from landscape.widgets.methods import Setting
from landscape.widgets.moves import Mover, RawMove

_ANGLES = 145
BALLS = {
    "sam": "ball ‖δ‖₂ ≤ ρ",
    "amp": "ball ‖δ‖₂ ≤ ε in each tensor",
    "asam": "ball ‖δ / w‖₂ ≤ ρ",
    "lpfsgd": "usual length of the noise",
}
"""What :func:`outline` draws."""


@dataclass(eq=False)
class Slice:
    """A plane through the weights, ``w + a * u + b * v`` with u and v of unit norm at right angles, and the loss on it.

    Attributes:
        first: u, (P,).
        second: v, (P,).
        names: What lies along the two axes.
        axis: (K,) the same coordinates for both, in L2 norms of all weights.
        loss: (K, K), a first; NaN where it is not known yet.
    """

    first: Tensor
    second: Tensor
    names: tuple[str, str]
    axis: np.ndarray
    loss: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.loss = np.full((len(self.axis), len(self.axis)), np.nan)
        self.todo = evaluation_order(self.loss.shape, "coarse-to-fine").tolist()

    @property
    def reach(self) -> float:
        """How far the axes go."""
        return float(self.axis[-1])

    def step(self, mover: Mover) -> None:
        """Evaluate the next point."""
        i, j = np.unravel_index(self.todo[0], self.loss.shape)
        point = mover.weights + float(self.axis[i]) * self.first + float(self.axis[j]) * self.second
        self.loss[i, j] = mover.evaluate(point).loss
        self.todo.pop(0)

    def project(self, deltas: tuple[Tensor, ...]) -> np.ndarray:
        """Return where perturbations fall on the plane, (K, 2)."""
        rows = [[float(torch.dot(delta, self.first)), float(torch.dot(delta, self.second))] for delta in deltas]
        return np.array(rows, dtype=float).reshape(-1, 2)


def slice_through(mover: Mover, setting: Setting, largest: RawMove, *, points: int) -> Slice:
    """Choose the plane on which a method's perturbations are seen best.

    Its first axis is the gradient, with which SAM goes; its second is what AMP's direction, or the first draw of
    LPF-SGD's noise, has beside it. ASAM's first axis is ASAM's own direction.

    Args:
        mover: The weights.
        setting: The method.
        largest: Its perturbation of the largest size on the slider: how far the plane goes.
        points: K, of each axis.

    Returns:
        The slice, with no loss known yet.
    """
    objective, seed = mover.objective, mover.seed
    deltas = largest.deltas or (draw_normal(objective.size, seed, "slice").to(mover.weights),)
    reach = 1.1 * max(float(torch.linalg.vector_norm(delta)) for delta in deltas[-max(1, largest.final) :])
    other = draw_normal(objective.size, seed, "slice", "second").to(mover.weights)
    if setting.method == "asam":
        first, names = deltas[-1], ("along ASAM's direction", "across, scaled by |w|²")
        second = other * mover.weights**2
    else:
        first, names = mover.gradient, ("along the gradient", "across: the rest of AMP's direction")
        second = deltas[0]
        if setting.method == "lpfsgd":
            names = (names[0], "across: the rest of the first draw")
        elif bool(torch.isfinite(first).all()) and bool(first.any()):
            second = perturbation_direction(objective, "amp")
    first = _unit(first, other)
    axis = np.linspace(-reach, reach, points)
    axis[np.abs(axis) < 1e-12 * reach] = 0.0
    return Slice(first, _across(first, second, other), names, axis)


def _unit(vector: Tensor, instead: Tensor) -> Tensor:
    """Bring a vector to unit norm; another one where it has no direction."""
    norm = torch.linalg.vector_norm(vector)
    if not bool(torch.isfinite(norm)) or float(norm) == 0:
        vector, norm = instead, torch.linalg.vector_norm(instead)
    return vector / norm


def _across(first: Tensor, second: Tensor, other: Tensor) -> Tensor:
    """Return the part of the second vector at right angles to the first; of another one where there is none."""
    for vector in (second, other):
        vector = _unit(vector, other)
        for _ in range(2):  # the second time for what rounding left
            vector = vector - torch.dot(vector, first) * first
        if float(torch.linalg.vector_norm(vector)) > 1e-4:
            return vector / torch.linalg.vector_norm(vector)
    return torch.zeros_like(first)  # there is one weight only


def outline(setting: Setting, plane: Slice, layout: Layout, weights: Tensor) -> np.ndarray:
    """Cut the ball of a method by a plane through its center.

    Definition: SAM, ``||d|| <= rho``; AMP, ``||d_t|| <= epsilon`` for every tensor t; ASAM, ``||d / w|| <= rho``.
    LPF-SGD has no ball: the circle is of radius ``std * sqrt(sum over filters of n_f * ||w_f||**2)``, the root mean
    square length of its noise.

    Args:
        setting: The method and its size.
        plane: The plane.
        layout: Of the weights.
        weights: (P,).

    Returns:
        (K, 2), a closed line.
    """
    angles = np.linspace(0.0, 2 * math.pi, _ANGLES)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if setting.method == "lpfsgd":
        return setting.value * noise_length(layout, weights) * directions
    forms = _quadratic_forms(setting.method, plane, layout, weights)
    lengths = np.sqrt(np.einsum("ai,tij,aj->ta", directions, forms, directions).clip(min=0)).max(0)
    return setting.value / np.where(lengths > 0, lengths, np.nan)[:, None] * directions


def _quadratic_forms(method: str, plane: Slice, layout: Layout, weights: Tensor) -> np.ndarray:
    """Return (T, 2, 2): the squared length of ``a u + b v`` in each tensor, or in the norm of the method."""
    both = torch.stack([plane.first, plane.second]).double()
    if method == "asam":
        scale = weights.double().abs()
        both = torch.where(scale > 0, both / scale.clamp(min=torch.finfo(torch.float64).tiny), torch.zeros_like(both))
    pieces = both.split(list(layout.sizes), dim=1) if method == "amp" else (both,)
    return torch.stack([piece @ piece.T for piece in pieces]).cpu().numpy()


def noise_length(layout: Layout, weights: Tensor) -> float:
    """Return the root mean square length of LPF-SGD's noise with ``std = 1``."""
    total = 0.0
    for piece in layout.named(weights.double()).values():
        norms = filter_norms(piece)
        total += float(norms.square().sum()) * (piece.numel() // max(norms.numel(), 1))
    return math.sqrt(total)
