"""What may stand for the loss, and what it is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from landscape.errors import ConfigError, nearest, shown

LossFunction = Callable[[Any, Tensor], Tensor]


def check_loss(loss_fn: Any) -> LossFunction:
    """Refuse what cannot be averaged over examples.

    Args:
        loss_fn: Meant to be ``loss_fn(outputs, targets)``: the mean over the batch, or one loss per example (B,).

    Returns:
        The same loss.

    Raises:
        ConfigError: It cannot be called with outputs and targets, is a class, or its attribute ``reduction`` is "sum".

    Example:
        >>> import torch
        >>> check_loss(torch.nn.functional.mse_loss).__name__
        'mse_loss'
    """
    _check_instance("loss", loss_fn)
    if not callable(loss_fn):
        names = [name for name in dir(F) if name.endswith("_loss") or "entropy" in name]
        close = nearest(loss_fn, names) if isinstance(loss_fn, str) else None
        raise ConfigError(
            "The loss is no function.",
            expected="loss_fn(outputs, targets)",
            got=shown(loss_fn),
            fix=f"Pass the function itself, for example torch.nn.functional.{close or 'cross_entropy'}.",
        )
    _check_signature("loss", loss_fn)
    reduction = getattr(loss_fn, "reduction", "mean")
    if reduction == "sum":
        name = type(loss_fn).__name__
        raise ConfigError(
            f"The loss {name} does not average over its batch: an objective is the mean over all examples.",
            expected='reduction="mean"',
            got=f"reduction={reduction!r}",
            fix=f'Pass {name}(reduction="mean"), or a function that returns one loss per example, (B,).',
        )
    return cast(LossFunction, loss_fn)


def check_metric(metric: Any) -> LossFunction | None:
    """Refuse what cannot be evaluated beside the loss; None is the accuracy.

    Raises:
        ConfigError: It cannot be called with outputs and targets, or is a class.
    """
    _check_instance("metric", metric)
    if metric is None or callable(metric):
        _check_signature("metric", metric)
        return cast("LossFunction | None", metric)
    raise ConfigError(
        "The metric is no function.",
        expected="metric(outputs, targets), one value per example (B,) or their mean; or None for the accuracy",
        got=shown(metric),
        fix="Pass the function itself.",
    )


def _check_instance(what: str, function: Any) -> None:
    if isinstance(function, type):
        name = function.__name__
        raise ConfigError(
            f"The {what} is a class: calling it builds an object and compares nothing.",
            expected=f"a function {what}(outputs, targets), or an object that is one",
            got=shown(function),
            fix=f"Pass an object of it: {name}().",
        )


def _check_signature(what: str, function: Any) -> None:
    """Refuse what cannot be called with outputs and targets, where its signature is known."""
    if function is None:
        return
    try:
        signature = inspect.signature(function.forward if isinstance(function, nn.Module) else function)
    except (TypeError, ValueError):  # some functions written in C have none
        return
    try:
        signature.bind(None, None)
    except TypeError as error:
        name = loss_name(function)
        raise ConfigError(
            f"The {what} {name} cannot be called with outputs and targets: {error}.",
            expected=f"{what}(outputs, targets)",
            got=f"{name}{signature}",
            fix=f"Wrap it: lambda outputs, targets: {name}(...).",
        ) from error


def loss_name(loss_fn: LossFunction) -> str:
    """Return what a loss calls itself: its own name, or its class's.

    Example:
        >>> import torch
        >>> loss_name(torch.nn.functional.cross_entropy), loss_name(torch.nn.CrossEntropyLoss())
        ('cross_entropy', 'CrossEntropyLoss')
    """
    return getattr(loss_fn, "__name__", type(loss_fn).__name__)
