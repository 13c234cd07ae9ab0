"""The units of a network: which weights make one output, and the bias beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from landscape.errors import ModelError

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """A tensor that makes outputs, and the bias that is added to them.

    Attributes:
        module: Whose.
        weight: The tensor's name in the module.
        bias: The bias's, or None.
        kind: "rows": each slice along dimension 0 makes one output. "transposed": the same along dimension 1, as in
            transposed convolutions. "elementwise": each entry makes one output, as in normalization layers.
        groups: Into how many groups outputs and inputs fall.
        inputs: How many inputs it reads, along dimension 1; None where no single tensor comes in.
        flattens: Whether several inputs may come from one channel.
    """

    module: nn.Module
    weight: str
    bias: str | None = None
    kind: Literal["rows", "transposed", "elementwise"] = "rows"
    groups: int = 1
    inputs: int | None = None
    flattens: bool = False

    def tensor(self) -> Tensor:
        """Return the weights, detached."""
        return getattr(self.module, self.weight).detach()

    def scale(self, inputs: Tensor | None, *, alone: bool = False) -> Tensor:
        """Return the norm of the weights of each output; where they are zero, the size of its bias, or 0.

        Args:
            inputs: (C,) what each input is multiplied by; None for 1.
            alone: Whether the bias is left out.

        Returns:
            (outputs,), in float64; in the weights' shape for "elementwise".
        """
        weights = self.tensor().double()
        if self.kind == "elementwise":
            norms = weights.abs()
        else:
            rows = outputs_first(weights, self.kind, self.groups)
            columns = self.columns(inputs)
            rows = rows if columns is None else rows * columns.double()
            norms = torch.linalg.vector_norm(rows.flatten(1), dim=1)
        bias = None if self.bias is None or alone else getattr(self.module, self.bias)
        if bias is None or bias.shape != norms.shape:
            return norms
        return torch.where(norms > 0, norms, bias.detach().double().abs())

    def columns(self, inputs: Tensor | None) -> Tensor | None:
        """Bring what each input is multiplied by into a shape that goes with the rows.

        Args:
            inputs: (C,), or None.

        Returns:
            (1 or outputs, C / groups, 1, ...), or None.
        """
        if inputs is None:
            return None
        rows = outputs_first(self.tensor(), self.kind, self.groups)
        grouped = inputs.reshape(self.groups, -1)
        if self.groups > 1:
            grouped = grouped.repeat_interleave(len(rows) // self.groups, dim=0)
        return grouped.reshape(*grouped.shape, *[1] * (rows.ndim - 2))


def outputs_first(weights: Tensor, kind: str, groups: int) -> Tensor:
    """Return weights with their outputs along dimension 0.

    Args:
        weights: (outputs, inputs / groups, ...); for "transposed" (inputs, outputs / groups, ...).
        kind: As in :class:`Layer`.
        groups: Into how many groups outputs and inputs fall.
    """
    if kind != "transposed":
        return weights
    split = weights.unflatten(0, (groups, -1)).transpose(1, 2)  # (groups, outputs / groups, inputs / groups, ...)
    return split.flatten(0, 1)


def inputs_first(rows: Tensor, groups: int) -> Tensor:
    """Undo :func:`outputs_first` for "transposed".

    Example:
        >>> weights = torch.arange(24.0).reshape(4, 3, 2)
        >>> bool(torch.equal(inputs_first(outputs_first(weights, "transposed", 2), 2), weights))
        True
    """
    return rows.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)


def layers_of(model: nn.Module) -> dict[str, list[Layer]]:
    """Find all tensors that make outputs.

    Parameters of two or more dimensions of other modules are layers of kind "rows".

    Args:
        model: Any module.

    Returns:
        Module name to layers.

    Raises:
        ModelError: There is a module whose weights cannot be replaced one by one.
    """
    found = {}
    for name, module in model.named_modules():
        known = _known(module)
        taken = {tensor for layer in known for tensor in (layer.weight, layer.bias)}
        for own, parameter in module.named_parameters(recurse=False):
            if own not in taken and parameter.ndim >= 2 and parameter.is_floating_point():
                known.append(Layer(module=module, weight=own))
        if isinstance(module, nn.RNNBase):
            raise ModelError(
                f"The layer {name!r} ({type(module).__name__}) holds its weights in a list of its own, so it cannot be "
                "balanced.",
                expected="a network without nn.RNN, nn.LSTM and nn.GRU",
                got=type(module).__name__,
                fix="Measure the network as it is, or build it from nn.RNNCell and its like.",
            )
        if known:
            found[name] = known
    return found


def _known(module: nn.Module) -> list[Layer]:
    """Return the layers of one of torch's own modules, without its children's."""
    bias = "bias" if isinstance(getattr(module, "bias", None), nn.Parameter) else None
    if isinstance(module, NORMS):
        return (
            [Layer(module=module, weight="weight", bias=bias, kind="elementwise")] if module.weight is not None else []
        )
    if isinstance(module, nn.Linear):
        return [Layer(module=module, weight="weight", bias=bias, inputs=module.in_features, flattens=True)]
    if isinstance(module, _ConvNd):
        kind = "transposed" if isinstance(module, _ConvTransposeNd) else "rows"
        groups, inputs = module.groups, module.in_channels
        return [Layer(module=module, weight="weight", bias=bias, kind=kind, groups=groups, inputs=inputs)]
    if isinstance(module, nn.Bilinear):
        return [Layer(module=module, weight="weight", bias=bias)]
    if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
        beside = None if module.in_proj_bias is None else "in_proj_bias"
        return [Layer(module=module, weight="in_proj_weight", bias=beside)]
    return []
