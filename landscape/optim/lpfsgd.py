"""LPF-SGD: descent on the loss convolved with a Gaussian that is as wide as the filters are long."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import ConfigError
from landscape.optim.engine import Closure, PerturbedOptimizer
from landscape.optim.norms import global_norm
from landscape.optim.options import BaseOptimizer, nonnegative
from landscape.seeding import generator


class LPFSGD(PerturbedOptimizer):
    r"""Low-pass-filter SGD, or LPF on any base optimizer.

    Definition: the gradient of the smoothed loss, estimated by M draws::

        w <- base_step(w, (1/M) * sum_i gradient at w + n_i)
        n_i = std_t * ||filter of w|| * N(0, 1)     for each weight of the filter (row of dimension 0)
        std_t = std * (1 + (inc - 1) * (1 - cos(pi * t / total_steps)) / 2)

    A tensor with one dimension is one filter. ``std`` is a standard deviation relative to the filter's norm, as in the
    authors' code (the paper's formula reads it as a variance); the noise's length is about std * sqrt(fan-in) filter
    norms. Only the optimizer's own parameters are perturbed.

    Cost: M forward-backward passes a step with ``step(closure)``; one pass over the data with
    ``step([closure_1, ..., closure_M])``, each closure on its share of the batch, as the authors train.

    Args:
        params: Parameters or parameter groups; a group may carry its own ``std``.
        lr: The base optimizer's learning rate.
        std: Noise level. Default 5e-4: the authors' for CIFAR with M = 8 and inc = 15 (2e-3 for their ResNets, M = 1).
        M: Number of draws for ``step(closure)``. Default 1.
        inc: Final multiple of ``std``; 1 keeps it constant. The authors use 15.
        total_steps: T, the number of steps over which the noise grows; needed where inc is not 1.
        base_optimizer: An optimizer class. Default SGD.
        model: The module the closure runs. There is no pass at the clean weights: the running statistics of the first
            pass of each closure are kept; use ``torch.optim.swa_utils.update_bn`` before evaluation where that matters.
        seed: Seed of the noise; its generators belong to the optimizer and are part of its checkpoints.
        **base_options: For the base optimizer.

    Raises:
        ConfigError: An option is negative or unknown, M is no positive integer, or ``total_steps`` is missing.

    Example:
        With std = 0 it is the base optimizer.

        >>> w = torch.nn.Parameter(torch.tensor([1.0, 1.0], dtype=torch.float64))
        >>> optimizer = LPFSGD([w], lr=0.1, std=0.0)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = (w**2).sum() / 2
        ...     loss.backward()
        ...     return loss
        >>> optimizer.step(closure).item(), w.tolist()
        (1.0, [0.9, 0.9])

    References:
        D. Bisla et al., Low-Pass Filtering SGD for Recovering Flat Optima, AISTATS 2022, Algorithm 1.
    """

    clean_pass = False

    def __init__(
        self,
        params: Iterable[Any] | None,
        lr: float,
        std: float = 5e-4,
        M: int = 1,
        inc: float = 1.0,
        total_steps: int | None = None,
        base_optimizer: BaseOptimizer = torch.optim.SGD,
        *,
        model: nn.Module | None = None,
        seed: int = 0,
        **base_options: Any,
    ) -> None:
        nonnegative(lr=lr, std=std, inc=inc)
        if type(M) is not int or M < 1:
            raise ConfigError("M is out of range.", expected="an integer of at least 1", got=M)
        if inc != 1 and (type(total_steps) is not int or total_steps < 1):
            raise ConfigError("inc needs total_steps.", expected="the number of steps of the run", got=total_steps)
        self._generators: dict[str, torch.Generator] = {}
        self._row_norms: list[Tensor] = []
        self.M, self.inc, self.total_steps, self.seed = M, inc, total_steps, seed
        built = isinstance(base_optimizer, torch.optim.Optimizer)
        options = base_options if built else {"lr": lr, **base_options}
        super().__init__(params, base_optimizer, {"std": std, "noise_step": 0}, options, model=model)
        for group in self.param_groups:
            nonnegative(std=group["std"])

    def noise_scale(self) -> float:
        """Return the present multiple of ``std``: 1 at first, ``inc`` at ``total_steps`` and after."""
        if self.total_steps is None or self.inc == 1:
            return 1.0
        done = min(self.param_groups[0]["noise_step"] / self.total_steps, 1.0)
        return 1.0 + (self.inc - 1.0) * (1.0 - math.cos(math.pi * done)) / 2.0

    def _extra_passes(self) -> int:
        return 1

    def _active(self) -> bool:
        return any(group["std"] > 0 for group in self.param_groups)

    def _check_closures(self, closure: Any) -> list[Closure]:
        closures = super()._check_closures(closure)
        return closures * self.M if len(closures) == 1 and self._active() else closures

    def _base_step(self) -> None:
        super()._base_step()
        self.param_groups[0]["noise_step"] += 1

    def _generator(self, device: torch.device) -> torch.Generator:
        key = str(device)
        if key not in self._generators:
            self._generators[key] = generator(self.seed, "lpf", device=device)
        return self._generators[key]

    def _perturb(self, index: int) -> None:
        scale = self.noise_scale()
        noises = []
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.requires_grad]
            if not weights or group["std"] == 0:
                continue
            noise = [torch.empty_like(w).normal_(generator=self._generator(w.device)) for w in weights]
            torch._foreach_mul_(noise, [_filter_norms(w) for w in weights])
            torch._foreach_mul_(noise, group["std"] * scale)
            torch._foreach_add_(weights, noise)
            noises += noise
        self.stats["eps_norm"] = global_norm(noises)

    def state_dict(self) -> dict[str, Any]:
        """Return the base optimizer's state, the groups, and the state of the noise generators."""
        states = {device: noise.get_state() for device, noise in self._generators.items()}
        return {**super().state_dict(), "generators": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a checkpoint, the noise generators included where it has them.

        Args:
            state_dict: What ``state_dict()`` gave, of this or of another method.
        """
        super().load_state_dict(state_dict)
        self._generators = {}
        for device, state in state_dict.get("generators", {}).items():
            self._generator(torch.device(device)).set_state(state.cpu())

    def __getstate__(self) -> dict[str, Any]:
        states = {device: noise.get_state() for device, noise in self._generators.items()}
        return {**super().__getstate__(), "_generators": states}

    def __setstate__(self, state: dict[str, Any]) -> None:
        states = dict(state.get("_generators", {}))
        super().__setstate__({**state, "_generators": {}} if states else state)
        for device, saved in states.items():
            self._generator(torch.device(device)).set_state(saved)


def _filter_norms(weight: Tensor) -> Tensor:
    """Return the norm of each row of dimension 0, shaped to multiply the weight; one norm for 0 or 1 dimensions."""
    if weight.ndim < 2:
        return torch.linalg.vector_norm(weight) + 1e-16
    rows = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    return rows.view(-1, *[1] * (weight.ndim - 1))
