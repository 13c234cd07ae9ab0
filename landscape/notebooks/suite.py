"""What every notebook begins with: sizes by profile, seeds, places, kept results, and a line that says all of it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from landscape.errors import NotebookError, StorageError
from landscape.notebooks.estimate import Work, estimate_seconds, fitted, in_words
from landscape.notebooks.given import check_given, check_trainings
from landscape.notebooks.identity import key_of
from landscape.notebooks.keeping import Keeper
from landscape.notebooks.places import place_of, shown
from landscape.notebooks.profile import SIZES, Profile, find_profile
from landscape.objective import Objective
from landscape.recipes import load_recipe
from landscape.storage import read_json, write_json
from landscape.training import Run, RunConfig
from landscape.training.materials import resolve_device
from landscape.widgets import TrainingMonitor, display_mode, show
from landscape.widgets.show import bundle, display_bundle

_SHARED = (
    "dataset", "limit", "test_limit", "label_noise", "model", "batch_size", "lr", "weight_decay", "momentum",
)  # fmt: skip


def begin(
    *,
    profile: str = "quick",
    mode: Literal["auto", "live", "static"] = "auto",
    seed: int = 0,
    device: str = "auto",
    root: str = "runs",
    data_root: str = "",
    **parameters: Any,
) -> Suite:
    """Begin a notebook: check its parameters and say in one line what it runs with.

    Args:
        profile: "quick", "standard" or "paper"; see :class:`Profile`.
        mode: "live", "static" or "auto"; see :func:`landscape.widgets.display_mode`.
        seed: The seed of everything random in the notebook.
        device: "auto", "cpu", "cuda" or "cuda:N".
        root: Folder of runs and kept results; a relative one is the same for JupyterLab in ``notebooks/`` and for a
            run from the folder above it.
        data_root: Folder of the datasets; none is ``data``, beside ``root``.
        **parameters: All other parameters of the notebook. Those that are sizes of a profile (``epochs``, ``points``,
            ...) replace the profile's, unless they are None.

    Returns:
        What the rest of the notebook uses.

    Raises:
        NotebookError: A value is of another type or not allowed; or, under papermill, a name is no parameter.
    """
    known = {"profile": profile, "mode": mode, "seed": seed, "device": device, "root": root, "data_root": data_root}
    check_given({**known, **parameters})
    sizes = {name: parameters[name] for name in SIZES if name in parameters}
    suite = Suite(
        profile=find_profile(profile, **sizes), mode=display_mode(mode), seed=seed, device=device,
        root=place_of(root), data_root=place_of(data_root or "data"), parameters=parameters,
    )  # fmt: skip
    print(suite.line())
    return suite


class Suite(Keeper):
    """What :func:`begin` returns.

    Attributes:
        profile: The sizes.
        mode: "live" or "static".
        seed: The notebook's seed.
        device: Where things are computed.
        root: Folder of runs and kept results.
        data_root: Folder of the datasets.
        parameters: The notebook's own parameters.
        computed: (name, seconds) of what was computed since the start.
        read: Names of what was read instead.
    """

    def __init__(
        self,
        *,
        profile: Profile,
        mode: Literal["live", "static"],
        seed: int,
        device: str,
        root: Path,
        data_root: Path,
        parameters: Mapping[str, Any],
    ) -> None:
        super().__init__(profile, root, data_root)
        self.seed = seed
        self.mode: Literal["live", "static"] = mode
        self.device = resolve_device(device)
        self.parameters = dict(parameters)
        self._device_name = device
        self._plan: Path | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of runs that differ in nothing else: as many as the profile says, from the notebook's on."""
        return tuple(range(self.seed, self.seed + self.profile.seeds))

    @property
    def direction_seeds(self) -> tuple[int, ...]:
        """Seeds of random directions and planes, as many as the profile says; other streams than those of runs."""
        return tuple(range(1000 * self.seed, 1000 * self.seed + self.profile.directions))

    def line(self) -> str:
        """Say in one line what the notebook runs with."""
        where = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        threads = torch.get_num_threads()
        return (
            f"{self.mode} mode, profile {self.profile.name}, seed {self.seed}, {where}, torch {torch.__version__}, "
            f"{threads} CPU thread{'s' * (threads != 1)}; results are kept in {shown(self.root)}"
        )

    def config(self, recipe: str = "", **settings: Any) -> RunConfig:
        """Return the settings of a run: the notebook's dataset, model, seed and device, and the profile's epochs.

        Args:
            recipe: A published setting, as ``landscape recipes`` lists them: all of it, but for the seed, the device,
                and what of ``limit``, ``test_limit`` and ``epochs`` the notebook was given. Empty for none.
            **settings: Settings of :class:`landscape.RunConfig` that replace these or come beside them.

        Raises:
            ConfigError: A setting is unknown or out of range, or there is no such recipe.
        """
        if recipe:
            return self._published(recipe, settings)
        shared = {name: self.parameters[name] for name in _SHARED if name in self.parameters}
        for name in ("limit", "test_limit"):
            if name in shared:
                shared[name] = shared[name] or None
        own = {"epochs": self.profile.epochs, "seed": self.seed, "data_seed": self.seed, "device": self._device_name}
        own |= {"eval_every": max(1, self.profile.epochs // 12), "save_every": max(1, self.profile.epochs // 6)}
        return RunConfig(**{**own, **shared, **settings})

    def _published(self, recipe: str, settings: Mapping[str, Any]) -> RunConfig:
        base = load_recipe(recipe).config
        given = {name: self.parameters.get(name) or getattr(base, name) for name in ("limit", "test_limit", "epochs")}
        own = {"seed": self.seed, "data_seed": self.seed, "device": self._device_name}
        return base.replace(**{**given, **own, **settings})

    def watch(self, runs: Mapping[str, RunConfig], **options: Any) -> TrainingMonitor:
        """Do what :meth:`Keeper.watch` does, in the notebook's mode."""
        return super().watch(runs, **{"mode": self.mode, **options})

    # ------------------------------------------------------------------------------------------------- computing

    def plan(
        self,
        runs: RunConfig | Iterable[RunConfig] | Mapping[str, RunConfig] = (),
        *,
        surfaces: int = 0,
        lines: int = 0,
        losses: int | Callable[[Profile], int] = 0,
        gradients: int = 0,
        products: int = 0,
        seconds: float = 0.0,
        most: float | None = None,
    ) -> None:
        """Say how long the notebook will take, before it starts, or why a run cannot be trained.

        Args:
            runs: The runs that it trains; finished ones cost nothing.
            surfaces: How many surfaces of the profile's size.
            lines: How many lines of the profile's size.
            losses: How many further losses, of the profile's examples; or how many they are by its sizes.
            gradients: How many gradients.
            products: How many Hessian products.
            seconds: Time of what chooses its own sizes.
            most: Seconds that all but the trainings may take, about, on two CPU cores. Where it would be more, the
                profile has fewer examples from now on, and then fewer points of surfaces unless they were asked for;
                see :func:`landscape.notebooks.estimate.fitted`. None leaves it as it is.

        Raises:
            LandscapeError: The data of a run is not there, or its model cannot be trained on it.
        """
        configs = _configs(runs)
        todo = [config for config in configs if not self.finished(config)]

        def work_of(sizes: Profile) -> Work:
            further = losses(sizes) if callable(losses) else losses
            counts = {"surfaces": surfaces, "lines": lines, "losses": further, "gradients": gradients}
            return Work(trainings=todo, products=products, seconds=seconds, **counts)

        check_trainings(todo, data_root=str(self.data_root))
        base = configs[0] if configs else self.config()
        smaller = "" if most is None else self._fit(work_of, base, most)
        work = work_of(self.profile)
        self._plan = self._planned(configs, work)
        if not todo and (before := _noted_seconds(self._plan)) is not None:
            print(f"Computed before, in {in_words(before)}: what is finished is read from {shown(self.root)}.")
            return
        took = estimate_seconds(work, self.profile, base, data_root=str(self.data_root))
        about = "An unknown time" if took is None else f"About {in_words(took)} on this machine"
        known = f" {len(configs) - len(todo)} of {len(configs)} trainings are finished." if configs != todo else ""
        print(f"{about}: {work.words(self.profile)}.{known} What is finished is read from {shown(self.root)}.{smaller}")

    def _fit(self, work: Callable[[Profile], Work], config: RunConfig, seconds: float) -> str:
        """Make the profile smaller where it would take longer; return what became smaller, in words."""
        before, given = self.profile, self.parameters.get("points") is not None
        root = str(self.data_root)
        self.profile = after = fitted(before, work, config, seconds=seconds, data_root=root, keep_points=given)
        if after == before:
            return ""
        points = f"surfaces have {after.points}x{after.points} points in place of {before.points}x{before.points}"
        what = f"losses are over {after.examples} examples" + (f" and {points}" if after.points < before.points else "")
        return f" To take about {in_words(seconds)} on two CPU cores beside the trainings, {what}."

    def _planned(self, configs: Sequence[RunConfig], work: Work) -> Path:
        """Where a finished plan is noted: it belongs to all that decides what is computed."""
        counts = {**vars(work), "trainings": [config.hash for config in configs]}
        what = {**self.parameters, "profile": self.profile, "seed": self.seed, "device": str(self.device), **counts}
        return self.root / "cache" / f"plan-{key_of('plan', print, what)[:16]}.json"

    def objective(
        self, run: Run, split: str = "train", *, step: int | None = None, examples: int | None = None
    ) -> Objective:
        """Return a run's loss as a function of its weights, on as many examples as the profile says.

        Args:
            run: A run.
            split: "train" (as trained on, wrong labels included) or "test".
            step: The checkpoint's step, or None for the last.
            examples: How many examples, in place of the profile's; never more than there are.

        Returns:
            The objective.
        """
        wanted = self.profile.examples if examples is None else examples
        there = run.environment()["data"][split]
        return run.objective(split, limit=min(wanted, there), step=step, device=str(self.device))

    # ------------------------------------------------------------------------------------------------- showing

    def show(self, thing: Any, *, picture: Any = None) -> None:
        """Show a figure, a panel or an explorer in the notebook's mode.

        Args:
            thing: A plotly or matplotlib figure, or anything with a method ``show(mode=...)``.
            picture: The same figure by matplotlib, for readers that draw no plotly figures and for the gallery. Left
                out in live mode, where JupyterLab would show it in the figure's place until the mouse comes near.
        """
        if picture is None or self.mode == "live":
            show(thing, mode=self.mode)
            return
        display_bundle({**bundle(thing), "image/png": _compact(bundle(picture)["image/png"])})

    def check(self, claim: str, holds: Any) -> None:
        """Check a claim of the notebook and say so in one line.

        Args:
            claim: What is checked, a sentence.
            holds: Whether it holds; or label to whether it holds there.

        Raises:
            NotebookError: It does not; the message names the labels.
        """
        each = {str(label): bool(value) for label, value in holds.items()} if isinstance(holds, Mapping) else {}
        failed = [label for label, value in each.items() if not value]
        if failed or not (each or bool(holds)):
            raise NotebookError(f"A check failed: {claim}{_of(failed)}.")
        print(f"✓ {claim}{_of(list(each))}")

    def finish(self) -> None:
        """Say what was computed and what was read, for the end of a notebook."""
        took = sum(seconds for _, seconds in self.computed)
        if self.computed and self._plan is not None:
            write_json(self._plan, {"seconds": round(took, 1)})
        computed = f"{len(self.computed)} results computed in {took:.1f} s" if self.computed else "0 results computed"
        print(f"{computed}, {len(self.read)} read from {shown(self.root)}.")


def _noted_seconds(path: Path) -> float | None:
    """Return how long a plan took when it was computed; None where nothing says so."""
    with contextlib.suppress(StorageError, KeyError, TypeError, ValueError):
        return float(read_json(path)["seconds"])
    return None


def _compact(png: bytes) -> bytes:
    """Return an image in 256 colors that cover all of its own: a figure takes a quarter of the bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    few = Image.open(io.BytesIO(png)).convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE)
    few.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _of(labels: Iterable[str]) -> str:
    listed = ", ".join(labels)
    return f" ({listed})" if listed else ""


def _configs(runs: Any) -> list[RunConfig]:
    if isinstance(runs, RunConfig):
        return [runs]
    return list(runs.values()) if isinstance(runs, Mapping) else list(runs)
