"""An optimizer around another one that shares its groups and its state: one checkpoint, one set of groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from landscape.optim.options import BaseOptimizer, check_parameters, make_base

_TRANSIENT = ("old_p", "dev", "e_w")  # left in checkpoints by other implementations; meaningless between steps


class LinkedOptimizer(torch.optim.Optimizer):
    """``param_groups`` and ``state`` are the base optimizer's own objects, so schedulers and checkpoints see one.

    What a method itself remembers of a parameter (a running mean of gradients, say) is kept in :attr:`memory`, not in
    ``state``: base optimizers take a non-empty state for their own. ``state_dict()`` holds both.

    Args:
        params: Parameters or parameter groups, or None where ``base_optimizer`` is an instance.
        base_optimizer: An optimizer class (built with ``base_options``) or an instance.
        defaults: The method's own options with their values; they become keys of every parameter group.
        base_options: Options for the base optimizer's class.

    Raises:
        ConfigError: An option collides with one of the base optimizer's, or a parameter is not floating point.
    """

    def __init__(
        self,
        params: Iterable[Any] | None,
        base_optimizer: BaseOptimizer,
        defaults: dict[str, Any],
        base_options: dict[str, Any],
    ) -> None:
        base = make_base(type(self), params, base_optimizer, defaults, base_options)
        super().__init__(base.param_groups, {**base.defaults, **defaults})
        self.base_optimizer = base
        self.memory: dict[Tensor, dict[str, Tensor]] = {}
        self._own_defaults = dict(defaults)
        self._link()
        self._forget_buffers()
        for group in self.param_groups:
            self._check_group(group)

    def _link(self) -> None:
        """Share the groups and the state with the base optimizer: there is one of each."""
        self.param_groups = self.base_optimizer.param_groups
        self.state = self.base_optimizer.state
        for group in self.param_groups:
            for key, value in self._own_defaults.items():
                group.setdefault(key, value)

    def _check_group(self, group: dict[str, Any]) -> None:
        """Raise a ConfigError where a group's parameters or options are out of range."""
        check_parameters(group["params"])

    def _forget_buffers(self) -> None:
        """Drop what only lives within a step."""

    def _all_parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        """Return the base optimizer's state, the groups, and under "method" what the method itself remembers.

        Returns:
            A dict that :meth:`load_state_dict` takes; the base optimizer's own class takes it too.
        """
        found = super().state_dict()
        if self.memory:
            numbers = {parameter: number for number, parameter in enumerate(self._all_parameters())}
            found["method"] = {numbers[parameter]: dict(entry) for parameter, entry in self.memory.items()}
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a checkpoint of this optimizer, of its base optimizer, or of another method on the same base.

        Args:
            state_dict: What ``state_dict()`` gave. Options that it lacks keep their present values; leftovers of other
                implementations are dropped.
        """
        groups = [dict(group) for group in state_dict["param_groups"]]
        for mine, loaded in zip(self.param_groups, groups, strict=False):
            for key, value in mine.items():
                if key != "params":
                    loaded.setdefault(key, value)
        state = {
            key: {name: entry for name, entry in value.items() if name not in _TRANSIENT}
            for key, value in state_dict["state"].items()
        }
        self.base_optimizer.load_state_dict({"state": {k: v for k, v in state.items() if v}, "param_groups": groups})
        self._link()
        self._forget_buffers()
        parameters = self._all_parameters()
        self.memory = {
            parameters[int(number)]: {
                name: value.detach().to(parameters[int(number)].device, copy=True) for name, value in entry.items()
            }
            for number, entry in state_dict.get("method", {}).items()
        }

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group to this and the base optimizer, which share their groups.

        Args:
            param_group: As for any torch optimizer; the method's own options may be among its keys.

        Raises:
            ConfigError: An option is out of range, or a parameter is not floating point; the group is not added then.
        """
        base = self.__dict__.get("base_optimizer")
        if base is None:  # torch's own constructor: the groups are the base optimizer's, already complete
            self.param_groups.append(param_group)
            return
        base.add_param_group(param_group)
        try:
            self._link()
            self._check_group(self.param_groups[-1])
        except BaseException:
            del self.param_groups[-1]
            raise

    def __getstate__(self) -> dict[str, Any]:
        state = {k: v for k, v in self.__dict__.items() if not k.startswith("_optimizer_")}
        state.pop("step", None)  # a scheduler's wrapper around this very object
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "base_optimizer" in self.__dict__:
            self._forget_buffers()
            self._link()
