"""Options of parameter groups that change over the run: a radius that grows, or that follows the learning rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from landscape.errors import ConfigError, unknown_name


class GroupScheduler:
    """Set an option of every group, step by step: ``value = start value * factor(steps)``.

    Args:
        optimizer: Its groups are changed.
        option: A key of the groups, for example "rho", "epsilon" or "std".
        factor: Called with the number of :meth:`step` calls so far.

    Raises:
        ConfigError: A group has no such option.

    Example:
        >>> import torch
        >>> from landscape.optim import SAM
        >>> optimizer = SAM([torch.nn.Parameter(torch.ones(1))], torch.optim.SGD, rho=0.1, lr=0.1)
        >>> scheduler = GroupScheduler(optimizer, "rho", lambda steps: 1 + steps)
        >>> scheduler.step()
        >>> optimizer.param_groups[0]["rho"]
        0.2
    """

    def __init__(self, optimizer: torch.optim.Optimizer, option: str, factor: Callable[[int], float]) -> None:
        for group in optimizer.param_groups:
            if option not in group:
                raise unknown_name("option of the groups", option, [key for key in group if key != "params"])
        self.optimizer, self.option, self.factor = optimizer, option, factor
        self.steps = 0
        self.start = [group[option] for group in optimizer.param_groups]
        self._apply()

    def _apply(self) -> None:
        for group, start in zip(self.optimizer.param_groups, self.start, strict=False):
            group[self.option] = start * self.factor(self.steps)

    def step(self) -> None:
        """Go on by one step; call it after ``optimizer.step()``, like a learning-rate scheduler."""
        self.steps += 1
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """Return where the schedule stands."""
        return {"steps": self.steps, "start": list(self.start)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where a schedule stood.

        Args:
            state: What :meth:`state_dict` returned.
        """
        self.steps, self.start = state["steps"], list(state["start"])
        self._apply()


class ProportionalRho:
    """Let the radius follow the learning rate, between two bounds, as GSAM's paper does.

    Definition: ``rho = rho_min + (rho_max - rho_min) * (lr - lr_min) / (lr_max - lr_min)``, for every group by its
    own learning rate.

    Args:
        optimizer: Its groups have "rho" and "lr".
        rho_max: Radius at ``lr_max``.
        rho_min: Radius at ``lr_min``.
        lr_max: Highest learning rate; by default what a scheduler that was built before noted in each group ("max_lr"
            of one-cycle, else "initial_lr"), else the present one.
        lr_min: Lowest learning rate.

    Raises:
        ConfigError: The groups have no "rho", or the bounds are out of order.

    Example:
        >>> import torch
        >>> from landscape.optim import SAM
        >>> optimizer = SAM([torch.nn.Parameter(torch.ones(1))], torch.optim.SGD, rho=0.1, lr=0.4)
        >>> scheduler = ProportionalRho(optimizer, rho_max=0.2, rho_min=0.0)
        >>> optimizer.param_groups[0]["lr"] = 0.1
        >>> scheduler.step()
        >>> round(optimizer.param_groups[0]["rho"], 9)
        0.05

    References:
        J. Zhuang et al., Surrogate Gap Minimization Improves Sharpness-Aware Training, ICLR 2022, section 4.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        rho_max: float,
        rho_min: float = 0.0,
        lr_max: float | None = None,
        lr_min: float = 0.0,
    ) -> None:
        if any("rho" not in group for group in optimizer.param_groups):
            raise ConfigError("The optimizer's groups have no rho.", expected="SAM or a relative of it")
        self.optimizer, self.rho_max, self.rho_min, self.lr_min = optimizer, rho_max, rho_min, lr_min
        self.lr_max = [_highest(group) if lr_max is None else lr_max for group in optimizer.param_groups]
        if not 0 <= rho_min <= rho_max or any(high <= lr_min for high in self.lr_max):
            raise ConfigError(
                "The bounds are out of order.",
                expected="0 <= rho_min <= rho_max and lr_min < lr_max",
                got=f"rho {rho_min} to {rho_max}, lr {lr_min} to {self.lr_max}",
            )
        self.step()

    def step(self) -> None:
        """Set each group's radius; call it after the learning rate changed."""
        for group, high in zip(self.optimizer.param_groups, self.lr_max, strict=False):
            done = (float(group["lr"]) - self.lr_min) / (high - self.lr_min)
            group["rho"] = self.rho_min + (self.rho_max - self.rho_min) * min(max(done, 0.0), 1.0)

    def state_dict(self) -> dict[str, Any]:
        """Return the learning rates that give the largest radius."""
        return {"lr_max": list(self.lr_max)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the schedule that was saved, with the groups' present learning rates.

        Args:
            state: What :meth:`state_dict` returned.
        """
        self.lr_max = list(state["lr_max"])
        self.step()


def _highest(group: dict[str, Any]) -> float:
    return float(group.get("max_lr", group.get("initial_lr", group["lr"])))
