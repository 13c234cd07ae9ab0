"""Options of models, optimizers and penalties that have no flag of their own: KEY=VALUE on the command line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any, Self

import tyro

from landscape.errors import ConfigError
from landscape.regularizers import REGULARIZERS
from landscape.training.run_config import RunConfig

_EXAMPLES = {"model": "hidden=[64]", "optimizer": "k=5", "penalty": "weight=0.1"}
_PYTHON = {"True": True, "False": False, "None": None}
Words = tyro.conf.UseAppendAction[tuple[str, ...]]


class GivenSettings(RunConfig):
    """Settings as flags give them, of which only the types are checked.

    KEY=VALUE options are not in them yet, and a penalty may need one; :func:`with_options` adds them, and its RunConfig
    checks the rest.
    """

    def validate(self) -> None:
        """Check nothing yet."""

    @classmethod
    def of(cls, settings: RunConfig) -> Self:
        """Return the same settings, not checked.

        Args:
            settings: Any.
        """
        return cls(**_fields(settings))


def with_options(
    settings: RunConfig,
    of_model: Sequence[str],
    of_optimizer: Sequence[str] = (),
    of_penalty: Sequence[str] = (),
) -> RunConfig:
    """Return settings with some more options in them, checked.

    Args:
        settings: What they are added to; an option that is there already is replaced.
        of_model: KEY=VALUE, the value as JSON, or as the text it is.
        of_optimizer: The same for the optimizer.
        of_penalty: The same for the penalties, also NAME.KEY=VALUE.

    Raises:
        ConfigError: One is not KEY=VALUE, given twice, or not read; or the settings that come out are wrong.

    Example:
        >>> with_options(RunConfig(model="mlp"), ["hidden=[64]"]).model_options
        {'hidden': [64]}
    """
    given = {"model_options": of_model, "optimizer_options": of_optimizer, "penalty_options": of_penalty}
    changes: dict[str, Any] = {
        name: {**getattr(settings, name), **_pairs(name.partition("_")[0], words)}
        for name, words in given.items()
        if words
    }
    config = RunConfig(**{**_fields(settings), **changes})
    _check_all_read(config, of_penalty)
    return config


def _check_all_read(config: RunConfig, of_penalty: Sequence[str]) -> None:
    """Check that an option for all penalties is read by one of them that was given none of its own."""
    given = {text.partition("=")[0]: text for text in of_penalty}
    for key, text in given.items():
        own = [f"{name}.{key}" for name in config.penalty if key in REGULARIZERS[name].options]
        if own and all(each in given for each in own):
            raise ConfigError(
                f"--penalty-option {text} is read by no penalty.",
                expected=f"{key} for all, or {' and '.join(own)}",
                got=", ".join([text, *(given[each] for each in own)]),
                fix=f"Leave {text} out.",
            )


def _pairs(what: str, words: Sequence[str]) -> dict[str, Any]:
    """The options in words, each of which is given once."""
    found: dict[str, Any] = {}
    for text in words:
        key, value = _pair(what, text)
        if key in found:
            said = [each for each in words if each.partition("=")[0] == key]
            raise ConfigError(
                f"--{what}-option gives {key} {len(said)} times.",
                expected="each option once",
                got=", ".join(said),
                fix=f"Keep one of them, for example --{what}-option {said[-1]}.",
            )
        found[key] = value
    return found


def _fields(settings: RunConfig) -> dict[str, Any]:
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(RunConfig)}


def _pair(what: str, text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    _, dot, option = key.rpartition(".")
    if not equals or not option.isidentifier() or (dot and what != "penalty"):
        raise ConfigError(
            f"--{what}-option is not understood.", expected="KEY=VALUE", got=text, fix=f"For example {_EXAMPLES[what]}."
        )
    if value in _PYTHON:
        return key, _PYTHON[value]
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def penalty_lines() -> Iterator[str]:
    """Say what each penalty is, and which options it reads, a line each below a heading."""
    from landscape.regularizers import REGULARIZERS

    yield "The penalties (--penalty), and what they read (--penalty-option), in units of pixels from 0 to 1:"
    for name, spec in REGULARIZERS.items():
        options = [key if value in (..., None) else f"{key} {value}" for key, value in spec.options.items()]
        yield f"{name}: {spec.description} Reads {', '.join(options)}."
