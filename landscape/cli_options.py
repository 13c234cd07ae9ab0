"""Options of models and optimizers that have no flag of their own: KEY=VALUE on the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import tyro

from landscape.errors import ConfigError
from landscape.training.run_config import RunConfig

Words = tyro.conf.UseAppendAction[tuple[str, ...]]


def with_options(settings: RunConfig, of_model: Sequence[str], of_optimizer: Sequence[str] = ()) -> RunConfig:
    """Return settings with some more options in them.

    Args:
        settings: What they are added to; an option that is there already is replaced.
        of_model: KEY=VALUE, the value as JSON, or as the text it is.
        of_optimizer: The same for the optimizer.

    Raises:
        ConfigError: One is not KEY=VALUE.

    Example:
        >>> with_options(RunConfig(model="mlp"), ["hidden=[64]"]).model_options
        {'hidden': [64]}
    """
    if not (of_model or of_optimizer):
        return settings
    return settings.replace(
        model_options={**settings.model_options, **dict(_pair("model", text) for text in of_model)},
        optimizer_options={**settings.optimizer_options, **dict(_pair("optimizer", text) for text in of_optimizer)},
    )


def _pair(what: str, text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise ConfigError(
            f"--{what}-option is not understood.", expected="KEY=VALUE", got=text, fix="For example hidden=[64]."
        )
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
