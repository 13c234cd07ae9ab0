"""Who generalizes better: several methods, each with its radius chosen on held-out data, over many seeds."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from landscape.config import require
from landscape.errors import CorruptFileError
from landscape.storage import read_json, sha256_bytes, write_json
from landscape.study.contest import Contender, Score, search_and_test, shared_settings
from landscape.study.labels import method_label
from landscape.study.statistics import paired_difference, seeds_note, with_error
from landscape.training import RunConfig

# What is searched for each method; about a factor of two apart, around the published radii and up to those that help
# under label noise.
RADII: dict[str, tuple[str, tuple[float, ...]]] = {
    "sam": ("rho", (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)),
    "asam": ("rho", (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)),
    "amp": ("epsilon", (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)),
    "lpfsgd": ("std", (0.01, 0.02, 0.04, 0.08, 0.16)),
}


@dataclass(frozen=True, kw_only=True)
class Generalization:
    """The scores of all methods on one task.

    Attributes:
        base: The settings that they share, as a plain dictionary.
        validation: Fraction of the training examples that were held out to choose the radii.
        search_seeds: Runs per method and radius that the choice rests on.
        scores: One per method, the one first that the others are compared with: sgd.
        validation_examples: How many examples beside the training set the radii were chosen on, in place of a fraction.
        against: What the first one is called.
    """

    base: dict[str, Any]
    validation: float
    search_seeds: int
    scores: tuple[Score, ...]
    validation_examples: int = 0
    against: str = "SGD"

    def advantage(self, score: Score) -> tuple[float, float]:
        """Return by how much a mean error is below the first one's, and the standard error of that, paired by seed."""
        return paired_difference(score.errors, self.scores[0].errors)

    def table(self) -> str:
        """Return a Markdown table, in percent; below it, that one seed has no standard error where there is but one."""
        searched = "radius" if self.against == "SGD" else "strength"
        lines = [
            f"| method | {searched} | test error, % | below {self.against} by, % | in standard errors |",
            "|---|---|---|---|---|",
        ]
        for score in self.scores:
            name = method_label(score.optimizer)
            cells = [name, _radius_text(score), _error_text(score), *self._advantage_texts(score)]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join([*lines, *seeds_note(len(self.scores[0].errors))])

    def _advantage_texts(self, score: Score) -> list[str]:
        gain, error = self.advantage(score)
        if score is self.scores[0] or math.isnan(gain):
            return ["", ""]
        return [with_error(100 * gain, 100 * error, "+.2f"), f"{gain / error:+.1f}" if error > 0 else ""]

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
            later = {key: found[key] for key in ("validation_examples", "against") if key in found}
            return cls(**fields, **later, scores=scores)
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
    _check_base(base)
    contenders: dict[str, Contender] = {"sgd": Contender(option=None, changes={})}
    for name, (option, values) in radii.items():
        contenders[name] = Contender(
            option=option, changes={value: {"optimizer": name, option: value} for value in values}
        )
    require(0 < validation < 1, "validation", "above 0 and below 1", validation)
    scores = search_and_test(
        base, contenders, seeds=seeds, search_seeds=search_seeds, held_out={"validation": validation}, root=root,
        jobs=jobs, data_root=data_root, progress=progress,
    )  # fmt: skip
    return Generalization(
        base=shared_settings(base, ("optimizer",)), validation=validation, search_seeds=search_seeds, scores=scores
    )


def _check_base(base: RunConfig) -> None:
    require(base.optimizer == "sgd", "optimizer", "sgd, which the others are compared with", base.optimizer)


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
    return with_error(100 * score.mean, 100 * score.stderr, ".2f")


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
