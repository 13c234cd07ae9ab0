"""How the scale of each channel flows through a network, from the layer that makes it to those that read it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from landscape.sharpness.units import Layer, layers_of

PASSING_MODULES = (
    nn.Identity,
    nn.Flatten,
    nn.ReLU,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
    nn.Upsample,
    nn.ZeroPad1d,
    nn.ZeroPad2d,
    nn.ZeroPad3d,
)
"""What a channel times c > 0 passes through as the same channel times c."""
_POOLS = ("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool")
PASSING_CALLS = frozenset(
    {
        *("relu", "relu_", "leaky_relu", "leaky_relu_", "rrelu", "prelu", "abs", "contiguous", "clone"),
        *("dropout", "dropout1d", "dropout2d", "dropout3d", "interpolate", "mean", "sum", "amax"),
        *("flatten", "view", "reshape", "squeeze", "getitem"),
        *(f"{pool}{dimensions}d" for pool in _POOLS for dimensions in (1, 2, 3)),
    }
)
"""The same among functions and methods, by their names."""
_ADDING = frozenset({"add", "add_", "iadd", "sub", "sub_", "isub"})
_MULTIPLYING = frozenset({"mul", "mul_", "imul"})


class ScaleFlow(fx.Interpreter):
    """Follow scales through a graph: nothing is computed but, for each tensor, the scale of its channels.

    Values are vectors (C,), or None where no scale is known. A layer's outputs have the norm of the weights that make
    them, its inputs' scales included; sums have the root of the sum of squares, which grows as its summands do.

    Where this goes astray (a reshape that mixes channels, say), a layer gets other scales than it could have; the
    network's function is the same with any.

    Args:
        graph: The network's calls.
        alone: Names of modules that are to be taken by themselves, as they share weights.
    """

    def __init__(self, graph: fx.GraphModule, alone: frozenset[str]) -> None:
        super().__init__(graph)
        self.found: dict[str, tuple[Tensor | None, Tensor]] = {}
        calls = Counter(str(node.target) for node in graph.graph.nodes if node.op == "call_module")
        self._alone = alone | {name for name, count in calls.items() if count > 1}
        self._layers = {name: layers[0] for name, layers in layers_of(graph).items() if len(layers) == 1}

    def follow(self) -> dict[str, tuple[Tensor | None, Tensor]]:
        """Return, for each layer met, what its inputs are multiplied by (or None) and the scale of its outputs."""
        self.run()
        return self.found

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> None:
        """Return None: nothing is known of inputs."""

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> None:
        """Return None: nothing is known of other tensors."""

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Tensor | None:
        """Return the scale of a module's outputs."""
        module, given = self.fetch_attr(str(target)), _first(args)
        layer = self._layers.get(str(target))
        if layer is None:
            return given if isinstance(module, PASSING_MODULES) else None
        alone = str(target) in self._alone
        inputs = None if alone else fitted(given, layer)
        scale = layer.scale(inputs, alone=alone)
        self.found[str(target)] = inputs, scale
        makes_channels = layer.kind == "elementwise" or layer.inputs is not None
        return scale if makes_channels and scale.ndim == 1 else None

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Tensor | None:
        """Return the scale of a function's value."""
        if target is F.pad:
            return _padded(_first(args), args[1] if len(args) > 1 else kwargs.get("pad", ()))
        if target in (torch.cat, torch.concat):
            return _joined(args[0] if args else None, args[1] if len(args) > 1 else kwargs.get("dim", 0))
        return self.call_method(getattr(target, "__name__", ""), args, kwargs)

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Tensor | None:
        """Return the scale of a method's value."""
        first, second = _first(args), args[1] if len(args) > 1 else None
        if target in PASSING_CALLS:
            return first
        if target in _ADDING:
            return _sum(first, second)
        if target in _MULTIPLYING:
            return _product(args[0] if args else None, second)
        return None


def follow_scales(graph: fx.GraphModule, alone: frozenset[str]) -> dict[str, tuple[Tensor | None, Tensor]]:
    """Return, for each layer that a graph calls by name, its inputs' scale (or None) and its outputs'.

    Args:
        graph: The network's calls.
        alone: Names of modules that are to be taken by themselves.
    """
    return ScaleFlow(graph, alone).follow()


def fitted(scale: Tensor | None, layer: Layer) -> Tensor | None:
    """Return the scale of each of a layer's inputs, or None where it does not fit; 0 counts as 1.

    Args:
        scale: (C,) the scales of the channels that come in.
        layer: Which reads them; behind a flattening, each channel is several of its inputs.
    """
    if scale is None or layer.inputs is None or layer.inputs % len(scale):
        return None
    times = layer.inputs // len(scale)
    if times > 1 and not layer.flattens:
        return None
    return torch.where(scale > 0, scale, 1.0).repeat_interleave(times)


def _first(args: Any) -> Tensor | None:
    return args[0] if args and isinstance(args[0], Tensor) else None


def _sum(one: Any, other: Any) -> Tensor | None:
    fits = isinstance(one, Tensor) and isinstance(other, Tensor) and one.shape == other.shape
    return torch.hypot(one, other) if fits else None


def _product(one: Any, other: Any) -> Tensor | None:
    scales = [value for value in (one, other) if isinstance(value, Tensor)]
    if any(isinstance(value, int | float) and value <= 0 for value in (one, other)) or not scales:
        return None
    if len(scales) == 2:
        return scales[0] * scales[1] if scales[0].shape == scales[1].shape else None
    return scales[0]


def _padded(scale: Tensor | None, pad: Any) -> Tensor | None:
    """The last pair of six says how many channels of zeros come before and after."""
    known = scale is not None and isinstance(pad, tuple | list) and all(isinstance(size, int) for size in pad)
    if not known or scale is None or len(pad) < 6:
        return scale if known else None
    return F.pad(scale, (pad[4], pad[5]))


def _joined(scales: Any, dim: Any) -> Tensor | None:
    known = isinstance(scales, tuple | list) and all(isinstance(scale, Tensor) for scale in scales)
    return torch.cat(list(scales)) if known and dim in (1, -1) else None
