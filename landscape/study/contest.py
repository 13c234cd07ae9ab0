"""Several contenders, each with one option that is chosen on held-out data, over many seeds."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from landscape.config import is_whole, require
from landscape.errors import ConfigError
from landscape.study.executor import train_all
from landscape.study.statistics import standard_error
from landscape.training import Run, RunConfig

SET_HERE = ("seed", "data_seed", "validation", "validation_examples", "eval_every", "save_every")
"""Settings that :func:`search_and_test` sets itself."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """What is trained, and what of it is searched.

    Attributes:
        option: The name of what is searched; None where nothing is, and the shared settings are taken as they are.
        changes: Value of the option to the settings that it stands for, in increasing order.
    """

    option: str | None
    changes: Mapping[float, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Score:
    """One method's last-epoch test errors.

    Attributes:
        optimizer: Its name.
        option: The option that is its radius; None for sgd.
        radius: The chosen one; None also where runs diverged with every radius, and none was trained further.
        validation: (radius, mean error on the held-out examples) of all that were tried.
        errors: Test error of the last epoch for each seed, fractions from 0 to 1; NaN where the run diverged.
    """

    optimizer: str
    option: str | None
    radius: float | None
    validation: tuple[tuple[float, float], ...]
    errors: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean test error."""
        return sum(self.errors) / len(self.errors)

    @property
    def stderr(self) -> float:
        """Standard error of the mean over the seeds; NaN for one seed."""
        return standard_error(self.errors)

    @property
    def at_edge(self) -> bool:
        """Whether the chosen radius is the smallest or largest that was tried, so that a wider search might do more.

        False where none was tried, as for runs that :func:`pair_runs` compares.
        """
        tried = [radius for radius, _ in self.validation]
        return self.radius is not None and self.radius in (*tried[:1], *tried[-1:])


def search_and_test(
    base: RunConfig,
    contenders: Mapping[str, Contender],
    *,
    seeds: int,
    search_seeds: int,
    held_out: Mapping[str, Any],
    root: str | os.PathLike[str],
    jobs: int | None,
    data_root: str | os.PathLike[str] | None,
    progress: bool,
) -> tuple[Score, ...]:
    """Choose the option of each contender on held-out examples, then train it over many seeds and test once.

    Args:
        base: The settings that they share.
        contenders: Name to what is trained.
        seeds: Runs per contender, seeds 0 to ``seeds`` - 1; each also draws its data.
        search_seeds: Runs per contender and value.
        held_out: Settings of the runs to choose by, which hold examples out: a fraction, or some beside the limit.
        root: Folder of all runs.
        jobs: Runs at a time.
        data_root: Folder of the datasets.
        progress: Show how many runs are done.

    Returns:
        One score per contender, in their order.

    Raises:
        ConfigError: A number is out of range, or the base sets what is set here.
        StudyError: A run failed.
    """
    require(is_whole(seeds) and seeds >= 1, "seeds", "at least 1", seeds)
    require(is_whole(search_seeds) and search_seeds >= 1, "search_seeds", "at least 1", search_seeds)
    _check_untouched(base)
    base = base.replace(eval_every=base.epochs, save_every=base.epochs)

    def last_errors(wanted: Sequence[Mapping[str, Any]], count: int, held: Mapping[str, Any]) -> list[list[float]]:
        """The last test errors with each wanted set of changes, by seed."""
        configs = [base.replace(seed=k, data_seed=k, **held, **changes) for changes in wanted for k in range(count)]
        runs = train_all(configs, root=root, jobs=jobs, data_root=data_root, progress=progress, may_diverge=True)
        errors = [_last_error(run) for run in runs]
        return [errors[first : first + count] for first in range(0, len(errors), count)]

    tried = [(name, value, its) for name, one in contenders.items() for value, its in one.changes.items()]
    searched = last_errors([its for _, _, its in tried], search_seeds, held_out)
    curves: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for (name, value, _), errors in zip(tried, searched, strict=True):
        curves[name].append((value, sum(errors) / len(errors)))
    chosen = {name: _best(curve) for name, curve in curves.items()}
    final: dict[str, Mapping[str, Any]] = {}
    for name, one in contenders.items():
        value = chosen[name]
        if one.option is None:
            final[name] = {}
        elif value is not None:
            final[name] = one.changes[value]
    ends = dict(zip(final, last_errors(list(final.values()), seeds, {}), strict=True))
    return tuple(
        Score(
            optimizer=name,
            option=one.option,
            radius=chosen[name],
            validation=tuple(curves[name]),
            errors=tuple(ends.get(name, [math.nan] * seeds)),
        )
        for name, one in contenders.items()
    )


def shared_settings(base: RunConfig, own: Sequence[str]) -> dict[str, Any]:
    """Return the settings that all contenders share, without what is set for each of them.

    Args:
        base: The settings.
        own: Names of settings of the contenders.
    """
    return {key: value for key, value in base.to_dict().items() if key not in (*own, *SET_HERE)}


def _check_untouched(base: RunConfig) -> None:
    default = RunConfig()
    for name in SET_HERE:
        if getattr(base, name) != getattr(default, name):
            raise ConfigError(
                f"{name} is set by the study itself.", got=getattr(base, name), fix=f"Leave {name} unset."
            )


def _best(curve: Sequence[tuple[float, float]]) -> float | None:
    """The value with the lowest error, the smaller of equals; None where all diverged."""
    return min(((error, value) for value, error in curve if not math.isnan(error)), default=(0.0, None))[1]


def _last_error(run: Run) -> float:
    """The error after the last epoch; NaN where the run diverged."""
    return float(run.metrics()[-1]["test_error"]) if run.status == "finished" else math.nan
