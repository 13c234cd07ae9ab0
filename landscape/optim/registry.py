"""Optimizers by name, with the options that each one reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from landscape.errors import ConfigError, unknown_name
from landscape.optim.amp import AMP
from landscape.optim.lpfsgd import LPFSGD
from landscape.optim.sam import SAM


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """An optimizer that a configuration can name.

    Attributes:
        build: Called with the model and all options.
        options: The options it reads beside the base optimizer's, with their defaults and where these come from.
        passes: Forward-backward passes a step, in words.
        description: One line.
    """

    build: Callable[..., torch.optim.Optimizer]
    options: dict[str, Any]
    passes: str
    description: str


def _without(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in names}


def _base(name: str, options: dict[str, Any]) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    shared = {"lr": options.pop("lr"), "weight_decay": options.pop("weight_decay", 0.0)}
    momentum, nesterov = options.pop("momentum", 0.9), options.pop("nesterov", False)
    if name == "sgd":
        return torch.optim.SGD, {**shared, "momentum": momentum, "nesterov": nesterov}
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name], shared


def _plain(name: str) -> Callable[..., torch.optim.Optimizer]:
    def build(model: nn.Module, **options: Any) -> torch.optim.Optimizer:
        options = _without(options, "base", "total_steps", "seed")
        base, base_options = _base(name, options)
        return base(model.parameters(), **base_options)

    return build


def _sam(model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    options = _without(options, "total_steps", "seed")
    rho, adaptive = options.pop("rho"), options.pop("adaptive")
    base, base_options = _base(options.pop("base", "sgd"), options)
    return SAM(model.parameters(), base, rho=rho, adaptive=adaptive, model=model, **base_options)


def _asam(model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    return _sam(model, **{**options, "adaptive": True})


def _amp(model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    options = _without(options, "total_steps", "seed")
    own = {name: options.pop(name) for name in ("epsilon", "inner_lr", "inner_iter", "ball")}
    base, base_options = _base(options.pop("base", "sgd"), options)
    return AMP(model.parameters(), base_optimizer=base, model=model, **own, **base_options)


def _lpfsgd(model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    own = {name: options.pop(name) for name in ("std", "M", "inc", "total_steps", "seed")}
    base, base_options = _base(options.pop("base", "sgd"), options)
    return LPFSGD(model.parameters(), base_optimizer=base, model=model, **own, **base_options)


OPTIMIZERS: dict[str, OptimizerSpec] = {
    "sgd": OptimizerSpec(build=_plain("sgd"), options={}, passes="1", description="Stochastic gradient descent."),
    "adam": OptimizerSpec(build=_plain("adam"), options={}, passes="1", description="Adam."),
    "adamw": OptimizerSpec(build=_plain("adamw"), options={}, passes="1", description="Adam, decoupled weight decay."),
    "sam": OptimizerSpec(
        build=_sam,
        options={"rho": 0.05, "adaptive": False},  # Foret et al. 2021
        passes="2",
        description="Sharpness-aware minimization.",
    ),
    "asam": OptimizerSpec(
        build=_asam,
        options={"rho": 0.5},  # Kwon et al. 2021, CIFAR-10
        passes="2",
        description="Adaptive SAM, the widespread form without eta.",
    ),
    "amp": OptimizerSpec(
        build=_amp,
        options={"epsilon": 0.5, "inner_lr": 1.0, "inner_iter": 1, "ball": "tensor"},  # Zheng et al. 2021
        passes="inner_iter + 1",
        description="Adversarial model perturbation.",
    ),
    "lpfsgd": OptimizerSpec(
        build=_lpfsgd,
        options={"std": 5e-4, "M": 1, "inc": 1.0},  # Bisla et al. 2022
        passes="1 with the batch split into M parts, else M",
        description="Low-pass-filter SGD.",
    ),
}

_SHARED = ("base", "lr", "momentum", "nesterov", "weight_decay", "total_steps", "seed")


def build_optimizer(name: str, model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    """Build an optimizer for a model by name.

    Args:
        name: A key of :data:`OPTIMIZERS`.
        model: The module whose parameters move.
        **options: ``lr`` (needed), ``momentum`` (0.9), ``nesterov``, ``weight_decay``, ``base`` ("sgd", "adam",
            "adamw"), ``total_steps``, ``seed``, and the method's own; an option that is None takes its default.

    Returns:
        The optimizer.

    Raises:
        ConfigError: The name is unknown, an option is not read by this optimizer, or a value is out of range.

    Example:
        >>> optimizer = build_optimizer("sam", torch.nn.Linear(1, 1), lr=0.1, rho=0.2)
        >>> optimizer.param_groups[0]["rho"]
        0.2
    """
    if name not in OPTIMIZERS:
        raise unknown_name("optimizer", name, OPTIMIZERS)
    spec = OPTIMIZERS[name]
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if key not in spec.options and key not in _SHARED:
            known = ", ".join(sorted(spec.options)) or "none of its own"
            raise ConfigError(
                f"The optimizer {name!r} does not read {key!r}.",
                expected=f"{known}; and {', '.join(_SHARED)}",
                fix=f"Leave {key} unset, or choose an optimizer that reads it.",
            )
    if "lr" not in given:
        raise ConfigError(f"The optimizer {name!r} needs a learning rate.", expected="lr=...", got="nothing")
    defaults = {"total_steps": None, "seed": 0} | spec.options
    return spec.build(model, **{**defaults, **given})
