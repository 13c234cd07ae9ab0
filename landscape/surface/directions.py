"""Directions in weight space: random ones at a fair scale, the gradient, and from one point to another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from landscape.arguments import check_objective
from landscape.config import require_name
from landscape.description import checksum_tensors
from landscape.errors import ConfigError, MismatchError, NonFiniteError, shown
from landscape.objective import Objective
from landscape.parameters import Layout
from landscape.seeding import generator
from landscape.surface.arguments import check_axis_vector, check_record

NORMS = ("filter", "layer", "weight", "model", "none")
IGNORES = ("biasbn", None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Direction:
    """A direction in weight space, and where it came from.

    Attributes:
        vector: (P,) floating-point tensor, in ``named_parameters`` order.
        kind: "random", "gradient", "sam", "amp", "between", "eigen", "trajectory", or a word of your own.
        norm: How its length was chosen: "filter", "layer", "weight", "model", "none" (as drawn), or "unit" (length 1).
        ignore: "biasbn" where tensors with fewer than two dimensions were left out, else None.
        seed: The seed it was drawn with, or None.
        layout: The fingerprint of the weights' layout; None where only the length P is known.
        weights: The SHA-256 of the weights it was made from, or None.
        details: What else is known of it, plain JSON values: an eigenvector's eigenvalue, for example.

    Raises:
        MismatchError: The vector is no floating-point tensor of shape (P,); complex numbers are none.
        ConfigError: One of the others is no plain JSON value, or kind or norm is no text.

    Example:
        >>> Direction(vector=torch.tensor([3.0, 4.0]), kind="mine", norm="none").length
        5.0
    """

    vector: Tensor
    kind: str
    norm: str
    ignore: str | None = None
    seed: int | None = None
    layout: str | None = None
    weights: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_axis_vector(self.vector)
        texts = {"kind": self.kind, "norm": self.norm}
        maybe = {"ignore": self.ignore, "layout": self.layout, "weights": self.weights}
        check_record(texts, maybe, self.seed, self.details)

    def __repr__(self) -> str:
        """One line: what it is, of how many weights, how its length was chosen, and its seed."""
        known = {"norm": self.norm, "ignore": self.ignore, "seed": self.seed}
        told = "".join(f", {name} {value}" for name, value in known.items() if value is not None)
        dtype = str(self.vector.dtype).removeprefix("torch.")
        return f"Direction({self.kind}, P = {self.size}{told}, {dtype}, {self.vector.device})"

    @property
    def size(self) -> int:
        """P, the number of weights."""
        return len(self.vector)

    @property
    def length(self) -> float:
        """The Euclidean norm over all weights."""
        return float(torch.linalg.vector_norm(self.vector.double()))

    def record(self) -> dict[str, Any]:
        """Say what the direction is in plain JSON values, as results store it."""
        return {
            "kind": self.kind,
            "norm": self.norm,
            "ignore": self.ignore,
            "seed": self.seed,
            "layout": self.layout,
            "weights_sha256": self.weights,
            "length": self.length,
            "vector_sha256": weights_checksum(self.vector),
            "details": dict(self.details),
        }


def weights_checksum(vector: Tensor) -> str:
    """Return the SHA-256 of a weight vector, the same one that an objective's provenance holds."""
    return checksum_tensors({"weights": vector})


def draw_normal(size: int, seed: int, *names: str | int) -> Tensor:
    """Draw standard normal numbers, the same for every device and precision.

    Args:
        size: How many.
        seed: The user's seed.
        *names: What they are for.

    Returns:
        (size,) float64 on the CPU.
    """
    return torch.randn(size, dtype=torch.float64, generator=generator(seed, *names))


def random_direction(
    objective: Objective, *, norm: str = "filter", ignore: str | None = "biasbn", seed: int = 0
) -> Direction:
    """Draw a Gaussian direction, at the scale of the weights it will move.

    Definition: ``d ~ N(0, I)``, then by ``norm``, with w the present weights:

    - "filter": ``d_f <- d_f * ||w_f|| / ||d_f||`` for every filter f, so that the picture does not change when a ReLU
      network is rescaled without changing its function;
    - "layer": the same for every tensor;
    - "model": the same for all weights together;
    - "weight": ``d_i <- d_i * |w_i|``;
    - "none": as drawn.

    A filter is one slice along a tensor's output dimension; a tensor with fewer than two dimensions is one filter. It
    is drawn and scaled on the CPU in float64, so every device and precision gets the same direction.

    Args:
        objective: Whose weights, P of them.
        norm: One of the names above. Default "filter": Li et al., section 4.
        ignore: "biasbn" leaves biases and normalization scales and shifts (tensors with fewer than two dimensions)
            where they are; None moves all. Default "biasbn": as in Li et al.'s figures.
        seed: Names the draw.

    Returns:
        The direction, on the objective's device and in its dtype.

    Raises:
        ConfigError: It is no objective, ``norm`` or ``ignore`` is unknown, or ``ignore`` leaves no weight to move.

    Example:
        >>> model = torch.nn.Linear(3, 2).double()
        >>> data = (torch.zeros(1, 3).double(), torch.zeros(1, dtype=torch.long))
        >>> objective = Objective(model, data)
        >>> d = random_direction(objective, seed=1).vector
        >>> norms, wanted = objective.layout.filter_norms(d), objective.layout.filter_norms(objective.weights())
        >>> bool(torch.allclose(norms[:2], wanted[:2])), float(norms[2])  # two filters at the weights' scale; no bias
        (True, 0.0)

    References:
        H. Li et al., Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018, sections 3 and 4.
    """
    check_objective(objective, "random_direction")
    require_name("norm", norm, NORMS)
    if not (ignore is None or isinstance(ignore, str)) or ignore not in IGNORES:
        raise ConfigError(
            f"Unknown ignore {shown(ignore)}.",
            expected="'biasbn' or None",
            fix="Use 'biasbn' to hold biases and norms still.",
        )
    layout, weights = objective.layout, objective.weights()
    if ignore == "biasbn" and all(layout.is_bias_or_norm):
        raise ConfigError(
            "No weight is left to move: ignore='biasbn' holds tensors with fewer than two dimensions still.",
            expected="a trainable tensor with two or more dimensions",
            got=f"only {', '.join(layout.names[:3])}{' and others' if len(layout.names) > 3 else ''}",
            fix="Pass ignore=None, which moves biases and normalization scales too.",
        )
    drawn = draw_normal(layout.size, seed, "direction")
    vector = _scaled(drawn, weights.cpu().double(), layout, norm)
    if ignore == "biasbn":
        for held, piece in zip(layout.is_bias_or_norm, layout.named(vector).values(), strict=True):
            if held:
                piece.zero_()
    return Direction(
        vector=vector.to(device=objective.device, dtype=objective.dtype),
        kind="random",
        norm=norm,
        ignore=ignore,
        seed=int(seed),
        layout=layout.fingerprint,
        weights=weights_checksum(weights),
    )


def gradient_direction(objective: Objective, *, norm: str = "unit") -> Direction:
    """Build the direction of the gradient at the model's present weights: alpha > 0 goes uphill.

    Definition: ``d = g / ||g||`` with ``g = dL/dw`` for "unit". The other norms scale g as
    :func:`random_direction` scales what it draws; "none" is g itself.

    Args:
        objective: Whose loss and weights.
        norm: "unit", "filter", "layer", "model", "weight" or "none". Default "unit": ``L(w + alpha * d)`` begins as
            ``L + alpha * ||g||``.

    Returns:
        The direction, on the objective's device and in its dtype; ``||g||`` is in its ``details["gradient_norm"]``.

    Raises:
        ConfigError: It is no objective, or ``norm`` is unknown.
        NonFiniteError: The gradient is NaN, infinite, or zero everywhere, so it has no direction.

    Example:
        >>> model = torch.nn.Linear(2, 1, bias=False).double()
        >>> data = (torch.tensor([[3.0, 4.0]]).double(), torch.zeros(1, 1).double())
        >>> objective = Objective(model, data, lambda outputs, targets: outputs.mean())
        >>> direction = gradient_direction(objective)
        >>> [round(x, 6) for x in direction.vector.tolist()], direction.details["gradient_norm"]
        ([0.6, 0.8], 5.0)
    """
    check_objective(objective, "gradient_direction")
    require_name("norm", norm, (*NORMS, "unit"))
    layout, weights, gradient = objective.layout, objective.weights(), objective.gradient().double()
    length = gradient_length(gradient, "direction of kind 'gradient'")
    vector = gradient / length if norm == "unit" else _scaled(gradient.cpu(), weights.cpu().double(), layout, norm)
    return Direction(
        vector=vector.to(device=objective.device, dtype=objective.dtype),
        kind="gradient",
        norm=norm,
        layout=layout.fingerprint,
        weights=weights_checksum(weights),
        details={"gradient_norm": length},
    )


def gradient_length(gradient: Tensor, wanted: str) -> float:
    """Return the Euclidean norm of a gradient that has a direction.

    Args:
        gradient: (P,).
        wanted: What it is needed for, for the message.

    Raises:
        NonFiniteError: It is NaN, infinite, or zero everywhere.
    """
    length = float(torch.linalg.vector_norm(gradient.double()))
    if not 0 < length < math.inf:
        raise NonFiniteError(
            f"The gradient has no direction, so there is no {wanted}.",
            expected="a finite gradient that is not zero",
            got=f"a gradient of norm {length}",
            fix="Look at objective.evaluate() and objective.gradient(); use a random direction.",
        )
    return length


def _scaled(drawn: Tensor, weights: Tensor, layout: Layout, norm: str) -> Tensor:
    if norm == "filter":
        scale = _ratio(layout.filter_norms(weights), layout.filter_norms(drawn))[layout.filter_index()]
    elif norm == "layer":
        norms = [torch.stack([torch.linalg.vector_norm(t) for t in layout.named(v).values()]) for v in (weights, drawn)]
        scale = _ratio(*norms).repeat_interleave(torch.tensor(layout.sizes))
    elif norm == "model":
        scale = _ratio(torch.linalg.vector_norm(weights), torch.linalg.vector_norm(drawn))
    else:
        scale = weights.abs() if norm == "weight" else torch.ones(())
    return drawn * scale


def _ratio(wanted: Tensor, found: Tensor) -> Tensor:
    return torch.where(found > 0, wanted / found, torch.zeros_like(found))


def direction_between(a: nn.Module | Objective | Tensor, b: nn.Module | Objective | Tensor) -> Direction:
    """Build the direction ``b - a``: alpha = 0 is a, alpha = 1 is b, up to one rounding.

    Args:
        a: A model, an objective (its model's present weights) or a weight vector (P,).
        b: Another one of the same layout.

    Returns:
        The direction, in a's dtype and on its device.

    Raises:
        MismatchError: The two do not have the same weights by name and shape, or by number.
        ModelError: A model has no trainable weights.

    Example:
        >>> direction_between(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 3.0])).vector.tolist()
        [0.0, 2.0]

    References:
        I. Goodfellow, O. Vinyals, A. Saxe, Qualitatively Characterizing Neural Network Optimization Problems,
        ICLR 2015.
    """
    (start, layout), (end, other) = point_of(a), point_of(b)
    if len(start) != len(end) or (layout and other and layout != other):
        raise MismatchError(
            "The two models do not have the same weights.",
            expected=f"{len(start)} weights, layout {layout or 'unknown'}",
            got=f"{len(end)} weights, layout {other or 'unknown'}",
            fix="Use two models of one architecture.",
        )
    difference = end.double() - start.double().to(end.device)
    return Direction(
        vector=difference.to(device=start.device, dtype=start.dtype),
        kind="between",
        norm="none",
        layout=layout or other,
        weights=weights_checksum(start),
    )


def point_of(source: nn.Module | Objective | Tensor) -> tuple[Tensor, str | None]:
    """Read a point in weight space.

    Args:
        source: A model, an objective (its model's present weights) or a weight vector (P,).

    Returns:
        The weights (P,), and the fingerprint of their layout where it is known.

    Raises:
        MismatchError: It is none of these.
    """
    if isinstance(source, Objective):
        return source.weights(), source.layout.fingerprint
    if isinstance(source, nn.Module):
        layout = Layout.of(source)
        return layout.flatten(source), layout.fingerprint
    if isinstance(source, Tensor) and source.ndim == 1 and source.is_floating_point():
        return source.detach(), None
    raise MismatchError(
        "This is no point in weight space.",
        expected="a model, an Objective, or a floating-point tensor of shape (P,)",
        got=f"a tensor of shape {tuple(source.shape)}, {source.dtype}" if isinstance(source, Tensor) else shown(source),
        fix="Pass the model itself, or objective.weights().",
    )
