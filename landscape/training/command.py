"""A run's settings as the command that trains it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from typing import Any

from landscape.training.run_config import RunConfig

_OPTIONS = {
    "model_options": "--model-option",
    "optimizer_options": "--optimizer-option",
    "penalty_options": "--penalty-option",
}


def train_command(
    config: RunConfig, *, root: str | os.PathLike[str] = "runs", data_root: str | os.PathLike[str] | None = None
) -> list[str]:
    """Return the words of the command that trains a run: the same settings, so the same folder and the same bits.

    Args:
        config: The settings; those that have their default are left out.
        root: Folder of all runs.
        data_root: Folder of the datasets; None is ``data``.

    Returns:
        "landscape", "train", and the flags; ``shlex.join`` makes one line of it.

    Example:
        >>> train_command(RunConfig(optimizer="sam", rho=0.1, milestones=(2, 3), schedule="multistep", nesterov=True))
        ... # doctest: +NORMALIZE_WHITESPACE
        ['landscape', 'train', '--optimizer', 'sam', '--nesterov', '--rho', '0.1', '--schedule', 'multistep',
        '--milestones', '2', '3']
    """
    words = ["landscape", "train"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != _default(field):
            words += _flags(field.name, value, field.type == "bool")
    places = {"--root": root, "--data-root": data_root}
    usual = {"--root": "runs", "--data-root": None}
    return words + [word for flag, place in places.items() if place != usual[flag] for word in (flag, str(place))]


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _flags(name: str, value: Any, switch: bool) -> Iterator[str]:
    flag = "--" + name.replace("_", "-")
    if name in _OPTIONS:
        for key, one in value.items():
            yield from (_OPTIONS[name], f"{key}={json.dumps(one)}")
    elif isinstance(value, tuple):
        yield from (flag, *map(str, value))
    elif switch:  # its default is off
        yield flag
    else:
        yield from (flag, str(value))
