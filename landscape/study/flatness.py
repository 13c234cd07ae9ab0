"""Whose minima are flatter: the top Hessian eigenvalue where several methods end, over seeds."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from landscape.config import is_number, is_whole, require
from landscape.curvature import Eigenpairs, Hessian
from landscape.errors import ConfigError, CorruptFileError, StorageError, StudyError
from landscape.progress import progress_bar
from landscape.storage import read_json, sha256_bytes, write_json
from landscape.study.executor import train_all
from landscape.study.labels import method_label
from landscape.study.statistics import mean, paired_difference, seeds_note, standard_error, with_error
from landscape.training import Run, RunConfig

RADIUS_OF = {"sam": "rho", "asam": "rho", "amp": "epsilon", "lpfsgd": "std"}
"""Method to the name of the option that is its radius."""


@dataclass(frozen=True, kw_only=True)
class EndPoint:
    """Where one run ended.

    Attributes:
        top: The largest eigenvalue of the Hessian of the training loss, without augmentation and weight decay.
        residual: ``||H v - top v||``: the exact eigenvalue is no further away.
        converged: Whether the residual is below the tolerance.
        matvecs: Products that it took.
        train_loss: The loss whose Hessian it is, on the same examples.
        test_error: After the last epoch, a fraction.
    """

    top: float
    residual: float
    converged: bool
    matvecs: int
    train_loss: float
    test_error: float


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method's ends.

    Attributes:
        optimizer: Its name.
        radius: Of its perturbation; None for sgd.
        ends: One for each seed.
    """

    optimizer: str
    radius: float | None
    ends: tuple[EndPoint, ...]

    @property
    def label(self) -> str:
        """Name and radius."""
        name = method_label(self.optimizer)
        return name if self.radius is None else f"{name}, {RADIUS_OF[self.optimizer]} {self.radius:g}"


@dataclass(frozen=True, kw_only=True)
class Flatness:
    """The top eigenvalues of all methods on one task.

    Attributes:
        base: The settings that they share, as a plain dictionary.
        examples: Training examples that the Hessian is of; None for all.
        tol: Relative residual at which an eigenvalue counts as found.
        methods: sgd first.
    """

    base: dict[str, Any]
    examples: int | None
    tol: float
    methods: tuple[Method, ...]

    def advantage(self, method: Method) -> tuple[float, float]:
        """Return sgd's top eigenvalue less a method's, the mean over seeds, and its standard error."""
        return paired_difference([end.top for end in method.ends], [end.top for end in self.methods[0].ends])

    def table(self) -> str:
        """Return a Markdown table with means and standard errors over seeds, each column with its unit."""
        curvature = "nats per squared weight"
        lines = [
            f"| method | top eigenvalue, {curvature} | below SGD's by, {curvature} | seeds below "
            "| training loss, nats | test error, % |",
            "|---|---|---|---|---|---|",
        ]
        for method in self.methods:
            cells = [method.label, _with_error([end.top for end in method.ends])]
            cells += ["", ""] if method is self.methods[0] else self._against_sgd(method)
            cells.append(_with_error([end.train_loss for end in method.ends]))
            cells.append(_with_error([100 * end.test_error for end in method.ends]))
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join([*lines, *seeds_note(len(self.methods[0].ends))])

    def _against_sgd(self, method: Method) -> list[str]:
        gain, error = self.advantage(method)
        pairs = list(zip(self.methods[0].ends, method.ends, strict=True))
        below = sum(its.top < plain.top for plain, its in pairs)
        return [with_error(gain, error, ".3g", ".2g"), f"{below} of {len(pairs)}"]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result as JSON, atomically.

        Raises:
            StorageError: The file cannot be written.
        """
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Flatness:
        """Read a result back.

        Raises:
            StorageError: There is no such file.
            CorruptFileError: It holds something else.
        """
        found = read_json(path)
        try:
            methods = tuple(
                Method(**{**method, "ends": tuple(EndPoint(**end) for end in method["ends"])})
                for method in found["methods"]
            )
            return cls(**{**{key: found[key] for key in ("base", "examples", "tol")}, "methods": methods})
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(
                f"{path} holds no result of this study.", got=str(error), fix="Run the study again."
            ) from error


def compare_flatness(
    base: RunConfig,
    *,
    radii: Mapping[str, float],
    seeds: int = 10,
    examples: int | None = None,
    tol: float = 1e-3,
    root: str | os.PathLike[str] = "runs",
    jobs: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Flatness:
    """Train sgd and other methods over seeds, and compute the largest eigenvalue of the Hessian where each run ends.

    Definition: ``lambda_max`` of the Hessian of the mean training loss over ``examples`` of the training set, the same
    for all methods of a seed, with labels as they were trained on, without augmentation, label smoothing and weight
    decay. Seed k is the seed of the weights and of the data, so that differences are paired.

    Runs are resumed and reused like all runs, and so are eigenvalues, which are kept in the run's folder: the same call
    after an interruption goes on.

    Args:
        base: The settings that the methods share; its optimizer is sgd, and seed and data_seed are left alone.
        radii: Method (sam, asam, amp or lpfsgd) to its radius.
        seeds: Runs per method. Default 10.
        examples: Of the training set, a fixed random subset; all by default.
        tol: Relative residual of the eigenpair. Default 1e-3: far below what differs from seed to seed.
        root: Folder of all runs.
        jobs: Runs at a time; see :func:`train_all`.
        data_root: Folder of the datasets.
        progress: Show progress bars.

    Returns:
        The eigenvalues.

    Raises:
        ConfigError: A setting is out of range, or a method has no radius.
        StudyError: A run failed, or diverged.

    References:
        P. Foret et al., Sharpness-Aware Minimization, ICLR 2021, figure 3: 24.2 with SGD, 1.0 with SAM.
    """
    require(is_whole(seeds) and seeds >= 1, "seeds", "at least 1", seeds)
    require(is_number(tol) and 0 < tol < math.inf, "tol", "a positive number", tol, "Use 1e-3.")
    most = math.inf if base.limit is None else base.limit
    some = examples is None or (is_whole(examples) and 1 <= examples <= most)
    require(some, "examples", f"a whole number from 1 to {most:g}", examples)
    require(base.optimizer == "sgd", "optimizer", "sgd, which the others are compared with", base.optimizer)
    if unknown := [name for name in radii if name not in RADIUS_OF]:
        raise ConfigError(f"{unknown[0]!r} has no radius.", expected=", ".join(RADIUS_OF), got=unknown[0])
    if (base.seed, base.data_seed) != (RunConfig().seed, RunConfig().data_seed):
        raise ConfigError("Seeds are set by the study itself.", fix="Leave seed and data_seed unset.")
    wanted: list[tuple[str, float | None, dict[str, Any]]] = [("sgd", None, {})]
    wanted += [(name, radius, {RADIUS_OF[name]: radius}) for name, radius in radii.items()]
    base = base.replace(eval_every=base.epochs, save_every=base.epochs)
    configs = [
        base.replace(optimizer=name, seed=k, data_seed=k, **options)
        for name, _, options in wanted
        for k in range(seeds)
    ]
    runs = train_all(configs, root=root, jobs=jobs, data_root=data_root, progress=progress)
    with progress_bar(len(runs), desc="top eigenvalues", unit="run", enabled=progress) as bar:
        ends = []
        for run in runs:
            ends.append(end_point(run, examples=examples, tol=tol))
            bar.update()
    methods = [
        Method(optimizer=name, radius=radius, ends=tuple(ends[first * seeds : (first + 1) * seeds]))
        for first, (name, radius, _) in enumerate(wanted)
    ]
    own = ("optimizer", "seed", "data_seed", "eval_every", "save_every")
    shared = {key: value for key, value in base.to_dict().items() if key not in own}
    return Flatness(base=json.loads(json.dumps(shared)), examples=examples, tol=tol, methods=tuple(methods))


def end_point(run: Run, *, examples: int | None = None, tol: float = 1e-3) -> EndPoint:
    """Compute the largest eigenvalue where a run ended, or read it where it was computed before.

    Args:
        run: A finished one.
        examples: Of its training set, a fixed random subset; all by default.
        tol: Relative residual.

    Raises:
        StudyError: The run is not finished.
        NonFiniteError: The loss is NaN or infinite at its end.
    """
    if run.status != "finished":
        raise StudyError("A run did not reach its end.", expected="finished", got=f"{run.path.name}: {run.status}")
    objective = run.objective("train", examples)
    about = objective.provenance()
    names = ("weights_sha256", "fixed_sha256", "data_sha256", "loss_sha256", "examples", "dtype")
    key = sha256_bytes(json.dumps([{name: about[name] for name in names}, tol]).encode())
    path = Path(run.path) / "curvature" / f"top-{key[:8]}.json"
    try:
        known = read_json(path)
        if known["key"] == key:
            return EndPoint(**known["end"])
    except (StorageError, KeyError, TypeError):  # not there, or damaged: it is computed again
        pass
    with Hessian(objective) as hessian:
        pairs: Eigenpairs = hessian.top(1, tol=tol)
    end = EndPoint(
        top=float(pairs.values[0]),
        residual=float(pairs.residuals[0]),
        converged=bool(pairs.converged[0]),
        matvecs=int(pairs.matvecs),
        train_loss=float(objective.evaluate().loss),
        test_error=float(run.metrics()[-1]["test_error"]),
    )
    write_json(path, {"key": key, "end": asdict(end)})
    return end


def _with_error(values: list[float]) -> str:
    return with_error(mean(values), standard_error(values), ".3g", ".2g")


def default_flatness_path(base: RunConfig, root: str | os.PathLike[str], **asked: Any) -> Path:
    """Return where the command saves a study: ``ROOT/studies/flatness-DATASET-MODEL-HASH.json``.

    Args:
        base: The settings that the methods share.
        root: Folder of all runs.
        asked: What else was asked; the hash is of all of it.
    """
    text = json.dumps([base.hash, asked], sort_keys=True)
    stem = base.folder_name.rpartition("-")[0].removesuffix("-sgd")
    return Path(root) / "studies" / f"flatness-{stem}-{sha256_bytes(text.encode())[:8]}.json"
