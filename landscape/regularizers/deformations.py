"""Small smooth deformations of images, drawn and applied on the device, and the derivatives along them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from landscape.config import is_number, require, require_name
from landscape.errors import DataError

_REACH = 4.0  # standard deviations after which a Gaussian is cut off
_MOST = {"smoothness": 1.0, "scaling": 10.0}  # as wide as the image, which is then only shifted; a factor of 22026


@dataclass(frozen=True, kw_only=True)
class Deformations:
    """Elastic deformations, and small turns, changes of size, shears and shifts, of a whole batch at once.

    Definition: the deformed image is ``x~(p) = x(p - t(p))`` between pixels by bilinear interpolation. The field t is
    the sum of an elastic and an affine one. Elastic: for each axis independent uniform noise at every pixel, smoothed
    by a Gaussian, so that the displacement has mean 0 and the same standard deviation at every pixel, up to the border.
    Affine: ``t(p) = q - A q + s`` about the center, ``q = p - center``; A turns, shears and resizes, s shifts. All
    draws are independent for each image and field.

    Lengths are in image sides, ``(H W)**0.5`` pixels, so that one setting means the same to 8x8 and 32x32 pixels.
    Settings without a limit of their own are at most 1000: far beyond what leaves anything of an image.

    Args:
        strength: Standard deviation of the elastic displacement along each axis, in sides, at least 0. Default 0.05:
            with the alpha of 34 and the sigma of 4 pixels published for digits of 28 or 29 pixels it is 1.4 pixels. At
            0.1 many digits and objects cannot be recognized any more.
        smoothness: Standard deviation of the Gaussian, in sides, above 0 and at most 1. Default 0.14: those 4 pixels.
        rotation: Turns are uniform within plus or minus this many degrees. Default 0; 7.5 is published for 6 and 9 not
            to be mixed up, 15 for other digits.
        scaling: Sizes are multiplied by ``exp(u)``, u uniform within plus or minus this, at most 10. Default 0.
        shear: Rows are shifted by u times their height over the center, u uniform within plus or minus this. Default 0.
        translation: Shifts along each axis are uniform within plus or minus this many sides. Default 0.
        border: What lies beyond the image: "border" (default), its outermost pixels; or "zeros", the mean pixel of
            normalized images.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> images = torch.ones(2, 1, 8, 8)  # nothing to see in them
        >>> deformed = Deformations()(images, torch.Generator().manual_seed(0))
        >>> bool((deformed - 1).abs().max() < 1e-6)
        True

    References:
        P. Simard, D. Steinkraus, J. Platt, Best Practices for Convolutional Neural Networks Applied to Visual Document
        Analysis, ICDAR 2003 (alpha, sigma and the turns); D. Ciresan et al., Deep, Big, Simple Neural Nets Excel on
        Handwritten Digit Recognition, 2010 (turns of 7.5 and 15 degrees); G. Loosli, S. Canu, L. Bottou, Training
        Invariant Support Vector Machines Using Selective Sampling, 2007 (the infinite MNIST that this stands in for).
    """

    strength: float = 0.05
    smoothness: float = 0.14
    rotation: float = 0.0
    scaling: float = 0.0
    shear: float = 0.0
    translation: float = 0.0
    border: Literal["border", "zeros"] = "border"

    def __post_init__(self) -> None:
        """Check the settings."""
        for name in ("strength", "smoothness", "rotation", "scaling", "shear", "translation"):
            value, most, above = getattr(self, name), _MOST.get(name, 1e3), name == "smoothness"
            fine = is_number(value) and 0 <= value <= most and not (above and value == 0)
            require(fine, name, f"a number {'above' if above else 'of at least'} 0 and at most {most:g}", value)
        require_name("border", self.border, ("border", "zeros"))

    def __call__(self, inputs: Tensor, stream: torch.Generator) -> Tensor:
        """Deform each image by a field of its own.

        Args:
            inputs: (B, C, H, W), floating point; not changed.
            stream: All draws come from it; on the images' device.

        Returns:
            (B, C, H, W), new.

        Raises:
            DataError: They are no such images.
        """
        images = _images(inputs)
        return warped(images, self.fields(images, 1, stream)[:, 0], self.border).to(inputs.dtype)

    def tangents(self, inputs: Tensor, stream: torch.Generator, count: int) -> Tensor:
        """Differentiate each image along some fields of its own: ``-grad x . t``.

        Definition: the derivative of ``x(p - a t(p))`` by a at 0, where a = 1 is the whole deformation. The gradient of
        the image is by central differences, the mean of the two derivatives that the interpolation has at a pixel.

        Args:
            inputs: (B, C, H, W), floating point; not changed.
            stream: All draws come from it; on the images' device.
            count: T fields for each image.

        Returns:
            (B, T, C, H, W); the first are those that :meth:`__call__` would take from a like stream if T is 1.

        Raises:
            DataError: They are no such images.
        """
        images = _images(inputs)
        fields = self.fields(images, count, stream)
        padded = F.pad(images, (1, 1, 1, 1), mode="replicate" if self.border == "border" else "constant")
        down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
        across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
        vertical, horizontal = (fields[..., axis].unsqueeze(2) for axis in (0, 1))
        return -(down.unsqueeze(1) * vertical + across.unsqueeze(1) * horizontal).to(inputs.dtype)

    def fields(self, images: Tensor, count: int, stream: torch.Generator) -> Tensor:
        """Draw displacements, in pixels.

        Args:
            images: (B, C, H, W), for shape, precision and device.
            count: T fields for each image.
            stream: All draws come from it; on the same device.

        Returns:
            (B, T, H, W, 2): down and to the right.
        """
        height, width = images.shape[-2:]
        side, many = math.sqrt(height * width), (len(images), count)
        field = torch.zeros((*many, height, width, 2), dtype=images.dtype, device=images.device)
        if self.strength:
            field = field + self._elastic(field, side, stream)
        if self.rotation or self.scaling or self.shear or self.translation:
            field = field + self._affine(field, side, stream)
        return field

    def _elastic(self, like: Tensor, side: float, stream: torch.Generator) -> Tensor:
        count, fields, height, width, _ = like.shape
        reach = math.ceil(_REACH * self.smoothness * side)
        shape = (count, fields, 2, height + 2 * reach, width + 2 * reach)
        noise = torch.rand(shape, generator=stream, dtype=like.dtype, device=like.device).mul_(2.0).sub_(1.0)
        rows, columns = (_gaussian(n, reach, self.smoothness * side, like) for n in (height, width))
        with torch.autocast(like.device.type, enabled=False):  # the same field, whatever the model computes in
            smooth = rows @ noise @ columns.mT  # of the variance 1/3 that the noise has
        return (math.sqrt(3.0) * self.strength * side * smooth).movedim(2, -1)

    def _affine(self, like: Tensor, side: float, stream: torch.Generator) -> Tensor:
        count, fields, height, width, _ = like.shape
        options = {"dtype": like.dtype, "device": like.device}
        draws = torch.rand((5, count, fields, 1, 1), generator=stream, **options).mul_(2.0).sub_(1.0)
        angle, size, lean = math.radians(self.rotation) * draws[0], self.scaling * draws[1], self.shear * draws[2]
        down = (torch.arange(height, **options) - (height - 1) / 2)[:, None]
        right = (torch.arange(width, **options) - (width - 1) / 2)[None, :]
        grown = torch.exp(-size)  # where a pixel of a larger image comes from is nearer to the center
        back_down = grown * (angle.cos() * down - angle.sin() * right)
        back_right = grown * (angle.sin() * down + angle.cos() * right) + lean * down
        shift = self.translation * side
        return torch.stack((down - back_down + shift * draws[3], right - back_right + shift * draws[4]), dim=-1)


def warped(images: Tensor, field: Tensor, border: str) -> Tensor:
    """Read images at displaced places: ``x(p - t(p))``.

    Args:
        images: (B, C, H, W), single or double precision.
        field: (B, H, W, 2) in pixels: down and to the right.
        border: "border" or "zeros".

    Returns:
        (B, C, H, W).

    Example:
        >>> field = torch.tensor([0.0, 1.0]).expand(1, 1, 3, 2)  # to the right by a pixel
        >>> warped(torch.tensor([[[[1.0, 2.0, 3.0]]]]), field, "border").flatten().tolist()
        [1.0, 1.0, 2.0]
    """
    height, width = images.shape[-2:]
    options = {"dtype": images.dtype, "device": images.device}
    rows = torch.arange(height, **options)[:, None] - field[..., 0]
    columns = torch.arange(width, **options)[None, :] - field[..., 1]
    grid = torch.stack(((2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1), dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=border, align_corners=False)


def _gaussian(length: int, reach: int, sigma: float, like: Tensor) -> Tensor:
    """The matrix (length, length + 2 reach) that smooths and keeps the variance: each row has the norm 1."""
    options = {"dtype": like.dtype, "device": like.device}
    away = torch.arange(length + 2 * reach, **options)[None, :] - torch.arange(length, **options)[:, None] - reach
    weights = torch.exp(-0.5 * (away / sigma).square()) * (away.abs() <= reach)
    return weights / torch.linalg.vector_norm(weights, dim=1, keepdim=True)


def _images(inputs: Tensor) -> Tensor:
    if inputs.ndim != 4 or not inputs.is_floating_point():
        raise DataError(
            "Only images can be deformed.",
            expected="(B, C, H, W), floating point",
            got=f"{tuple(inputs.shape)}, {inputs.dtype}",
            fix="Leave deformations out for other inputs.",
        )
    return inputs if inputs.dtype in (torch.float32, torch.float64) else inputs.float()
