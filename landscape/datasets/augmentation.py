"""Augmentation on the device, a whole batch at a time: random crop, horizontal flip, cutout."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from landscape.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random crops, flips and cutout, drawn from one generator alone.

    Definition, per image, independently: (1) pad by ``crop_padding`` pixels on every side and cut out the original size
    at an offset uniform over all ``(2 p + 1)^2``; (2) mirror left and right with probability 1/2; (3) with probability
    ``cutout_probability``, fill a square of ``cutout`` pixels around a center uniform over all pixels; the square may
    fall partly outside. For an even side it reaches ``side/2`` pixels up and left of its center and ``side/2 - 1``
    down and right.

    Fills are in the units of the images: for uint8 images in [0, 1], rounded to the nearest of 255 levels; for
    floating-point images as they are. So the default 0.0 is black on uint8 images, and the mean of each channel on
    normalized ones. "Cutout after normalize", as published, is ``cutout_fill=0.0`` on normalized images (exactly), or
    ``cutout_fill=dataset.mean`` on uint8 images (up to rounding); ``crop_fill=0.0`` on uint8 images is the published
    black padding.

    Args:
        crop_padding: p in pixels; 0 (default) does not crop. 4 is the published choice for CIFAR, 2 for SVHN.
        crop_fill: What the padding holds, one value or one per channel. 0.0 (black) is the common choice; AMP's
            authors used 128/255.
        flip: Whether images are mirrored. Never for digits and traffic signs.
        cutout: Side of the square in pixels; 0 (default) cuts nothing. Published: 16 for CIFAR-10, 8 for CIFAR-100, 20
            for SVHN.
        cutout_fill: What the square holds, one value or one per channel; 0.0 by default.
        cutout_probability: Share of the images that are cut; 1.0 as published; some SAM and LPF-SGD code uses 0.5.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> images = torch.arange(4, dtype=torch.uint8).reshape(1, 1, 2, 2)
        >>> torch.equal(Augmentation()(images, torch.Generator()), images)
        True

    References:
        DeVries, Taylor: Improved Regularization of Convolutional Neural Networks with Cutout, 2017.
    """

    crop_padding: int = 0
    crop_fill: float | tuple[float, ...] = 0.0
    flip: bool = False
    cutout: int = 0
    cutout_fill: float | tuple[float, ...] = 0.0
    cutout_probability: float = 1.0

    def __post_init__(self) -> None:
        """Check the settings."""
        for name in ("crop_padding", "cutout"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise ConfigError(f"{name} is out of range.", expected="a number of pixels, 0 or more", got=repr(value))
        if not 0 <= self.cutout_probability <= 1:
            raise ConfigError("cutout_probability is out of range.", expected="[0, 1]", got=self.cutout_probability)

    @property
    def identity(self) -> bool:
        """Whether images come back as they are."""
        return not (self.crop_padding or self.flip or (self.cutout and self.cutout_probability))

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Augment a batch; nothing waits for the device.

        Args:
            images: (B, C, H, W) uint8 or floating point; not changed.
            generator: All draws come from it; on the images' device.

        Returns:
            (B, C, H, W) of the same dtype, a new tensor (``images`` itself where there is nothing to do).

        Raises:
            DataError: The images are not (B, C, H, W), or a fill does not match their channels.
        """
        if self.identity:
            return images
        if images.ndim != 4:
            raise DataError("Only images can be augmented.", expected="(B, C, H, W)", got=tuple(images.shape))
        if self.crop_padding:
            images = crop(images, *self._offsets(images, generator), self.crop_padding, _fill(self.crop_fill, images))
        if self.flip:
            images = mirror(images, _uniform(images, generator) < 0.5)
        if self.cutout and self.cutout_probability:
            images = self._cut(images, generator)
        return images

    def _offsets(self, images: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (2, images.shape[0])
        rows, columns = torch.randint(2 * self.crop_padding + 1, shape, generator=generator, device=images.device)
        return rows, columns

    def _cut(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        count, _, height, width = images.shape
        rows = torch.randint(height, (count,), generator=generator, device=images.device)
        columns = torch.randint(width, (count,), generator=generator, device=images.device)
        if self.cutout_probability < 1:  # a center far outside cuts nothing
            spared = _uniform(images, generator) >= self.cutout_probability
            rows = torch.where(spared, -2 * self.cutout - height, rows)
        return cut_squares(images, rows, columns, self.cutout, _fill(self.cutout_fill, images))


def crop(
    images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, padding: int, fill: torch.Tensor
) -> torch.Tensor:
    """Cut the original size out of the padded images, at one offset per image, in one gather.

    Definition: ``out[b, c, i, j] = padded[b, c, i + rows[b], j + columns[b]]``, where ``padded`` has ``padding`` more
    pixels of ``fill`` on every side.

    Args:
        images: (B, C, H, W).
        rows: (B,) int64 offsets in [0, 2 padding].
        columns: (B,) int64 offsets in [0, 2 padding].
        padding: In pixels.
        fill: (1, C, 1, 1) or (1, 1, 1, 1), of the images' dtype.

    Returns:
        (B, C, H, W), a new tensor.
    """
    count, channels, height, width = images.shape
    padded = fill.expand(count, channels, height + 2 * padding, width + 2 * padding).clone()
    padded[:, :, padding : padding + height, padding : padding + width] = images
    down = rows[:, None, None] + torch.arange(height, device=images.device)[None, :, None]
    across = columns[:, None, None] + torch.arange(width, device=images.device)[None, None, :]
    places = (down * (width + 2 * padding) + across).reshape(count, 1, height * width)
    return padded.flatten(2).gather(2, places.expand(-1, channels, -1)).reshape(images.shape)


def mirror(images: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Mirror the chosen images left and right.

    Args:
        images: (B, C, H, W).
        chosen: (B,) booleans.

    Returns:
        (B, C, H, W), a new tensor.

    Example:
        >>> mirror(torch.tensor([[[[1, 2, 3]]]]), torch.tensor([True])).flatten().tolist()
        [3, 2, 1]
    """
    return torch.where(chosen[:, None, None, None], images.flip(-1), images)


def cut_squares(
    images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, side: int, fill: torch.Tensor
) -> torch.Tensor:
    """Fill one square per image.

    Definition: pixel (i, j) of image b is filled where ``-(side // 2) <= i - rows[b] < side - side // 2`` and the same
    holds for j and ``columns``.

    Args:
        images: (B, C, H, W).
        rows: (B,) int64 centers.
        columns: (B,) int64 centers.
        side: In pixels.
        fill: (1, C, 1, 1) or (1, 1, 1, 1), of the images' dtype.

    Returns:
        (B, C, H, W), a new tensor.
    """

    def covered(length: int, centers: torch.Tensor) -> torch.Tensor:
        distance = torch.arange(length, device=images.device)[None, :] - centers[:, None]
        return (distance >= -(side // 2)) & (distance < side - side // 2)

    inside = covered(images.shape[2], rows)[:, None, :, None] & covered(images.shape[3], columns)[:, None, None, :]
    return torch.where(inside, fill, images)


def _uniform(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(images.shape[0], generator=generator, device=images.device)


def _fill(value: float | tuple[float, ...], images: torch.Tensor) -> torch.Tensor:
    """Return the fill as (1, C or 1, 1, 1) of the images' dtype."""
    values = (value,) if isinstance(value, (int, float)) else tuple(value)
    if len(values) not in (1, images.shape[1]):
        raise DataError("A fill does not match the channels.", expected=f"1 or {images.shape[1]}", got=len(values))
    if images.dtype == torch.uint8:
        values = tuple(min(255, max(0, math.floor(255 * v + 0.5))) for v in values)
    filled = [torch.full((1, 1, 1, 1), v, dtype=images.dtype, device=images.device) for v in values]
    return torch.cat(filled, dim=1)  # filled on the device: no copy from the host to wait for
