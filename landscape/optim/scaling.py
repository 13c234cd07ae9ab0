"""What a gradient scaler did to the gradients, by its public interface and without waiting for the device."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.errors import OptimizerError


def inverse_scale(scaler: torch.amp.GradScaler | None, device: torch.device) -> Tensor | None:
    """Return 1 / scale on the device; None without a scaler."""
    if scaler is None or not scaler.is_enabled():
        return None
    scaled: Tensor = scaler.scale(torch.ones((), device=device))  # pyright: ignore[reportAssignmentType]
    return scaled.reciprocal()


def is_unused(scaler: torch.amp.GradScaler | None) -> bool:
    """Tell whether a scaler has scaled nothing yet."""
    return scaler is not None and scaler.is_enabled() and getattr(scaler, "_scale", scaler) is None


def check_used(scaler: torch.amp.GradScaler | None) -> None:
    """Raise an OptimizerError where a pass is over and the scaler still has scaled nothing."""
    if is_unused(scaler):
        raise OptimizerError(
            "The scaler has not scaled the loss: the step would divide gradients by a scale that they do not have.",
            expected="scaler.scale(loss).backward() inside the closure",
            fix="Scale the loss, or leave scaler out.",
        )
