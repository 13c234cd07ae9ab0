"""The smallest change that breaks each example, by whichever attack looks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from landscape.robustness.attacks import Attack
from landscape.robustness.deepfool import deepfool
from landscape.robustness.fab import smallest_change
from landscape.robustness.pixels import PixelModel

_CANDIDATES = 10  # ten classes, as DeepFool's code looks at


def nearest_mistakes(
    model: PixelModel, clean: Tensor, labels: Tensor, attack: Attack, settings: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    """Look for the smallest change of each example.

    Args:
        model: What is attacked.
        clean: (B, ...) pixels.
        labels: (B,).
        attack: One that is ``minimal``.
        settings: Its steps, and DeepFool's overshoot.

    Returns:
        (B,) the sizes of the changes found, NaN where none was found; and (B, ...) the changes, 0 there.
    """
    if attack.boundary:
        return smallest_change(model, clean, labels, attack.norm, steps=settings["steps"])
    options = {"steps": settings["steps"], "overshoot": settings["overshoot"], "candidates": _CANDIDATES}
    return deepfool(model, clean, labels, attack.norm, **options)
