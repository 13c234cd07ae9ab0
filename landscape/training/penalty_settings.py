"""The settings of a run's penalties: whose options are whose, and that all of them are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from landscape.errors import ConfigError, LandscapeError, unknown_name
from landscape.optim.registry import OPTIMIZERS
from landscape.regularizers import REGULARIZERS, build_regularizer

if TYPE_CHECKING:
    from landscape.training.run_config import RunConfig

_ANY_SHAPE = (1, 1, 1)  # the data's is not known yet, and no option depends on it


def penalty_settings(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Return the options of each of a run's penalties.

    ``penalty_options`` holds them as "NAME.OPTION", or as "OPTION" for all that read it; ``epsilon`` belongs to those
    that read one, unless it is the optimizer's.

    Args:
        config: The settings.

    Raises:
        ConfigError: A penalty or an option is unknown, or not read by any.

    Example:
        >>> from landscape import RunConfig
        >>> names, options = ("adversarial", "spectral-projection"), {"tau": 0.8}
        >>> config = RunConfig(penalty=names, epsilon=1.0, penalty_options=options)
        >>> penalty_settings(config)
        {'adversarial': {'epsilon': 1.0}, 'spectral-projection': {'tau': 0.8}}
    """
    for name in config.penalty:
        if name not in REGULARIZERS:
            raise unknown_name("penalty", name, REGULARIZERS)
    known = {name: REGULARIZERS[name].options for name in config.penalty}
    found: dict[str, dict[str, Any]] = {name: {} for name in config.penalty}
    if config.epsilon is not None and "epsilon" not in OPTIMIZERS[config.optimizer].options:
        for name in (name for name, options in known.items() if "epsilon" in options):
            found[name]["epsilon"] = config.epsilon
    if config.penalty_options and not config.penalty:
        raise ConfigError(
            "penalty_options are given without a penalty.",
            got=", ".join(config.penalty_options),
            fix="Name the penalty (--penalty NAME), or leave its options out.",
        )
    for key, value in sorted(config.penalty_options.items(), key=lambda pair: "." in pair[0]):  # the special ones win
        name, dot, option = key.rpartition(".")
        readers = [name] if dot else [each for each, options in known.items() if option in options]
        if dot and name not in known:
            raise _of_another(key, name, option, config.penalty)
        if not readers or (dot and option not in known[name]):
            every = [option for name in readers or known for option in known[name]]
            raise unknown_name(f"option of {name or ', '.join(known) or 'no penalty'}", option, every)
        for each in readers:
            found[each][option] = value
    return found


def _of_another(key: str, name: str, option: str, penalties: tuple[str, ...]) -> LandscapeError:
    """The error for an option of a penalty that the run does not have."""
    if not name:
        fix = f"Write {option} for all that read it, or {penalties[0]}.{option}."
        return ConfigError(f"The option {key} names no penalty.", expected="OPTION, or NAME.OPTION", got=key, fix=fix)
    if name not in REGULARIZERS:
        return unknown_name("penalty of this run", name, penalties)
    return ConfigError(
        f"The option {key} is of a penalty that this run does not have.",
        expected=f"an option of {', '.join(penalties)}",
        got=key,
        fix=f"Add the penalty (--penalty {' '.join([*penalties, name])}), or leave its option out.",
    )


def check_once(field: str, names: Sequence[str]) -> None:
    """Check that no penalty is named twice.

    Args:
        field: The setting's name.
        names: The penalties.

    Raises:
        ConfigError: One is.
    """
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ConfigError(
            f"{field} names {', '.join(twice)} more than once.",
            expected="each name once",
            got=", ".join(names),
            fix=f"Write --{field} {' '.join(dict.fromkeys(names))}, or {tuple(dict.fromkeys(names))!r} in Python.",
        )


def check_penalties(config: RunConfig) -> None:
    """Check that a run's penalties exist, go together, and read what was set.

    Args:
        config: The settings.

    Raises:
        ConfigError: They do not.
    """
    check_once("penalty", config.penalty)
    settings = penalty_settings(config)
    for name, options in settings.items():
        build_regularizer(name, input_shape=_ANY_SHAPE, **options)
    moves = [name for name in settings if REGULARIZERS[name].kind == "inputs"]
    if len(moves) > 1 or (moves and config.adversarial_epsilon):
        raise ConfigError(
            "Inputs can be moved in one way only.",
            got=", ".join([*moves, *(["adversarial_epsilon"] if config.adversarial_epsilon else [])]),
            fix="Choose one of them.",
        )
    labelled = [name for name in settings if REGULARIZERS[name].reads_labels]
    if config.mixup and labelled:
        raise ConfigError(
            f"{labelled[0]} needs inputs of one class each.", got=f"mixup={config.mixup}", fix="Leave mixup unset."
        )
