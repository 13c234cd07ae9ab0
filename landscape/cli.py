"""The ``landscape`` command: the library's calls with the same names, defaults and checks."""

from __future__ import annotations

import dataclasses
import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from landscape.cli_analysis import CurvatureCommand, SurfaceCommand
from landscape.cli_lists import in_one_form
from landscape.cli_mistakes import one_sentence
from landscape.cli_notebook import NotebookCommand
from landscape.cli_options import GivenSettings, Words, penalty_lines, with_options
from landscape.cli_robustness import RobustnessCommand, with_attacks_listed
from landscape.cli_runs import RecipesCommand, RunsCommand, comparison, starting_settings
from landscape.cli_sharpness import SharpnessCommand
from landscape.cli_study import StudyCommand
from landscape.config import require_name
from landscape.errors import ConfigError, LandscapeError
from landscape.training.run_config import RunConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Train a model; the same command goes on where it was stopped."""

    settings: Annotated[GivenSettings, tyro.conf.arg(name="")] = dataclasses.field(default_factory=GivenSettings)
    model_option: Words = ()
    """An option of the model as KEY=VALUE, for example hidden=[64]; may be repeated."""
    optimizer_option: Words = ()
    """An option of the optimizer that has no flag here, as KEY=VALUE, for example k=5; may be repeated."""
    penalty_option: Words = ()
    """An option of the penalties as KEY=VALUE, of one of them as NAME.KEY=VALUE, for example weight=0.1; may be
    repeated."""
    config: Path | None = None
    """A JSON file of settings; flags override it."""
    recipe: str | None = None
    """A published setting, as `landscape recipes` lists them; flags override it."""
    smoke: tyro.conf.FlagCreatePairsOff[bool] = False
    """Shrink the recipe to one step on a few images, of noise where its dataset is not there."""
    root: Path = Path("runs")
    """Folder of all runs."""
    data_root: Path | None = None
    """Folder of the datasets; ./data by default."""
    resume: Literal["auto", "never", "must"] = "auto"
    """auto: go on or begin; never: begin anew, an existing run is moved aside; must: fail if there is nothing."""
    tensorboard: tyro.conf.FlagCreatePairsOff[bool] = False
    """Also write the metrics for TensorBoard, into the run's folder."""
    quiet: bool = False
    """No progress bars."""

    def run(self) -> int:
        """Train and print where the run is and how it ended."""
        from landscape.training.divergence import diverged_at_the_end
        from landscape.training.train import train

        config = with_options(self.settings, self.model_option, self.optimizer_option, self.penalty_option)
        for warning in self._warnings(config):
            print(f"warning: {warning}", file=sys.stderr)
        run = train(
            config,
            root=self.root,
            resume=self.resume,
            progress=not self.quiet,
            data_root=self.data_root,
            tensorboard=self.tensorboard,
        )
        rows = run.metrics()
        last = rows[-1]
        print(f"run            {run.path}")
        print(f"epochs         {last['epoch']}")
        # label smoothing and augmentation are part of it, and the weights moved meanwhile
        print(
            f"train loss     {last['train_loss']:.4f} nats (mean over the last epoch's steps, not of the final weights)"
        )
        print(f"test error     {100 * last['test_error']:.2f} %")
        best = run.best()
        if best is not None and best["epoch"] != last["epoch"]:
            print(
                f"best           {100 * best['test_error']:.2f} % after epoch {best['epoch']} (chosen by the test data)"
            )
        print(f"test NLL       {last['test_nll']:.4f} nats")
        print(f"test ECE       {100 * last['test_ece']:.2f} %")
        print(f"weights sha256 {run.weights_checksum()}")
        if self.recipe is not None:
            from landscape.recipes import load_recipe

            for line in comparison(load_recipe(self.recipe), run):
                print(line)
        if (diverged := diverged_at_the_end(rows, config)) is not None:
            raise diverged
        return 0

    def _warnings(self, config: RunConfig) -> Iterator[str]:
        from landscape.datasets import DATASETS
        from landscape.datasets.completeness import unverified_difference

        if self.smoke and config.dataset.startswith("synthetic:"):
            yield f"the recipe's dataset is not there: {config.dataset} is noise of its shape, nothing can be learned"
        if config.flip and config.dataset in DATASETS and DATASETS[config.dataset].never_flip:
            yield f"a mirrored image of {config.dataset} is another class or none; --flip does harm here"
        for split in ("train", "test"):
            if difference := unverified_difference(config.dataset, split, root=self.data_root):
                yield f"{config.dataset} is {difference}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataCommand:
    """List the datasets, download one, or check that one is whole."""

    action: tyro.conf.Positional[Literal["list", "download", "check"]] = "list"
    """What to do."""
    name: tyro.conf.Positional[str | None] = None
    """The dataset, for download and check."""
    root: Path | None = None
    """Folder of the datasets; ./data by default."""

    def run(self) -> int:
        """List, download or check."""
        from landscape.datasets import DATASETS, load_dataset
        from landscape.datasets.completeness import difference_from_published

        if self.action == "list":
            for name, spec in DATASETS.items():
                print(f"{name:15} {spec.title}: {spec.train} + {spec.test} examples, {spec.classes} classes")
            print(f"{'folder:PATH':15} your own images: PATH/train/<class>/*.png|jpg and PATH/test/<class>/...")
            print(f"{'synthetic:CxHxW:K':15} noise of that shape in K classes, to try settings without data")
            return 0
        if self.name is None:
            raise ConfigError(f"`landscape data {self.action}` needs a name.", fix="`landscape data list` shows them.")
        whole = True
        for split in ("train", "test"):
            dataset = load_dataset(self.name, root=self.root, split=split, download=self.action == "download")
            shape = "x".join(str(size) for size in dataset.input_shape)
            print(f"{self.name} {split}: {len(dataset)} examples of {shape}, {dataset.classes} classes, ", end="")
            print(f"sha256 {dataset.checksum[:16]}")
            if difference := difference_from_published(self.name, split, len(dataset)):
                print(difference)
                whole = False
        return 0 if whole else 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doctor:
    """Say what works on this machine, and what to install where something does not."""

    def run(self) -> int:
        """Print the checks; 1 where one of them is an error."""
        from landscape.doctor import diagnose, format_diagnosis

        diagnosis = diagnose()
        print(format_diagnosis(diagnosis))
        return 1 if any(check.status == "error" for check in diagnosis.checks) else 0


COMMANDS: dict[str, Any] = {
    "train": Train,
    "surface": SurfaceCommand,
    "curvature": CurvatureCommand,
    "sharpness": SharpnessCommand,
    "robustness": RobustnessCommand,
    "study": StudyCommand,
    "notebook": NotebookCommand,
    "data": DataCommand,
    "recipes": RecipesCommand,
    "runs": RunsCommand,
    "doctor": Doctor,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The words after ``landscape``; the process's own by default.

    Returns:
        0 where it went well, 1 where ``doctor`` found errors or ``data check`` a set that is not whole, 2 for wrong
        input, 130 after Ctrl-C.
    """
    words = in_one_form(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be valid text
            stream.reconfigure(errors="backslashreplace")
    try:
        if words and not words[0].startswith("-"):
            require_name("command", words[0], COMMANDS)
        commands: dict[str, Any] = dict(COMMANDS)
        if words[:1] == ["train"]:
            commands["train"] = _train_with_defaults(words)
        elif words[:1] == ["robustness"]:
            commands["robustness"] = with_attacks_listed()
        with one_sentence(words):
            chosen = tyro.extras.subcommand_cli_from_dict(
                commands,
                args=words,
                prog="landscape",
                description="An interactive loss-landscape suite. --version: which one.",
            )
        with _plain_warnings():
            return chosen.run()
    except LandscapeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show this package's warnings as sentences, without the line of code that raised them."""
    usual = warnings.formatwarning

    def plain(message: Any, category: type[Warning], *place: Any, **line: Any) -> str:
        if category.__module__.partition(".")[0] == "landscape":
            return f"warning: {message}\n"
        return usual(message, category, *place, **line)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _train_with_defaults(words: Sequence[str]) -> Any:
    """Return ``Train``, its defaults taken from the file or recipe behind ``--config`` or ``--recipe``.

    Its help says what each penalty is and reads.
    """
    settings = GivenSettings.of(starting_settings(words) or RunConfig())

    def build(flags: Annotated[Train, tyro.conf.arg(name="")] = Train(settings=settings)) -> Train:
        kept = {name: getattr(settings, name) for name in ("model_options", "optimizer_options", "penalty_options")}
        return dataclasses.replace(flags, settings=flags.settings.replace(**kept))

    build.__doc__ = "\n\n".join([Train.__doc__ or "", *penalty_lines()])
    return build
