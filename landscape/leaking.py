"""Which rectifiers of a graph may let a trace of negative numbers through, so that no NaN is lost in a fused one."""

from __future__ import annotations

import operator
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from landscape.pooling import halved

LEAK = 1e-30
"""The slope of a leaky rectifier: what it lets through is below what float32 sums can see."""
LARGE, SMALL = 1e30, 1e-20
"""Sizes of outputs between which overflow and what leaks have played no part."""

_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_POOL_CALLS = (halved, F.max_pool1d, F.max_pool2d, F.max_pool3d, torch.max_pool1d, torch.max_pool2d, torch.max_pool3d)
_PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_MEANS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
_COPIES = (nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_CALLS = (
    operator.add, operator.iadd, operator.getitem, torch.add, torch.cat, torch.flatten, torch.mean, F.avg_pool2d,
    F.adaptive_avg_pool2d, F.pad,
)  # fmt: skip
_METHODS = (
    "add", "add_", "contiguous", "dim", "flatten", "mean", "permute", "reshape", "size", "squeeze", "transpose",
    "unsqueeze", "view",
)  # fmt: skip


def leaking(modules: fx.GraphModule, folded: Mapping[fx.Node, bool]) -> set[fx.Node]:
    """Choose the rectifiers that may be leaky.

    A fused rectifier makes 0 of NaN. A leaky one keeps NaN, but also minus infinity, of which a rectifier makes 0. So
    a rectifier may be leaky where that always shows in the end: where on all ways to the model's outputs what is not
    finite stays so, as in sums, products and means. Outputs between :data:`SMALL` and :data:`LARGE` are right then, and
    others doubtful. Maxima lose minus infinity; those of a rectifier's own results lose nothing that counts.

    Args:
        modules: The model as a graph of calls.
        folded: The nodes that are convolutions with what follows them, each with whether a rectifier is in it.

    Returns:
        Some of the nodes with a rectifier.
    """
    found: set[fx.Node] = set()
    shows: dict[fx.Node, bool] = {}  # whether what is not finite in a node's result is seen in the outputs
    bare: dict[fx.Node, bool] = {}  # whether a result of 0 may be an output itself
    for node in reversed(modules.graph.nodes):
        if node.op == "output":
            shows[node], bare[node] = isinstance(node.args[0], fx.Node), True
            continue
        kept = {user: shows[user] and _keeps(modules, user, folded, found) for user in node.users}
        shows[node] = all(kept.values())
        bare[node] = any(bare[user] and not _multiplies(modules, user, folded) for user in node.users)
        alright = all(keeps or (shows[user] and is_pool(modules, user)) for user, keeps in kept.items())
        if folded.get(node) and alright and not bare[node]:
            found.add(node)
    return found


def _keeps(modules: fx.GraphModule, node: fx.Node, folded: Mapping[fx.Node, bool], leaky: set[fx.Node]) -> bool:
    """Whether a node's result is not finite wherever it depends on something that is not."""
    if node in folded:
        return not folded[node] or node in leaky
    if node.op == "call_module":
        module = plain_module(modules, node)
        fixed = isinstance(module, _BatchNorm) and module.running_mean is not None
        known = type(module) in (*_PRODUCTS, *_MEANS, *_COPIES) or fixed
        return known and module is not None and not module.training
    if node.op == "call_function":
        return node.target in _CALLS or (node.target is getattr and node.args[1] in ("shape", "ndim"))
    return node.op == "output" or (node.op == "call_method" and node.target in _METHODS)


def _multiplies(modules: fx.GraphModule, node: fx.Node, folded: Mapping[fx.Node, bool]) -> bool:
    return node in folded or (node.op == "call_module" and type(plain_module(modules, node)) in _PRODUCTS)


def is_pool(modules: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node takes maxima."""
    if node.op == "call_module":
        return type(plain_module(modules, node)) in _POOLS
    return node.op == "call_function" and node.target in _POOL_CALLS


def plain_module(modules: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node calls, where no hook does anything beside it."""
    module = modules.get_submodule(str(node.target))
    return None if module._forward_hooks or module._forward_pre_hooks else module
