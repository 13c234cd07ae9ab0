"""A model's forward written down as a graph of calls, where the calls are the same whatever it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from landscape.errors import ModelError, first_line
from landscape.inputs import logits_of, unpack

_SIZES = (
    "__len__", "dim", "element_size", "get_device", "is_complex", "is_contiguous", "is_floating_point", "ndimension",
    "nelement", "numel", "size", "stride",
)  # fmt: skip


def traced(replica: nn.Module) -> fx.GraphModule:
    """Write a model's forward down as a graph of calls.

    Args:
        replica: The model; its modules are those that the graph calls.

    Raises:
        ModelError: It cannot be written down; what it computes depends on its weights by more than calls; it has hooks,
            or takes several inputs.
    """
    name = type(replica).__name__
    hooks = [*replica._forward_pre_hooks.values(), *replica._forward_hooks.values()]
    if any(hook not in (unpack, logits_of) for hook in hooks):
        raise ModelError(f"{name} has forward hooks, which a rewritten forward would not call.")
    if unpack in hooks:
        raise ModelError(f"{name} takes several tensors, and only a forward of one tensor can be rewritten.")
    watch = _Watch(replica.parameters())
    try:
        with watch:
            graph = fx.Tracer().trace(replica)
        if logits_of in hooks:
            _give_logits(graph)
        made = fx.GraphModule(replica, graph)
    except Exception as error:
        raise ModelError(
            f"The forward of {name} asks for a value, a shape or a length, so it cannot be rewritten.",
            expected="a forward that makes the same calls whatever is in its inputs and weights, and however many",
            got=first_line(error),
            fix="Write x.shape[0] for len(x), and decide by flags of the model; or use engine='plain'.",
        ) from error
    if watch.read:
        raise ModelError(
            f"The forward of {name} reads the weights by other ways than calls, so it cannot be rewritten.",
            expected="the same calls and constants, so that one record is the same at every point",
            got=f"a weight in {watch.read}",
            fix="Use the parameter itself (self.weight) in the forward's calls; or use engine='plain'.",
        )
    return made


def _give_logits(graph: fx.Graph) -> None:
    """Let a graph return ``outputs.logits``."""
    output = next(node for node in reversed(graph.nodes) if node.op == "output")
    outputs: Any = output.args[0]
    with graph.inserting_before(output):
        one = graph.call_function(getattr, (outputs, "logits")) if isinstance(outputs, fx.Node) else outputs.logits
    output.args = (one,)


class _Watch(TorchFunctionMode):
    """Notices whether values of real parameters are used, rather than what stands for them in a graph."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__()
        self._known, self.read = {id(parameter) for parameter in parameters}, ""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if not self.read and _is_value(func, found):
            used = any(isinstance(leaf, Tensor) and id(leaf) in self._known for leaf in tree_leaves((args, kwargs)))
            self.read = getattr(func, "__name__", repr(func)) if used else ""
        return found


def _is_value(func: Callable[..., Any], found: Any) -> bool:
    """Whether what came out says more of a real tensor than its kind and its size."""
    if isinstance(found, fx.Proxy):
        return False
    name = getattr(func, "__name__", "")
    return isinstance(found, Tensor) or name not in ("__get__", *_SIZES)
