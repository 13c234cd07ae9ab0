"""The commands that train many runs and compare them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from landscape.cli_options import GivenSettings, Words, with_options
from landscape.config import require
from landscape.errors import ConfigError
from landscape.training.run_config import RunConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyCommand:
    """Train several methods over many seeds, and compare where they end.

    "generalization": the test errors of SGD, SAM, ASAM, AMP and LPF-SGD, radii chosen on held-out data. "flatness": the
    largest eigenvalue of the Hessian with SGD and with the methods named by --against. "regularization": the test
    errors with the penalties named by --penalties on few examples (--limit), strengths chosen on examples beside them,
    against weight decay.
    """

    question: tyro.conf.Positional[Literal["generalization", "flatness", "regularization"]] = "generalization"
    """What is asked."""
    settings: Annotated[GivenSettings, tyro.conf.arg(name="")] = dataclasses.field(default_factory=GivenSettings)
    model_option: Words = ()
    """An option of the model as KEY=VALUE, for example hidden=[64]; may be repeated."""
    penalty_option: Words = ()
    """generalization, flatness: an option of a penalty that all methods share, as KEY=VALUE; may be repeated."""
    seeds: int = 10
    """Runs per method."""
    search_seeds: int = 3
    """generalization, regularization: runs per method and radius or strength, to choose it by."""
    held_out: float = 0.25
    """generalization: fraction of the training examples that the radii are chosen on."""
    penalties: tuple[str, ...] = ("gradient", "grad-l2")
    """regularization: the penalties."""
    beside: int = 500
    """regularization: training examples beside those of --limit that the strengths are chosen on."""
    against: Words = ("sam=0.05",)
    """flatness: a method and its radius, METHOD=RADIUS; may be repeated. SAM's 0.05 is there by default."""
    examples: int | None = None
    """flatness: training examples that the Hessian is of; all by default."""
    tol: float = 1e-3
    """flatness: relative residual of the eigenvalues."""
    jobs: int | None = None
    """Runs at a time; as many as there are cores by default."""
    root: Path = Path("runs")
    """Folder of all runs."""
    data_root: Path | None = None
    """Folder of the datasets; ./data by default."""
    output: Path | None = None
    """Where the result goes, as JSON; ROOT/studies/... by default."""
    quiet: bool = False
    """No progress bars."""

    def run(self) -> int:
        """Train, print the table, save."""
        from landscape.storage import require_writable

        share = f"Use --held-out {StudyCommand.held_out}."
        require(0 < self.held_out < 1, "--held-out", "a fraction above 0 and below 1", self.held_out, share)
        for name in ("seeds", "search_seeds", "jobs"):
            flag, value = f"--{name.replace('_', '-')}", getattr(self, name)
            require(value is None or value >= 1, flag, "at least 1", value, f"Use {flag} 1 or more.")
        if self.question == "regularization":
            self._check_regularization()
        settings = with_options(self.settings, self.model_option, (), self.penalty_option)
        ask, path = getattr(self, f"_{self.question}")(settings)
        require_writable(path)
        found = ask()
        found.save(path)
        print(found.table())
        print(f"\nresult {path}")
        return 0

    def _check_regularization(self) -> None:
        """Check that what the study sets itself is left to it, by the names of the flags."""
        from landscape.optim.registry import OPTIMIZERS
        from landscape.study.regularization import STRENGTHS

        given = self.settings
        free = given.optimizer in OPTIMIZERS and "epsilon" not in OPTIMIZERS[given.optimizer].options
        epsilon = () if given.epsilon is None or not free else (f"{given.epsilon:g}",)
        own = {"--penalty": given.penalty, "--penalty-option": self.penalty_option, "--epsilon": epsilon}
        got = {flag: " ".join(values) for flag, values in own.items() if values}
        if got:
            names = dict.fromkeys(given.penalty or self.penalties)
            tried = [
                f"; it tries {name} with {STRENGTHS[name][0]} {', '.join(f'{value:g}' for value in STRENGTHS[name][1])}"
                for name in names
                if name in STRENGTHS
            ]
            raise ConfigError(
                "The penalties and their strengths are set by the study itself.",
                expected=f"--penalties {' '.join(names)}",
                got=", ".join(f"{flag} {value}" for flag, value in got.items()),
                fix=f"Leave {' and '.join(got)} out{''.join(tried)}.",
            )
        require(self.beside >= 1, "--beside", "at least 1", self.beside, f"Use --beside {StudyCommand.beside}.")

    @property
    def _where(self) -> dict[str, Any]:
        return {"root": self.root, "jobs": self.jobs, "data_root": self.data_root, "progress": not self.quiet}

    def _generalization(self, settings: RunConfig) -> tuple[Callable[[], Any], Path]:
        from landscape.study.generalization import compare_generalization, default_result_path

        sizes: dict[str, Any] = {"seeds": self.seeds, "search_seeds": self.search_seeds, "validation": self.held_out}
        path = self.output or default_result_path(settings, self.root, **sizes)
        return partial(compare_generalization, settings, **sizes, **self._where), path

    def _regularization(self, settings: RunConfig) -> tuple[Callable[[], Any], Path]:
        from landscape.study.regularization import compare_regularizers, default_regularization_path

        asked: dict[str, Any] = {
            "penalties": self.penalties,
            "seeds": self.seeds,
            "search_seeds": self.search_seeds,
            "validation_examples": self.beside,
        }
        path = self.output or default_regularization_path(settings, self.root, **asked)
        return partial(compare_regularizers, settings, **asked, **self._where), path

    def _flatness(self, settings: RunConfig) -> tuple[Callable[[], Any], Path]:
        from landscape.study.flatness import compare_flatness, default_flatness_path

        asked: dict[str, Any] = {
            "radii": dict(_method_and_radius(text) for text in self.against),
            "seeds": self.seeds,
            "examples": self.examples,
            "tol": self.tol,
        }
        path = self.output or default_flatness_path(settings, self.root, **asked)
        return partial(compare_flatness, settings, **asked, **self._where), path


def _method_and_radius(text: str) -> tuple[str, float]:
    name, _, radius = text.partition("=")
    try:
        return name, float(radius)
    except ValueError:
        raise ConfigError(
            "--against is not understood.", expected="METHOD=RADIUS", got=text, fix="For example sam=0.1."
        ) from None
