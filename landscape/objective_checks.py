"""What an objective can be made of: modules whose weights can be moved, and devices that are there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from landscape.config import is_whole, require
from landscape.errors import ConfigError, MismatchError, ModelError, shown
from landscape.parameters import require_module

_ALIKE = "Build it from the same model, for example torch.randn_like(objective.weights())."


def check_model(model: Any, data: Any) -> None:
    """Refuse what is no module, and modules whose weights cannot be moved.

    Args:
        model: What was passed as the model.
        data: What was passed as the data, to tell where the two were swapped.

    Raises:
        ModelError: It is no module, or a ScriptModule.
    """
    swapped = isinstance(data, nn.Module)
    require_module(
        model,
        "The first argument of an objective is no model.",
        fix="Swap the two: Objective(model, data)." if swapped else "Call Objective(model, data).",
    )
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            where = f"The layer {name!r}" if name else "The model"
            raise ModelError(
                f"{where} is compiled by torch.jit, so its weights cannot be moved.",
                expected="a torch.nn.Module as Python has it",
                got=shown(module),
                fix="Pass the module that it was scripted or traced from.",
            )


def check_device(device: Any, *, fix: str = "Leave device out: the model's own.") -> torch.device:
    """Return a device that can be computed on.

    Args:
        device: A torch.device, or what names one ("cpu", "cuda:0").
        fix: What to do where there is none.

    Raises:
        ConfigError: There is no such device, or it holds no values.
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        found = None
    there = found is not None and found.type != "meta"
    if found is not None and found.type == "cuda":
        there = torch.cuda.is_available() and (found.index or 0) < torch.cuda.device_count()
    if found is None or not there:
        raise ConfigError(
            "The device is not there.",
            expected=f"'cpu', or one of {torch.cuda.device_count()} CUDA devices",
            got=shown(device),
            fix=fix,
        )
    return found


def check_batch_size(examples: Any) -> int:
    """Return a batch size, or raise a ConfigError unless it is a whole number of at least 1."""
    require(
        is_whole(examples) and examples >= 1, "The batch size", "a whole number of at least 1", examples, "Use 256."
    )
    return int(examples)


def check_vectors(vectors: Any, size: int, what: str, *, fix: str = _ALIKE) -> None:
    """See that something is a vector (P,), or several of them in columns (P, K).

    Args:
        vectors: Anything.
        size: P.
        what: One sentence about what is wrong where it is not.
        fix: What to do then.

    Raises:
        MismatchError: It is not: of another shape, complex, sparse, or without values.
    """
    known = isinstance(vectors, Tensor) and vectors.ndim in (1, 2) and len(vectors) == size
    usable = known and vectors.layout == torch.strided and not vectors.is_complex() and not vectors.is_meta
    if usable:
        return
    got = f"shape {tuple(vectors.shape)}" if isinstance(vectors, Tensor) else type(vectors).__name__
    if known:
        kind = "without values" if vectors.is_meta else vectors.dtype if vectors.is_complex() else vectors.layout
        got = f"{got}, {kind}"
    raise MismatchError(
        what, expected=f"a dense tensor of real numbers, shape ({size},) or ({size}, K)", got=got, fix=fix
    )
