"""Checkpoints: tensors in safetensors, everything else as JSON in the header, one checksum over both."""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import CorruptFileError, MismatchError, StorageError
from landscape.storage import write_bytes

_FORMAT = "landscape-checkpoint-1"
_PATTERN = re.compile(r"step_(\d{8,})\.safetensors")


class StorageWarning(UserWarning):
    """A damaged file was passed over for an older one."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The whole state of a run after some step.

    Attributes:
        step: Optimizer steps done.
        epoch: Epochs begun (the present one counts from 0) and
        batch: batches of it done.
        model: The model's state dict.
        optimizer: The optimizer's state dict.
        sums: Running sums of the present epoch's loss and accuracy.
        loop: What else training remembers: the plateau's, the gradient scaler's and the penalties' state.
        config_hash: The hash of the settings of the run that it belongs to.
    """

    step: int
    epoch: int
    batch: int
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    sums: dict[str, float] = field(default_factory=dict)
    loop: dict[str, Any] = field(default_factory=dict)
    config_hash: str = ""


def checkpoint_path(folder: str | os.PathLike[str], step: int) -> Path:
    """Return the file of a step: ``folder/step_00000042.safetensors``."""
    return Path(folder) / f"step_{step:08d}.safetensors"


def list_checkpoints(folder: str | os.PathLike[str]) -> list[tuple[int, Path]]:
    """Return (step, path) of every checkpoint in a folder, oldest first."""
    files = (path for path in Path(folder).glob("*") if path.is_file())
    return sorted((int(match[1]), path) for path in files if (match := _PATTERN.fullmatch(path.name)))


def save_checkpoint(folder: str | os.PathLike[str], checkpoint: Checkpoint) -> Path:
    """Write a checkpoint atomically.

    Args:
        folder: The run's ``checkpoints`` folder.
        checkpoint: The state; tensors may lie on any device.

    Returns:
        The file.

    Raises:
        StorageError: The file cannot be written; older checkpoints are intact.
    """
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    meta = {
        "step": checkpoint.step,
        "epoch": checkpoint.epoch,
        "batch": checkpoint.batch,
        "sums": checkpoint.sums,
        "loop": _take(checkpoint.loop, "loop", tensors),
        "config_hash": checkpoint.config_hash,
        "model": _take(checkpoint.model, "model", tensors),
        "optimizer": _take(checkpoint.optimizer, "optimizer", tensors),
    }
    text = json.dumps(meta, sort_keys=True)
    header = {"format": _FORMAT, "state": text, "sha256": _digest(tensors, text)}
    path = checkpoint_path(folder, checkpoint.step)
    write_bytes(path, save(tensors, metadata=header))
    return path


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read and verify a checkpoint; all tensors come on the CPU.

    Args:
        path: The file.

    Returns:
        The checkpoint.

    Raises:
        StorageError: There is no such file.
        CorruptFileError: It is truncated, damaged, or no checkpoint of this package.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise StorageError(f"There is no checkpoint {path}.", fix="Check the path and the step.")
    fix = "Delete it: training then goes on from the checkpoint before it."
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise CorruptFileError(f"The checkpoint {path} cannot be read.", got=str(error), fix=fix) from error
    text = header.get("state", "")
    if header.get("format") != _FORMAT or header.get("sha256") != _digest(tensors, text):
        raise CorruptFileError(f"The checkpoint {path} does not match its checksum.", fix=fix)
    meta = json.loads(text)
    named = _PATTERN.fullmatch(path.name)
    if named and int(named[1]) != meta["step"]:
        raise CorruptFileError(
            f"The checkpoint {path} has another step's name.",
            expected=f"step {int(named[1])}",
            got=meta["step"],
            fix=fix,
        )
    return Checkpoint(
        step=meta["step"],
        epoch=meta["epoch"],
        batch=meta["batch"],
        sums=meta["sums"],
        loop=_loop(meta.get("loop", {}), tensors),
        config_hash=meta.get("config_hash", ""),
        model=_give(meta["model"], tensors),
        optimizer=_give(meta["optimizer"], tensors),
    )


def check_owner(checkpoint: Checkpoint, path: Path, config_hash: str) -> Checkpoint:
    """Check that a checkpoint belongs to the run with these settings, and return it.

    Args:
        checkpoint: What the file holds.
        path: The file, for the message.
        config_hash: The hash of the run's settings.

    Raises:
        MismatchError: It belongs to another run.
    """
    if checkpoint.config_hash != config_hash:
        raise MismatchError(
            f"The checkpoint {path} belongs to another run.",
            expected=f"settings {config_hash[:8]}",
            got=f"settings {checkpoint.config_hash[:8] or 'unknown'}",
            fix="Remove it: training then goes on from the checkpoint before it.",
        )
    return checkpoint


def latest_checkpoint(folder: str | os.PathLike[str], config_hash: str | None = None) -> Checkpoint | None:
    """Read the newest checkpoint that is whole, with a warning for each damaged one passed over.

    Args:
        folder: The run's ``checkpoints`` folder.
        config_hash: The hash of the run's settings; None takes checkpoints of any run.

    Returns:
        The checkpoint, or None where the folder holds none.

    Raises:
        CorruptFileError: There are checkpoints, and all are damaged.
        MismatchError: The newest whole one belongs to another run.
    """
    error: CorruptFileError | None = None
    for _, path in reversed(list_checkpoints(folder)):
        try:
            found = load_checkpoint(path)
            return found if config_hash is None else check_owner(found, path, config_hash)
        except CorruptFileError as damage:
            error = damage
            warnings.warn(f"{damage} The one before it is used.", StorageWarning, stacklevel=2)
    if error is not None:
        raise CorruptFileError(
            f"No checkpoint in {folder} is whole.", got=str(error), fix="Delete the folder and train again."
        ) from error
    return None


def load_weights(model: nn.Module, checkpoint: Checkpoint, name: str) -> None:
    """Give a model the weights and buffers of a checkpoint.

    Args:
        model: The run's; changed.
        checkpoint: The state.
        name: The setting that names the model, for the message.

    Raises:
        MismatchError: Its tensors have other names or shapes than the model's: the code that builds it has changed.
    """
    try:
        model.load_state_dict(checkpoint.model)
    except Exception as error:  # of torch, or of the model's own way to load
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise MismatchError(
            f"The weights of step {checkpoint.step} do not fit the model {name!r}.",
            expected="the model that the run began with",
            got=" ".join(said[1:] or said)[:300] or type(error).__name__,
            fix="Put back the code that builds it, or begin anew with resume='never' (--resume never).",
        ) from error


def _take(value: Any, prefix: str, tensors: dict[str, Tensor]) -> Any:
    """Turn nested dicts, lists and tensors into JSON, moving the tensors into ``tensors`` under their path."""
    if isinstance(value, Tensor):
        tensors[prefix] = value.detach().to("cpu", copy=True).contiguous()
        last = value.ndim == 4 and not value.is_contiguous() and value.is_contiguous(memory_format=torch.channels_last)
        return {"__tensor__": prefix, **({"channels_last": True} if last else {})}
    if isinstance(value, Mapping):
        entries = [[key, _take(entry, f"{prefix}/{key}", tensors)] for key, entry in value.items()]
        return {"__dict__": entries}
    if isinstance(value, list | tuple):
        kind = "__tuple__" if isinstance(value, tuple) else "__list__"
        return {kind: [_take(entry, f"{prefix}/{k}", tensors) for k, entry in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise StorageError(
        f"{prefix} cannot be stored in a checkpoint.",
        expected="tensors, numbers, text, lists and dicts",
        got=type(value).__name__,
        fix="Keep it out of the state dict.",
    )


def _loop(value: dict[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The loop's state; before it could hold tensors it was plain JSON."""
    return _give(value, tensors) if "__dict__" in value else value


def _give(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    if "__tensor__" in value:
        found = tensors[value["__tensor__"]]  # in the memory format it had: norms add up in its order
        return found.contiguous(memory_format=torch.channels_last) if value.get("channels_last") else found
    if "__dict__" in value:
        return {key: _give(entry, tensors) for key, entry in value["__dict__"]}
    if "__tuple__" in value:
        return tuple(_give(entry, tensors) for entry in value["__tuple__"])
    return [_give(entry, tensors) for entry in value["__list__"]]


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
