"""Runs that were trained already, compared seed by seed: differences between methods on the same data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from landscape.errors import DataError, MismatchError, StudyError
from landscape.study.contest import Score
from landscape.study.flatness import RADIUS_OF
from landscape.study.generalization import Generalization
from landscape.training import Run, RunConfig
from landscape.training.run_config_checks import METHOD_FIELDS

_OWN = (
    "optimizer", "optimizer_options", "when", "penalty", "penalty_options", "adversarial_epsilon", "adversarial_steps",
    "name", "eval_every", "save_every", "keep_every", *METHOD_FIELDS,
)  # fmt: skip
"""Settings in which the runs of a pair may differ: the method, and what is only looked at or kept."""


def pair_runs(runs: Mapping[str, Sequence[Run]]) -> Generalization:
    """Compare finished runs by their last-epoch test errors, paired as in :func:`compare_generalization`.

    Definition: with ``e_k`` the error of the k-th run of a method and ``p_k`` that of the k-th run of sgd, a method's
    difference is the mean of ``p_k - e_k``, with the standard error ``s / sqrt(n)``, s the standard deviation of the n
    differences; see :meth:`Generalization.advantage`. What the runs of a pair share (data, wrong labels, initial
    weights) drops out of it, so it is as a rule known better than from runs that share nothing.

    Args:
        runs: Label to runs, sgd's first; the k-th run of each label has the same seeds, data and settings as the k-th
            of the first, but for the method.

    Returns:
        The scores, in the order of the labels. Nothing was searched, so ``validation`` and ``search_seeds`` are 0; the
        radius is that of the method's first run.

    Raises:
        DataError: There are no runs.
        StudyError: A run is not finished.
        MismatchError: The runs cannot be paired.

    References:
        J. Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 2006, section 3.1.
    """
    listed = {label: list(its) for label, its in runs.items()}
    if not listed or not all(listed.values()):
        raise DataError("There are no runs to compare.", expected="label -> runs, one for each seed", got=list(listed))
    (_, first), *others = listed.items()
    if first[0].config.optimizer != "sgd":
        raise MismatchError(
            "The first method is not the one that the others are compared with.",
            expected="sgd",
            got=first[0].config.optimizer,
            fix="Put the runs of sgd first.",
        )
    for label, its in others:
        if len(its) != len(first):
            raise MismatchError(
                f"{label} has another number of runs than sgd.", expected=len(first), got=len(its), fix="Pair them."
            )
        for plain, other in zip(first, its, strict=True):
            _check_pair(label, plain, other)
    scores = tuple(_score(its) for its in listed.values())
    return Generalization(base=_shared(first[0].config), validation=0.0, search_seeds=0, scores=scores)


def _check_pair(label: str, plain: Run, other: Run) -> None:
    """Refuse a pair that differs in more than the method: its difference would not be that of the methods."""
    mine, its = (_shared(run.config, seeds=True) for run in (plain, other))
    differ = [name for name in mine if mine[name] != its[name]]
    if differ:
        raise MismatchError(
            f"A run of {label} and its partner differ in {differ[0]}.",
            expected=mine[differ[0]],
            got=its[differ[0]],
            fix="Pair runs of the same seed and settings.",
        )
    if (one := plain.environment()["data_sha256"]) != (two := other.environment()["data_sha256"]):
        split = next(name for name in one if one[name] != two.get(name))
        raise MismatchError(
            f"A run of {label} and its partner had other {split} data.",
            expected=str(one[split])[:16],
            got=str(two.get(split))[:16],
            fix="Train both on the data that is there now.",
        )


def _shared(config: RunConfig, *, seeds: bool = False) -> dict[str, Any]:
    """The settings that all methods share, as plain JSON values."""
    left_out = _OWN if seeds else (*_OWN, "seed", "data_seed")
    found = {name: value for name, value in config.to_dict().items() if name not in left_out}
    return json.loads(json.dumps(found))


def _score(runs: list[Run]) -> Score:
    config = runs[0].config
    option = RADIUS_OF.get(config.optimizer)
    radius = None if option is None else getattr(config, option)
    errors = tuple(map(_last_error, runs))
    return Score(optimizer=config.optimizer, option=option, radius=radius, validation=(), errors=errors)


def _last_error(run: Run) -> float:
    if run.status != "finished":
        raise StudyError("A run did not reach its end.", expected="finished", got=f"{run.path.name}: {run.status}")
    return float(run.metrics()[-1]["test_error"])
