"""How large the results within a graph can become, from the sizes of its inputs and weights alone."""

from __future__ import annotations

import operator
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import fx, nn

from landscape.leaking import is_pool, plain_module
from landscape.pooling import halved

SAFE = 1e36
"""Results up to this size overflow nowhere in float32, whatever the order of a sum: it ends at 3.4e38."""

_NOT_LARGER = (
    nn.ReLU, nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AvgPool1d, nn.AvgPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
)  # fmt: skip
_CALLS = (F.relu, torch.relu, halved, operator.getitem, torch.flatten)
_METHODS = ("relu", "contiguous", "flatten", "mean")
_SUMS = (operator.add, torch.add)


class Bounds:
    """Bounds of the results of a graph, for weights that change.

    ``|conv(x)| <= max|x| * max_f sum_k |w_fk| + max|b|``, a sum is at most as large as its summands together, and what
    rectifies, averages, takes a maximum, cuts out or pads with zeros makes nothing larger. Of all else nothing is
    known, nor of what comes after it: it may have written into its inputs.

    Args:
        modules: The model as a graph of calls, in evaluation mode.
        folded: The nodes that are convolutions with what follows them.

    Example:
        >>> modules = fx.symbolic_trace(nn.Sequential(nn.Conv1d(1, 1, 1), nn.ReLU(), nn.Tanh()).eval())
        >>> _, conv, relu, tanh, _ = modules.graph.nodes
        >>> found = Bounds(modules, {conv}).of({conv: (3.0, 1.0)}, most=2.0)  # 3 * 2 + 1
        >>> found[conv], found[relu], tanh in found
        (7.0, 7.0, False)
    """

    def __init__(self, modules: fx.GraphModule, folded: set[fx.Node]) -> None:
        self._steps: list[tuple[fx.Node, str, list[fx.Node]]] = []
        for node in modules.graph.nodes:
            kind = "folded" if node in folded else _kind(modules, node)
            if not kind:
                break
            self._steps.append((node, kind, [each for each in node.args if isinstance(each, fx.Node)]))

    def of(self, sizes: Mapping[fx.Node, tuple[float, float]], *, most: float) -> dict[fx.Node, float]:
        """Return the bounds of results, as far as they are known; NaN where a size is NaN.

        Args:
            sizes: Of each convolution the largest sum of a filter's sizes, and the largest size of its biases.
            most: The largest size of the graph's inputs.
        """
        found: dict[fx.Node, float] = {}
        for node, kind, sources in self._steps:
            if kind == "input":
                found[node] = most
            elif kind == "folded":
                sums, bias = sizes[node]
                found[node] = found[sources[0]] * sums + bias + sum(found[other] for other in sources[1:])
            else:
                found[node] = sum(found[source] for source in sources)
        return found


def _kind(modules: fx.GraphModule, node: fx.Node) -> str:
    """What a node does to the sizes of its arguments; empty where that is not known."""
    if node.op == "placeholder":
        return "input"
    tensors = sum(isinstance(each, fx.Node) for each in node.args)
    if not tensors or not isinstance(node.args[0], fx.Node) or len(node.all_input_nodes) > tensors:
        return ""
    if node.op == "call_function" and node.target in _SUMS:
        return "sum" if tensors == len(node.args) and not node.kwargs else ""
    if tensors > 1:
        return ""
    if node.op == "call_module":
        module = plain_module(modules, node)
        enlarges = module is None or module.training or getattr(module, "divisor_override", None) is not None
        known = not enlarges and (type(module) in _NOT_LARGER or is_pool(modules, node))
    elif node.op == "call_method":
        known = node.target in _METHODS
    else:
        zeros = node.target is F.pad and len(node.args) == 2 and node.kwargs.get("value") in (None, 0, 0.0)
        zeros = zeros and node.kwargs.get("mode", "constant") == "constant"
        known = node.target in _CALLS or is_pool(modules, node) or zeros
    return "not larger" if known else ""
