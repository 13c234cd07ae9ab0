"""Does a penalty help with few examples? Each with its strength chosen on examples beside, against weight decay."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from landscape.config import is_whole, require
from landscape.errors import ConfigError, unknown_name
from landscape.storage import sha256_bytes
from landscape.study.contest import Contender, search_and_test, shared_settings
from landscape.study.generalization import Generalization
from landscape.training import RunConfig
from landscape.training.materials import load_run_dataset
from landscape.training.penalty_settings import check_once

STRENGTHS: dict[str, tuple[str, tuple[float, ...]]] = {
    "adversarial": ("epsilon", (0.1, 0.3, 1.0, 3.0)),
    "gradient": ("weight", (1e-4, 1e-3, 1e-2, 1e-1, 1.0)),
    "grad-l2": ("weight", (1e-3, 1e-2, 1e-1, 1.0, 10.0)),
    "grad-l1": ("weight", (1e-4, 1e-3, 1e-2, 1e-1, 1.0)),
    "vat": ("epsilon", (0.1, 0.3, 1.0, 3.0)),
    "trades": ("weight", (0.3, 1.0, 3.0, 6.0)),
    "pgd-l2": ("epsilon", (0.1, 0.3, 1.0, 3.0)),
    "pgd-linf": ("epsilon", (0.01, 0.03, 0.1, 0.3)),
    "spectral": ("weight", (1e-4, 1e-3, 1e-2, 1e-1)),
    "spectral-svd": ("weight", (1e-4, 1e-3, 1e-2, 1e-1)),
    "spectral-projection": ("tau", (0.6, 0.8, 1.2, 1.6)),
    "deformation": ("weight", (1e-4, 1e-3, 1e-2, 1e-1)),
    "tangent": ("weight", (1e-4, 1e-3, 1e-2, 1e-1)),
}
"""Penalty to the option that is its strength, and the values to try: around the published ones, factors of 2 to 10."""
DECAYS = (0.0, 1e-4, 5e-4, 2e-3, 1e-2)
"""Weight decays to try for training without a penalty."""
_OWN = ("penalty", "penalty_options", "weight_decay")


def compare_regularizers(
    base: RunConfig,
    *,
    penalties: Sequence[str] = ("gradient", "grad-l2"),
    seeds: int = 10,
    search_seeds: int = 2,
    validation_examples: int = 500,
    strengths: Mapping[str, tuple[str, Sequence[float]]] = STRENGTHS,
    decays: Sequence[float] = DECAYS,
    root: str | os.PathLike[str] = "runs",
    jobs: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Generalization:
    """Compare penalties, each with the shared settings' weight decay, by their test error with few examples.

    Definition: the contenders are training without a penalty, its weight decay searched, and training with each
    penalty, its strength searched. (1) For each value and for seeds 0 to ``search_seeds`` - 1, train and take the
    last-epoch error on ``validation_examples`` training examples that are not trained on; the value with the lowest
    mean is taken. (2) For seeds 0 to ``seeds`` - 1, train each contender and test once, after the last epoch. Seed k
    also draws the subset of the data, the same for all, so that differences are paired.

    Runs are resumed and reused like all runs: the same call after an interruption goes on.

    Args:
        base: The settings that all share; no penalty, and a ``limit``, which leaves examples to choose by.
        penalties: Names of :data:`STRENGTHS`.
        seeds: Runs per contender. Default 10.
        search_seeds: Runs per contender and value. Default 2.
        validation_examples: Examples beside the training set to choose by. Default 500.
        strengths: Penalty to the name of its option and the values to try, in increasing order.
        decays: Weight decays to try without a penalty, in increasing order.
        root: Folder of all runs.
        jobs: Runs at a time; see :func:`train_all`.
        data_root: Folder of the datasets.
        progress: Show how many runs are done.

    Returns:
        The scores, that of weight decay first.

    Raises:
        ConfigError: A setting is out of range, or a penalty is unknown.
        DataError: The data is missing or damaged.
        StudyError: A run failed.

    References:
        A. Bietti, G. Mialon, D. Chen, J. Mairal, A Kernel Perspective for Regularizing Deep Neural Networks, ICML 2019,
        section 4.1 (strengths chosen on held-out examples, small training sets).
    """
    fix = "Set it, for example to 300 (--limit 300)."
    require(base.limit is not None, "limit", "a number of training examples, which leaves some to choose by", None, fix)
    many = is_whole(validation_examples) and validation_examples >= 1
    require(many, "validation_examples", "at least 1", validation_examples)
    fix = "Leave test_limit (--test-limit) unset: every contender is tested on the whole test split."
    require(base.test_limit is None, "test_limit", "none", base.test_limit, fix)
    fix = "Name some, for example --penalties gradient."
    require(len(penalties) > 0, "penalties", "one name or more", tuple(penalties), fix)
    check_once("penalties", tuple(penalties))
    if base.penalty:
        raise ConfigError("The penalties are set by the study itself.", got=base.penalty, fix="Name them in penalties.")
    contenders = {
        "weight decay": Contender(option="weight_decay", changes={value: {"weight_decay": value} for value in decays})
    }
    for name in penalties:
        if name not in strengths:
            raise unknown_name("penalty", name, strengths)
        option, values = strengths[name]
        contenders[name] = Contender(
            option=option,
            changes={value: {"penalty": (name,), "penalty_options": {option: value}} for value in values},
        )
    _check_left(base, validation_examples, data_root)
    scores = search_and_test(
        base, contenders, seeds=seeds, search_seeds=search_seeds, held_out={"validation_examples": validation_examples},
        root=root, jobs=jobs, data_root=data_root, progress=progress,
    )  # fmt: skip
    return Generalization(
        base=shared_settings(base, _OWN),
        validation=0.0,
        search_seeds=search_seeds,
        scores=scores,
        validation_examples=validation_examples,
        against="weight decay",
    )


def _check_left(base: RunConfig, wanted: int, data_root: str | os.PathLike[str] | None) -> None:
    """Check that the training set has the examples to choose by, before anything is trained."""
    whole, limit = len(load_run_dataset(base.replace(limit=None), "train", data_root=data_root)), base.limit or 0
    fix = f"Use a limit below {whole} (--limit)."
    require(limit < whole, "limit", f"below {whole}, the training examples of {base.dataset}", limit, fix)
    left = whole - limit
    require(
        wanted <= left,
        "validation_examples (--beside)",
        f"at most {left}, as {base.dataset} has {whole} training examples and {limit} of them are trained on",
        wanted,
        f"Use {left} or less, or a smaller limit (--limit).",
    )


def default_regularization_path(
    base: RunConfig,
    root: str | os.PathLike[str],
    *,
    penalties: Sequence[str],
    seeds: int,
    search_seeds: int,
    validation_examples: int,
) -> Path:
    """Return where the command saves a study: ``ROOT/studies/regularization-DATASET-MODEL-HASH.json``.

    Args:
        base: The settings that all share.
        root: Folder of all runs.
        penalties: As in :func:`compare_regularizers`; the hash is of all of these.
        seeds: As there.
        search_seeds: As there.
        validation_examples: As there.
    """
    asked = json.dumps([base.hash, *penalties, seeds, search_seeds, validation_examples])
    stem = base.folder_name.rpartition("-")[0]
    return Path(root) / "studies" / f"regularization-{stem}-{sha256_bytes(asked.encode())[:8]}.json"
