"""What every kind of dataset offers the loader: labels at once, inputs for the chosen examples, statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from landscape.datasets.statistics import ChannelStatistics, channel_statistics


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a source is asked for.

    Args:
        name: The dataset's name.
        split: "train" or "test".
        root: The data folder.
        image_size: (height, width) in pixels, or None for the set's own.
        progress: Whether slow work shows a bar.
    """

    name: str
    split: str
    root: Path
    image_size: tuple[int, int] | None = None
    progress: bool = True


@dataclass(frozen=True, kw_only=True)
class Source:
    """One split that can be read in part.

    Args:
        labels: (N,) int64 labels of the whole split.
        class_names: K names.
        read: Maps (n,) positions to the inputs there: (n, C, H, W) uint8 or (n, C, L) float32.
        statistics: Returns mean and standard deviation per channel of the *training* split.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    read: Callable[[np.ndarray], np.ndarray]
    statistics: Callable[[], ChannelStatistics]


def array_source(
    inputs: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], statistics: ChannelStatistics | None = None
) -> Source:
    """Make the source of a split that is in memory as a whole.

    Args:
        inputs: (N, C, H, W) uint8 or (N, C, L) float32.
        labels: (N,) integers.
        class_names: K names.
        statistics: Of the training split; computed over ``inputs`` where not given.
    """
    return Source(
        labels=np.asarray(labels, dtype=np.int64),
        class_names=class_names,
        read=lambda positions: inputs[positions],
        statistics=lambda: statistics or channel_statistics(torch.from_numpy(np.ascontiguousarray(inputs))),
    )
