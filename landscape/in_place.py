"""Calls in a graph that write into a tensor which others see: these a rewritten forward may not move or leave out."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterator
from typing import Any

from torch import fx, nn

OPERATORS = {
    f"__{function.__name__}__": function
    for function in (
        *(operator.iadd, operator.isub, operator.imul, operator.imatmul, operator.itruediv, operator.ifloordiv),
        *(operator.imod, operator.ipow, operator.iand, operator.ior, operator.ixor, operator.ilshift, operator.irshift),
    )
}
"""What Python calls for ``x += y`` and its like."""
_VIEWS = (
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "ravel", "squeeze", "unsqueeze", "getitem",
    "transpose", "swapaxes", "swapdims", "t", "permute", "movedim", "moveaxis", "expand", "expand_as", "diagonal",
    "narrow", "select", "chunk", "split", "tensor_split", "hsplit", "vsplit", "dsplit", "unbind", "as_strided",
    "broadcast_to", "broadcast_tensors", "detach", "getattr", "contiguous", "to", "type", "type_as", "float",
    "double", "half", "bfloat16", "cpu", "cuda", "real", "imag", "unfold", "dropout", "dropout1d", "dropout2d",
    "dropout3d", "alpha_dropout", "feature_dropout", "identity", "positive", "requires_grad",
)  # fmt: skip
"""Functions and methods whose value may be the tensor that they are given, or a view of it, by their names."""
_VIEWING = (nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd)


def seen_write(modules: fx.GraphModule) -> fx.Node | None:
    """Return the first call that writes into a tensor which is used elsewhere after it, or that may be; None for none.

    ``relu_(conv(x))`` is as good as ``relu(conv(x))``. Not so where the convolution's result, or a view of it, is used
    again: then it matters that the call is made, when, and that it writes.

    Args:
        modules: A graph of calls.

    Example:
        >>> class Gate(nn.Module):
        ...     def forward(self, x):
        ...         y = x.exp()
        ...         y.clamp_(max=2.0)
        ...         return y
        >>> seen_write(fx.symbolic_trace(Gate()))
        clamp_
    """
    place = {node: number for number, node in enumerate(modules.graph.nodes)}
    for node in modules.graph.nodes:
        for written in _written(modules, node):
            if written.op == "get_attr" or _seen(modules, written, node, node, place):
                return node
    return None


def _seen(modules: fx.GraphModule, tensor: fx.Node, by: fx.Node, write: fx.Node, place: dict[fx.Node, int]) -> bool:
    """Whether a tensor, or what it is a view of, is used otherwise than by one node: after a write, or as a view."""
    others = [user for user in tensor.users if user is not by]
    if any(place[user] > place[write] or _source(modules, user) is tensor for user in others):
        return True
    source = _source(modules, tensor)
    return source is not None and _seen(modules, source, tensor, write, place)


def _source(modules: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The node whose memory a node's value may be; None where it has its own."""
    if node.op == "call_module":
        module = modules.get_submodule(str(node.target))
        views = isinstance(module, _VIEWING)
    else:
        views = _name(node) in _VIEWS
    return _first(node) if views or next(_written(modules, node), None) is not None else None


def _written(modules: fx.GraphModule, node: fx.Node) -> Iterator[fx.Node]:
    """Yield what a call writes into."""
    out = node.kwargs.get("out")
    if isinstance(out, fx.Node):
        yield out
    writes = False
    if node.op == "call_module":
        module = modules.get_submodule(str(node.target))
        writes = bool(getattr(module, "inplace", False)) and not isinstance(module, _VIEWING)
    elif node.op in ("call_method", "call_function"):
        name = _name(node)
        writes = (name.endswith("_") and not name.endswith("__")) or name == "setitem"
        writes = writes or node.target in OPERATORS.values() or (node.op == "call_function" and _asked(node))
    first = _first(node)
    if writes and first is not None:
        yield first


def _asked(node: fx.Node) -> bool:
    """Whether a function is told to work in place: ``relu(x, inplace=True)``."""
    if "inplace" in node.kwargs:
        return node.kwargs["inplace"] is not False
    function: Any = node.target
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # written in C: these have names that end in an underscore
        return False
    place = names.index("inplace") if "inplace" in names else len(node.args)
    return place < len(node.args) and node.args[place] is not False


def _name(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", "")


def _first(node: fx.Node) -> fx.Node | None:
    first = node.args[0] if node.args else node.kwargs.get("input")
    return first if isinstance(first, fx.Node) else None
