"""A model's outputs as a function of its flat weights, rewritten so that second derivatives are cheap."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from landscape.convolution import Geometry, convolve
from landscape.errors import ModelError
from landscape.folding import is_fixed, is_plain, is_relu, is_relu_call, norm_after, only_user, traced
from landscape.objective import Objective
from landscape.pooling import halves, is_halving_call, pool_halves
from landscape.rectifier import rectify
from landscape.seeding import preserved_rng

_AGREES = 1e-3  # of the outputs' size; rounding is a hundred times less, and another function a hundred times more


class DifferentiableModel:
    """What an objective's model computes, from any flat weights, with its buffers as they were when this was built.

    Batch normalization with fixed statistics goes into the weights of the convolution before it, as a differentiable
    function of both; elsewhere it is a product and a sum. Convolutions are :func:`landscape.convolution.convolve`,
    rectifiers :func:`landscape.rectifier.rectify`. In float32 on a CPU, images lie with their channels last. Outputs
    are the model's up to rounding; where the rewritten model does not run, or gives something else, or statistics are
    not fixed, it is the objective's own.

    Args:
        objective: Whose.

    Attributes:
        folds: How many normalizations are within a convolution.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.folds, self._last = 0, False
        self._module: nn.Module | None = None
        inputs, _ = next(objective.batches())
        if objective.writes_inputs or not objective.fixed_statistics or not isinstance(inputs, Tensor):
            return
        fast = objective.device.type == "cpu" and objective.dtype == torch.float32
        expected = self._few(objective.replica()[1])
        for last in (True, False) if inputs.ndim == 4 and fast else (False,):
            self._rewrite(last=last)
            if expected is not None and self._agrees(expected):
                return
        self.folds, self._module = 0, None

    def _rewrite(self, *, last: bool) -> None:
        replica = self.objective.replica()[1]
        try:
            self._module, self.folds = _folded(replica)
            known = True
        except ModelError:
            self._module, self.folds = replica, 0
            known = False  # who else sees what is written in place
        for module in self._module.modules():
            if is_plain(module):
                module.forward = partial(_convolution, module)
            elif is_fixed(module):
                module.forward = partial(_fixed_norm, module)
            elif is_relu(module) and (known or not module.inplace):
                module.forward = rectify
            elif halves(module):
                module.forward = pool_halves
        self._call = self.objective.substitution(replica, self._module)
        self._last = last

    def _few(self, module: nn.Module) -> Tensor | None:
        """The outputs for a few examples, where they are a tensor."""
        inputs, _ = self.objective.select(torch.arange(min(8, self.objective.examples), device=self.objective.device))
        with torch.no_grad(), preserved_rng():
            found = module.forward(self._laid_out(inputs))
        return found if isinstance(found, Tensor) else None

    def _agrees(self, expected: Tensor) -> bool:
        assert self._module is not None
        try:
            found = self._few(self._module)
        except Exception:  # a model that views its images as contiguous ones, or calls a layer in a way of its own
            return False
        if found is None or found.shape != expected.shape:
            return False
        apart, size = (found - expected).abs().max(), expected.abs().max()
        return bool(apart <= _AGREES * size) or not bool(torch.isfinite(size))

    def _laid_out(self, inputs: Any) -> Any:
        if not self._last:
            return inputs
        _, channels, height, width = inputs.shape
        if channels == 1:  # both layouts are the same memory, and the strides must say which one is meant
            return inputs.contiguous().as_strided(inputs.shape, (height * width, 1, width, 1))
        return inputs.contiguous(memory_format=torch.channels_last)

    def output_terms(self, flat: Tensor) -> Iterator[tuple[Any, Tensor]]:
        """Yield outputs (B, ...) and targets (B, ...) batch by batch, with their graph; as Objective.output_terms."""
        if self._module is None:
            yield from self.objective.output_terms(flat)
            return
        named = self.objective.layout.named(flat)
        for inputs, targets in self.objective.batches():
            yield self._call(named, self._laid_out(inputs)), targets

    def loss_terms(self, flat: Tensor) -> Iterator[Tensor]:
        """Return the loss in differentiable parts, one per batch; as Objective.loss_terms."""
        return self.objective.loss_terms(flat, self.output_terms(flat))


def _folded(replica: nn.Module) -> tuple[fx.GraphModule, int]:
    """Rewrite a model's forward with each convolution and the fixed normalization after it as one call.

    Raises:
        ModelError: The forward cannot be traced.
    """
    modules, folds = traced(replica, gradients=True), 0
    for node in list(modules.graph.nodes):
        if _is_pooled_rectifier(modules, node):
            pool = cast("fx.Node", only_user(node))
            with modules.graph.inserting_after(pool):
                made = modules.graph.call_function(pool_halves, (node.args[0],), {"rectified": True})
            pool.replace_all_uses_with(made)
        elif is_halving_call(node):
            node.target, node.args, node.kwargs = pool_halves, node.args[:1], {}
        elif is_relu_call(node):
            node.op, node.target, node.args, node.kwargs = "call_function", rectify, node.args[:1], {}
        found = norm_after(modules, node)
        if found is None:
            continue
        name = f"_pair_{folds}"
        modules.add_submodule(name, _Pair(*found[:2]))
        with modules.graph.inserting_after(found[2]):
            made = modules.graph.call_module(name, (node.args[0],))
        found[2].replace_all_uses_with(made)
        folds += 1
    modules.graph.eliminate_dead_code()
    modules.recompile()
    return modules, folds


def _is_pooled_rectifier(modules: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node rectifies what alone goes to a max-pooling by two."""
    after = only_user(node)
    if after is None:
        return False
    module = modules.get_submodule(str(after.target)) if after.op == "call_module" else None
    if not (is_halving_call(after) if module is None else halves(module)):
        return False
    return is_relu(modules.get_submodule(str(node.target))) if node.op == "call_module" else is_relu_call(node)


class _Pair(nn.Module):
    """``norm(conv(x))`` as one convolution."""

    def __init__(self, convolution: nn.Conv1d | nn.Conv2d, norm: _BatchNorm) -> None:
        super().__init__()
        self._parts = convolution, norm  # in a tuple: modules that are registered where they were

    def forward(self, x: Tensor) -> Tensor:
        convolution, norm = self._parts
        scale, shift = _scale_and_shift(norm)
        weight = convolution.weight * scale.reshape(-1, *[1] * (convolution.weight.ndim - 1))
        bias = shift if convolution.bias is None else shift + scale * convolution.bias
        return _convolve(convolution, x, weight, bias)


def _scale_and_shift(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """What a normalization with fixed statistics multiplies with and adds."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = torch.rsqrt(variance + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    return scale, -mean * scale if norm.bias is None else norm.bias - mean * scale


def _fixed_norm(norm: _BatchNorm, input: Tensor) -> Tensor:
    scale, shift = (part.reshape(1, -1, *[1] * (input.ndim - 2)) for part in _scale_and_shift(norm))
    return input * scale + shift


def _convolution(module: nn.Conv1d | nn.Conv2d, input: Tensor) -> Tensor:
    return _convolve(module, input, module.weight, module.bias)


def _convolve(module: nn.Conv1d | nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if x.ndim != weight.ndim:  # one example, without a batch
        return convolve(x.unsqueeze(0), weight, bias, Geometry.of(module)).squeeze(0)
    return convolve(x, weight, bias, Geometry.of(module))
