"""load_dataset: from a name to tensors."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import torch

from landscape.datasets.dataset import Dataset
from landscape.datasets.files import ensure_files
from landscape.datasets.folder import folder_source
from landscape.datasets.noise import Noise, noisy_inputs, noisy_labels
from landscape.datasets.registry import DATASETS, ELSEWHERE
from landscape.datasets.selection import choose_examples
from landscape.datasets.source import Request, Source
from landscape.datasets.synthetic import PREFIX, synthetic_source
from landscape.errors import ConfigError, DataError, unknown_name

DEFAULT_ROOT = "data"


def load_dataset(
    name: str,
    *,
    root: str | Path | None = None,
    split: str = "train",
    limit: int | None = None,
    skip: int = 0,
    balanced: bool = True,
    seed: int = 0,
    label_noise: float = 0.0,
    noise_kind: str = "uniform",
    pixel_noise: float = 0.0,
    download: bool = False,
    image_size: int | tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Dataset:
    """Load one split of a dataset as tensors.

    Args:
        name: A key of :data:`DATASETS`; ``folder:PATH`` for images in ``PATH/{train,test}/<class>/``; or
            ``synthetic:CxHxW:K`` for noise of that shape in K classes.
        root: The data folder, where files are looked for and decoded images cached; ``data`` where not given.
        split: "train" or "test".
        limit: How many examples; see :func:`choose_examples`. Only these are decoded. None loads all.
        skip: Leave out the examples that this limit would choose, and take the next ones: two sets that share none.
        balanced: Whether a limited set has equally many examples per class.
        seed: Of the choice and of the noise.
        label_noise: Probability in [0, 1] of a random training label; see :func:`noisy_labels`. Test labels stay clean.
        noise_kind: "uniform" (over all classes) or "uniform-other" (never the true one).
        pixel_noise: Standard deviation of Gaussian noise on training inputs, in units of [0, 1] pixels; see
            :func:`noisy_inputs`. Test inputs stay clean.
        download: Whether missing files may be fetched from the network (nothing else ever goes there).
        image_size: Pixels, one side or (height, width), to which images are resized, with antialiasing.
        device: Where the tensors shall be.
        progress: Whether slow work shows a bar.

    Returns:
        The set, verified. Statistics for normalization are those of the whole, clean training split.

    Raises:
        ConfigError: A name or a setting is unknown or out of range.
        DataError: Files are missing or unusable, or ``limit`` is too large.
        CorruptFileError: A file does not match its published checksum.
        MissingDependencyError: The set needs a package that is not installed.

    Example:
        >>> load_dataset("digits", limit=100)
        Dataset('digits', 'train': 100 examples of 1x8x8 torch.uint8, 10 classes, on cpu)
    """
    if split not in ("train", "test"):
        raise unknown_name("split", split, ("train", "test"))
    size = _size(image_size)
    noise = Noise(labels=label_noise, kind=noise_kind, pixels=pixel_noise)
    request = Request(name=name, split=split, root=Path(root or DEFAULT_ROOT), image_size=size, progress=progress)
    source = open_source(request, download=download)
    chosen = choose_examples(source.labels, limit, skip=skip, balanced=balanced, seed=seed)
    return _assemble(request, source, chosen, noise, seed).to(device)


def _assemble(request: Request, source: Source, chosen: np.ndarray, noise: Noise, seed: int) -> Dataset:
    """Read the chosen examples, and add noise to those of the training split."""
    classes, clean = len(source.class_names), torch.from_numpy(source.labels)
    _check_classes(request, source)
    inputs, targets = _resized(torch.from_numpy(source.read(chosen)), request), clean
    if request.split == "train":
        inputs = noisy_inputs(inputs, noise.pixels, positions=chosen.tolist(), seed=seed)
        targets = noisy_labels(clean, classes, noise.labels, kind=noise.kind, seed=seed)
    statistics = source.statistics()
    return Dataset(
        name=request.name,
        split=request.split,
        inputs=inputs,
        targets=targets[chosen],
        classes=classes,
        class_names=source.class_names,
        mean=statistics.mean,
        std=statistics.std,
        clean_targets=clean[chosen],
    )


def _size(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if image_size is None:
        return None
    size = (image_size, image_size) if isinstance(image_size, (int, np.integer)) else tuple(image_size)
    if len(size) != 2 or not all(isinstance(side, (int, np.integer)) and side >= 1 for side in size):
        raise ConfigError("The image size cannot be used.", expected="pixels: 32 or (32, 48)", got=repr(image_size))
    return int(size[0]), int(size[1])


def open_source(request: Request, *, download: bool) -> Source:
    """Find a dataset by its name, see to its files, and open it.

    Args:
        request: What is asked for.
        download: Whether missing files may be fetched.

    Returns:
        The split, its inputs not yet read.

    Raises:
        ConfigError: The name is unknown.
        DataError: Files are missing or unusable.
        CorruptFileError: A file does not match its published checksum.
    """
    name = request.name
    if name.startswith("folder:"):
        return folder_source(name.removeprefix("folder:"), request)
    if name.startswith(PREFIX):
        return synthetic_source(name.removeprefix(PREFIX), request)
    if name in ELSEWHERE:
        raise DataError(f"{name!r} is not loaded by that name.", fix=ELSEWHERE[name])
    if name not in DATASETS:
        raise unknown_name("dataset", name, [*DATASETS, "folder:PATH"])
    spec = DATASETS[name]
    needed = [archive for archive in spec.files if archive.split in (None, request.split)]
    ensure_files(name, needed, request.root, download=download, progress=request.progress)
    if request.image_size is None and spec.image_size is not None:
        request = Request(**{**vars(request), "image_size": spec.image_size})
    return spec.open(request)


def _check_classes(request: Request, source: Source) -> None:
    """Refuse labels that a damaged list could bring, before noise is drawn for them."""
    classes = len(source.class_names)
    if len(source.labels) and not (source.labels.min() >= 0 and source.labels.max() < classes):
        raise DataError(
            f"A label of {request.name!r} ({request.split}) is out of range.",
            expected=f"labels in [0, {classes})",
            got=f"{source.labels.min()} to {source.labels.max()}",
            fix="Restore the files from the original.",
        )


def _resized(inputs: torch.Tensor, request: Request) -> torch.Tensor:
    """Resize images that came in one size of their own."""
    size = request.image_size
    if size is None or tuple(inputs.shape[-2:]) == size:
        return inputs
    if inputs.ndim != 4:
        raise ConfigError(f"{request.name!r} holds no images to resize.", fix="Leave image_size out.")
    _check_memory(request.name, (*inputs.shape[:2], *size), inputs.element_size())
    return torch.nn.functional.interpolate(inputs, size=size, mode="bilinear", antialias=True)


def _check_memory(name: str, shape: tuple[int, ...], width: int) -> None:
    """Refuse images that the machine cannot hold, where it says how much it can."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return
    needed = math.prod(shape) * width
    if needed > memory > 0:
        raise ConfigError(
            f"The resized images of {name!r} do not fit into memory.",
            expected=f"at most {memory / 1e9:.0f} GB",
            got=f"{needed / 1e9:.0f} GB for images of shape {shape}",
            fix="Lower image_size, or use a part of the images with limit.",
        )
