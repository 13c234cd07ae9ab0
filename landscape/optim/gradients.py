"""Gradients beyond the present ones: kept at fixed addresses, averaged over parts of a batch, new or left behind."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class GradientCopy:
    """One tensor for each parameter, as views into one flat tensor for each device and dtype; made once, refilled."""

    def __init__(self) -> None:
        self._flat: list[Tensor] = []
        self._views: dict[int, Tensor] = {}
        self._shapes: list[Any] = []

    def fit(self, parameters: Sequence[Tensor]) -> None:
        """Allocate for these parameters where that was not done yet; the content is then zero."""
        shapes = [(id(p), p.shape, p.dtype, p.device) for p in parameters]
        if shapes == self._shapes:
            return
        self._shapes, self._flat, self._views = [], [], {}
        kinds: dict[Any, list[Tensor]] = {}
        for parameter in parameters:
            kinds.setdefault((parameter.dtype, parameter.device), []).append(parameter)
        for (dtype, device), members in kinds.items():
            flat = torch.zeros(sum(p.numel() for p in members), dtype=dtype, device=device)
            self._flat.append(flat)
            pieces = flat.split([p.numel() for p in members])
            self._views |= {id(p): piece.view(p.shape) for p, piece in zip(members, pieces, strict=True)}
        self._shapes = shapes  # last: after an interrupt, or without memory, all of this is done again

    def save(self, parameters: Sequence[Tensor]) -> None:
        """Copy the present gradients; zeros for parameters without one."""
        self.fit(parameters)
        present = [p for p in parameters if p.grad is not None]
        if len(present) < len(parameters):
            self.zero()
        if present:
            torch._foreach_copy_(self.of(present), [p.grad for p in present])  # pyright: ignore[reportArgumentType]

    def zero(self) -> None:
        """Fill with zeros."""
        for flat in self._flat:
            flat.zero_()

    def of(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return the tensors of some of the parameters."""
        return [self._views[id(parameter)] for parameter in parameters]

    def average(self, process_group: Any) -> None:
        """Average over the processes of a group, one call for each device and dtype: never tensor by tensor."""
        world = torch.distributed.get_world_size(process_group)
        for flat in self._flat:
            torch.distributed.all_reduce(flat, group=process_group)
            flat.div_(world)


class GradientSum:
    """The weighted mean of the gradients of several parts of a batch."""

    def __init__(self) -> None:
        self._sums = GradientCopy()
        self._seen: set[int] = set()

    def begin(self, parameters: Sequence[Tensor]) -> None:
        """Start with nothing."""
        self._sums.fit(parameters)
        self._seen = set()

    def add(self, parameters: Sequence[Tensor], share: float) -> None:
        """Add the present gradients times a share."""
        present = [p for p in parameters if p.grad is not None]
        first = [p for p in present if id(p) not in self._seen]
        again = [p for p in present if id(p) in self._seen]
        if first:
            sums = self._sums.of(first)
            torch._foreach_copy_(sums, [p.grad for p in first])  # pyright: ignore[reportArgumentType]
            torch._foreach_mul_(sums, share)
        if again:
            gradients: list[Tensor] = [p.grad for p in again]  # pyright: ignore[reportAssignmentType]
            torch._foreach_add_(self._sums.of(again), gradients, alpha=share)
        self._seen |= {id(p) for p in first}

    def finish(self, parameters: Sequence[Tensor]) -> None:
        """Make the mean the parameters' gradients; None where there never was one."""
        for parameter in parameters:
            parameter.grad = self._sums.of([parameter])[0] if id(parameter) in self._seen else None


class GradientMarks:
    """Remembers the gradients that are no new ones, by identity and version, without keeping them alive.

    New is a gradient tensor that was not there; one that was cleared in place by this optimizer and has changed since;
    and one left behind by a step that has changed at least twice since (cleared in place by somebody, then filled).
    Changed once is not enough there: clipping or scaling what a step left behind makes no new gradient of it.
    """

    def __init__(self) -> None:
        self._left: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._cleared = False

    def none_left(self) -> None:
        """Remember that there are none: whatever appears is new."""
        self._left = {}

    def note(self, parameters: Sequence[Tensor], *, cleared: bool = False) -> None:
        """Remember the present gradients as old; ``cleared`` where they are zeros now."""
        self._left = {id(p): (weakref.ref(g), g._version) for p in parameters if (g := p.grad) is not None}
        self._cleared = cleared

    def copy(self) -> GradientMarks:
        """Return marks that remember the same."""
        other = GradientMarks()
        other._left, other._cleared = dict(self._left), self._cleared
        return other

    def add(self, parameters: Sequence[Tensor]) -> None:
        """Remember the present gradients of further parameters as old."""
        self._left |= {id(p): (weakref.ref(g), g._version) for p in parameters if (g := p.grad) is not None}

    def fresh(self, parameters: Sequence[Tensor]) -> bool:
        """Tell whether some gradient is new."""
        changes = 1 if self._cleared else 2
        for parameter in parameters:
            gradient = parameter.grad
            if gradient is None:
                continue
            mark = self._left.get(id(parameter))
            if mark is None or mark[0]() is not gradient or gradient._version >= mark[1] + changes:
                return True
        return False
