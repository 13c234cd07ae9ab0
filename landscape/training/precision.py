"""How a run computes: precision, memory format, compilation; chosen by the settings and by what works here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from landscape.parameters import preserved
from landscape.training.run_config import RunConfig

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""Precisions that are autocast over float32 weights."""


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which a model runs forward; it changes nothing for full precisions.

    Args:
        precision: The setting.
        device: Where the model is.
    """
    enabled = precision in AUTOCAST
    return torch.autocast(device.type, AUTOCAST.get(precision, torch.bfloat16), enabled=enabled)


def gradient_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler | None:
    """Return the scaler that keeps float16's small gradients from vanishing; None where none is needed."""
    return torch.amp.GradScaler(device.type) if precision == "float16" else None


@contextmanager
def matrix_precision(precision: str) -> Iterator[None]:
    """Run a block whose CUDA matrix products and convolutions round to TF32 for "tf32", and not otherwise.

    Without it torch's default rounds in convolutions but not in products. The process's settings come back.

    Args:
        precision: The setting.
    """
    cudnn: Any = torch.backends.cudnn
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
    before = [backend.fp32_precision for backend in backends]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value


def memory_format(config: RunConfig, input_shape: tuple[int, ...]) -> torch.memory_format:
    """Return how images lie in memory.

    With "auto" the channels are last for images: convolutions want them so in every precision on the CPU (1.1 to 2.1
    times as fast, measured) and on the tensor cores of CUDA. It follows from the settings alone, never from a timing:
    the bits depend on it.

    Args:
        config: The settings.
        input_shape: Of one input.
    """
    images = len(input_shape) == 3
    wanted = images if config.channels_last == "auto" else config.channels_last and images
    return torch.channels_last if wanted else torch.contiguous_format


def fused_base(config: RunConfig, device: torch.device) -> bool:
    """Return whether the base optimizer takes its step in one kernel.

    With "auto" it does on CUDA, where a step is otherwise several launches for each of its operations. On the CPU it
    would cost bits (momentum rounds differently) for a fraction of a percent of a step. From the settings alone, as
    the bits depend on it.

    Args:
        config: The settings.
        device: Where the weights are.
    """
    return device.type == "cuda" if config.fused == "auto" else bool(config.fused)


def compiled(
    model: nn.Module, config: RunConfig, attempt: Callable[[nn.Module], Tensor]
) -> tuple[Callable[[Tensor], Tensor], str]:
    """Return the function that runs a model forward, compiled where asked for and possible.

    Args:
        model: On its device; not changed.
        config: The settings.
        attempt: A training pass, forward and backward, with the module it is given: the trial.

    Returns:
        The function, and what was chosen and why, in words.
    """
    if not config.compile:
        return model, "not compiled"
    try:
        found: Any = torch.compile(model)
        with preserved(model):
            attempt(found)
    except Exception as error:  # whatever is missing: a compiler, an operation, a backend
        torch._dynamo.reset()
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        return model, f"not compiled, as torch.compile failed ({type(error).__name__}: {reason})"
    return found, "compiled"


def describe(config: RunConfig, device: torch.device, layout: torch.memory_format) -> str:
    """Say in one line how a run computes, for its log.

    Args:
        config: The settings.
        device: Where.
        layout: As chosen.
    """
    what = {
        "float16": "float16 autocast over float32 weights, with a gradient scaler",
        "bfloat16": "bfloat16 autocast over float32 weights",
        "tf32": "float32, matrix products in TF32" if device.type == "cuda" else "float32 (TF32 is CUDA's alone)",
    }.get(config.precision, config.precision)
    order = "channels last" if layout == torch.channels_last else "channels first"
    base = "fused" if fused_base(config, device) else "not fused"
    return f"{what}; {order} (channels_last {config.channels_last}); base optimizer {base} (fused {config.fused})"
