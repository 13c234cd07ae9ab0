"""A model in evaluation mode with its batch normalization folded into the convolutions before it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from landscape.bounds import SAFE, Bounds
from landscape.errors import ModelError
from landscape.leaking import LARGE, LEAK, SMALL, leaking
from landscape.pooling import halved, halves, is_halving_call
from landscape.tracing import traced

_CONVOLUTIONS: dict[type[nn.Module], Callable[..., Tensor]] = {nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d}
_PATCH = 32  # weights of a filter
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_RELU_CALLS = (F.relu, torch.relu, torch.relu_)


class FoldedConvolution(nn.Module):
    """A convolution, the normalization after it, an addition and a rectifier, as one operation.

    ``relu(norm(conv(x)) + other)``, with ``norm(z) = scale * z + shift`` taken into the convolution's weights.

    Args:
        convolution: Read at every :meth:`refresh`; its weights are not changed.
        norm: The batch normalization behind it, or None.
        fused: Whether one call of oneDNN does as much of it as it can; else convolution, addition and rectifier are
            three.
        patched: Whether it gets :func:`patches_of` its input, so that it is one matrix product.

    Attributes:
        rectified: Whether there is a rectifier.
        leaky: Whether it may be leaky, with a slope of 1e-30. oneDNN's other rectifier makes 0 of NaN.
        finite: Whether no result is NaN or infinite, so that this other one may be taken, which is a pass less over
            the memory where something is added.
    """

    def __init__(
        self, convolution: nn.Conv1d | nn.Conv2d, norm: _BatchNorm | None, *, fused: bool, patched: bool = False
    ) -> None:
        super().__init__()
        self._parts = (convolution, norm)  # in a tuple: modules of somebody else
        self.fused, self.patched, self.rectified, self.leaky, self.finite = fused, patched, False, False, False
        self._packed: Tensor | None = None
        self.weight = convolution.weight.detach()  # the same memory: it follows
        self.bias = None if convolution.bias is None else convolution.bias.detach()
        if norm is not None or fused:
            layout = torch.channels_last if fused and not patched else torch.contiguous_format
            self.weight = torch.empty_like(self.weight, memory_format=layout)
        if norm is not None:
            self.bias = torch.empty_like(self.weight[:, 0].flatten(1)[:, 0])
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Fold the present weights and statistics."""
        convolution, norm = self._parts
        self._packed = None
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
        """Apply it to (B, C, ...), or to patches (B, H, W, K)."""
        conv, _ = self._parts
        within = self.fused and self.rectified and (self.finite or (self.leaky and other is None))
        after = ("relu", [], "") if self.finite else ("leaky_relu", [LEAK], "")
        after = after if within and other is None else ("none", [], "")
        geometry: tuple[Any, ...] = (conv.padding, conv.stride, conv.dilation, conv.groups)
        if self.patched:
            rows = x.view(-1, x.shape[-1])
            out = torch.ops.mkldnn._linear_pointwise.default(rows, self.weight.flatten(1), self.bias, *after)
            out = out.view(*x.shape[:-1], -1).permute(0, 3, 1, 2)
        elif self.fused:
            call, weight = torch.ops.mkldnn._convolution_pointwise, self._weight_for(x)
            if other is None:
                out = call.default(x, weight, self.bias, *geometry, *after)
            else:
                rectifier = "relu" if within else None
                out, other = call.binary(x, other, weight, self.bias, *geometry, "add", 1.0, rectifier, [], None), None
        else:
            out = _CONVOLUTIONS[type(conv)](
                x, self.weight, self.bias, conv.stride, conv.padding, conv.dilation, conv.groups
            )
        if other is not None:
            out, within = out + other if other.shape != out.shape else out.add_(other), False
        if within or not self.rectified:
            return out
        return F.leaky_relu_(out, LEAK) if self.leaky else out.relu_()

    def _weight_for(self, x: Tensor) -> Tensor:
        """Return the weights in the order that oneDNN wants, found once for all batches of a point."""
        found = self._packed
        if found is None:
            conv, _ = self._parts
            geometry: tuple[Any, ...] = (conv.padding, conv.stride, conv.dilation, conv.groups)
            found = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *geometry, list(x.shape))
            self._packed = found
        return found

    def sizes(self) -> tuple[float, float]:
        """Return the largest sum of a filter's sizes, and the largest size of a bias."""
        sums = torch.linalg.vector_norm(self.weight.flatten(1), 1, dim=1).amax()
        return float(sums), 0.0 if self.bias is None else float(self.bias.abs().amax())


class FoldedModel:
    """A replica of a model that computes the same function in fewer passes over memory.

    Every convolution that is followed by a batch normalization in evaluation mode takes it into its weights, and what
    follows (an addition, a rectifier) is done while the result is in the cache. Outputs are those of the model up to
    rounding, about 1e-6 of their size in float32, unless they are doubtful.

    Args:
        replica: The model, in evaluation mode, nobody else's: it is read, and its modules are called.
        fused: Whether to use oneDNN's fused convolutions: float32 on a CPU only.
        patches: With fused ones: whether a first convolution of few channels may be a matrix product with patches of
            the images, which :meth:`prepare` cuts out. Convolutions of one channel run at a tenth of the speed of
            others, and images that do not change need be cut once only.

    Attributes:
        folds: How many normalizations are within a convolution.
        most: The largest size of all inputs to come, infinity where that is not known; to be set before
            :meth:`refresh`.
        replica: The model.
        doubtful: Whether outputs since the last :meth:`refresh` were so large, so small or not finite that the model
            itself is to be asked.

    Raises:
        ModelError: Its forward cannot be traced, or holds nothing to fold.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval().double()
        >>> folded = FoldedModel(model, fused=False)
        >>> x = torch.ones(1, 1, 3, 3).double()
        >>> bool(torch.allclose(folded(x), model(x))), folded.folds
        (True, 1)
    """

    def __init__(self, replica: nn.Module, *, fused: bool, patches: bool = False) -> None:
        self.fused, self._patches, self._cut = fused, patches, None
        self._module = traced(replica)
        graph = self._module.graph
        self.replica, self.doubtful = replica, False
        self._folded: list[FoldedConvolution] = []
        self.folds = 0
        for node in list(graph.nodes):
            if node.op == "call_module":
                self._fold(node)
        if self.fused:
            for module in self._module.modules():
                if halves(module):
                    module.forward = halved
            for node in graph.nodes:
                if is_halving_call(node):
                    node.target, node.args, node.kwargs = halved, node.args[:1], {}
        if not self._folded:
            raise ModelError(f"{type(replica).__name__} has no convolution to fold anything into.")
        graph.eliminate_dead_code()
        graph.lint()
        self._called = self._calls()
        self._leaks = fused and self._let_leak()
        self._bounds, self.most = Bounds(self._module, set(self._called)), math.inf
        self._module.recompile()

    def _fold(self, node: fx.Node) -> None:
        """Replace a convolution and what follows it."""
        modules = self._module
        convolution = modules.get_submodule(str(node.target))
        if not is_plain(convolution) or not node.args:
            return
        found = norm_after(modules, node)
        norm, last = (found[1], found[2]) if found is not None else (None, node)
        fusable = self.fused and isinstance(convolution, nn.Conv2d)
        if norm is None and not fusable:
            return
        patched = fusable and self._patches and _is_first(node) and _is_small(convolution)
        new = FoldedConvolution(convolution, norm, fused=fusable, patched=patched)
        name = f"_folded_{len(self._folded)}"
        modules.add_submodule(name, new)
        following = only_user(last)
        other = _other_summand(following, last)
        end = following if other is not None and following is not None else last
        if _is_relu(modules, rectifier := only_user(end)):
            new.rectified = True
            end = rectifier if rectifier is not None else end
        if norm is None and end is node and not patched:  # nothing gained
            delattr(modules, name)
            return
        with modules.graph.inserting_after(end):
            arguments = (node.args[0],) if other is None else (node.args[0], other)
            made = modules.graph.call_module(name, arguments)
        end.replace_all_uses_with(made)
        self._cut = convolution if patched else self._cut
        self._folded.append(new)
        self.folds += norm is not None

    def _let_leak(self) -> bool:
        """Let rectifiers leak where it can do no harm; return whether any does."""
        found = leaking(self._module, {node: its.rectified for node, its in self._called.items()})
        for node in found:
            self._called[node].leaky = True
        return bool(found)

    def _calls(self) -> dict[fx.Node, FoldedConvolution]:
        calls = [node for node in self._module.graph.nodes if node.op == "call_module"]
        called = {node: self._module.get_submodule(str(node.target)) for node in calls}
        return {node: its for node, its in called.items() if isinstance(its, FoldedConvolution)}

    def refresh(self) -> None:
        """Take in the replica's present weights and running statistics."""
        self.doubtful = False
        for convolution in self._folded:
            convolution.refresh()
        if self.fused and self.most <= SAFE:
            found = self._bounds.of({node: its.sizes() for node, its in self._called.items()}, most=self.most)
            for node, its in self._called.items():
                its.finite = found.get(node, math.inf) <= SAFE

    def prepare(self, inputs: Tensor) -> Tensor:
        """Lay inputs (B, ...) out as calls want them; what comes of it depends on no weight."""
        if self._cut is not None:
            return patches_of(inputs, self._cut)
        return inputs.contiguous(memory_format=torch.channels_last) if self.fused and inputs.ndim == 4 else inputs

    def __call__(self, inputs: Tensor) -> Any:
        """Return the model's outputs for inputs as :meth:`prepare` gives them."""
        outputs = self._module.forward(inputs)  # without the report that calling it would print where it fails
        if self.fused and not self.doubtful and isinstance(outputs, Tensor) and outputs.is_floating_point():
            least, most = map(float, torch.aminmax(outputs.abs()))
            self.doubtful = not (most < LARGE and (least > SMALL or not self._leaks))
        return outputs


def patches_of(images: Tensor, convolution: nn.Conv1d | nn.Conv2d) -> Tensor:
    """Cut out what a convolution multiplies its filters with.

    Args:
        images: (B, C, H, W).
        convolution: Says how large patches are and where they lie, (H', W').

    Returns:
        (B, H', W', K) with K = C times the filters' height and width.
    """
    size, stride, dilation = convolution.kernel_size, convolution.stride, convolution.dilation
    padding = cast("tuple[int, ...]", convolution.padding)
    shape = [
        (length + 2 * p - d * (k - 1) - 1) // s + 1
        for length, p, d, k, s in zip(images.shape[2:], padding, dilation, size, stride, strict=True)
    ]
    cut = F.unfold(images, size, dilation, padding, stride)  # (B, K, H' W')
    return cut.transpose(1, 2).contiguous().view(len(images), *shape, -1)


def norm_after(modules: fx.GraphModule, node: fx.Node) -> tuple[nn.Conv1d | nn.Conv2d, _BatchNorm, fx.Node] | None:
    """Return the convolution that a node calls, the fixed normalization that alone uses its result, and its node.

    None where there is no such pair.
    """
    after = only_user(node)
    if node.op != "call_module" or after is None or after.op != "call_module" or not (node.args and after.args):
        return None
    convolution, norm = modules.get_submodule(str(node.target)), modules.get_submodule(str(after.target))
    return (convolution, norm, after) if is_plain(convolution) and is_fixed(norm) else None


def fused_available(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether oneDNN's fused convolutions can be used."""
    return (
        device.type == "cpu"
        and dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_convolution_weight")
    )


def is_plain(module: nn.Module) -> TypeGuard[nn.Conv1d | nn.Conv2d]:
    """Whether a module is a convolution with zeros around its input, and nothing else."""
    if type(module) not in _CONVOLUTIONS or module._forward_hooks or module._forward_pre_hooks:
        return False
    return module.padding_mode == "zeros" and not isinstance(module.padding, str)


def is_fixed(module: nn.Module) -> TypeGuard[_BatchNorm]:
    """Whether a module is a normalization by fixed statistics, and nothing else."""
    if type(module) not in _NORMS or module._forward_hooks or module._forward_pre_hooks:
        return False
    return module.running_mean is not None and not module.training


def _is_first(node: fx.Node) -> bool:
    """Whether a node alone uses the model's inputs."""
    source = node.args[0]
    return isinstance(source, fx.Node) and source.op == "placeholder" and only_user(source) is node


def _is_small(convolution: nn.Conv1d | nn.Conv2d) -> bool:
    """Whether patches of its input are of moderate length: three channels of 3x3 are."""
    return convolution.groups == 1 and convolution.weight[0].numel() <= _PATCH


def only_user(node: fx.Node | None) -> fx.Node | None:
    """Return the one node that uses a node's result; None where there are none or several."""
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
        return is_relu(module.get_submodule(str(node.target)))
    return is_relu_call(node)


def is_relu(module: nn.Module) -> bool:
    """Whether a module is a rectifier, and nothing else."""
    return type(module) is nn.ReLU and not module._forward_hooks and not module._forward_pre_hooks


def is_relu_call(node: fx.Node) -> bool:
    """Whether a node rectifies by itself, without a module."""
    if node.op == "call_method":
        return node.target in ("relu", "relu_")
    return node.op == "call_function" and node.target in _RELU_CALLS and bool(node.args)
