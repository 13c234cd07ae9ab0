"""torch's SGD from the saved weights: putting them back and stepping, in one pass over the memory instead of two."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_OPTIONS = {"lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize", "foreach", "differentiable", "fused"}
_PLAIN = {nn.Parameter, Tensor}
_SMALL = 4096  # elements; calls cost more than memory below


def is_plain_sgd(base: torch.optim.Optimizer) -> bool:
    """Tell whether :func:`sgd_step_from` does the same as putting the weights back and then ``base.step()``.

    Only where torch itself would go tensor by tensor, as it does on the CPU, and where nobody watches ``base.step``.

    Args:
        base: Any optimizer.

    Returns:
        True for ``torch.optim.SGD`` itself, without hooks and without a wrapped ``step`` (as learning-rate schedulers
        make it), with numbers for options, and for parameters plain CPU tensors that share no memory.
    """
    if type(base) is not torch.optim.SGD or "step" in vars(base):
        return False
    module = sys.modules[torch.optim.Optimizer.__module__]
    hooks = [
        getattr(owner, name, {"unknown": True})
        for owner, name in (
            (base, "_optimizer_step_pre_hooks"),
            (base, "_optimizer_step_post_hooks"),
            (module, "_global_optimizer_pre_hooks"),
            (module, "_global_optimizer_post_hooks"),
        )
    ]
    return not any(hooks) and all(_is_plain(group) for group in base.param_groups) and not _overlap(base)


def _overlap(base: torch.optim.Optimizer) -> bool:
    """Whether parameters share memory, so that each must step from what the one before it left."""
    places = [p.untyped_storage().data_ptr() for group in base.param_groups for p in group["params"] if p.numel()]
    return len(set(places)) < len(places)


def _is_plain(group: dict[str, Any]) -> bool:
    if not set(group) >= _OPTIONS or any(group[name] for name in ("maximize", "foreach", "differentiable", "fused")):
        return False
    numbers = all(isinstance(group[name], int | float) for name in ("lr", "momentum", "dampening", "weight_decay"))
    return numbers and {type(p) for p in group["params"]} <= _PLAIN and all(p.is_cpu for p in group["params"])


def sgd_step_from(base: torch.optim.Optimizer, saved: Mapping[int, Tensor]) -> None:
    """Step from the saved weights to the parameters, with SGD's own operations in SGD's own order.

    Args:
        base: One that :func:`is_plain_sgd` accepts.
        saved: Id of a parameter -> its weights before the perturbation. A parameter that is not in it steps from where
            it is; one without a gradient gets its saved weights.
    """
    for group in base.param_groups:
        moving = [p for p in group["params"] if p.grad is not None]
        for parameter in group["params"]:
            if parameter.grad is None and id(parameter) in saved:
                parameter.copy_(saved[id(parameter)])
        small = [p for p in moving if p.numel() <= _SMALL]
        for part in (small, *([p] for p in moving if p.numel() > _SMALL)):
            if part:
                _step(group, base.state, part, [saved.get(id(p), p) for p in part])


def _step(group: dict[str, Any], state: dict[Tensor, Any], parameters: list[Tensor], starts: list[Tensor]) -> None:
    """One large tensor, in as few passes over its memory as can be; or many small ones, in as few calls."""
    changes: Any = [p.grad for p in parameters]
    if group["weight_decay"] != 0:
        changes = torch._foreach_add(changes, starts, alpha=group["weight_decay"])
    if group["momentum"] != 0:
        buffers = _buffers(group, state, parameters, changes)
        changes = torch._foreach_add(changes, buffers, alpha=group["momentum"]) if group["nesterov"] else buffers
    if len(parameters) == 1:
        torch.add(starts[0], changes[0], alpha=-group["lr"], out=parameters[0])
    else:
        torch._foreach_copy_(parameters, starts)
        torch._foreach_add_(parameters, changes, alpha=-group["lr"])


def _buffers(
    group: dict[str, Any], state: dict[Tensor, Any], parameters: list[Tensor], changes: list[Tensor]
) -> list[Tensor]:
    """The momentum of each parameter, brought up to date."""
    buffers = [state[p].get("momentum_buffer") for p in parameters]
    known = [(buffer, c) for buffer, c in zip(buffers, changes, strict=True) if buffer is not None]
    if known:
        whole = [buffer for buffer, _ in known if buffer.itemsize >= 4]
        if whole:
            torch._foreach_mul_(whole, group["momentum"])
        for buffer in (buffer for buffer, _ in known if buffer.itemsize < 4):  # all at once they round otherwise
            buffer.mul_(group["momentum"])
        torch._foreach_add_([buffer for buffer, _ in known], [c for _, c in known], alpha=1 - group["dampening"])
    for parameter, buffer, change in zip(parameters, buffers, changes, strict=True):
        state[parameter]["momentum_buffer"] = change.detach().clone() if buffer is None else buffer
    return [state[p]["momentum_buffer"] for p in parameters]
