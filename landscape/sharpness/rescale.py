"""The same function at other weights: the symmetry of ReLU networks that no picture and no measure may be fooled by."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from landscape.config import is_number, require
from landscape.errors import ModelError, unknown_name
from landscape.folding import traced
from landscape.parameters import Layout, unwrapped
from landscape.replica import copied
from landscape.seeding import generator, preserved_rng
from landscape.sharpness.scale_flow import PASSING_CALLS, PASSING_MODULES, fitted
from landscape.sharpness.units import Layer, inputs_first, layers_of, outputs_first

_MIXING = frozenset({"getitem", "squeeze", "sum", "amax", "mean"})  # of these, some change what a channel is
_ASKING = frozenset({"size", "dim", "getattr"})


def rescale(model: nn.Module, factor: float, *, layer: str | None = None, seed: int | None = None) -> nn.Module:
    r"""Return the same function at other weights: one layer times ``factor``, all layers that read it over ``factor``.

    Definition: for a layer f(x) = W x + b followed by ReLU (or what else a positive factor passes through: pooling,
    flattening, dropout) and by layers V, for every c > 0 and each unit::

        V relu(W x + b) = (V / c) relu(c W x + c b)

    So both weights are zeros of the same loss, or neither is; the gradient, the Hessian and every slice through the
    weights along a fixed direction differ. Dinh et al. make a minimum as sharp as they like in this way.

    Args:
        model: Any module; it is not changed.
        factor: c, above 0. What a unit's weights and bias are multiplied by.
        layer: The name of the layer that is multiplied; by default the first one that can be.
        seed: None takes ``factor`` for all units of the layer. A number draws one for each unit, log-uniformly from
            ``1 / factor`` to ``factor``: filter-normalized pictures undo the former, not the latter.

    Returns:
        A copy of the model. Its outputs are those of the model up to rounding.

    Raises:
        ConfigError: ``factor`` is no positive number.
        ModelError: The model cannot be copied, or its forward cannot be written down as a graph; or there is no layer
            (or not that one) whose units are read by layers only, through what a factor passes: normalization and sums
            with something else are in the way.

    Example:
        >>> one = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
        >>> other = rescale(one, 10.0)
        >>> x = torch.eye(3).double()
        >>> bool(torch.allclose(one(x), other(x))), bool(torch.allclose(other[0].weight, 10 * one[0].weight))
        (True, True)

    References:
        L. Dinh, R. Pascanu, S. Bengio, Y. Bengio, Sharp Minima Can Generalize for Deep Nets, ICML 2017, section 3.
    """
    require(is_number(factor) and 0 < factor < math.inf, "factor", "a positive number", factor)
    model = unwrapped(model)
    Layout.of(model)
    found = copied(model)
    graph, layers = _called_once(model, found)
    if layer is not None and layer not in layers:
        raise unknown_name("layer", layer, layers, ModelError)
    for name in layers if layer is None else [layer]:
        factors = _drawn(layers[name], float(factor), seed)
        readers = _readers(graph, name, factors, layers)
        if not readers:
            continue
        _multiply(layers[name], factors)
        for reader, columns in readers.items():
            _divide(layers[reader], columns)
        return found
    raise ModelError(
        "There is no layer whose scale can be moved into the layers behind it."
        if layer is None
        else f"The scale of the layer {layer!r} cannot be moved into the layers behind it.",
        expected="a layer, ReLU (or pooling, flattening), and then layers only",
        got=type(model).__name__,
    )


def rescalable_layers(model: nn.Module) -> tuple[str, ...]:
    """Name the layers that :func:`rescale` can multiply.

    Args:
        model: Any module; it is not changed.

    Returns:
        Their names, in the order in which the model calls them; none where there is no such layer.

    Raises:
        ModelError: The model cannot be copied, or its forward cannot be written down as a graph.

    Example:
        >>> rescalable_layers(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)))
        ('0', '2')
    """
    model = unwrapped(model)
    Layout.of(model)
    graph, layers = _called_once(model, copied(model))
    return tuple(name for name in layers if _readers(graph, name, _drawn(layers[name], 1.0, None), layers))


def _called_once(model: nn.Module, twin: nn.Module) -> tuple[fx.GraphModule, dict[str, Layer]]:
    """Return a model's graph, and the layers of its twin that it calls once, in that order."""
    with preserved_rng():
        graph = traced(copied(model).eval())
    layers = _single(twin)
    called = Counter(str(node.target) for node in graph.graph.nodes if node.op == "call_module")
    return graph, {name: layers[name] for name, count in called.items() if count == 1 and name in layers}


def _readers(graph: fx.GraphModule, name: str, factors: Tensor, layers: dict[str, Layer]) -> dict[str, Tensor]:
    """Return layer -> what each of its inputs is multiplied by; none where something else would be, too."""
    try:
        return _Readers(graph, name, factors, layers).follow()
    except _MixedError:
        return {}


class _MixedError(Exception):
    """A factor reaches something that it does not pass through."""


class _Readers(fx.Interpreter):
    """Follow the factors of one layer's units to the layers that read them; every other value is None."""

    def __init__(self, graph: fx.GraphModule, source: str, factors: Tensor, layers: dict[str, Layer]) -> None:
        super().__init__(graph)
        self.source, self.factors, self.layers = source, factors, layers
        self.readers: dict[str, Tensor] = {}

    def follow(self) -> dict[str, Tensor]:
        """Return layer -> what each of its inputs is multiplied by; at least one."""
        self.run()
        if not self.readers:
            raise _MixedError
        return self.readers

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> None:
        """Return None: inputs are as they are."""

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> None:
        """Return None: other tensors are as they are."""

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Tensor | None:
        """Return what a module's outputs are multiplied by."""
        name, given = str(target), _factors(args, kwargs)
        if name == self.source:
            return self.factors
        if not given:
            return None
        layer = self.layers.get(name)
        columns = None if layer is None or len(given) > 1 else fitted(given[0], layer)
        if columns is not None:
            self.readers[name] = columns
            return None
        return _passed(isinstance(self.fetch_attr(name), PASSING_MODULES), args, given)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Tensor | None:
        """Return what a function's value is multiplied by."""
        return self.call_method(getattr(target, "__name__", ""), args, kwargs)

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Tensor | None:
        """Return what a method's value is multiplied by."""
        given = _factors(args, kwargs)
        if not given or target in _ASKING:
            return None
        return _passed(target in PASSING_CALLS - _MIXING, args, given)

    def output(self, target: Any, args: Any, kwargs: Any) -> None:
        """Return None; outputs that carry a factor are other outputs."""
        if _factors(args, kwargs):
            raise _MixedError


def _factors(args: Any, kwargs: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]


def _passed(passes: bool, args: Any, given: list[Tensor]) -> Tensor:
    if not (passes and len(given) == 1 and args[0] is given[0]):
        raise _MixedError
    return given[0]


def _single(model: nn.Module) -> dict[str, Layer]:
    """Name the modules that are one layer, whose weights nobody shares."""
    owners = Counter(id(tensor) for module in model.modules() for tensor in module.parameters(recurse=False))
    return {
        name: layers[0]
        for name, layers in layers_of(model).items()
        if len(layers) == 1 and all(owners[id(tensor)] == 1 for tensor in layers[0].module.parameters(recurse=False))
    }


def _drawn(layer: Layer, factor: float, seed: int | None) -> Tensor:
    units = len(outputs_first(layer.tensor(), layer.kind, layer.groups))
    if seed is None:
        return torch.full((units,), factor, dtype=torch.float64)
    even = torch.rand(units, dtype=torch.float64, generator=generator(seed, "rescale"))
    return factor ** (2 * even - 1)


@torch.no_grad()
def _multiply(layer: Layer, factors: Tensor) -> None:
    """Multiply each unit's weights and bias."""
    weight: Tensor = getattr(layer.module, layer.weight)
    rows = outputs_first(weight.double(), layer.kind, layer.groups)
    _write(weight, rows * factors.to(weight.device).reshape(-1, *[1] * (weight.ndim - 1)), layer)
    if layer.bias is not None:
        bias: Tensor = getattr(layer.module, layer.bias)
        bias.copy_(bias.double() * factors.to(bias.device))


@torch.no_grad()
def _divide(layer: Layer, columns: Tensor) -> None:
    """Divide the weights that read each input."""
    weight: Tensor = getattr(layer.module, layer.weight)
    shares = layer.columns(1 / columns.to(weight.device))
    if shares is not None:
        _write(weight, outputs_first(weight.double(), layer.kind, layer.groups) * shares, layer)


def _write(weight: Tensor, rows: Tensor, layer: Layer) -> None:
    weight.copy_(inputs_first(rows, layer.groups) if layer.kind == "transposed" else rows)
