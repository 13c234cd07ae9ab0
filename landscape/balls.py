"""The two balls that perturbations live in: their steepest step, their nearest point, a random point."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Norm = Literal["l2", "linf"]


def size(change: Tensor, norm: Norm) -> Tensor:
    """Return the norm of each example's change, (B,).

    Args:
        change: (B, ...).
        norm: "l2" or "linf".

    Example:
        >>> change = torch.tensor([[3.0, -4.0]])
        >>> size(change, "l2").item(), size(change, "linf").item()
        (5.0, 4.0)
    """
    return torch.linalg.vector_norm(change.flatten(1), 2 if norm == "l2" else torch.inf, dim=1)


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """Return the step of norm 1 along which a linear function with this gradient rises most.

    ``g / ||g||_2`` for L2, ``sign(g)`` for L-infinity; 0 where the gradient is 0 or not finite.

    Args:
        gradient: (B, ...).
        norm: "l2" or "linf".

    Returns:
        (B, ...).

    Example:
        >>> gradient = torch.tensor([[3.0, -4.0], [0.0, 0.0]])
        >>> steepest(gradient, "l2").tolist(), steepest(gradient, "linf").tolist()
        ([[0.6000000238418579, -0.800000011920929], [0.0, 0.0]], [[1.0, -1.0], [0.0, 0.0]])
    """
    if norm == "linf":
        return gradient.sign().nan_to_num(0.0)
    largest = broadcast(size(gradient, "linf"), gradient)  # first: squares of small numbers are 0
    scaled = gradient / torch.where(largest > 0, largest, torch.ones_like(largest))
    length = broadcast(size(scaled, "l2"), gradient)
    usable = (largest > 0) & largest.isfinite()
    return torch.where(usable, scaled / torch.where(usable, length, torch.ones_like(length)), torch.zeros_like(scaled))


def project(change: Tensor, radius: float, norm: Norm) -> Tensor:
    """Return the nearest change within the ball.

    Args:
        change: (B, ...).
        radius: At least 0.
        norm: "l2" or "linf".

    Example:
        >>> project(torch.tensor([[3.0, -4.0]]), 2.5, "l2").tolist()
        [[1.5, -2.0]]
    """
    if norm == "linf":
        return change.clamp(-radius, radius)
    length = broadcast(size(change, "l2"), change)
    return torch.where(length > radius, change * (radius / length.clamp(min=torch.finfo(change.dtype).tiny)), change)


def random_point(like: Tensor, radius: float, norm: Norm, stream: torch.Generator) -> Tensor:
    """Draw a point uniform in the ball for each example.

    For L2 a normal direction, and a length ``radius * u**(1 / d)`` in d dimensions.

    Args:
        like: (B, ...), for shape, precision and device.
        radius: At least 0.
        norm: "l2" or "linf".
        stream: The generator, on the same device.
    """
    options = {"generator": stream, "device": like.device, "dtype": like.dtype}
    if norm == "linf":
        return radius * (2.0 * torch.rand(like.shape, **options) - 1.0)
    direction = steepest(torch.randn(like.shape, **options), "l2")
    share = torch.rand(len(like), **options) ** (1.0 / like[0].numel())
    return radius * broadcast(share, like) * direction


def broadcast(values: Tensor, like: Tensor) -> Tensor:
    """Return (B,) as (B, 1, ...), to go with (B, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))
