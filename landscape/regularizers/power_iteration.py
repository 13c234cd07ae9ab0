"""The largest singular value of a layer by power iterations, which go on from step to step."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.precision import unrounded
from landscape.regularizers.operator_norm import Layer, Size, reshaped
from landscape.seeding import generator


class PowerIteration:
    """The two singular vectors of a layer that the largest singular value belongs to, sought step by step.

    Definition: ``u <- A v / ||A v||`` and ``v <- A' u / ||A' u||``, where A is the reshaped kernel or the convolution
    as the layer computes it, with its stride, padding, dilation and groups, without the bias; A' is its transpose. A
    vector whose image is 0 (or not finite) stays as it is. Of a weight in half precision all is in single precision.

    Args:
        layer: Whose operator.
        size: Of what a convolution reads; None stands for the reshaped kernel.
        name: Of the random first vector: the same on every device.
        seed: Of the same.

    Attributes:
        u: The vector of outputs.
        v: The vector of inputs.

    Example:
        >>> layer = nn.Linear(2, 2, bias=False)
        >>> with torch.no_grad(): _ = layer.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
        >>> search = PowerIteration(layer, None, "weight")
        >>> search.advance(20)
        >>> round(search.value().item(), 4)
        3.0
    """

    def __init__(self, layer: Layer, size: Size | None, name: str, seed: int = 0) -> None:
        self._layer: Any = layer
        self._matrix = size is None or isinstance(layer, nn.Linear)
        with torch.no_grad():
            operator = self._operator()
            shape: Size = operator.shape[1:] if self._matrix else (1, self._layer.in_channels, *(size or ()))
            start = torch.randn(shape, generator=generator(seed, "singular vector", name), dtype=torch.float64)
            self.v = (start / start.norm()).to(operator.device, operator.dtype)
            self.u = _unit(self._image(self.v, operator), None)

    def advance(self, iterations: int) -> None:
        """Do some iterations, in place.

        Args:
            iterations: How many.
        """
        operator = self._operator().detach()  # once: a matrix may be a copy
        for _ in range(iterations):
            if self._matrix:
                self.u.copy_(_unit(operator @ self.v, self.u))
                self.v.copy_(_unit(self.u @ operator, self.v))
                continue
            with torch.enable_grad():
                v = self.v.detach().clone().requires_grad_()
                image = self._image(v, operator)
                self.u.copy_(_unit(image.detach(), self.u))
                (back,) = torch.autograd.grad((image * self.u).sum(), v)
            self.v.copy_(_unit(back, self.v))

    def value(self) -> Tensor:
        """Return ``u' A v``, 0-d: at most the largest singular value, with a graph to the weight."""
        return (self.u.clone() * self._image(self.v.clone(), self._operator())).sum()

    def _operator(self) -> Tensor:
        """The matrix, or the kernel."""
        return reshaped(self._layer) if self._matrix else unrounded(self._layer.weight)

    def _image(self, v: Tensor, operator: Tensor) -> Tensor:
        layer = self._layer
        if self._matrix:
            return operator @ v
        if not layer.transposed:
            return layer._conv_forward(v, operator, None)
        spread = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[v.ndim - 3]
        form = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
        return spread(v, operator, None, *form)


def _unit(vector: Tensor, before: Tensor | None) -> Tensor:
    """The vector with length 1, without over- or underflow; the one before where it has none."""
    largest = vector.abs().amax()
    usable = (largest > 0) & largest.isfinite()
    scaled = vector / torch.where(usable, largest, torch.ones_like(largest))
    length = torch.where(usable, torch.linalg.vector_norm(scaled), torch.ones_like(largest))
    return torch.where(usable, scaled / length, torch.zeros_like(vector) if before is None else before)
