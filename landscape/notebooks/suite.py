"""What every notebook begins with: sizes by profile, seeds, places, kept results, and a line that says all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import torch

from landscape.errors import CorruptFileError, LockedError, NotebookError
from landscape.notebooks.estimate import Work, estimate_seconds, in_words
from landscape.notebooks.given import check_given
from landscape.notebooks.identity import key_of
from landscape.notebooks.packing import complete, load_value, save_value
from landscape.notebooks.places import place_of, shown
from landscape.notebooks.profile import SIZES, Profile, find_profile
from landscape.objective import Objective
from landscape.storage import read_json, write_json
from landscape.surface import Direction, Line, Plane, Surface, evaluate_line, evaluate_surface
from landscape.training import Run, RunConfig, train
from landscape.training.materials import resolve_device
from landscape.widgets import display_mode, show
from landscape.widgets.show import bundle, display_bundle

Result = TypeVar("Result")
_SHARED = (
    "dataset", "limit", "test_limit", "label_noise", "model", "batch_size", "lr", "weight_decay", "momentum",
)  # fmt: skip
_LOOK_EVERY = 0.5  # seconds


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


class Suite:
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
        self.profile, self.seed = profile, seed
        self.mode: Literal["live", "static"] = mode
        self.device = resolve_device(device)
        self.root, self.data_root = root, data_root
        self.parameters = dict(parameters)
        self.computed: list[tuple[str, float]] = []
        self.read: list[str] = []
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

    def config(self, **settings: Any) -> RunConfig:
        """Return the settings of a run: the notebook's dataset, model, seed and device, and the profile's epochs.

        Args:
            **settings: Settings of :class:`landscape.RunConfig` that replace these or come beside them.

        Raises:
            ConfigError: A setting is unknown or out of range.
        """
        shared = {name: self.parameters[name] for name in _SHARED if name in self.parameters}
        for name in ("limit", "test_limit"):
            if name in shared:
                shared[name] = shared[name] or None
        own = {"epochs": self.profile.epochs, "seed": self.seed, "data_seed": self.seed, "device": self._device_name}
        own |= {"eval_every": max(1, self.profile.epochs // 12), "save_every": max(1, self.profile.epochs // 6)}
        return RunConfig(**{**own, **shared, **settings})

    # ------------------------------------------------------------------------------------------------- computing

    def plan(
        self,
        runs: RunConfig | Iterable[RunConfig] | Mapping[str, RunConfig] = (),
        *,
        surfaces: int = 0,
        lines: int = 0,
        losses: int = 0,
        gradients: int = 0,
        products: int = 0,
        seconds: float = 0.0,
    ) -> None:
        """Say how long the notebook will take, before it starts.

        Args:
            runs: The runs that it trains; finished ones cost nothing.
            surfaces: How many surfaces of the profile's size.
            lines: How many lines of the profile's size.
            losses: How many further losses, of the profile's examples.
            gradients: How many gradients.
            products: How many Hessian products.
            seconds: Time of what chooses its own sizes.
        """
        configs = _configs(runs)
        todo = [config for config in configs if not self._finished(config)]
        work = Work(
            trainings=todo, surfaces=surfaces, lines=lines, losses=losses, gradients=gradients, products=products,
            seconds=seconds,
        )  # fmt: skip
        self._plan = self._planned(configs, work)
        if not todo and self._plan.is_file():
            seconds = float(read_json(self._plan)["seconds"])
            print(f"Computed before, in {in_words(seconds)}: what is finished is read from {shown(self.root)}.")
            return
        base = configs[0] if configs else self.config()
        took = estimate_seconds(work, self.profile, base, data_root=str(self.data_root))
        about = "An unknown time" if took is None else f"About {in_words(took)} on this machine"
        known = f" {len(configs) - len(todo)} of {len(configs)} trainings are finished." if configs != todo else ""
        print(f"{about}: {work.words(self.profile)}.{known} What is finished is read from {shown(self.root)}.")

    def _planned(self, configs: Sequence[RunConfig], work: Work) -> Path:
        """Where a finished plan is noted: it belongs to all that decides what is computed."""
        counts = {**vars(work), "trainings": [config.hash for config in configs]}
        what = {**self.parameters, "profile": self.profile, "seed": self.seed, "device": str(self.device), **counts}
        return self.root / "cache" / f"plan-{key_of('plan', print, what)[:16]}.json"

    def _finished(self, config: RunConfig) -> bool:
        return Run(self.root / config.folder_name, config).status == "finished"

    @overload
    def train(self, runs: RunConfig) -> Run: ...

    @overload
    def train(self, runs: Mapping[str, RunConfig]) -> dict[str, Run]: ...

    def train(self, runs: RunConfig | Mapping[str, RunConfig]) -> Run | dict[str, Run]:
        """Train, go on with what was stopped, or read what is finished; see :func:`landscape.train`.

        A line for each run says which it was. Where another process trains the same run, this one waits for it.

        Args:
            runs: Settings, or label to settings.

        Returns:
            The finished run, or label to finished run.

        Raises:
            LandscapeError: What :func:`landscape.train` raises.
        """
        if isinstance(runs, RunConfig):
            return self._train("training", runs, 0)
        width = max(map(len, runs), default=0)
        return {label: self._train(label, config, width) for label, config in runs.items()}

    def _train(self, label: str, config: RunConfig, width: int) -> Run:
        done, start = self._finished(config), time.perf_counter()
        run = _when_free(label, lambda: train(config, root=self.root, data_root=self.data_root))
        took = time.perf_counter() - start
        how = "read" if done else f"trained in {took:.1f} s"
        print(f"{label:{width}}  {how:18} {shown(run.path)}")
        self._note(f"{label} ({run.path.name})", None if done else took)
        return run

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

    def cached(self, name: str, function: Callable[..., Result], /, **arguments: Any) -> Result:
        """Return ``function(**arguments)``, computed once and kept.

        What is kept belongs to this function's code, these arguments (weights and data of objectives and runs
        included) and this version's code; anything else is computed anew. Nothing is pickled, and deleting the folder
        ``cache`` in ``root`` costs time only.

        Args:
            name: What it is, in a few words.
            function: What computes it; it must read nothing but its arguments.
            **arguments: What it is called with.

        Returns:
            What it returned: numbers, text, arrays, tensors, results of this package, and lists and dictionaries of
            them.

        Raises:
            NotebookError: The function reads something else, or an argument or the value is of a kind that cannot be
                kept.
        """
        path = self._kept(name, key_of(name, function, arguments)).with_suffix(".npz")
        if path.is_file():
            try:
                value, _ = load_value(path)
            except CorruptFileError:
                print(f"{name}: what was kept is damaged and is computed anew")
            else:
                self._note(name, None)
                return value
        start = time.perf_counter()
        value = function(**arguments)
        took = time.perf_counter() - start
        if complete(value):
            save_value(path, value, {"name": name, "seconds": round(took, 3)})
        self._note(name, took)
        return value

    def surface(self, objective: Objective, plane: Plane, **options: Any) -> Surface:
        """Do what :func:`landscape.evaluate_surface` does, with the profile's points, and keep each point.

        Args:
            objective: What to evaluate.
            plane: Where.
            **options: As there; ``points`` replaces the profile's.

        Returns:
            The surface.
        """
        options = {"points": self.profile.points, **options}
        return self._stored("surface", evaluate_surface, objective, plane, options)

    def line_through(self, objective: Objective, direction: Direction, **options: Any) -> Line:
        """Do what :func:`landscape.evaluate_line` does, with the profile's points, and keep each point.

        Args:
            objective: What to evaluate.
            direction: Where.
            **options: As there; ``points`` replaces the profile's.

        Returns:
            The line.
        """
        options = {"points": self.profile.line_points, **options}
        return self._stored("line", evaluate_line, objective, direction, options)

    def _stored(self, kind: str, evaluate: Callable[..., Any], objective: Objective, where: Any, options: Any) -> Any:
        deciding = {name: value for name, value in options.items() if name not in ("progress", "on_update", "executor")}
        key = key_of(kind, evaluate, {"objective": objective, "where": where, **deciding})
        store, start = self._kept(kind, key), time.perf_counter()
        result = _when_free(kind, lambda: evaluate(objective, where, store=store, **options))
        resumed = result.provenance["points_resumed"]
        self._note(f"{kind} {key[:8]}", None if resumed == result.loss.size else time.perf_counter() - start)
        return result

    def _kept(self, name: str, key: str) -> Path:
        plain = "".join(letter if letter.isalnum() else "-" for letter in name)[:40]
        return self.root / "cache" / f"{plain}-{key[:16]}"

    def _note(self, name: str, seconds: float | None) -> None:
        if seconds is None:
            self.read.append(name)
            return
        self.computed.append((name, seconds))

    # ------------------------------------------------------------------------------------------------- showing

    def show(self, thing: Any, *, picture: Any = None) -> None:
        """Show a figure, a panel or an explorer in the notebook's mode.

        Args:
            thing: A plotly or matplotlib figure, or anything with a method ``show(mode=...)``.
            picture: The same figure by matplotlib, for readers that draw no plotly figures and for the gallery.
        """
        if picture is None:
            show(thing, mode=self.mode)
            return
        display_bundle({**bundle(thing), "image/png": bundle(picture)["image/png"]})

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


def _of(labels: Iterable[str]) -> str:
    listed = ", ".join(labels)
    return f" ({listed})" if listed else ""


def _configs(runs: Any) -> list[RunConfig]:
    if isinstance(runs, RunConfig):
        return [runs]
    return list(runs.values()) if isinstance(runs, Mapping) else list(runs)


def _when_free(what: str, work: Callable[[], Result]) -> Result:
    """Do something that locks a folder; where another process does the same work, wait until it has done it."""
    said = False
    while True:
        try:
            return work()
        except LockedError:
            if not said:
                print(f"{what}: another process is at it; waiting for it", flush=True)
                said = True
            time.sleep(_LOOK_EVERY)
