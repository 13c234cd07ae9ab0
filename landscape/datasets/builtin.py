"""Datasets that need no download: scikit-learn's digits, and MNIST-1D from its generator."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from landscape.datasets.cache import cached_arrays
from landscape.datasets.source import Request, Source, array_source
from landscape.datasets.statistics import ChannelStatistics, channel_statistics
from landscape.errors import MissingDependencyError
from landscape.seeding import generator, preserved_rng

DIGIT_NAMES = tuple(str(digit) for digit in range(10))
DIGITS_TRAIN = 1000
MNIST1D_SEED = 42  # the generator's own default


def digits_source(request: Request) -> Source:
    """Open scikit-learn's handwritten digits: 1,797 images of 8x8 pixels, 1,000 for training and 797 for testing.

    The split is one fixed permutation (named generator "digits-split", seed 0). The set's gray levels 0..16 become
    0..255 (rounded), so that they are images like all others.

    Args:
        request: What is asked for.

    Raises:
        MissingDependencyError: scikit-learn is not installed.

    References:
        Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingDependencyError("The digits come with scikit-learn.", fix="pip install scikit-learn") from error
    images, labels = load_digits(return_X_y=True)
    images = np.rint(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    order = torch.randperm(len(images), generator=generator(0, "digits-split")).numpy()
    train, test = order[:DIGITS_TRAIN], order[DIGITS_TRAIN:]
    chosen = train if request.split == "train" else test
    statistics = channel_statistics(torch.from_numpy(images[train]))
    return array_source(images[chosen], labels[chosen], DIGIT_NAMES, statistics)


def mnist1d_source(request: Request) -> Source:
    """Generate MNIST-1D: 5,000 signals of 40 values, 4,000 for training and 1,000 for testing.

    The package's generator with its own defaults (seed 42), never its download. It centers and scales the whole set,
    so mean 0 and standard deviation 1 hold here by its definition. It draws from the global generators of NumPy and
    Python, which are put back. It takes seconds, so its signals are cached like decoded images.

    Args:
        request: What is asked for.

    Raises:
        MissingDependencyError: mnist1d is not installed.

    References:
        Greydanus, Kobak: Scaling Down Deep Learning with MNIST-1D, ICML 2024.
    """
    try:
        release = version("mnist1d")
    except PackageNotFoundError as error:
        raise MissingDependencyError("MNIST-1D comes from its generator.", fix="pip install mnist1d") from error
    key = {"content": "mnist1d", "seed": MNIST1D_SEED, "release": release}
    arrays = cached_arrays(request.root, key, _generate_mnist1d)
    suffix = "" if request.split == "train" else "_test"
    return array_source(arrays[f"x{suffix}"], arrays[f"y{suffix}"], DIGIT_NAMES, ChannelStatistics((0.0,), (1.0,)))


def _generate_mnist1d() -> dict[str, np.ndarray]:
    from mnist1d.data import get_dataset_args, make_dataset

    with preserved_rng():
        settings: Any = get_dataset_args()
        settings.seed = MNIST1D_SEED
        made = make_dataset(settings)
    signals = {name: made[name].astype(np.float32)[:, None, :] for name in ("x", "x_test")}
    return signals | {name: made[name] for name in ("y", "y_test")}
