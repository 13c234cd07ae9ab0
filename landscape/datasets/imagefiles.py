"""A source of labeled image files: decoded when chosen, cached, with the training files' statistics."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from landscape.datasets.cache import cached_arrays
from landscape.datasets.decode import decode_images, image_size
from landscape.datasets.selection import choose_examples
from landscape.datasets.source import Request, Source
from landscape.datasets.statistics import ChannelStatistics, channel_statistics
from landscape.errors import DataError
from landscape.storage import sha256_bytes

STATISTICS_SAMPLE = 5000


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """The labeled image files of one split.

    Args:
        paths: N files.
        labels: (N,) int64 labels.
    """

    paths: list[str]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)


def file_source(files: ImageFiles, training: ImageFiles, class_names: tuple[str, ...], request: Request) -> Source:
    """Make the source of a split that consists of image files.

    Mean and standard deviation are those of the training split, computed over all its images, or over a fixed,
    class-balanced sample of 5,000 where there are more; so they do not depend on the split, the limit or the seed.

    Args:
        files: The split that is asked for.
        training: The training split, for the statistics and the size of the images.
        class_names: K names.
        request: What is asked for; its image_size None takes the size of the first training image.
    """
    size = request.image_size or image_size(training.paths[0])
    read = partial(_read, request=request, size=size)
    return Source(
        labels=files.labels,
        class_names=class_names,
        read=lambda positions: read(files, positions),
        statistics=lambda: _statistics(training, request, size),
    )


def _read(files: ImageFiles, positions: np.ndarray, *, request: Request, size: tuple[int, int]) -> np.ndarray:
    paths = [files.paths[position] for position in positions]
    key = {"content": "images", "size": list(size), "resize": request.image_size is not None, **_stamps(paths)}
    decode = partial(
        decode_images,
        paths,
        size,
        resize=request.image_size is not None,
        desc=f"decoding {request.name} ({request.split})",
        progress=request.progress,
    )
    return cached_arrays(request.root, key, lambda: {"images": decode()})["images"]


def _statistics(training: ImageFiles, request: Request, size: tuple[int, int]) -> ChannelStatistics:
    sample = None if len(training) <= STATISTICS_SAMPLE else STATISTICS_SAMPLE
    paths = [training.paths[position] for position in choose_examples(training.labels, sample)]
    resize = request.image_size is not None
    key = {"content": "statistics", "size": list(size), "resize": resize, **_stamps(paths)}

    def compute() -> dict[str, np.ndarray]:
        desc = f"mean and std of {request.name}"
        images = decode_images(paths, size, resize=resize, desc=desc, progress=request.progress)
        mean, std = channel_statistics(torch.from_numpy(images))
        return {"mean": np.array(mean), "std": np.array(std)}

    arrays = cached_arrays(request.root, key, compute)
    return ChannelStatistics(tuple(arrays["mean"].tolist()), tuple(arrays["std"].tolist()))


def _stamps(paths: Sequence[str]) -> dict[str, str]:
    """Name the files, their sizes and times of change, and the decoder's version, as one hash."""
    from PIL import __version__

    lines = [f"pillow {__version__}"]
    for path in paths:
        try:
            status = os.stat(path)
        except OSError as error:
            raise DataError(
                f"The image {path} is missing.", got=str(error), fix="Restore it, or list the folder again."
            ) from error
        lines.append(f"{os.path.abspath(path)}\t{status.st_size}\t{status.st_mtime_ns}")
    return {"files": sha256_bytes("\n".join(lines).encode(errors="surrogateescape"))}
