"""Who generalizes better: several methods, each with its radius chosen on held-out data, over many seeds."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from landscape.config import is_whole, require
from landscape.errors import ConfigError, CorruptFileError
from landscape.storage import read_json, sha256_bytes, write_json
from landscape.study.executor import train_all
from landscape.study.labels import method_label
from landscape.study.statistics import paired_difference, standard_error
from landscape.training import Run, RunConfig

# What is searched for each method; about a factor of two apart, around the published radii and up to those that help
# under label noise.
RADII: dict[str, tuple[str, tuple[float, ...]]] = {
    "sam": ("rho", (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)),
    "asam": ("rho", (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)),
    "amp": ("epsilon", (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)),
    "lpfsgd": ("std", (0.01, 0.02, 0.04, 0.08, 0.16)),
}


_SET_HERE = ("seed", "data_seed", "validation", "eval_every", "save_every")


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


@dataclass(frozen=True, kw_only=True)
class Generalization:
    """The scores of all methods on one task.

    Attributes:
        base: The settings that they share, as a plain dictionary.
        validation: Fraction of the training examples that were held out to choose the radii.
        search_seeds: Runs per method and radius that the choice rests on.
        scores: One per method, sgd first.
    """

    base: dict[str, Any]
    validation: float
    search_seeds: int
    scores: tuple[Score, ...]

    def advantage(self, score: Score) -> tuple[float, float]:
        """Return by how much a method's mean error is below sgd's, and the standard error of that, paired by seed."""
        return paired_difference(score.errors, self.scores[0].errors)

    def table(self) -> str:
        """Return a Markdown table, in percent."""
        lines = [
            "| method | radius | test error, % | below SGD by, % | in standard errors |",
            "|---|---|---|---|---|",
        ]
        for score in self.scores:
            name = method_label(score.optimizer)
            cells = [name, _radius_text(score), _error_text(score), *self._advantage_texts(score)]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)

    def _advantage_texts(self, score: Score) -> list[str]:
        gain, error = self.advantage(score)
        if score is self.scores[0] or math.isnan(gain):
            return ["", ""]
        return [f"{100 * gain:+.2f} ± {100 * error:.2f}", f"{gain / error:+.1f}" if error > 0 else ""]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result as JSON, atomically.

        Raises:
            StorageError: The file cannot be written.
        """
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Generalization:
        """Read a result back.

        Raises:
            StorageError: There is no such file.
            CorruptFileError: It holds something else.
        """
        found = read_json(path)
        try:
            scores = tuple(
                Score(
                    **{
                        **score,
                        "validation": tuple((float(r), float(e)) for r, e in score["validation"]),
                        "errors": tuple(float(error) for error in score["errors"]),
                    }
                )
                for score in found["scores"]
            )
            fields = {key: found[key] for key in ("base", "validation", "search_seeds")}
            return cls(**fields, scores=scores)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(
                f"{path} holds no result of this study.", got=str(error), fix="Run the study again."
            ) from error


def compare_generalization(
    base: RunConfig,
    *,
    seeds: int = 10,
    search_seeds: int = 3,
    validation: float = 0.25,
    radii: Mapping[str, tuple[str, Sequence[float]]] = RADII,
    root: str | os.PathLike[str] = "runs",
    jobs: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Generalization:
    """Compare methods by their last-epoch test error, each with a radius chosen without the test set.

    Definition: (1) for each method and radius, and for seeds 0 to ``search_seeds`` - 1, train on the training set less
    a held-out fraction; the radius with the lowest mean error on the held-out examples is taken, the smaller one of
    equals; one with which a run diverges is out, and so is a method all of whose radii are. The labels held out are as
    noisy as the others: nobody has clean ones. (2) For seeds 0 to ``seeds`` - 1, train every method on the whole
    training set and test once, after the last epoch. Seed k also draws the subset of the data and its label noise, the
    same for all methods, so that differences are paired.

    Runs are resumed and reused like all runs: the same call after an interruption goes on.

    Args:
        base: The settings that the methods share; its optimizer is sgd, and what the study sets itself (seed,
            data_seed, validation, eval_every, save_every) is left at the defaults.
        seeds: Runs per method. Default 10.
        search_seeds: Runs per method and radius. Default 3.
        validation: Fraction of the training examples that are held out, above 0 and below 1. Default a quarter.
        radii: Method to the name of its option and the values to try, in increasing order.
        root: Folder of all runs.
        jobs: Runs at a time; see :func:`train_all`.
        data_root: Folder of the datasets.
        progress: Show how many runs are done.

    Returns:
        The scores.

    Raises:
        ConfigError: A setting is out of range.
        StudyError: A run failed.

    References:
        P. Foret et al., Sharpness-Aware Minimization, ICLR 2021, section 3.1 (a radius chosen on held-out data).
    """
    require(is_whole(seeds) and seeds >= 1, "seeds", "at least 1", seeds)
    require(is_whole(search_seeds) and search_seeds >= 1, "search_seeds", "at least 1", search_seeds)
    require(0 < validation < 1, "validation", "above 0 and below 1", validation)
    _check_base(base)
    base = base.replace(eval_every=base.epochs, save_every=base.epochs)

    def last_errors(wanted: Sequence[tuple[str, dict[str, float]]], count: int, held_out: float) -> list[list[float]]:
        """The last test errors of each wanted method and radius, by seed."""
        configs = [
            base.replace(optimizer=name, seed=k, data_seed=k, validation=held_out, **options)
            for name, options in wanted
            for k in range(count)
        ]
        runs = train_all(configs, root=root, jobs=jobs, data_root=data_root, progress=progress, may_diverge=True)
        errors = [_last_error(run) for run in runs]
        return [errors[first : first + count] for first in range(0, len(errors), count)]

    tried = [(name, option, value) for name, (option, values) in radii.items() for value in values]
    searched = last_errors([(name, {option: value}) for name, option, value in tried], search_seeds, validation)
    curves = {name: _curve(name, tried, searched) for name in radii}
    chosen = {name: _best(curve) for name, curve in curves.items()}
    wanted = {name: {radii[name][0]: radius} for name, radius in chosen.items() if radius is not None}
    final = dict(zip(["sgd", *wanted], last_errors([("sgd", {}), *wanted.items()], seeds, 0.0), strict=True))
    scores = [Score(optimizer="sgd", option=None, radius=None, validation=(), errors=tuple(final["sgd"]))]
    scores += [
        Score(
            optimizer=name,
            option=radii[name][0],
            radius=chosen[name],
            validation=curves[name],
            errors=tuple(final.get(name, [math.nan] * seeds)),
        )
        for name in radii
    ]
    shared = {key: value for key, value in base.to_dict().items() if key not in ("optimizer", *_SET_HERE)}
    return Generalization(
        base=json.loads(json.dumps(shared)), validation=validation, search_seeds=search_seeds, scores=tuple(scores)
    )


def _check_base(base: RunConfig) -> None:
    require(base.optimizer == "sgd", "optimizer", "sgd, which the others are compared with", base.optimizer)
    default = RunConfig()
    for name in _SET_HERE:
        if getattr(base, name) != getattr(default, name):
            raise ConfigError(
                f"{name} is set by the study itself.", got=getattr(base, name), fix=f"Leave {name} unset."
            )


def _radius_text(score: Score) -> str:
    if score.option is None:
        return ""
    if score.radius is None:
        return f"every {score.option} diverged"
    return f"{score.option} {score.radius:g}{' (edge)' * score.at_edge}"


def _error_text(score: Score) -> str:
    lost = sum(map(math.isnan, score.errors))
    if lost:
        return "" if score.option and score.radius is None else f"{lost} of {len(score.errors)} runs diverged"
    return f"{100 * score.mean:.2f} ± {100 * score.stderr:.2f}"


def _curve(
    name: str, tried: list[tuple[str, str, float]], errors: list[list[float]]
) -> tuple[tuple[float, float], ...]:
    """One method's radii with their mean errors on the held-out examples."""
    pairs = zip(tried, errors, strict=True)
    return tuple((radius, sum(its) / len(its)) for (method, _, radius), its in pairs if method == name)


def _best(curve: tuple[tuple[float, float], ...]) -> float | None:
    """The radius with the lowest error, the smaller of equals; None where all diverged."""
    return min(((error, radius) for radius, error in curve if not math.isnan(error)), default=(0.0, None))[1]


def _last_error(run: Run) -> float:
    """The error after the last epoch; NaN where the run diverged."""
    return float(run.metrics()[-1]["test_error"]) if run.status == "finished" else math.nan


def default_result_path(
    base: RunConfig, root: str | os.PathLike[str], *, seeds: int, search_seeds: int, validation: float
) -> Path:
    """Return where the command saves a study: ``ROOT/studies/generalization-DATASET-MODEL-HASH.json``.

    Args:
        base: The settings that the methods share.
        root: Folder of all runs.
        seeds: As in :func:`compare_generalization`; the hash is of all of these.
        search_seeds: As there.
        validation: As there.
    """
    asked = json.dumps([base.hash, seeds, search_seeds, validation])
    stem = base.folder_name.rpartition("-")[0].removesuffix("-sgd")
    return Path(root) / "studies" / f"generalization-{stem}-{sha256_bytes(asked.encode())[:8]}.json"
