"""Every optimizer of the package on every base, a small problem, and closures for it: what the tests here run over."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from landscape.optim import (
    AMP,
    GNP,
    GSAM,
    LPFSGD,
    NSO,
    SAM,
    EntropySGD,
    FriendlySAM,
    LookSAM,
    SmoothOut,
    VaSSO,
)
from landscape.seeding import generator, seeded

# Name: class, options, the option whose 0 makes it the base optimizer (None where there is no such option).
METHODS: dict[str, tuple[type, dict[str, Any], str | None]] = {
    "sam": (SAM, {"rho": 0.2}, "rho"),
    "asam": (SAM, {"rho": 0.5, "adaptive": True}, "rho"),
    "asam-official": (SAM, {"rho": 0.5, "adaptive": "official"}, "rho"),
    "amp": (AMP, {"epsilon": 0.3, "inner_iter": 2}, "epsilon"),
    "amp-global": (AMP, {"epsilon": 0.3, "ball": "global"}, "epsilon"),
    "lpf": (LPFSGD, {"std": 0.05, "M": 2, "inc": 3.0, "total_steps": 8}, "std"),
    "smoothout": (SmoothOut, {"a": 0.1, "adapt": "filter"}, "a"),
    "nso": (NSO, {"std": 0.05}, "std"),
    "gsam": (GSAM, {"rho": 0.2}, "rho"),
    "gnp": (GNP, {"rho": 0.2, "alpha": 0.7}, "rho"),
    "fsam": (FriendlySAM, {"rho": 0.2}, "rho"),
    "vasso": (VaSSO, {"rho": 0.2}, "rho"),
    "looksam": (LookSAM, {"rho": 0.2, "k": 2}, "rho"),
    "entropy": (EntropySGD, {"L": 3, "noise": 1e-2}, None),
}

BASES: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}),
    "adam": (torch.optim.Adam, {"lr": 0.01}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.01, "momentum": 0.5}),
    "muon": (torch.optim.Muon, {"lr": 0.01}),
}


def build(method: str, params: Any, base: str = "sgd", **changes: Any) -> Any:
    """Build a method on a base; ``changes`` override the options of both."""
    make, own, _ = METHODS[method]
    base_class, options = BASES[base]
    return make(params, base_optimizer=base_class, **{**own, **options, **changes})


def problem(norm: bool = True) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A classifier with or without a normalization layer, 12 inputs (12, 4) and targets (12,)."""
    with seeded(7, "problem"):
        layers = [nn.Linear(4, 6), nn.BatchNorm1d(6) if norm else nn.Identity(), nn.ReLU(), nn.Linear(6, 3)]
        model = nn.Sequential(*layers)
    stream = generator(8, "data")
    return model, torch.randn(12, 4, generator=stream), torch.randint(3, (12,), generator=stream)


def matrices(norm: bool = False) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """The same with weight matrices only, which is what Muon takes."""
    model, inputs, targets = problem(norm)
    bare = [nn.Linear(m.in_features, m.out_features, bias=False) if isinstance(m, nn.Linear) else m for m in model]
    with seeded(9, "matrices"):
        for layer in bare:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight)
    return nn.Sequential(*bare), inputs, targets


def closure_of(model, optimizer, inputs, targets, *, bomb_at=None, autocast=None, scaler=None, spoil_at=None):
    """A closure; raises KeyboardInterrupt at call ``bomb_at``, makes an infinite gradient at call ``spoil_at``."""
    calls = [0]

    def closure():
        calls[0] += 1
        if calls[0] == bomb_at:
            raise KeyboardInterrupt
        optimizer.zero_grad()
        with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
            loss = F.cross_entropy(model(inputs), targets)
        (loss if scaler is None else scaler.scale(loss)).backward()
        if calls[0] == spoil_at:
            next(p for p in model.parameters() if p.grad is not None).grad.view(-1)[0] = torch.inf
        return loss

    closure.calls = calls
    return closure


def flat(model: nn.Module) -> torch.Tensor:
    """(P,) copy of all parameters."""
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).clone()


def buffers(model: nn.Module) -> list[torch.Tensor]:
    """Copies of all buffers."""
    return [buffer.clone() for buffer in model.buffers()]
