"""What a run ran on: versions, device, threads, data."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from landscape.datasets import Dataset


@contextmanager
def single_precision() -> Iterator[None]:
    """Run a block with float32 as torch's default dtype, whatever the caller set; the settings say what a run has."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def describe_environment(
    device: torch.device, train: Dataset, test: Dataset, data_root: str | os.PathLike[str] | None
) -> dict[str, Any]:
    """Collect what could explain a difference between two machines' results.

    Args:
        device: Where the run computes.
        train: The training data.
        test: The test data.
        data_root: Folder of the datasets as given, or None.

    Returns:
        Plain JSON values.
    """
    try:
        own = version("landscape")
    except PackageNotFoundError:
        own = "not installed"
    return {
        "landscape": own,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "device_type": device.type,
        "threads": torch.get_num_threads(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "data_root": None if data_root is None else os.path.abspath(data_root),
        "data": {
            "classes": train.classes,
            "input_shape": list(train.input_shape),
            "train": len(train),
            "test": len(test),
        },
        "data_sha256": {"train": train.checksum, "test": test.checksum},
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Name what changed between two environments and can change the bits of a result.

    Args:
        before: The environment in which a run began.
        now: The present one.

    Returns:
        Sentences; empty where bit-identical results can be expected.
    """
    keys = ("torch", "device", "threads", "platform")
    return [f"{key} was {before.get(key)!r} and is {now.get(key)!r}" for key in keys if before.get(key) != now.get(key)]
