"""What a run is made of: its device, its data, its model with the initial weights."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from landscape.datasets import Dataset, load_dataset
from landscape.errors import LandscapeError
from landscape.models import build_model
from landscape.models.lazy import materialize
from landscape.objective_checks import check_device
from landscape.seeding import seeded
from landscape.training.environment import single_precision
from landscape.training.feasible import not_built
from landscape.training.held_out import hold_out
from landscape.training.run_config import RunConfig


def resolve_device(device: str) -> torch.device:
    """Turn "auto", "cpu", "cuda" or "cuda:N" into a device that is there.

    Args:
        device: The setting.

    Returns:
        The device; "auto" is CUDA where there is one.

    Raises:
        ConfigError: There is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return check_device(device, fix="Set device to 'auto' or 'cpu'; `landscape doctor` says what is wrong with CUDA.")


def load_run_dataset(config: RunConfig, split: str, *, data_root: str | os.PathLike[str] | None = None) -> Dataset:
    """Load the dataset of a run's settings, on the CPU.

    Args:
        config: The settings.
        split: "train" or "test".
        data_root: Folder of the datasets; see :func:`landscape.load_dataset`.

    Returns:
        The dataset; label noise is in the training split only. With ``validation``, both splits are parts of it; with
        ``validation_examples``, the test split is the training split's examples after those of ``limit``, their
        labels as noisy.
    """
    beside = config.validation_examples if split == "test" else 0
    training = split == "train" or config.validation > 0 or beside > 0
    with single_precision():
        found = load_dataset(
            config.dataset,
            root=None if data_root is None else Path(data_root),
            split="train" if training else split,
            limit=beside or (config.limit if training else config.test_limit),
            skip=(config.limit or 0) if beside else 0,
            seed=config.data_seed,
            label_noise=config.label_noise if training else 0.0,
            noise_kind=config.noise_kind,
            image_size=config.image_size,
        )
    return hold_out(found, config.validation, config.data_seed, split) if config.validation else found


def build_run_model(config: RunConfig, dataset: Dataset) -> nn.Module:
    """Build a run's model with its initial weights: the same for every optimizer, on the CPU.

    Args:
        config: The settings; only model, model_options, seed and precision matter.
        dataset: Gives the number of classes and the shape of an input.

    Returns:
        The model, its lazy parameters with shapes and weights; in float64 where the precision is.

    Raises:
        ConfigError: An option is unknown, or its value cannot be used.
        ModelError: The model is unknown or cannot be built, or lazy parameters get no shape from one input.
        MissingDependencyError: torchvision is asked for and not installed.
    """
    options = {"classes": dataset.classes, "input_shape": dataset.input_shape, **config.model_options}
    try:
        with seeded(config.seed, "model"), single_precision():
            model = materialize(build_model(config.model, **options), dataset.input_shape)
        return model.double() if config.precision == "float64" else model
    except LandscapeError:
        raise
    except Exception as error:
        raise not_built(config, error) from error
