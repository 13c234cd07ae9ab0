"""The same function from other weights: a trap for whatever measures weights in absolute units."""

from __future__ import annotations

import copy
import math
from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.parametrize import is_parametrized

from landscape.config import is_number, is_whole
from landscape.errors import ConfigError, ModelError, first_line
from landscape.folding import traced
from landscape.parameters import unwrapped
from landscape.seeding import generator, preserved_rng
from landscape.sharpness.scale_flow import PASSING_MODULES, fitted
from landscape.sharpness.units import Layer, layers_of

_CALLS = frozenset({"relu", "relu_", "leaky_relu", "dropout", "contiguous", "clone"})
_POOLS = frozenset({f"{kind}_pool{size}d" for kind in ("max", "avg") for size in (1, 2, 3)})
_CHANNELS_FIRST = (_ConvNd, _NormBase, nn.GroupNorm)


def rescaled(model: nn.Module, factor: float = 10.0, *, seed: int | None = None) -> nn.Module:
    """Return the same function from other weights: units before a ReLU times a factor, what reads them over it.

    Definition: ``relu(c x) = c relu(x)`` for c > 0. So the weights and the bias that make a unit are multiplied by c,
    the weights that read the unit are divided by c, and every output stays as it was, up to rounding. Each layer of
    units that can be changed so is changed: those whose way to the layers that read them leads through ReLU, pooling,
    dropout and flattening only. (Behind a normalization layer, its own weights are multiplied, in evaluation as in
    training.)

    Args:
        model: Any module whose forward can be written down as a graph; it is not changed.
        factor: c, above 0. Default 10: enough to change most measures of sharpness a hundredfold.
        seed: None gives all units the factor c. A seed gives each unit a factor of its own, from 1 / c to c, its
            logarithm drawn uniformly.

    Returns:
        A copy with other weights.

    Raises:
        ConfigError: The factor is not a number above 0, or the seed is not a whole number.
        ModelError: The forward cannot be written down, or no layer can be changed.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
        >>> twin = rescaled(net, 2.0)
        >>> bool(torch.equal(twin[0].weight, 2 * net[0].weight)), bool(torch.equal(2 * twin[2].weight, net[2].weight))
        (True, True)
        >>> bool(torch.allclose(net(torch.eye(3).double()), twin(torch.eye(3).double())))
        True

    References:
        L. Dinh, R. Pascanu, S. Bengio, Y. Bengio, Sharp Minima Can Generalize for Deep Nets, ICML 2017, section 4.
    """
    if not is_number(factor) or not 0 < factor < math.inf:
        raise ConfigError("A factor of units must be positive.", expected="a number above 0", got=repr(factor))
    if seed is not None and not is_whole(seed):
        raise ConfigError("A seed is a whole number.", expected="a whole number, or None", got=repr(seed))
    try:
        with preserved_rng():
            twin = copy.deepcopy(unwrapped(model))
    except Exception as error:
        raise ModelError(f"{type(model).__name__} cannot be copied.", got=first_line(error)) from error
    changed = 0
    with torch.no_grad():
        for maker, readers in _units(twin):
            units = getattr(maker.module, maker.weight).shape[0]
            factors = _factors(units, factor, seed, changed)
            _multiply(maker, factors)
            for reader in readers:
                _divide(reader, factors)
            changed += 1
    if not changed:
        raise ModelError(
            f"No layer of {type(model).__name__} can be rescaled.",
            expected="layers whose outputs reach the next ones through ReLU, pooling and flattening only",
            fix="Use a network of linear or convolutional layers with ReLU between them.",
        )
    return twin


def _factors(units: int, factor: float, seed: int | None, layer: int) -> Tensor:
    if seed is None:
        return torch.full((units,), float(factor), dtype=torch.float64)
    drawn = torch.rand(units, dtype=torch.float64, generator=generator(seed, "rescaled", layer))
    return torch.exp((2 * drawn - 1) * math.log(factor))


def _multiply(maker: Layer, factors: Tensor) -> None:
    weight = getattr(maker.module, maker.weight)
    weight.mul_(factors.to(weight).reshape(-1, *[1] * (weight.ndim - 1)))
    if maker.bias is not None:
        bias = getattr(maker.module, maker.bias)
        bias.mul_(factors.to(bias))


def _divide(reader: Layer, factors: Tensor) -> None:
    weight = getattr(reader.module, reader.weight)
    columns: Any = reader.columns(fitted(factors, reader))  # not None: _fits has seen to that
    weight.div_(columns.to(weight))


def _units(model: nn.Module) -> list[tuple[Layer, list[Layer]]]:
    """Find each layer whose units can have a factor, with the layers that read them."""
    graph = traced(model)
    calls = Counter(str(node.target) for node in graph.graph.nodes if node.op == "call_module")
    owners = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    plain = {
        name: found[0]
        for name, found in layers_of(model).items()
        if len(found) == 1
        and calls[name] == 1
        and not is_parametrized(found[0].module)
        and all(owners[id(p)] == 1 for p in found[0].module.parameters(recurse=False))
    }
    found = []
    for node in graph.graph.nodes:
        maker = plain.get(str(node.target)) if node.op == "call_module" else None
        if maker is None or not _makes_units(maker):
            continue
        readers = _readers(node, graph, plain, isinstance(maker.module, _CHANNELS_FIRST), flat=False)
        if readers and all(_fits(maker, reader) for reader in readers):
            found.append((maker, readers))
    return found


def _makes_units(layer: Layer) -> bool:
    if isinstance(layer.module, _ConvTransposeNd):
        return False
    return isinstance(layer.module, (nn.Linear, *_CHANNELS_FIRST))


def _fits(maker: Layer, reader: Layer) -> bool:
    units = getattr(maker.module, maker.weight).shape[0]
    return fitted(torch.ones(units), reader) is not None


def _readers(
    node: fx.Node, graph: fx.GraphModule, plain: dict[str, Layer], images: bool, *, flat: bool
) -> list[Layer] | None:
    """Follow a unit to the layers that read it; None where its factor would not stay as it is on the way.

    ``images``: units are along dimension 1 with pixels behind them, until they are flattened; ``flat``: they were.
    """
    found: list[Layer] = []
    for user in node.users:
        layer = plain.get(str(user.target)) if user.op == "call_module" else None
        if layer is not None and isinstance(layer.module, nn.Linear | _ConvNd):
            wants_images = isinstance(layer.module, _ConvNd)
            if isinstance(layer.module, _ConvTransposeNd) or wants_images != (images and not flat):
                return None
            found.append(layer)
            continue
        passed = _passes(user, graph, images and not flat)
        if passed is None:
            return None
        beyond = _readers(user, graph, plain, images, flat=flat or passed == "flattened")
        if beyond is None:
            return None
        found += beyond
    return found or None


def _passes(node: fx.Node, graph: fx.GraphModule, images: bool) -> str | None:
    """Tell whether a positive factor of a unit passes through a call: "same", "flattened", or None for no."""
    if node.op == "call_module":
        module: Any = graph.get_submodule(str(node.target))
        if isinstance(module, nn.Flatten):
            return "flattened" if images and (module.start_dim, module.end_dim) == (1, -1) else None
        if not isinstance(module, PASSING_MODULES) or isinstance(module, nn.RReLU):
            return None
        elementwise = isinstance(module, nn.Identity | nn.ReLU | nn.LeakyReLU | nn.Dropout)
        return "same" if images or elementwise else None
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    if node.op not in ("call_function", "call_method"):
        return None
    if name == "flatten" and images and node.args[1:] == (1,) and not node.kwargs:
        return "flattened"
    if name == "mean" and images and node.args[1:] in (((2, 3),), ([2, 3],)) and not node.kwargs:
        return "flattened"
    return "same" if name in _CALLS or (name in _POOLS and images) else None
