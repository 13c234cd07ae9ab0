"""Look around a loss surface: turn it, cut it, and evaluate a point of it exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from landscape.errors import ConfigError, MismatchError, unknown_name
from landscape.objective import Objective
from landscape.plotting.field import Fields, as_mapping, prepare
from landscape.plotting.scale import common_scale
from landscape.plotting.surface_views import SurfaceView, surface_views
from landscape.surface import Plane, Surface, evaluate_surface
from landscape.surface.evaluate import at_origin
from landscape.surface.grid import Extents, axis, both, both_extents
from landscape.surface.single import PlainEngine
from landscape.widgets.controls import Control, choice, menu, slider
from landscape.widgets.job import Job, Report
from landscape.widgets.mode import Mode, display_mode
from landscape.widgets.panel import Panel
from landscape.widgets.surface_words import words

if TYPE_CHECKING:
    import plotly.graph_objects as go

_NAMES = {"train": "training", "test": "test"}


class SurfaceExplorer(Panel):
    """Surfaces in space, from above and along a cut, on one common scale; any point of them evaluated exactly.

    Args:
        surfaces: Label -> surface of the training loss.
        test: Label -> surface of the test loss on the same plane, or None.
        objectives: Label -> the objective that a point is evaluated with, where one clicks or presses "Evaluate".
        test_objectives: The same for the test loss.
        eigenvalues: Label -> the top Hessian eigenvalue, for the status line: what a plane does not show.
        planes: Label -> surfaces on planes of other seeds, for the status line: how much the picture depends on them.

    Attributes:
        job: Evaluates the surfaces, where they are still growing; see :meth:`growing`. Else None.

    Raises:
        DataError: There are no surfaces.
        MismatchError: ``test`` or the objectives have other labels, or a surface does not hold its plane.
    """

    keeps, note_takes_values = False, True

    def __init__(
        self,
        surfaces: Mapping[str, Surface],
        *,
        test: Mapping[str, Surface] | None = None,
        objectives: Mapping[str, Objective] | None = None,
        test_objectives: Mapping[str, Objective] | None = None,
        eigenvalues: Mapping[str, float] | None = None,
        planes: Mapping[str, Sequence[Surface]] | None = None,
    ) -> None:
        self.surfaces: dict[str, dict[str, Surface]] = {"train": as_mapping(surfaces, "Surface")}
        if test is not None:
            self.surfaces["test"] = as_mapping(test, "Surface")
        self.judges = {"train": dict(objectives or {}), "test": dict(test_objectives or {})}
        for found in (self.surfaces.get("test"), *self.judges.values(), planes, eigenvalues):
            if found and set(found) - set(self.surfaces["train"]):
                raise MismatchError("The labels differ.", expected=list(self.surfaces["train"]), got=list(found))
        self.eigenvalues, self.planes = dict(eigenvalues or {}), dict(planes or {})
        self.job: Job | None = None
        self._exact: dict[tuple[str, str, float, float], tuple[float, float]] = {}
        self._prepared: dict[Any, Fields] = {}
        super().__init__(
            self._view,
            surface_views,
            controls=self._controls(),
            note=self._note,
            hint="Try: turn the surface, then click a point on the map or move the cut. "
            "Notice: whose valley stays low and wide on the common scale, and what the other cuts show.",
            frames_over="beta",
        )

    @classmethod
    def growing(
        cls,
        objectives: Mapping[str, Objective],
        planes: Mapping[str, Plane] | Plane,
        *,
        extent: Extents = 1.0,
        points: int | tuple[int, int] = 31,
        store: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """Make an explorer of surfaces that are still to be evaluated: they grow while one looks.

        Args:
            objectives: Label -> objective, as it is now.
            planes: Label -> plane, or one plane for all.
            extent: As in :func:`landscape.evaluate_surface`.
            points: As there.
            store: Label -> folder in which finished points are kept.
            **options: More of :func:`landscape.evaluate_surface`.

        Returns:
            The explorer; its ``job`` evaluates, live in the background, else before anything is shown.
        """
        plane_of = dict.fromkeys(objectives, planes) if isinstance(planes, Plane) else dict(planes)
        held = {label: objective.snapshot() for label, objective in objectives.items()}
        empty = {label: _empty(plane_of[label], extent, points) for label in held}
        explorer = cls(empty, objectives={label: objective.twin() for label, objective in held.items()})
        made = dict(extent=extent, points=points, progress=False, **options)
        kept = dict(store or {})

        def evaluate(progress: Report, cancelled: Callable[[], bool]) -> dict[str, Surface]:
            for number, (label, objective) in enumerate(held.items()):
                if not explorer._grow(label, objective, plane_of[label], number, progress, cancelled, made, kept):
                    break
            return explorer.surfaces["train"]

        explorer.job = Job(evaluate, name="evaluating the surface" + "s" * (len(held) > 1), goes_on=bool(kept))
        return explorer

    def _grow(
        self,
        label: str,
        objective: Objective,
        plane: Plane,
        number: int,
        progress: Report,
        cancelled: Callable[[], bool],
        made: dict[str, Any],
        kept: dict[str, Any],
    ) -> bool:
        """Evaluate one surface and show it while it grows; False where that was cancelled."""

        def shown(surface: Surface) -> None:
            if cancelled():
                raise _CancelledError
            known = float((surface.status != 0).mean())
            progress(round(100 * (number + known)), 100 * len(self.surfaces["train"]), f"% of {label or 'it'}")
            self.take(label, surface)

        try:
            evaluate_surface(objective, plane, on_update=shown, store=kept.get(label), **made)
        except _CancelledError:
            return False
        return True

    def take(self, label: str, surface: Surface, *, data: str = "train") -> None:
        """Show another surface of a label, for example one with more points; from any thread.

        Args:
            label: Whose.
            surface: On the same grid.
            data: "train" or "test".

        Raises:
            ConfigError: The label is unknown.
        """
        if label not in self.surfaces[data]:
            raise unknown_name("surface", label, self.surfaces[data])
        with self._drawing:
            self.surfaces[data] = {**self.surfaces[data], label: surface}
            self._prepared.clear()
        self.refresh()

    # What is computed -----------------------------------------------------------------------------------------------

    def _controls(self) -> list[Control]:
        first = next(iter(self.surfaces["train"].values()))
        scales = {"log where it helps": None, "log": True, "linear": False}
        found = [menu("minimum", "weights found by", self.surfaces["train"])]
        if "test" in self.surfaces:
            found.append(choice("data", "loss on", {"training data": "train", "test data": "test"}, value="train"))
        found += [
            choice("log", "loss axis", scales, value=None, kind="menu"),
            choice(
                "clip", "clip the loss at", {"none": None, **self._losses((0.5, 0.75, 0.9))}, value=None, kind="menu"
            ),
            choice("level", "level", {"none": None, **self._losses((0.1, 0.25, 0.5, 0.75))}, value=None, kind="menu"),
            choice("along", "cut along", {"α": "alpha", "β": "beta"}, value="alpha"),
        ]
        for name, symbol, values in (("alpha", "α", first.alphas), ("beta", "β", first.betas)):
            stops = [float(value) for value in values]
            start = min(stops, key=abs)
            found.append(slider(name, f"point {symbol} (directions' own lengths)", stops, value=start))
        return found

    def _losses(self, shares: tuple[float, ...]) -> dict[str, float]:
        values = np.concatenate([np.ravel(s.loss) for found in self.surfaces.values() for s in found.values()])
        finite = values[np.isfinite(values)]
        found = np.unique([float(f"{q:.2g}") for q in np.quantile(finite, shares)]) if finite.size else []
        return {f"{value:g}": float(value) for value in found if value > 0}

    def _fields(self, data: str, log: bool | None, clip: float | None) -> Fields:
        """Bring the surfaces of one split to the scale that both splits share."""
        key = (data, log, clip)
        if key not in self._prepared:
            losses = [surface.loss for found in self.surfaces.values() for surface in found.values()]
            scale = common_scale(losses, log=log, clip=clip)
            self._prepared[key] = prepare(
                self.surfaces[data], scale=scale, title=None, loss_name=None, columns=1, bare_axes=False
            )
        return self._prepared[key]

    def _view(self, **values: Any) -> SurfaceView:
        data = values.get("data", "train")
        fields = self._fields(data, values["log"], values["clip"])
        label, alpha, beta = values["minimum"], values["alpha"], values["beta"]
        exact = self._exact.get((label, data, alpha, beta))
        return SurfaceView(
            fields=fields,
            label=label,
            alpha=alpha,
            beta=beta,
            along=values["along"],
            level=values["level"],
            exact=None if exact is None else exact[0],
            title=f"The {_NAMES[data]} loss around {label or 'the weights'}",
            caption=fields.caption.replace("All panels share the axes and the color scale. ", ""),
        )

    def evaluate_point(self, **changes: Any) -> tuple[float, float]:
        """Evaluate a point of a plane exactly: the model at ``w + alpha d1 + beta d2``, over all the objective's data.

        Args:
            **changes: As in :meth:`Panel.values`: ``minimum``, ``data``, ``alpha``, ``beta``.

        Returns:
            Loss and accuracy.

        Raises:
            ConfigError: A value is unknown, or there is no objective.
            MismatchError: The surface was loaded without its plane.
        """
        values = self.values(**changes)
        label, data = values["minimum"], values.get("data", "train")
        key = (label, data, values["alpha"], values["beta"])
        if key not in self._exact:
            judge, plane = self.judges[data].get(label), self.surfaces[data][label].plane
            if judge is None:
                raise ConfigError(
                    "There is nothing to evaluate a point with.", fix=f"Pass objectives={{{label!r}: ...}}."
                )
            if plane is None:
                raise MismatchError("This surface does not hold its plane.", fix="Save it with its directions.")
            engine = PlainEngine(at_origin(judge, plane), [one.vector for one in plane.directions])
            loss, accuracy = engine([values["alpha"], values["beta"]])
            self._exact[key] = float(loss), float(accuracy)
        return self._exact[key]

    def _note(self, view: SurfaceView, **values: Any) -> str:
        data = values.get("data", "train")
        judge = self.judges[data].get(view.label)
        return words(
            view,
            self.surfaces[data],
            accuracy=self._exact.get((view.label, data, view.alpha, view.beta), (math.nan, math.nan))[1],
            judge=judge,
            planes=self.planes.get(view.label, ()),
            eigenvalues=self.eigenvalues,
        )

    # Live -----------------------------------------------------------------------------------------------------------

    def widget(self) -> Any:
        """Make the live panel; see :meth:`Panel.widget`. A click on the map or on the surface evaluates that point."""
        box = super().widget()
        for trace in self.live_figure.data:
            if trace.type == "heatmap" or (trace.type == "surface" and trace.name != "level"):
                trace.on_click(self._clicked)
        return box

    def above(self) -> list[Any]:
        """Make the button that evaluates the marked point, and those of the job."""
        import ipywidgets

        found = []
        if any(self.judges.values()):
            button = ipywidgets.Button(
                description="Evaluate this point", tooltip="Evaluate the model there", layout={"width": "170px"}
            )
            button.on_click(lambda _: self._evaluate_here())
            found.append(button)
        return [*found, *([self.job.widget()] if self.job is not None else [])]

    def _clicked(self, trace: Any, points: Any, _: Any) -> None:
        if not points.xs:
            return
        self._resetting = True
        try:
            for name, value in (("alpha", points.xs[0]), ("beta", points.ys[0])):
                stops = [stop for _, stop in self.controls[name].options]
                self.sliders[name].value = min(stops, key=lambda stop: abs(stop - value))
        finally:
            self._resetting = False
        self._evaluate_here()

    def _evaluate_here(self) -> None:
        with self._drawing:
            try:
                if self.judges[self._now().get("data", "train")]:
                    self.evaluate_point(**self._now())
            except Exception as error:
                self._say_error(error)
                return
        self._changed()

    def figure_with_frames(self, *, over: str | None = None, **changes: Any) -> go.Figure:
        """Draw the surface behind plotly's own slider over the cut; see :meth:`Panel.figure_with_frames`."""
        if over is None and self.values(**changes)["along"] == "beta":
            over = "alpha"
        return super().figure_with_frames(over=over, **changes)

    def show(self, mode: Mode = "auto") -> None:
        """Show the panel; see :meth:`Panel.show`. A growing surface begins to grow, or is evaluated first.

        Args:
            mode: "live", "static" or "auto".

        Raises:
            ConfigError: The mode is unknown.
        """
        live = display_mode(mode) == "live"
        if self.job is not None and not live:
            self.job.run()
        super().show(mode)
        if self.job is not None and live:
            self.job.start()


class _CancelledError(Exception):
    """Ends an evaluation from within."""


def _empty(plane: Plane, extent: Extents, points: int | tuple[int, int]) -> Surface:
    ranges, counts = both_extents(extent), both(points)
    alphas, betas = (axis(reach, count) for reach, count in zip(ranges, counts, strict=True))
    unknown = np.full((len(alphas), len(betas)), np.nan)
    return Surface(
        alphas=alphas, betas=betas, loss=unknown, accuracy=unknown, status=np.zeros(unknown.shape, np.uint8),
        directions=tuple(one.record() for one in plane.directions), provenance={"plane": plane.record()}, plane=plane,
    )  # fmt: skip
