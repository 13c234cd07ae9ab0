"""Move the real weights by a real perturbation, and see the true loss there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from landscape.errors import DataError, MismatchError
from landscape.objective import Evaluation, Objective
from landscape.plotting import PerturbationView, perturbation, perturbation_frames
from landscape.plotting.style import KIND_NAMES
from landscape.plotting.units import loss_label
from landscape.progress import progress_bar
from landscape.surface import perturbation_direction
from landscape.widgets.controls import Control, menu, slider
from landscape.widgets.mode import Mode
from landscape.widgets.panel import Panel

if TYPE_CHECKING:
    import plotly.graph_objects as go

ALL = "all"
RADII = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)


class PerturbationExplorer(Panel):
    """The loss of trained weights that are pushed away by a distance: ``L(w + r d)`` with ``||d|| = 1``.

    The directions d are those of the methods, at the trained weights w, with g the gradient of the objective's loss:
    "sam" ``g / ||g||`` (its radius r is SAM's rho), "amp" each tensor's gradient scaled to one length (with T tensors
    r is AMP's epsilon times the square root of T), "random" a Gaussian direction. Every number that is shown is a loss
    evaluated at these weights; nothing is interpolated but the line between the points.

    Args:
        objectives: Label -> the training objective of one set of trained weights. Weights are read now.
        radii: Norms r of the perturbation over all weights together; 0 is added where missing. Default: 0 to 3.
        kinds: Which of "sam", "amp", "random".
        seed: Names the random direction; the same draw for every label of one size.
        evaluate_on: Label -> the objective that measures the loss, for example on test data. The gradient always is
            the training objective's. By default the same objectives.

    Raises:
        DataError: There are no objectives or no kinds.
        MismatchError: ``evaluate_on`` has other labels.
        ConfigError: A kind is unknown, or two radii look the same.
    """

    def __init__(
        self,
        objectives: Mapping[str, Objective],
        *,
        radii: Sequence[float] = RADII,
        kinds: Sequence[str] = ("sam", "amp", "random"),
        seed: int = 0,
        evaluate_on: Mapping[str, Objective] | None = None,
    ) -> None:
        if not objectives or not kinds:
            raise DataError("There is nothing to explore.", expected="at least one objective and one kind")
        self.objectives = dict(objectives)
        self.judges = dict(evaluate_on) if evaluate_on is not None else self.objectives
        if set(self.judges) != set(self.objectives):
            raise MismatchError("evaluate_on has other labels.", expected=list(self.objectives), got=list(self.judges))
        self.radii = np.array(sorted({0.0, *(float(radius) for radius in radii)}))
        self.kinds, self.seed = tuple(kinds), seed
        self._weights = {label: objective.weights() for label, objective in self.objectives.items()}
        self._directions: dict[tuple[str, str], Tensor] = {}
        self._points: dict[tuple[str, str, float], Evaluation] = {}
        start = float(self.radii[len(self.radii) // 2])
        super().__init__(
            self._compute,
            self._build,
            controls=[
                menu("minimum", "minimum found by", [ALL, *self.objectives]),
                self._kind_control(),
                slider("radius", "radius ‖δ‖₂", self.radii, value=start),
            ],
            note=self._note,
            hint="Try: enlarge the radius along SAM's or AMP's direction, then along a random one. "
            "Notice: whose loss rises last, and how harmless a random push of the same length is.",
            frames_over="radius",
        )

    def _kind_control(self) -> Control:
        options = tuple((KIND_NAMES.get(kind, kind), kind) for kind in self.kinds)
        return Control(name="kind", label="perturbation", options=options, value=self.kinds[0], kind="menu")

    def direction(self, label: str, kind: str) -> Tensor:
        """Return the unit direction of a kind at the trained weights of a label, (P,)."""
        if (label, kind) not in self._directions:
            self._directions[label, kind] = perturbation_direction(self.objectives[label], kind, seed=self.seed)
        return self._directions[label, kind]

    def evaluate(self, label: str, kind: str, radius: float) -> Evaluation:
        """Evaluate the true loss of the weights of a label, moved by a radius; each point is computed once.

        Args:
            label: Whose weights.
            kind: "sam", "amp" or "random".
            radius: Norm of the perturbation over all weights.

        Returns:
            Loss and accuracy there; at radius 0 those of the trained weights.
        """
        key = (label, kind if radius else "", float(radius))
        if key not in self._points:
            weights = self._weights[label]
            moved = weights + radius * self.direction(label, kind) if radius else weights
            self._points[key] = self.judges[label].evaluate(moved)
        return self._points[key]

    def prepare(self, *, progress: bool = True) -> None:
        """Evaluate every point, so that all controls answer at once.

        Args:
            progress: Whether a progress bar is shown.
        """
        places = [(label, kind) for label in self.objectives for kind in self.kinds]
        with progress_bar(
            len(places) * len(self.radii), desc="perturbed losses", unit="point", enabled=progress
        ) as bar:
            for label, kind in places:
                for radius in self.radii:
                    self.evaluate(label, kind, float(radius))
                    bar.update()

    def view(
        self, *, kinds: Sequence[str] | None = None, radius: float = 0.0, selected: str | None = None
    ) -> PerturbationView:
        """Collect the curves of all labels and the point at one radius.

        Args:
            kinds: Which kinds; all by default.
            radius: The marked radius, one of ``radii``.
            selected: The label that is emphasized, or None.

        Returns:
            What :func:`landscape.plotting.perturbation` draws.
        """
        loss: dict[str, dict[str, np.ndarray]] = {}
        accuracy: dict[str, dict[str, np.ndarray]] = {}
        for kind in kinds if kinds is not None else self.kinds:
            found = {label: [self.evaluate(label, kind, float(r)) for r in self.radii] for label in self.objectives}
            loss[kind] = {label: np.array([one.loss for one in many]) for label, many in found.items()}
            accuracy[kind] = {  # which a metric of the user's own is not
                label: np.array([one.accuracy if self.judges[label].metric is None else np.nan for one in many])
                for label, many in found.items()
            }
        index = int(np.argmin(np.abs(self.radii - radius)))
        notes = {kind: note for kind in loss if (note := self._own_terms(kind))}
        return PerturbationView(
            radii=self.radii,
            loss=loss,
            accuracy=accuracy,
            index=index,
            selected=selected,
            notes=notes,
            loss_name=loss_label({"loss": judge.loss_name} for judge in self.judges.values()),
        )

    def tensors(self, label: str) -> int:
        """Count the parameter tensors that AMP's direction moves: T in ``||delta|| = epsilon * sqrt(T)``."""
        named = self.objectives[label].layout.named(self.direction(label, "amp"))
        return sum(bool(piece.any()) for piece in named.values())

    def _own_terms(self, kind: str) -> str:
        if kind == "sam":
            return "ρ = ‖δ‖₂"
        if kind == "amp":
            counts = sorted({self.tensors(label) for label in self.objectives})
            return f"ε = ‖δ‖₂ / √{counts[0]}" if len(counts) == 1 else "ε = ‖δ‖₂ / √(number of tensors)"
        return ""

    def _compute(self, *, minimum: str, kind: str, radius: float) -> PerturbationView:
        return self.view(kinds=[kind], radius=radius, selected=None if minimum == ALL else minimum)

    def _build(self, view: PerturbationView) -> go.Figure:
        figure: Any = perturbation(view)
        return figure

    def _note(self, view: PerturbationView) -> str:
        kind = next(iter(view.loss))
        radius = float(view.radii[view.index])
        own = f", so AMP's ε = {radius / self.tensors(next(iter(self.objectives))) ** 0.5:.3g}" if kind == "amp" else ""
        own = f", so SAM's ρ = {radius:.4g}" if kind == "sam" else own
        labels = [view.selected] if view.selected else view.labels
        lines = [f"{KIND_NAMES.get(kind, kind)}, ‖δ‖₂ = {radius:.4g}{own}."]
        return "\n".join(lines + [view.words(kind, label) + "." for label in labels])

    def figure_with_frames(self, *, over: str | None = None, **changes: Any) -> go.Figure:
        """Draw all kinds side by side, behind plotly's own slider over the radius: works with no kernel.

        Args:
            over: Another control to slide over, for one kind; by default the radius, for all kinds.
            **changes: As in :meth:`Panel.values`.

        Returns:
            A plotly figure with frames.

        Raises:
            ConfigError: A name or value is unknown.
        """
        if over not in (None, "radius"):
            return super().figure_with_frames(over=over, **changes)
        values = self.values(**changes)
        kinds = [values["kind"]] if "kind" in changes else None
        selected = None if values["minimum"] == ALL else values["minimum"]
        return perturbation_frames(self.view(kinds=kinds, radius=values["radius"], selected=selected))

    def show(self, mode: Mode = "auto") -> None:
        """Evaluate every point, then show the panel; see :meth:`Panel.show`.

        Args:
            mode: "live", "static" or "auto".

        Raises:
            ConfigError: The mode is unknown.
        """
        self.prepare()
        super().show(mode)
