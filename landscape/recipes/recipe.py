"""A published setting as a value: what to train, what came out for whoever published it, and where that stands."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from landscape.errors import ConfigError, nearest
from landscape.recipes.smoke import smoke_config
from landscape.training.run_config import RunConfig


@dataclass(frozen=True, kw_only=True)
class Published:
    """A figure as it was published.

    Attributes:
        what: "test error", "test NLL", or what else was measured.
        value: The figure, in ``unit``; the mean over runs where there were several.
        std: Standard deviation over runs, in ``unit``; None where none is given.
        unit: "%", "nats", or "" for a pure number.
        epoch: "last"; "best" where the epoch was chosen by its test error; None where the source does not say.
        note: What else must be known to compare.
    """

    what: str
    value: float
    std: float | None = None
    unit: str = "%"
    epoch: Literal["last", "best"] | None = None
    note: str = ""

    def __str__(self) -> str:
        """One line.

        Example:
            >>> print(Published(what="test error", value=17.33, std=0.11, epoch="best"))
            test error 17.33 ± 0.11 % (best epoch)
        """
        spread = "" if self.std is None else f" ± {self.std:g}"
        unit = f" {self.unit}" if self.unit else ""
        remarks = [f"{self.epoch} epoch"] if self.epoch else []
        remarks += [self.note] if self.note else []
        return f"{self.what} {self.value:g}{spread}{unit}" + (f" ({'; '.join(remarks)})" if remarks else "")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a recipe comes from.

    Attributes:
        paper: Authors, title, year.
        table: Where in it, or in the authors' logs, the figures stand.
        url: Of what holds the figures; "" where there is none.
        settings: Where the settings come from.
    """

    paper: str
    table: str
    url: str
    settings: str

    def __str__(self) -> str:
        """One line."""
        return ", ".join(part for part in (self.paper, self.table, self.url) if part)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A published setting. Made by :func:`load_recipe`.

    Attributes:
        name: ``family/name``, as in :data:`RECIPES`.
        title: One line.
        config: All settings of the run.
        published: Its figures; empty where none were published, which ``notes`` then say.
        source: Where all this comes from.
        notes: What the source leaves open, where two sources disagree, and what differs here.
    """

    name: str
    title: str
    config: RunConfig
    published: tuple[Published, ...]
    source: Source
    notes: tuple[str, ...] = ()

    def smoke(self, *, data_root: str | os.PathLike[str] | None = None) -> RunConfig:
        """Return settings that train in seconds: the same but for one step on a few images.

        Args:
            data_root: Folder of the datasets; None is ``data``. Where the recipe's dataset is not in it, noise of the
                same shape and number of classes takes its place (``synthetic:...``).

        Returns:
            The settings; see :func:`landscape.recipes.smoke.smoke_config`.
        """
        return smoke_config(self.config, data_root=data_root)

    def differences(self, config: RunConfig) -> tuple[str, ...]:
        """Say in which settings that change a result a run departs from the recipe.

        Args:
            config: The run's settings.

        Returns:
            One phrase for each, for example "epochs 1 in place of 200".
        """
        ours, theirs = config.to_dict(), self.config.to_dict()
        return tuple(
            f"{key} {_shown(ours[key])} in place of {_shown(theirs[key])}"
            for key in theirs
            if key not in _WITHOUT_EFFECT and ours[key] != theirs[key]
        )


_WITHOUT_EFFECT = (
    "name",
    "device",
    "eval_every",
    "save_every",
    "keep_every",
    "seed",
    "data_seed",
    "channels_last",
    "fused",
)


def _shown(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def recipe_names() -> tuple[str, ...]:
    """Return the names of all recipes in this package, sorted."""
    here = resources.files(__package__ or "")
    return tuple(
        sorted(
            f"{family.name}/{entry.name.removesuffix('.json')}"
            for family in here.iterdir()
            if family.is_dir()
            for entry in family.iterdir()
            if entry.name.endswith(".json")
        )
    )


RECIPES = recipe_names()


def load_recipe(name: str) -> Recipe:
    """Read a recipe by its name.

    Args:
        name: An entry of :data:`RECIPES`, for example "amp/cifar100-wrn28-10".

    Returns:
        The recipe, its settings checked.

    Raises:
        ConfigError: There is no such recipe; the message names the nearest one.

    Example:
        >>> recipe = load_recipe("lpf/mnist-lenet-sgd")
        >>> recipe.config.model, recipe.config.epochs
        ('lenet', 150)
    """
    if name not in RECIPES:
        raise unknown_recipe(name)
    text = resources.files(__package__ or "").joinpath(*f"{name}.json".split("/")).read_text(encoding="utf-8")
    return parse_recipe(name, json.loads(text))


def parse_recipe(name: str, values: Mapping[str, Any]) -> Recipe:
    """Make a recipe of what its file holds.

    Args:
        name: Its name.
        values: ``title``, ``config``, ``published``, ``source``, ``notes``.

    Returns:
        The recipe.

    Raises:
        ConfigError: A setting is unknown or out of range.
    """
    return Recipe(
        name=name,
        title=values["title"],
        config=RunConfig.from_dict(values["config"]),
        published=tuple(Published(**figure) for figure in values["published"]),
        source=Source(**values["source"]),
        notes=tuple(values["notes"]),
    )


def unknown_recipe(name: str) -> ConfigError:
    """Return the error for a name that no recipe has; it names the nearest, since hundreds are no help."""
    close = nearest(name, RECIPES)
    return ConfigError(
        f"Unknown recipe {name!r}.",
        expected="one of those that `landscape recipes` lists",
        fix=f"Did you mean {close!r}?" if close else "Choose one from that list.",
    )
