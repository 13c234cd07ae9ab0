"""A model in evaluation mode with its batch normalization folded into the convolutions before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from landscape.errors import ModelError, first_line

_CONVOLUTIONS: dict[type[nn.Module], Callable[..., Tensor]] = {nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d}
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_RELU_CALLS = (F.relu, torch.relu, torch.relu_)


class FoldedConvolution(nn.Module):
    """A convolution, the normalization after it, an addition and a rectifier, as one operation.

    ``relu(norm(conv(x)) + other)``, with ``norm(z) = scale * z + shift`` taken into the convolution's weights.

    Args:
        convolution: Read at every :meth:`refresh`; its weights are not changed.
        norm: The batch normalization behind it, or None.
        fused: Whether one call of oneDNN does it all; else convolution, addition and rectifier are three.
    """

    def __init__(self, convolution: nn.Conv1d | nn.Conv2d, norm: _BatchNorm | None, *, fused: bool) -> None:
        super().__init__()
        self._parts = (convolution, norm)  # in a tuple: modules of somebody else
        self.fused, self.rectified = fused, False
        self.weight = convolution.weight.detach()  # the same memory: it follows
        self.bias = None if convolution.bias is None else convolution.bias.detach()
        if norm is not None or fused:
            layout = torch.channels_last if fused else torch.contiguous_format
            self.weight = torch.empty_like(self.weight, memory_format=layout)
        if norm is not None:
            self.bias = torch.empty_like(self.weight[:, 0].flatten(1)[:, 0])
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Fold the present weights and statistics."""
        convolution, norm = self._parts
        if norm is None or self.bias is None or norm.running_mean is None or norm.running_var is None:
            if self.fused:
                self.weight.copy_(convolution.weight)
            return
        scale = torch.rsqrt(norm.running_var + norm.eps)
        if norm.weight is not None:
            scale = scale * norm.weight
        torch.mul(convolution.weight, scale.reshape(-1, *[1] * (self.weight.ndim - 1)), out=self.weight)
        shift = norm.running_mean if convolution.bias is None else norm.running_mean - convolution.bias
        torch.mul(shift, -scale, out=self.bias)
        if norm.bias is not None:
            self.bias.add_(norm.bias)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Apply it to (B, C, ...)."""
        conv, _ = self._parts
        geometry: tuple[Any, ...] = (conv.padding, conv.stride, conv.dilation, conv.groups)
        relu = "relu" if self.rectified else "none"
        if self.fused:
            call = torch.ops.mkldnn._convolution_pointwise
            if other is None:
                return call.default(x, self.weight, self.bias, *geometry, relu, [], "")
            after = relu if self.rectified else None
            return call.binary(x, other, self.weight, self.bias, *geometry, "add", 1.0, after, [], None)
        out = _CONVOLUTIONS[type(conv)](
            x, self.weight, self.bias, conv.stride, conv.padding, conv.dilation, conv.groups
        )
        if other is not None:
            out = out.add_(other)
        return out.relu_() if self.rectified else out


class FoldedModel:
    """A replica of a model that computes the same function in fewer passes over memory.

    Every convolution that is followed by a batch normalization in evaluation mode takes it into its weights, and what
    follows (an addition, a rectifier) is done while the result is in the cache. Outputs are those of the model up to
    rounding, about 1e-6 of their size in float32.

    Args:
        replica: The model, in evaluation mode, nobody else's: it is read, and its modules are called.
        fused: Whether to use oneDNN's fused convolutions: float32 on a CPU only.

    Raises:
        ModelError: Its forward cannot be traced, or holds nothing to fold.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval().double()
        >>> folded = FoldedModel(model, fused=False)
        >>> x = torch.ones(1, 1, 3, 3).double()
        >>> bool(torch.allclose(folded(x), model(x))), folded.folds
        (True, 1)
    """

    def __init__(self, replica: nn.Module, *, fused: bool) -> None:
        if replica._forward_hooks or replica._forward_pre_hooks:
            raise ModelError(f"{type(replica).__name__} has forward hooks, which a rewritten forward would not call.")
        try:
            graph = fx.Tracer().trace(replica)
        except Exception as error:
            raise ModelError(
                f"The forward of {type(replica).__name__} depends on its inputs' values, so it cannot be rewritten.",
                got=first_line(error),
            ) from error
        self._module = fx.GraphModule(replica, graph)
        self._folded: list[FoldedConvolution] = []
        self.folds = 0
        for node in list(graph.nodes):
            if node.op == "call_module":
                self._fold(node, fused)
        if not self._folded:
            raise ModelError(f"{type(replica).__name__} has no convolution to fold anything into.")
        graph.eliminate_dead_code()
        graph.lint()
        self._module.recompile()

    def _fold(self, node: fx.Node, fused: bool) -> None:
        """Replace a convolution and what follows it."""
        modules = self._module
        convolution = modules.get_submodule(str(node.target))
        if not isinstance(convolution, nn.Conv1d | nn.Conv2d) or not _is_plain(convolution):
            return
        after = _only_user(node)
        norm = None
        if after is not None and after.op == "call_module":
            candidate = modules.get_submodule(str(after.target))
            if isinstance(candidate, _NORMS) and _is_fixed(candidate):
                norm = candidate
        fusable = fused and isinstance(convolution, nn.Conv2d)
        if norm is None and not fusable:
            return
        new = FoldedConvolution(convolution, norm, fused=fusable)
        name = f"_folded_{len(self._folded)}"
        modules.add_submodule(name, new)
        last = after if norm is not None and after is not None else node
        following = _only_user(last)
        other = _other_summand(following, last)
        end = following if other is not None and following is not None else last
        if _is_relu(modules, rectifier := _only_user(end)):
            new.rectified = True
            end = rectifier if rectifier is not None else end
        if norm is None and end is node:  # nothing gained
            delattr(modules, name)
            return
        with modules.graph.inserting_after(end):
            arguments = (node.args[0],) if other is None else (node.args[0], other)
            made = modules.graph.call_module(name, arguments)
        end.replace_all_uses_with(made)
        self._folded.append(new)
        self.folds += norm is not None

    def refresh(self) -> None:
        """Take in the replica's present weights and running statistics."""
        for convolution in self._folded:
            convolution.refresh()

    def __call__(self, inputs: Tensor) -> Any:
        """Return the model's outputs."""
        return self._module.forward(inputs)  # without the report that calling it would print where it fails


def fused_available(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether oneDNN's fused convolutions can be used."""
    return (
        device.type == "cpu"
        and dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    )


def _is_plain(module: nn.Conv1d | nn.Conv2d) -> bool:
    if type(module) not in _CONVOLUTIONS or module._forward_hooks or module._forward_pre_hooks:
        return False
    return module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _is_fixed(norm: _BatchNorm) -> bool:
    """Whether a normalization is one by fixed statistics, and nothing else."""
    hooked = norm._forward_hooks or norm._forward_pre_hooks
    return type(norm) in _NORMS and norm.running_mean is not None and not norm.training and not hooked


def _only_user(node: fx.Node | None) -> fx.Node | None:
    return next(iter(node.users)) if node is not None and len(node.users) == 1 else None


def _other_summand(node: fx.Node | None, one: fx.Node) -> fx.Node | None:
    """The other side of an addition of two results, computed before this one; None where it is none."""
    import operator

    adds = (operator.add, operator.iadd, torch.add)
    if node is None or node.op != "call_function" or node.target not in adds or node.kwargs or len(node.args) != 2:
        return None
    other = node.args[1] if node.args[0] is one else node.args[0]
    if not isinstance(other, fx.Node) or other is one:
        return None
    return other


def _is_relu(module: nn.Module, node: fx.Node | None) -> bool:
    if node is None:
        return False
    if node.op == "call_module":
        return type(module.get_submodule(str(node.target))) is nn.ReLU
    if node.op == "call_method":
        return node.target in ("relu", "relu_")
    return node.op == "call_function" and node.target in _RELU_CALLS
