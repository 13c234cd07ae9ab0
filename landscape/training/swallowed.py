"""Whether mixed precision leaves anything of a perturbation: measured once, said in the run's log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from landscape.errors import ConfigError, OptimizerError
from landscape.optim.engine import PerturbedOptimizer
from landscape.optim.fidelity import perturbation_fidelity
from landscape.training.precision import AUTOCAST

MARK = "of the perturbed weights"
"""In every note, so that a log tells whether it has one."""
_FINER = {"bfloat16": "float16, tf32 or float32", "float16": "float32", "tf32": "float32"}
_HALF = 0.5**0.5  # with a lower cosine, less than half of the squared length lies along what was asked for


def fidelity_note(optimizer: torch.optim.Optimizer, precision: str, closure: Callable[[], Any]) -> str | None:
    """Say what the rounding of autocast, or of TF32 on CUDA, makes of an optimizer's next perturbation.

    Args:
        optimizer: Any; nothing of it is changed.
        precision: The setting.
        closure: A training pass, forward and backward.

    Returns:
        One line, a warning where the cosine between the perturbation and what is left of it is below 0.71; None where
        there is nothing to measure: no rounding, or no perturbation at this step.
    """
    if not isinstance(optimizer, PerturbedOptimizer):
        return None
    on_cuda = optimizer.param_groups[0]["params"][0].is_cuda
    dtype = "tf32" if precision == "tf32" and on_cuda else AUTOCAST.get(precision)
    if dtype is None:
        return None
    try:
        found = perturbation_fidelity(optimizer, dtype, closure=closure)
    except (ConfigError, OptimizerError):
        return None
    what = (
        f"{precision} leaves {1 - found.unchanged:.0%} {MARK} moved; "
        f"length {found.length:.2f} times, cosine {found.cosine:.2f}"
    )
    if found.cosine >= _HALF:
        return f"perturbation: {what}"
    return f"warning: {precision} swallows the perturbation: {what}. Raise the radius, or use {_FINER[precision]}"
