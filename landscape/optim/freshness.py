"""Which gradients are new: made after the last step or zero_grad, not left behind by it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

from torch import Tensor


class GradientMarks:
    """Remembers the gradients that a step left behind, by identity and version, without keeping them alive."""

    def __init__(self) -> None:
        self._left: list[tuple[weakref.ref[Tensor], int] | None] = []

    def note(self, parameters: Sequence[Tensor]) -> None:
        """Remember the present gradients as old."""
        gradients = [parameter.grad for parameter in parameters]
        self._left = [None if g is None else (weakref.ref(g), g._version) for g in gradients]

    def fresh(self, parameters: Sequence[Tensor]) -> bool:
        """Tell whether some gradient is another one than what was noted."""
        left = self._left if len(self._left) == len(parameters) else [None] * len(parameters)
        for parameter, mark in zip(parameters, left, strict=True):
            gradient = parameter.grad
            if gradient is None:
                continue
            if mark is None or mark[0]() is not gradient or mark[1] != gradient._version:
                return True
        return False
