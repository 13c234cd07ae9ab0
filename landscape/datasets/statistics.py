"""Mean and standard deviation per channel."""

from __future__ import annotations

from typing import NamedTuple

import torch

_CHUNK = 4096


class ChannelStatistics(NamedTuple):
    """Mean and standard deviation of each channel, in units of [0, 1] for uint8 images."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def channel_statistics(inputs: torch.Tensor) -> ChannelStatistics:
    """Compute the mean and the population standard deviation of each channel, over all examples and positions.

    Definition: ``mean_c = avg(x[:, c])`` and ``std_c = sqrt(avg((x[:, c] - mean_c)^2))``, in float64, where uint8
    counts as ``x / 255``. (The mean over images of each image's own deviation, which some code uses, is smaller:
    0.20 instead of 0.25 for CIFAR-10.) A constant channel gets ``std = 1``, so that normalizing it gives zeros.

    Args:
        inputs: (N, C, ...) uint8 or floating point.

    Returns:
        C means and C deviations.

    Example:
        >>> channel_statistics(torch.tensor([[1.0], [3.0]]))
        ChannelStatistics(mean=(2.0,), std=(1.0,))
    """
    mean, std = zip(*(_one_channel(inputs[:, channel]) for channel in range(inputs.shape[1])), strict=True)
    return ChannelStatistics(mean, std)


def _one_channel(values: torch.Tensor) -> tuple[float, float]:
    if values.dtype == torch.uint8:
        counts = torch.zeros(256, dtype=torch.int64, device=values.device)
        for chunk in values.split(_CHUNK):
            counts += torch.bincount(chunk.flatten(), minlength=256)
        counts = counts.cpu().double()
        levels = torch.arange(256, dtype=torch.float64) / 255
        mean = float((counts * levels).sum() / counts.sum())
        variance = float((counts * (levels - mean) ** 2).sum() / counts.sum())
    else:
        mean = float(values.double().mean())
        variance = float((values.double() - mean).square().mean())
    return mean, variance**0.5 if variance > 0 else 1.0
