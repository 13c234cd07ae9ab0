"""Checks of what users pass, and the base optimizer made from it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor

from landscape.config import is_number, is_whole
from landscape.errors import ConfigError, unknown_name

BaseOptimizer = Callable[..., torch.optim.Optimizer] | torch.optim.Optimizer

LARGEST = 1e30
"""The largest option of an optimizer: what a step multiplies it by must still give a float32 number (up to 3.4e38)."""

Schedule = Callable[[int], bool]
"""Says, from the number of steps done, whether a step perturbs: Late, Every, Bernoulli or your own function."""


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What every method takes beside its own options and its base optimizer's.

    Attributes:
        schedule: Which steps perturb; the others are the base optimizer's own, with one pass. None: all.
        sync: Under DistributedDataParallel (pass it as ``model``): "replica" perturbs each process by its own
            gradient (m-sharpness, section 4.1 of the SAM paper), with no communication before the last pass; "global"
            by the averaged one.
        same_rng: Whether all passes of a step draw the same random numbers from the global generators of torch (dropout
            masks), NumPy and Python. Not within CUDA graphs.
        buffers: Which of the model's buffers only the first pass may change: "norm", running statistics; or "all".
        track_cosine: Whether ``stats["cos"]`` holds the cosine between perturbation and last gradient. Costs about
            two more reads of the weights a step.
    """

    schedule: Schedule | None = None
    sync: Literal["replica", "global"] = "replica"
    same_rng: bool = False
    buffers: Literal["norm", "all"] = "norm"
    track_cosine: bool = False

    def __post_init__(self) -> None:
        if self.sync not in ("replica", "global"):
            raise ConfigError("sync is out of range.", expected="'replica' or 'global'", got=repr(self.sync))
        if self.buffers not in ("norm", "all"):
            raise ConfigError("buffers is out of range.", expected="'norm' or 'all'", got=repr(self.buffers))
        if self.schedule is not None and (isinstance(self.schedule, type) or not callable(self.schedule)):
            raise ConfigError(
                "schedule is no function.",
                expected="Late(0.2, total_steps=N), Every(k), Bernoulli(p), or your own function of the step",
                got=repr(self.schedule),
            )


ENGINE_OPTIONS = tuple(field.name for field in fields(EngineOptions))


def take_engine_options(options: dict[str, Any]) -> tuple[EngineOptions, dict[str, Any]]:
    """Split keywords into the engine's and the base optimizer's."""
    own = {name: value for name, value in options.items() if name in ENGINE_OPTIONS}
    return EngineOptions(**own), {name: value for name, value in options.items() if name not in own}


def make_base(
    method: type, params: Any, base_optimizer: BaseOptimizer, defaults: dict[str, Any], base_options: dict[str, Any]
) -> torch.optim.Optimizer:
    """Build the base optimizer, or take the one given, and check that the method can sit on it.

    Args:
        method: The optimizer class, for messages.
        params: Parameters or parameter groups, or None where ``base_optimizer`` is an instance.
        base_optimizer: A class or an instance.
        defaults: The method's own options.
        base_options: Options for the base's class.

    Returns:
        The base optimizer.

    Raises:
        ConfigError: Options for a built base, no parameters, a name that both use, or LBFGS.
    """
    reject_unknown_options(method, base_optimizer, base_options)
    if isinstance(base_optimizer, torch.optim.Optimizer):
        if base_options:
            raise ConfigError(
                "Options were given for a base optimizer that is already built.",
                got=", ".join(base_options),
                fix="Pass the optimizer's class, or drop the options.",
            )
        if params is not None:
            raise ConfigError(
                "Parameters were given along with a base optimizer that is already built, which has its own.",
                expected=f"{method.__name__}(None, base, ...), or the base's class",
                fix="Put groups and their options into the base optimizer, or pass its class.",
            )
        base = base_optimizer
    elif params is None:
        raise ConfigError("There are no parameters.", fix="Pass params, or a built base optimizer.")
    else:
        groups = [dict(group) if isinstance(group, dict) else group for group in params]
        if not groups:
            raise ConfigError(
                "There are no parameters.", fix="Pass model.parameters(), and only once: it is an iterator."
            )
        base = base_optimizer(groups, **base_options)
    collisions = sorted((set(defaults) | set(ENGINE_OPTIONS)) & set(base.defaults))
    if collisions:
        raise ConfigError(
            f"{method.__name__} and {type(base).__name__} both have an option {collisions[0]!r}.",
            fix="Use another base optimizer: the one value would silently set both.",
        )
    if isinstance(base, torch.optim.LBFGS):
        raise ConfigError(
            "LBFGS calls the closure itself, as often as it likes.",
            expected="a base optimizer whose step() needs no closure",
            fix="Use SGD, Adam, AdamW, RMSprop or Muon.",
        )
    return base


def check_parameters(parameters: Iterable[Tensor]) -> None:
    """Raise a ConfigError unless all parameters are real floating-point tensors.

    Args:
        parameters: A group's.

    Raises:
        ConfigError: One is complex or integer.
    """
    for parameter in parameters:
        if not parameter.is_floating_point():
            raise ConfigError(
                "A parameter is not floating point.",
                expected="real floating-point weights",
                got=parameter.dtype,
                fix="Leave it out of the optimizer's parameters.",
            )


def nonnegative(**options: float) -> None:
    """Raise a ConfigError unless all options are numbers from 0 to :data:`LARGEST`.

    Args:
        **options: Name to value; NumPy's numbers and 0-d tensors count as the same number.

    Raises:
        ConfigError: An option is negative, NaN, above the range, or no number.
    """
    for name, value in options.items():
        number = value.item() if isinstance(value, Tensor) and value.ndim == 0 and value.device.type == "cpu" else value
        if isinstance(number, Tensor) and number.ndim == 0:  # on a device: a look would wait for it
            continue
        if not (is_number(number) and 0 <= number <= LARGEST):
            raise ConfigError(
                f"{name} is out of range.",
                expected=f"a number, {name} >= 0, and at most {LARGEST:g}",
                got=repr(value),
                fix=f"Set {name} to 0 or more.",
            )


def check_clip(max_grad_norm: float | None) -> None:
    """Raise a ConfigError unless it is None or a number of at least 0: the norm to which a gradient is clipped."""
    if max_grad_norm is not None:
        nonnegative(max_grad_norm=max_grad_norm)


def positive_integer(name: str, value: Any) -> int:
    """Return an integer of at least 1.

    Args:
        name: For the message.
        value: An integer of Python's or NumPy's.

    Raises:
        ConfigError: It is something else.
    """
    if not is_whole(value) or value < 1:
        raise ConfigError(f"{name} is out of range.", expected="an integer of at least 1", got=value)
    return int(value)


def reject_unknown_options(method: type, base_optimizer: BaseOptimizer, options: dict[str, Any]) -> None:
    """Raise a ConfigError for options that neither the method nor its base optimizer's class knows.

    Args:
        method: The optimizer class, for the message.
        base_optimizer: The base's class or instance.
        options: What would go to the base.

    Raises:
        ConfigError: An option is unknown.
    """
    if isinstance(base_optimizer, torch.optim.Optimizer):
        return
    accepted = inspect.signature(base_optimizer).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
        return
    known = (set(accepted) | option_names(method) | set(ENGINE_OPTIONS)) - {"params"}
    for name in options:
        if name not in accepted:
            raise unknown_name(f"option of {method.__name__}", name, sorted(known))


def option_names(method: type) -> set[str]:
    """Return the names of what a method takes, also those that it passes on to the classes it is built on.

    Args:
        method: The optimizer class.

    Returns:
        The parameters that may be given by name, of its constructor and of those above it that take ``**options`` too.
    """
    names: set[str] = set()
    for owner in (base for base in method.__mro__ if "__init__" in vars(base)):
        taken = list(inspect.signature(vars(owner)["__init__"]).parameters.values())[1:]
        if all(p.kind is not p.VAR_KEYWORD for p in taken):
            break
        names |= {p.name for p in taken if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return names
