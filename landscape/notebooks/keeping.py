"""Results that are computed once: runs, surfaces, and whatever a function of plain arguments returns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

from landscape.errors import CorruptFileError, LockedError
from landscape.notebooks.identity import key_of
from landscape.notebooks.packing import complete, load_value, save_value
from landscape.notebooks.places import shown
from landscape.notebooks.profile import Profile
from landscape.objective import Objective
from landscape.surface import Direction, Line, Plane, Surface, evaluate_line, evaluate_surface
from landscape.training import Run, RunConfig, train
from landscape.widgets import TrainingMonitor, display_mode, show
from landscape.widgets.mode import Mode

Result = TypeVar("Result")
_LOOK_EVERY = 0.5  # seconds


class Keeper:
    """Computes what is not there yet, reads what is, and remembers which was which.

    Args:
        profile: The sizes.
        root: Folder of runs, and of the kept results in its folder ``cache``.
        data_root: Folder of the datasets.

    Attributes:
        computed: (name, seconds) of what was computed since the start.
        read: Names of what was read instead.
    """

    def __init__(self, profile: Profile, root: Path, data_root: Path) -> None:
        self.profile, self.root, self.data_root = profile, root, data_root
        self.computed: list[tuple[str, float]] = []
        self.read: list[str] = []
        self._untold: dict[TrainingMonitor, dict[str, bool]] = {}  # which runs were finished before

    @overload
    def train(self, runs: RunConfig) -> Run: ...

    @overload
    def train(self, runs: Mapping[str, RunConfig] | TrainingMonitor) -> dict[str, Run]: ...

    def train(self, runs: RunConfig | Mapping[str, RunConfig] | TrainingMonitor) -> Run | dict[str, Run]:
        """Train, go on with what was stopped, or read what is finished; see :func:`landscape.train`.

        A line for each run says which it was. Where another process trains the same run, this one waits for it.

        Args:
            runs: Settings, or label to settings; or a monitor from :meth:`watch`, whose trainings are waited for.

        Returns:
            The finished run, or label to finished run.

        Raises:
            LandscapeError: What :func:`landscape.train` raises.
        """
        if isinstance(runs, RunConfig):
            return self._train("training", runs, 0)
        if isinstance(runs, TrainingMonitor):
            return self._watched(runs)
        width = max(map(len, runs), default=0)
        return {label: self._train(label, config, width) for label, config in runs.items()}

    def watch(self, runs: Mapping[str, RunConfig], *, mode: Mode = "auto", **options: Any) -> TrainingMonitor:
        """Show trainings with buttons and curves; where nobody is there to press one, train them now.

        Args:
            runs: Label to settings.
            mode: "live", "static" or "auto"; see :func:`landscape.widgets.display_mode`.
            **options: As of :class:`landscape.widgets.TrainingMonitor`: ``show``, ``live``.

        Returns:
            The monitor; hand it to :meth:`train` where the runs are needed.

        Raises:
            LandscapeError: In static mode, what :func:`landscape.train` raises.
        """
        monitor = TrainingMonitor(runs, root=self.root, data_root=self.data_root, **options)
        self._untold[monitor] = {label: self.finished(config) for label, config in runs.items()}
        if display_mode(mode) == "static":  # one by one: another process may be at one of them
            self.train(runs)
            self._untold[monitor] = {}
            show(monitor.figure())
        else:
            monitor.show(mode)
        return monitor

    def _train(self, label: str, config: RunConfig, width: int) -> Run:
        done, start = self.finished(config), time.perf_counter()
        run = _when_free(label, lambda: train(config, root=self.root, data_root=self.data_root))
        self._tell(label, run, None if done else time.perf_counter() - start, width)
        return run

    def _watched(self, monitor: TrainingMonitor) -> dict[str, Run]:
        """Wait for a monitor's runs, and say once which of them were trained since it was shown."""
        runs, untold = monitor.finish(), self._untold.pop(monitor, {})
        for label, done in untold.items():
            took = None if done else sum(row["seconds"] for row in runs[label].metrics())
            self._tell(label, runs[label], took, max(map(len, runs)))
        return runs

    def _tell(self, label: str, run: Run, took: float | None, width: int) -> None:
        how = "read" if took is None else f"trained in {took:.1f} s"
        print(f"{label:{width}}  {how:18} {shown(run.path)}")
        self._note(f"{label} ({run.path.name})", took)

    def finished(self, config: RunConfig) -> bool:
        """Tell whether a run of these settings is finished."""
        return Run(self.root / config.folder_name, config).status == "finished"

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
