"""The commands that list: published settings, and runs; and how ``landscape train`` follows a published setting."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from landscape.errors import ConfigError
from landscape.training.run_config import RunConfig

if TYPE_CHECKING:
    from landscape.recipes import Recipe
    from landscape.training.listing import RunSummary
    from landscape.training.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipesCommand:
    """List the published settings that `landscape train --recipe NAME` trains, or show one of them."""

    name: tyro.conf.Positional[str | None] = None
    """A recipe, to show all of it; or a part of a name, to list only those that hold it."""

    def run(self) -> int:
        """List or show."""
        from landscape.recipes import RECIPES, load_recipe

        if self.name in RECIPES:
            for line in described(load_recipe(str(self.name))):
                print(line)
            return 0
        chosen = [name for name in RECIPES if (self.name or "") in name]
        if not chosen:
            load_recipe(str(self.name))  # its error names the nearest
        width = max(map(len, chosen))
        for recipe in map(load_recipe, chosen):
            figures = "; ".join(map(str, recipe.published)) or "no published figure"
            print(f"{recipe.name:{width}}  {recipe.title}: {figures}")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunsCommand:
    """List the runs of a folder: state, progress, last test error, optimizer, when they last changed."""

    root: Path = Path("runs")
    """Folder of all runs."""

    def run(self) -> int:
        """Print a table, the last changed run first, and the counts of each state."""
        from landscape.training.listing import counts, list_runs

        runs = list_runs(self.root)
        if not runs:
            print(f"no runs in {self.root}")
            return 0
        rows = [("run", "state", "epoch", "test error", "optimizer", "changed"), *map(_row, runs)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            print("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
        print(", ".join(f"{number} {state}" for state, number in counts(runs).items()))
        for run in runs:
            if run.problem:
                print(_shown(f"{run.path.name}: {run.problem}"))
        return 0


def _shown(text: str) -> str:
    """Text that cannot move the cursor or color the terminal, whatever a folder's name or a stored message holds."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _row(run: RunSummary) -> tuple[str, ...]:
    error = "" if run.test_error is None else f"{100 * run.test_error:.2f} %"
    changed = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.changed))
    progress = f"{run.epoch}/{run.epochs}" if run.epochs else ""
    return _shown(run.path.name), run.state, progress, error, run.optimizer, changed


def described(recipe: Recipe) -> Iterator[str]:
    """Yield the lines that show a recipe: its figures, its source, its notes, and the settings that it sets.

    Args:
        recipe: The recipe.
    """
    yield f"recipe         {recipe.name}: {recipe.title}"
    yield from _published_lines(recipe)
    yield f"settings       {recipe.source.settings}"
    for note in recipe.notes:
        yield f"note           {note}"
    default = RunConfig().to_dict()
    for key, value in recipe.config.to_dict().items():
        if value != default[key] or key in ("dataset", "model", "optimizer", "lr", "epochs", "batch_size", "schedule"):
            yield f"{key:<22} {value}"


def _published_lines(recipe: Recipe) -> Iterator[str]:
    for figure in recipe.published:
        yield f"published      {figure}"
    if not recipe.published:
        yield "published      no figure"
    yield f"source         {recipe.source}"


def comparison(recipe: Recipe, run: Run) -> Iterator[str]:
    """Yield the lines that stand below a run's own figures: what was published, where, and what was done otherwise.

    Args:
        recipe: The recipe that the run followed.
        run: The run.
    """
    best = run.best()
    if best is not None and any(figure.epoch == "best" for figure in recipe.published):
        error = f"{100 * best['test_error']:.2f} %"
        yield f"best epoch     {error} test error in epoch {best['epoch']}, chosen on the test set"
    yield f"recipe         {recipe.name}: {recipe.title}"
    yield from _published_lines(recipe)
    changed = recipe.differences(run.config)
    if changed:
        yield f"not comparable {'; '.join(changed)}"
    for note in recipe.notes:
        yield f"note           {note}"


def recipe_settings(name: str, *, smoke: bool, data_root: str | None) -> RunConfig:
    """Return the settings behind ``--recipe NAME [--smoke]``, which further flags override.

    Args:
        name: The recipe.
        smoke: Shrink it to one step.
        data_root: Folder of the datasets, or None.

    Raises:
        ConfigError: There is no such recipe.
    """
    from landscape.recipes import load_recipe

    recipe = load_recipe(name)
    return recipe.smoke(data_root=data_root) if smoke else recipe.config


def starting_settings(words: Sequence[str]) -> RunConfig | None:
    """Find in the words of ``landscape train`` what its flags start from: a file, a recipe, or (None) the defaults.

    Args:
        words: All words of the command.

    Raises:
        ConfigError: Two starts are named, or --smoke has nothing to shrink.
        StorageError: The file cannot be read.
    """
    file, recipe, smoke = _value(words, "--config"), _value(words, "--recipe"), "--smoke" in words
    if file is not None and recipe is not None:
        raise ConfigError("Both --config and --recipe are given.", fix="Give one of them, and flags to override it.")
    if smoke and recipe is None:
        raise ConfigError("--smoke shrinks a recipe.", expected="--recipe NAME", fix="`landscape recipes` lists them.")
    if recipe is not None:
        return recipe_settings(recipe, smoke=smoke, data_root=_value(words, "--data-root"))
    if file is None:
        return None
    from landscape.storage import read_json

    return RunConfig.from_dict(read_json(file, fix="Correct it: settings as in a run's config.json."))


def _value(words: Sequence[str], flag: str) -> str | None:
    found: Any = None
    for k, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") != flag:
            continue
        if equals:
            found = value
        elif k + 1 < len(words):
            found = words[k + 1]
    return found
