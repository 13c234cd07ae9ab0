"""A model's forward written down as a graph of calls, where the calls are the same whatever it is given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from landscape.errors import ModelError, first_line
from landscape.in_place import OPERATORS, seen_write
from landscape.inputs import logits_of, unpack

_SIZES = (
    "__len__", "dim", "element_size", "get_device", "is_complex", "is_contiguous", "is_floating_point", "ndimension",
    "nelement", "numel", "size", "stride",
)  # fmt: skip

_ONE_AT_A_TIME = threading.RLock()  # torch writes to nn.Module while it traces; two would not put it back


def traced(replica: nn.Module, *, gradients: bool = False) -> fx.GraphModule:
    """Write a model's forward down as a graph of calls.

    Args:
        replica: The model; its modules are those that the graph calls.
        gradients: Whether derivatives of the calls must be the model's too.

    Raises:
        ModelError: It cannot be written down; what it computes depends on its weights by more than calls; it has hooks,
            takes several inputs, or writes into tensors that it uses elsewhere. With ``gradients``: its derivatives are
            not those of its calls, because it switches gradients off or has derivatives of its own.
    """
    name = type(replica).__name__
    hooks = [*replica._forward_pre_hooks.values(), *replica._forward_hooks.values()]
    if any(hook not in (unpack, logits_of) for hook in hooks):
        raise ModelError(f"{name} has forward hooks, which a rewritten forward would not call.")
    if unpack in hooks:
        raise ModelError(f"{name} takes several tensors, and only a forward of one tensor can be rewritten.")
    watch = _Watch(replica.parameters())
    try:
        with _ONE_AT_A_TIME, watch, torch.enable_grad():
            graph = _Tracer(gradients=gradients).trace(replica)
        if logits_of in hooks:
            _give_logits(graph)
        made = fx.GraphModule(replica, graph)
    except ModelError:
        raise
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
    if (write := seen_write(made)) is not None:
        raise ModelError(
            f"The forward of {name} writes into a tensor that it uses elsewhere, so it cannot be rewritten.",
            expected="calls that return new tensors, or whose results alone are used",
            got=f"{write.name}, in place",
            fix="Use the call that returns a new tensor, without inplace=True or an underscore; or engine='plain'.",
        )
    return made


def _give_logits(graph: fx.Graph) -> None:
    """Let a graph return ``outputs.logits``."""
    output = next(node for node in reversed(graph.nodes) if node.op == "output")
    outputs: Any = output.args[0]
    with graph.inserting_before(output):
        one = graph.call_function(getattr, (outputs, "logits")) if isinstance(outputs, fx.Node) else outputs.logits
    output.args = (one,)


class _Proxy(fx.Proxy):
    """What stands for a tensor; ``x += y`` is written down as what it is."""


def _in_place(function: Callable[..., Any]) -> Callable[[fx.Proxy, Any], fx.Proxy]:
    return lambda one, other: one.tracer.create_proxy("call_function", function, (one, other), {})


for _method, _function in OPERATORS.items():
    setattr(_Proxy, _method, _in_place(_function))


class _Tracer(fx.Tracer):
    """Refuses what a graph of calls does not say: another precision and, where these count, other gradients.

    While it works, torch sends it the calls of all modules, also those that other threads make: these it lets pass.
    """

    def __init__(self, *, gradients: bool) -> None:
        super().__init__()
        self._gradients, self._precision, self._thread = gradients, _precision(), threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Write the call of a layer down, or what is in it."""
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Return a module's attribute, or what stands for a parameter."""
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Return what stands for a node's value."""
        return _Proxy(node, self)

    def create_proxy(self, *args: Any, **kwargs: Any) -> Any:
        """Write a call down.

        Raises:
            ModelError: It is made in a part of the forward that has settings of its own.
        """
        if _precision() != self._precision:
            raise self._own("precision", "torch.autocast")
        if self._gradients and not torch.is_grad_enabled():  # so it is too within the forward of an autograd.Function
            raise self._own("derivatives", "torch.no_grad or an autograd.Function")
        return super().create_proxy(*args, **kwargs)

    def _own(self, what: str, how: str) -> ModelError:
        name = type(self.root).__name__
        return ModelError(f"A part of the forward of {name} has {what} of its own ({how}), so it cannot be rewritten.")

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        """Write a module's forward down.

        Raises:
            ModelError: Hooks of its layers change gradients.
        """
        hooked = any(module._backward_hooks or module._backward_pre_hooks for module in root.modules())
        if self._gradients and hooked:
            raise ModelError(f"{type(root).__name__} has backward hooks, which a rewritten forward would not call.")
        return super().trace(root, concrete_args)


def _precision() -> tuple[bool, ...]:
    """What autocast is set to."""
    return tuple(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda"))


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
