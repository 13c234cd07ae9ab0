"""Evaluate the loss along a direction or on a plane."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from landscape.arguments import check_objective
from landscape.config import is_whole, require_name
from landscape.errors import ConfigError, MismatchError, shown
from landscape.objective import Objective
from landscape.progress import progress_bar
from landscape.seeding import preserved_rng
from landscape.surface import grid
from landscape.surface.arguments import check_callback
from landscape.surface.batchnorm import with_batch_norm
from landscape.surface.collector import Collector, Field
from landscape.surface.directions import Direction
from landscape.surface.engine_choice import Choice, choose_engine
from landscape.surface.engines import ENGINES
from landscape.surface.planes import Plane
from landscape.surface.remote import Remote
from landscape.surface.results import Line, Surface
from landscape.surface.store import Center, PointStore, store_folder, stored_engine

_DECISIVE = (
    "model", "model_sha256", "layout", "weights_sha256", "fixed_sha256", "data_sha256", "normalization", "examples",
    "loss", "loss_sha256", "metric_sha256", "batch_size", "dtype",
)  # fmt: skip
Result = TypeVar("Result", Line, Surface)
Store = str | os.PathLike[str] | None


def evaluate_line(
    objective: Objective,
    direction: Direction,
    *,
    extent: grid.Extent = 1.0,
    points: int = 51,
    engine: str = "auto",
    workers: int | str = "auto",
    executor: Executor | None = None,
    order: str = "coarse-to-fine",
    store: Store = None,
    batch_norm: str = "running",
    statistics_from: Objective | None = None,
    on_update: Callable[[Line], None] | None = None,
    progress: bool = True,
) -> Line:
    """Evaluate the loss along a direction: ``L(w + alpha * d)`` with w the model's present weights.

    Args:
        objective: What to evaluate. Its model is not changed.
        direction: Where to go, (P,).
        extent: alpha runs from ``-extent`` to ``extent``, in units of the direction's own length; or (low, high), for
            example (0, 1) from one model to another.
        points: How many points. Default 51: as in Li et al.'s figures. An odd number has the model itself in the
            middle.
        engine: See :func:`evaluate_surface`.
        workers: See there.
        executor: See there.
        order: See there.
        store: See there.
        batch_norm: See there. From one model to another use "recompute".
        statistics_from: See there.
        on_update: See there; called with the line so far.
        progress: Whether a progress bar is shown.

    Returns:
        The line. NaN and infinite losses are kept, with status 2.

    Raises:
        ConfigError: It is no objective, or an option is unknown, out of range or of another kind.
        MismatchError: The direction belongs to another model, or the store to something else.
        NonDeterministicError: The model draws random numbers in evaluation mode.
        StorageError: The store cannot be read or written.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 1, bias=False).double()
        >>> model.weight.data.fill_(2.0).item()
        2.0
        >>> data = (torch.ones(1, 1).double(), torch.zeros(1, 1).double())
        >>> objective = Objective(model, data, torch.nn.functional.mse_loss)
        >>> ahead = Direction(vector=torch.ones(1).double(), kind="mine", norm="none")
        >>> evaluate_line(objective, ahead, points=3, progress=False).loss.tolist()  # (2 + alpha)**2
        [1.0, 4.0, 9.0]
    """
    _check_kinds(objective, "evaluate_line", executor, on_update)
    alphas = grid.axis(extent, points)
    if not isinstance(direction, Direction):
        raise _not_a("direction", "random_direction(objective) or direction_between(a, b)", direction)
    objective = with_batch_norm(objective, batch_norm, statistics_from)
    task = _Task(Line, objective, (direction,), {"alphas": alphas}, engine, workers, order)
    task.executor, task.kept = executor, {"direction": direction}
    return task.run(store, on_update, progress)


def evaluate_surface(
    objective: Objective,
    plane: Plane,
    *,
    extent: grid.Extents = 1.0,
    points: int | tuple[int, int] = (51, 51),
    engine: str = "auto",
    workers: int | str = "auto",
    executor: Executor | None = None,
    order: str = "coarse-to-fine",
    store: Store = None,
    batch_norm: str = "running",
    statistics_from: Objective | None = None,
    on_update: Callable[[Surface], None] | None = None,
    progress: bool = True,
) -> Surface:
    """Evaluate the loss on a plane: ``L(w + alpha * d1 + beta * d2)``.

    Here w is the plane's origin where it has one, and the model's present weights where not.

    Every point is computed from w itself, so the result does not depend on the order, and the loss at w equals
    ``objective.evaluate(w).loss`` bit for bit.

    Args:
        objective: What to evaluate. Its model is not changed.
        plane: Two directions, (P,) each.
        extent: alpha and beta run from ``-extent`` to ``extent``, in units of the directions' own lengths; or
            (low, high); or one (low, high) for each. ``plane.extent()`` holds a plane's marks. Default 1.0: as in Li et
            al.'s figures.
        points: (A, B), or one number for both. Default (51, 51): as in Li et al.'s figures. Odd numbers have the model
            itself in the middle.
        engine: "plain": a forward pass for each point. "folded": batch normalization taken into the convolutions, fused
            with what follows, in batches of 64; "folded_large": in the objective's own. "stacked": many points in one
            pass, for tiny networks. "graphed": a CUDA graph of one point. "auto" measures them on two points and takes
            the fastest that agrees with "plain" to 1e-5. Which one that is may differ from run to run, and the last
            bits with it: ``provenance["engine"]`` says which, and its name, given here, gives the same bits. The center
            is always the plain one's, and so is what is not finite.
        workers: How many points at a time on a CPU, each in a thread that uses one core. "auto": as many as torch has
            threads. The result is the same.
        executor: Evaluates the points elsewhere: a ``concurrent.futures.ProcessPoolExecutor``, or for many machines
            that of Dask (``client.get_executor()``) or mpi4py. A copy of the objective is sent to it, so model and loss
            must be importable there. On the same kind of processor the result is the same.
        order: "coarse-to-fine" shows the whole plane coarsely at first; "rows" goes through it. The result is the same.
        store: A folder. Finished points are kept there, and a later call with the same objective, plane and grid
            computes only what is missing. With "auto" it goes on with the engine that the store was begun with, so the
            result is that of one call, bit for bit. A folder of other things is refused; a finished store is only read,
            also where nothing can be written.
        batch_norm: "running": layers that keep running statistics use the model's at every point. "recompute": each
            point gets its own, at about twice the time; see :func:`landscape.surface.recompute_batch_norm`.
        statistics_from: Whose data "recompute" takes them from; the objective's own by default.
        on_update: Called with the surface so far, at most four times a second, and once at the end.
        progress: Whether a progress bar is shown.

    Returns:
        The surface. NaN and infinite losses are kept, with status 2.

    Raises:
        ConfigError: It is no objective, or an option is unknown, out of range or of another kind.
        MismatchError: The plane belongs to another model, or the store to something else.
        NonDeterministicError: The model draws random numbers in evaluation mode.
        StorageError: The store cannot be read or written.
        LockedError: Another process is writing the store.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False).double()
        >>> model.weight.data.fill_(0.0).sum().item()
        0.0
        >>> data = (torch.eye(2).double(), torch.zeros(2, 1).double())
        >>> objective = Objective(model, data, torch.nn.functional.mse_loss)
        >>> axes = [Direction(vector=vector, kind="mine", norm="none") for vector in torch.eye(2).double()]
        >>> evaluate_surface(objective, Plane(*axes), points=3, progress=False).loss.tolist()  # (a**2 + b**2) / 2
        [[1.0, 0.5, 1.0], [0.5, 0.0, 0.5], [1.0, 0.5, 1.0]]

    References:
        H. Li et al., Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018.
    """
    _check_kinds(objective, "evaluate_surface", executor, on_update)
    ranges = zip(("alphas", "betas"), grid.both_extents(extent), grid.both(points), strict=True)
    axes = {name: grid.axis(reach, n) for name, reach, n in ranges}
    if not isinstance(plane, Plane):
        raise _not_a("plane", "Plane(direction1, direction2) or random_plane(objective)", plane)
    objective = with_batch_norm(at_origin(objective, plane), batch_norm, statistics_from)
    task = _Task(Surface, objective, plane.directions, axes, engine, workers, order)
    task.executor, task.kept = executor, {"plane": plane}
    task.provenance["plane"] = plane.record()
    return task.run(store, on_update, progress)


def at_origin(objective: Objective, plane: Plane) -> Objective:
    """Return the objective of a model whose weights are a plane's origin: the given one where they are already.

    Raises:
        MismatchError: The origin belongs to another model.
    """
    if plane.origin is None:
        return objective
    origin = objective.check_vector(plane.origin)
    if torch.equal(origin, objective.weights()):
        return objective
    moved = objective.snapshot()
    with torch.no_grad():
        for parameter, value in zip(
            moved.layout.parameters_of(moved.model), moved.layout.named(origin).values(), strict=True
        ):
            parameter.copy_(value)
    return moved


def _not_a(what: str, fix: str, got: object) -> MismatchError:
    return MismatchError(f"This is no {what}.", expected=what.title(), got=shown(got), fix=f"Use {fix}.")


def _check_kinds(objective: object, asked: str, executor: object, on_update: object) -> None:
    check_objective(objective, asked)
    check_callback(on_update)
    if executor is not None and (isinstance(executor, type) or not callable(getattr(executor, "submit", None))):
        raise ConfigError(
            "This is no executor.",
            expected="something to submit work to, or None",
            got=shown(executor),
            fix="For example concurrent.futures.ProcessPoolExecutor(), or client.get_executor() of Dask.",
        )


class _Task:
    """One line or surface to be evaluated."""

    def __init__(
        self,
        kind: type[Line] | type[Surface],
        objective: Objective,
        directions: tuple[Direction, ...],
        axes: dict[str, np.ndarray],
        engine: str,
        workers: int | str,
        order: str,
    ) -> None:
        _check_options(engine, workers)
        self.engine, self.workers = engine, workers
        for direction in directions:
            check_direction(objective, direction)
        self.kind, self.objective, self.directions, self.axes = kind, objective, directions, axes
        _check_reach(objective, axes)
        self.shape = tuple(len(axis) for axis in axes.values())
        self.order = grid.evaluation_order(self.shape, order)
        self.field = Field(len(self.order))
        self.records = tuple(direction.record() for direction in directions)
        self.kept: dict[str, Any] = {}  # what the result holds of its directions
        self.executor: Executor | None = None
        self.start = time.perf_counter()
        self.provenance = {**objective.provenance(), "order": order, "points_resumed": 0}
        self.coordinates = np.stack([axis.reshape(-1) for axis in np.meshgrid(*axes.values(), indexing="ij")], axis=1)

    @torch.inference_mode(False)
    def run(self, store: Store, on_update: Callable[[Any], None] | None, progress: bool) -> Any:
        """Evaluate what is missing and build the result, in normal mode: workers do not inherit the caller's."""
        folder = None if store is None else store_folder(store)
        self.objective.check_deterministic()
        with preserved_rng():
            choice = self._choose(folder)
        opened: Any = nullcontext(None)
        if folder is not None:
            opened = PointStore(folder, self._identity(), self._center(), self.field.count)
        with opened as points, preserved_rng():
            if points is not None:
                self._resume(points)
            self._evaluate(choice, points, on_update, progress)
            result = self._result()
            if on_update is not None:
                on_update(result)
        return result

    def _resume(self, points: PointStore) -> None:
        found = points.read()
        self.field.set(*found)
        self.order = self.order[~np.isin(self.order, found[0])]
        self.provenance["points_resumed"] = self.field.count - len(self.order)

    def _choose(self, folder: Path | None) -> Choice:
        """Build the engine: the one that a store was begun with, or the one asked for."""
        begun = None if folder is None else stored_engine(folder, ENGINES)
        wanted = begun if begun is not None and self.engine == "auto" else self.engine
        vectors = [direction.vector for direction in self.directions]
        away = self.coordinates[np.abs(self.coordinates).sum(1).argsort()[::-1]].tolist()
        probe, star = [away[0], away[len(away) // 2]], self.coordinates[grid.star(self.shape)].tolist()
        choice = choose_engine(
            self.objective,
            vectors,
            wanted=wanted,
            probe=probe,
            points=len(self.order),
            star=star,
            checked=wanted == begun,
        )
        self.provenance |= choice.record()
        return choice

    def _workers(self, block: int) -> int:
        """How many points at a time, a thread with one core each; 0 where it is not the CPU that computes."""
        if self.objective.device.type != "cpu":
            return 0
        wanted = torch.get_num_threads() if self.workers == "auto" else int(self.workers)
        return min(wanted, -(-max(1, len(self.order)) // block))

    def _remote(self, engine: str) -> Remote | None:
        if self.executor is None:
            return None
        return Remote(self.executor, engine, self.objective, [direction.vector for direction in self.directions])

    def _evaluate(
        self, choice: Choice, points: PointStore | None, on_update: Callable[[Any], None] | None, progress: bool
    ) -> None:
        engine, todo = choice.engine, self.order.tolist()
        kind, known = self.kind.__name__.lower(), self.field.count - len(todo)
        with progress_bar(self.field.count, desc=kind, unit="point", enabled=progress, initial=known) as bar:
            on_block = None if on_update is None else lambda: on_update(self._result())
            collector = Collector(self.field, points, bar, on_block, 0.25 if points is None else 0.5)
            rest = [index for index in todo if self.coordinates[index].any()]
            if len(rest) < len(todo):  # the center is what the objective says, by whatever engine
                collector.enter([index for index in todo if not self.coordinates[index].any()], self.objective)
            workers = self._workers(engine.block)
            collector.run(engine, self.coordinates.tolist(), rest, workers=workers, remote=self._remote(engine.name))

    def _result(self) -> Any:
        seconds = round(time.perf_counter() - self.start, 3)
        values = {name: getattr(self.field, name).reshape(self.shape) for name in ("loss", "accuracy", "status")}
        return self.kind(
            **self.axes,
            **values,
            **self.kept,
            directions=self.records,
            provenance={**self.provenance, "seconds": seconds},
        )

    def _identity(self) -> dict[str, Any]:
        """Say all that decides the values; devices, threads and versions change the last bits only."""
        return {
            "kind": self.kind.__name__,
            **{name: self.provenance[name] for name in _DECISIVE if name in self.provenance},
            **{name: axis.tolist() for name, axis in self.axes.items()},
            "directions": [record["vector_sha256"] for record in self.records],
            "engine": self.provenance["engine"],
        }

    def _center(self) -> Center:
        """Evaluate the model itself: what no checksum shows (a loss object's state, a flag in a module) shows here."""
        found = self.objective.evaluate()
        surroundings = {name: self.provenance[name] for name in ("device", "threads", "versions")}
        precision = torch.finfo(self.objective.dtype).eps
        return Center(loss=found.loss, accuracy=found.accuracy, precision=precision, surroundings=surroundings)


def check_direction(objective: Objective, direction: Direction) -> None:
    """Check that a direction belongs to an objective's model.

    Raises:
        MismatchError: It belongs to another architecture, or has another length.
    """
    layout = objective.layout
    if direction.size != layout.size or (direction.layout and direction.layout != layout.fingerprint):
        raise MismatchError(
            "The direction belongs to another model.",
            expected=f"{layout.size} weights, layout {layout.fingerprint}",
            got=f"{direction.size} weights, layout {direction.layout or 'unknown'}",
            fix="Make the direction or plane from this objective.",
        )


def _check_reach(objective: Objective, axes: dict[str, np.ndarray]) -> None:
    reach = max(float(np.abs(axis).max()) for axis in axes.values())
    most = torch.finfo(objective.dtype).max
    if reach > most:
        raise ConfigError(
            f"The extent is beyond what {objective.dtype} can hold.", expected=f"at most {most:.3g}", got=f"{reach:.3g}"
        )


def _check_options(engine: str, workers: int | str) -> None:
    require_name("engine", engine, ("auto", *ENGINES))
    if not (isinstance(workers, str) and workers == "auto") and not (is_whole(workers) and int(workers) >= 1):
        raise ConfigError(
            "The number of workers is out of range.",
            expected="'auto', or a whole number of at least 1",
            got=shown(workers),
            fix="Leave it out: as many as torch.get_num_threads().",
        )
