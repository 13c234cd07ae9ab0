"""Radii and gradients in units of pixels, for models whose inputs were normalized outside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from landscape.config import is_number, require
from landscape.datasets import Dataset


@dataclass(frozen=True)
class InputUnits:
    """How the inputs of a model relate to pixels: ``x = (pixel - mean) / std`` for each channel.

    A radius of 1 is then one in the units of the picture, whatever the normalization; a gradient by pixels is the
    gradient by ``x`` divided by ``std``.

    Attributes:
        mean: One number for each channel (dimension 1), or one for all; 0 where the model normalizes inside.
        std: The same, above 0; 1 where the model normalizes inside.
        limits: The least and the largest pixel; None where inputs have no limits.

    Raises:
        ConfigError: A number is out of range.

    Example:
        >>> units = InputUnits(mean=(0.5,), std=(0.25,), limits=(0.0, 1.0))
        >>> units.moved(torch.tensor([[1.0]]), torch.tensor([[0.5]])).item()  # pixel 0.75 + 0.5, cut at 1
        2.0
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    limits: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("mean", "std"):
            values = getattr(self, name)
            fine = isinstance(values, tuple) and len(values) > 0 and all(map(is_number, values))
            fine = fine and all(math.isfinite(one) and (one > 0 or name == "mean") for one in values)
            expected = "finite numbers" + " above 0" * (name == "std") + ", one for each channel or one for all"
            require(fine, name, f"a tuple of {expected}", values)
        sizes = {len(self.mean), len(self.std)} - {1}
        require(len(sizes) <= 1, "std", f"as many numbers as mean, {len(self.mean)}, or one", self.std)
        ordered = self.limits is None or (len(self.limits) == 2 and self.limits[0] < self.limits[1])
        require(ordered, "limits", "the least and the largest pixel, or none", self.limits)

    @classmethod
    def of(cls, data: Dataset) -> Self:
        """Return those of a dataset's normalized inputs; images (uint8) have the limits 0 and 1.

        Args:
            data: Says how its inputs are normalized.
        """
        limits = (0.0, 1.0) if data.inputs.dtype == torch.uint8 else None
        return cls(mean=tuple(data.mean), std=tuple(data.std), limits=limits)

    def by_pixels(self, gradient: Tensor) -> Tensor:
        """Return a gradient by pixels, from one by inputs, (B, ...)."""
        return gradient if self.std == (1.0,) else gradient / _shaped(self.std, gradient)

    def within(self, inputs: Tensor, change: Tensor) -> Tensor:
        """Return the nearest change that keeps pixels within the limits: nowhere larger, where the pixels are within.

        Args:
            inputs: (B, ...) as the model reads them.
            change: (B, ...) in pixels.
        """
        if self.limits is None:
            return change
        pixels = inputs * _shaped(self.std, inputs) + _shaped(self.mean, inputs)
        low, high = self.limits
        return torch.clamp(change, low - pixels, high - pixels)

    def moved(self, inputs: Tensor, change: Tensor) -> Tensor:
        """Return inputs whose pixels were changed, within the limits.

        Args:
            inputs: (B, ...) as the model reads them.
            change: (B, ...) in pixels.
        """
        moved = inputs + (change if self.std == (1.0,) else change / _shaped(self.std, inputs))
        if self.limits is None:
            return moved
        mean, std = _shaped(self.mean, inputs), _shaped(self.std, inputs)
        low, high = ((limit - mean) / std for limit in self.limits)
        return torch.clamp(moved, low, high)


def _shaped(values: tuple[float, ...], like: Tensor) -> Tensor:
    """The values as a tensor that goes with (B, C, ...), made once."""
    return _made(values, like.ndim, like.dtype, like.device)


@lru_cache(maxsize=64)  # a copy to the device waits for it
def _made(values: tuple[float, ...], ndim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device).reshape((1, -1) + (1,) * (ndim - 2))


PIXELS = InputUnits()
"""Inputs that are pixels themselves, as where a model normalizes inside."""
