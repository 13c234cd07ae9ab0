"""The same function from weights that have no scale of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, register_parametrization

from landscape.errors import ModelError
from landscape.folding import traced
from landscape.parameters import Layout, unwrapped
from landscape.replica import copied
from landscape.seeding import preserved_rng
from landscape.sharpness.scale_flow import follow_scales
from landscape.sharpness.scaled import Scaled
from landscape.sharpness.units import Layer, layers_of


@dataclass(frozen=True, eq=False)
class _Place:
    """A parameter where a module has it, and what is to stand in its place."""

    module: nn.Module
    name: str
    scaled: Scaled

    @property
    def parameter(self) -> nn.Parameter:
        return getattr(self.module, self.name)


def balance(model: nn.Module) -> nn.Module:
    r"""Return the same function of weights whose filters all have norm 1.

    A unit of a ReLU network may be multiplied by c > 0, and the weights that read it divided by c, and nothing changes
    but the weights; yet almost every measure of sharpness does. Here each layer's weights become::

        W = diag(D) W_hat diag(1 / S)

    with D and S fixed buffers, and W_hat what moves, each filter (the weights of one output) of norm 1. S is the scale
    of what comes in: the D of the layers before, followed through all that a positive factor passes through (ReLU,
    pooling, flattening, sums, ...). So W_hat is the same for all networks that differ by such rescaling, and so is
    every measure of it. Biases are divided by the D of their unit. Normalization layers have one weight for each
    channel, which becomes 1 or -1, and their shift is divided by the weight's size. Filters that are zero stay zero.

    Where a forward depends on its inputs' values, so that it cannot be written down as a graph, S is 1: filters still
    have norm 1, but rescaling is undone only where there are no biases and all units of a layer have one factor.
    Weights that several modules share, and a module that is called several times, have S = 1 too.

    Args:
        model: Any module; it is not changed.

    Returns:
        A copy, in which torch's parametrizations stand for the weights: ``layer.weight`` still is W, and what moves is
        ``layer.parametrizations.weight.original``. ``named_parameters`` may have another order. Save its
        ``state_dict``; it cannot be pickled as a whole.

    Raises:
        ModelError: The model has no trainable weights, cannot be copied, has parametrizations already, holds an nn.RNN,
            nn.LSTM or nn.GRU, or shares a tensor between layers that would need different scales for it.

    Example:
        Two networks that compute the same, one with its first layer times 10 and its last layer over 10:

        >>> import copy, torch
        >>> from landscape.objective import Objective
        >>> from landscape.sharpness import measure
        >>> one = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
        >>> other = copy.deepcopy(one)
        >>> _ = other[0].weight.data.mul_(10), other[0].bias.data.mul_(10), other[2].weight.data.div_(10)
        >>> data = torch.eye(3).double(), torch.tensor([0, 1, 1])
        >>> def trace(model):
        ...     return measure(Objective(model, data), "trace", progress=False)["trace"].value
        >>> bool(abs(trace(one) - trace(other)) < 1e-6), bool(abs(trace(balance(one)) - trace(balance(other))) < 1e-6)
        (False, True)

    References:
        D. Bisla, J. Wang, A. Choromanska, Low-Pass Filtering SGD for Recovering Flat Optima in the Deep Learning
        Optimization Landscape, AISTATS 2022, where D is the norm of the filter plus the size of its bias, and S is 1.
        L. Dinh, R. Pascanu, S. Bengio, Y. Bengio, Sharp Minima Can Generalize for Deep Nets, ICML 2017.
    """
    model = unwrapped(model)
    Layout.of(model)
    for name, module in model.named_modules():
        if is_parametrized(module):
            raise ModelError(
                f"The layer {name!r} has parametrizations already.",
                expected="a model with plain weights",
                got=", ".join(module.parametrizations),  # pyright: ignore[reportArgumentType, reportCallIssue]
                fix="Use torch.nn.utils.parametrize.remove_parametrizations; a balanced model is balanced.",
            )
    balanced = copied(model)
    places: dict[int, list[_Place]] = {}
    for place in _places(balanced, model):
        places.setdefault(id(place.parameter), []).append(place)
    for shared in places.values():
        _replace(shared)
    return balanced


def _places(balanced: nn.Module, model: nn.Module) -> Iterator[_Place]:
    """Yield every parameter that is to be replaced."""
    layers = layers_of(balanced)
    shared = _sharing(layers)
    flow = _flow(copied(model), shared)
    for name, found in layers.items():
        for layer in found:
            inputs, scale = flow.get(name, (None, layer.scale(None, alone=name in shared)))
            yield from _of_layer(layer, inputs, scale)


def _of_layer(layer: Layer, inputs: Tensor | None, scale: Tensor) -> Iterator[_Place]:
    weight: nn.Parameter = getattr(layer.module, layer.weight)
    if weight.requires_grad and weight.is_floating_point():
        yield _Place(layer.module, layer.weight, Scaled.of(layer, scale, inputs))
    bias = None if layer.bias is None else getattr(layer.module, layer.bias)
    if layer.bias is not None and bias is not None and bias.requires_grad and bias.shape == scale.shape:
        yield _Place(layer.module, layer.bias, Scaled(torch.where(scale > 0, scale, 1.0).to(bias.dtype)))


def _sharing(layers: dict[str, list[Layer]]) -> frozenset[str]:
    """Name the modules that have a weight which another one has too."""
    owners: dict[int, list[str]] = {}
    for name, found in layers.items():
        for layer in found:
            owners.setdefault(id(getattr(layer.module, layer.weight)), []).append(name)
    return frozenset(name for names in owners.values() if len(names) > 1 for name in names)


def _flow(replica: nn.Module, alone: frozenset[str]) -> dict[str, tuple[Tensor | None, Tensor]]:
    """Follow scales through the model's graph; nothing where it has none."""
    try:
        with preserved_rng():
            graph = traced(replica.eval())
    except ModelError:
        return {}
    return follow_scales(graph, alone)


def _replace(places: list[_Place]) -> None:
    """Put normalized weights in the place of a parameter, wherever it is; it stays one and the same object."""
    first, parameter = places[0], places[0].parameter
    for other in places[1:]:
        if not other.scaled.same(first.scaled):
            raise ModelError(
                f"{type(first.module).__name__}.{first.name} and {type(other.module).__name__}.{other.name} are one "
                "tensor, but would need different scales.",
                expected="shared weights that make outputs in the same way, with biases of their own",
                got=f"a tensor of shape {tuple(parameter.shape)} in {len(places)} places",
                fix="Give each layer a copy of its own, or measure the network as it is.",
            )
    parameter.data = first.scaled.normalized(parameter.data)
    for place in places:
        register_parametrization(place.module, place.name, place.scaled, unsafe=True)
