"""Weights as a fixed scale times normalized weights, in place of the weights themselves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from landscape.sharpness.units import Layer, inputs_first, outputs_first


class Scaled(nn.Module):
    """``W = rows * W_hat / columns``: W_hat is what moves; the scales are buffers.

    A parametrization for ``torch.nn.utils.parametrize``. Outputs are along dimension 0 of W_hat, also for transposed
    convolutions, so each of its slices is one unit's.

    Args:
        rows: What each output is multiplied by, in a shape that goes with W_hat.
        columns: What each input was multiplied by, or None for 1.
        transposed_groups: For transposed convolutions, their groups; else None.
    """

    rows: Tensor
    columns: Tensor | None

    def __init__(self, rows: Tensor, columns: Tensor | None = None, transposed_groups: int | None = None) -> None:
        super().__init__()
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns)
        self.transposed_groups = transposed_groups

    @classmethod
    def of(cls, layer: Layer, scale: Tensor, inputs: Tensor | None) -> Scaled:
        """Return what gives a layer's weights.

        Args:
            layer: Which.
            scale: What each output is multiplied by; 0 counts as 1.
            inputs: What each input was multiplied by, or None for 1.
        """
        weights = layer.tensor()
        rows = torch.where(scale > 0, scale, 1.0).to(weights.dtype)
        if layer.kind == "elementwise":
            return cls(rows)
        columns = layer.columns(inputs)
        return cls(
            rows.reshape(-1, *[1] * (weights.ndim - 1)),
            None if columns is None else columns.to(weights.dtype),
            layer.groups if layer.kind == "transposed" else None,
        )

    def normalized(self, weights: Tensor) -> Tensor:
        """Return W_hat for given weights."""
        found = weights
        if self.transposed_groups is not None:
            found = outputs_first(weights, "transposed", self.transposed_groups)
        found = found.double()
        found = found if self.columns is None else found * self.columns.double()
        return (found / self.rows.double()).to(weights.dtype).contiguous()

    def forward(self, normalized: Tensor) -> Tensor:
        """Return W."""
        found = normalized * self.rows
        found = found if self.columns is None else found / self.columns
        return found if self.transposed_groups is None else inputs_first(found, self.transposed_groups)

    def same(self, other: Scaled) -> bool:
        """Whether another one gives the same weights for the same W_hat."""
        if self.transposed_groups != other.transposed_groups or (self.columns is None) != (other.columns is None):
            return False
        alike = self.columns is None or other.columns is None or torch.equal(self.columns, other.columns)
        return alike and torch.equal(self.rows, other.rows)
