"""CUDA graphs: everything that a function launches on the device, recorded once and launched again as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

_WARM_UP = 3  # calls before the recording: libraries choose their kernels and allocate in them
Values = TypeVar("Values")


def available(device: torch.device) -> bool:
    """Whether a device has graphs."""
    return device.type == "cuda"


def capture(function: Callable[[], Values], device: torch.device) -> tuple[Values, Callable[[], None]]:
    """Record what a function launches, after some calls that are not recorded.

    Args:
        function: Reads and writes the same memory each time, and does not wait for the device.
        device: A CUDA device.

    Returns:
        Its results, and what plays the record and so renews them. The recording itself computes nothing.

    Raises:
        RuntimeError: It cannot be recorded.
    """
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                function()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            values = function()
    return values, graph.replay
