"""Optimizers by name, with the options that each one reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from landscape.errors import ConfigError, unknown_name
from landscape.optim.amp import AMP
from landscape.optim.combined import GNP, GSAM
from landscape.optim.engine import PerturbedOptimizer
from landscape.optim.entropy import EntropySGD
from landscape.optim.friendly import FriendlySAM, VaSSO
from landscape.optim.looksam import LookSAM
from landscape.optim.lpfsgd import LPFSGD
from landscape.optim.nso import NSO
from landscape.optim.options import option_names
from landscape.optim.sam import SAM
from landscape.optim.smoothout import SmoothOut
from landscape.optim.when import parse_when


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


def _base(name: str, options: dict[str, Any]) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    shared = {"lr": options.pop("lr"), "weight_decay": options.pop("weight_decay", 0.0)}
    if "fused" in options:
        shared["fused"] = options.pop("fused")
    momentum, nesterov = options.pop("momentum", 0.9), options.pop("nesterov", False)
    if name == "sgd":
        return torch.optim.SGD, {**shared, "momentum": momentum, "nesterov": nesterov}
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name], shared


def _plain(name: str) -> Callable[..., torch.optim.Optimizer]:
    def build(model: nn.Module, **options: Any) -> torch.optim.Optimizer:
        not_read = ("base", "total_steps", "seed", "when", "sync")
        kept = {key: value for key, value in options.items() if key not in not_read}
        base, base_options = _base(name, kept)
        return base(model.parameters(), **base_options)

    return build


def _method(method: type[PerturbedOptimizer], *names: str, **fixed: Any) -> Callable[..., PerturbedOptimizer]:
    """Build a method with the options of these names, and with the seed and number of steps if it takes them."""

    def build(model: nn.Module, **options: Any) -> PerturbedOptimizer:
        make = cast(Callable[..., PerturbedOptimizer], method)
        taken = option_names(method)
        steps, seed, when = (options.pop(name) for name in ("total_steps", "seed", "when"))
        sync = {"sync": options.pop("sync")} if "sync" in options else {}
        context = {key: value for key, value in (("total_steps", steps), ("seed", seed)) if key in taken}
        own = {name: options.pop(name) for name in names}
        base, base_options = _base(options.pop("base", "sgd"), options)
        schedule = parse_when(when, steps, seed)
        return make(
            model.parameters(),
            base_optimizer=base,
            model=model,
            schedule=schedule,
            **own,
            **fixed,
            **context,
            **sync,
            **base_options,
        )

    return build


def _spec(
    method: type[PerturbedOptimizer], options: dict[str, Any], passes: str, description: str, **fixed: Any
) -> OptimizerSpec:
    build = _method(method, *options, **fixed)
    return OptimizerSpec(build=build, options=options, passes=passes, description=description)


_ASCENT = {"norm_over": "all"}
_ENTROPY = {"L": 5, "gamma0": 0.5, "gamma1": 1e-4, "gamma_max": 2.38, "inner_lr": 0.1, "noise": 1e-4}

# The source of each default is in the class's docstring; asam's rho is that of Kwon et al. 2021 for CIFAR-10.
OPTIMIZERS: dict[str, OptimizerSpec] = {
    "sgd": OptimizerSpec(build=_plain("sgd"), options={}, passes="1", description="Stochastic gradient descent."),
    "adam": OptimizerSpec(build=_plain("adam"), options={}, passes="1", description="Adam."),
    "adamw": OptimizerSpec(build=_plain("adamw"), options={}, passes="1", description="Adam, decoupled weight decay."),
    "sam": _spec(SAM, {"rho": 0.05, "adaptive": False, **_ASCENT}, "2", "Sharpness-aware minimization."),
    "asam": _spec(SAM, {"rho": 0.5, **_ASCENT}, "2", "Adaptive SAM, the widespread form without eta.", adaptive=True),
    "amp": _spec(
        AMP,
        {"epsilon": 0.5, "inner_lr": 1.0, "inner_iter": 1, "ball": "tensor"},
        "inner_iter + 1",
        "Adversarial model perturbation.",
    ),
    "lpfsgd": _spec(
        LPFSGD,
        {"std": 5e-4, "M": 1, "inc": 1.0},
        "1 with the batch split into M parts, else M",
        "Low-pass-filter SGD.",
    ),
    "smoothout": _spec(SmoothOut, {"a": 0.009, "adapt": "none"}, "1", "SmoothOut; with adapt, ASO."),
    "nso": _spec(NSO, {"std": 0.01, "pairs": 1, "scale": "absolute"}, "2 * pairs", "Noise-stability optimization."),
    "entropysgd": _spec(EntropySGD, _ENTROPY, "L", "Entropy-SGD, on any base."),
    "gsam": _spec(GSAM, {"rho": 0.05, "alpha": 0.4, "adaptive": False, **_ASCENT}, "2", "Surrogate-gap guided SAM."),
    "gnp": _spec(GNP, {"rho": 0.05, "alpha": 0.8, "adaptive": False, **_ASCENT}, "2", "Gradient-norm penalty."),
    "fsam": _spec(
        FriendlySAM,
        {"rho": 0.05, "sigma": 1.0, "lmbda": 0.6, "adaptive": False, **_ASCENT},
        "2",
        "Friendly SAM: without the mean gradient.",
    ),
    "vasso": _spec(
        VaSSO, {"rho": 0.05, "theta": 0.9, "adaptive": False, **_ASCENT}, "2", "SAM along the mean gradient."
    ),
    "looksam": _spec(
        LookSAM,
        {"rho": 0.05, "k": 5, "alpha": 0.7, "adaptive": False, **_ASCENT},
        "1 + 1/k",
        "SAM every k steps, its direction reused.",
    ),
}

_SHARED = ("base", "lr", "momentum", "nesterov", "weight_decay", "total_steps", "seed", "when", "sync", "fused")


def build_optimizer(name: str, model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    """Build an optimizer for a model by name.

    Args:
        name: A key of :data:`OPTIMIZERS`.
        model: The module whose parameters move.
        **options: ``lr`` (needed), ``momentum`` (0.9), ``nesterov``, ``weight_decay``, ``base`` ("sgd", "adam",
            "adamw"), ``total_steps``, ``seed``, ``sync`` of the engine, ``when`` (see
            :func:`~landscape.optim.when.parse_when`), ``fused`` (whether the base optimizer takes its step in one
            kernel), and the method's own; an option that is None takes its default.

    Returns:
        The optimizer.

    Raises:
        ConfigError: The name is unknown, an option is not read by this optimizer, or a value is out of range.

    Example:
        >>> import torch
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
    defaults = {"total_steps": None, "seed": 0, "when": "always"} | spec.options
    return spec.build(model, **{**defaults, **given})
