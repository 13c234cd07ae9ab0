"""Move the real weights as a method moves them, and see the true loss there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import DataError, MismatchError
from landscape.objective import Objective
from landscape.plotting.moved import MovedView, moved
from landscape.plotting.units import loss_label
from landscape.progress import progress_bar
from landscape.widgets.controls import Control, choice, menu
from landscape.widgets.methods import Setting, chosen_methods
from landscape.widgets.moves import Mover, filter_names, part_of
from landscape.widgets.panel import Panel
from landscape.widgets.slices import BALLS
from landscape.widgets.study import Move, Study

if TYPE_CHECKING:
    import plotly.graph_objects as go

_SHOWN = 6


@dataclass(frozen=True)
class Theory:
    """How much a perturbation raises the loss.

    Attributes:
        true: As evaluated.
        first: By first-order theory.
        second: By second-order theory; NaN for LPF-SGD.
    """

    true: float
    first: float
    second: float


class PerturbationExplorer(Panel):
    """What AMP's epsilon, SAM's rho and LPF-SGD's noise do to trained weights: the true loss at the perturbed ones.

    The perturbation is the one of the method's own optimizer (:mod:`landscape.optim`), from the gradient of the
    objective over the examples that are used, in evaluation mode. Each method has its own slider in its own unit: AMP's
    ``epsilon`` is the L2 norm of each tensor, SAM's ``rho`` that of all weights together, ASAM's ``rho`` is relative to
    each weight, LPF-SGD's ``std`` a share of each filter's norm. Every loss that is shown was evaluated; only lines
    between points are drawn.

    Beside the loss at the perturbed weights there are: the loss at every stop of the slider, and along the straight
    line through w and w + delta; random directions of the same length; first-order theory; the ball of the method, cut
    by a plane through the weights, and where w + delta falls on that plane; and the filters that move most.

    Args:
        objectives: Label -> the training objective of one set of trained weights. Weights are read now.
        methods: Which of "amp", "sam", "asam", "lpfsgd"; the first one is shown first.
        epsilon: Where AMP's slider starts; None for 0.1.
        rho: Where SAM's starts; None for 0.1.
        rho_asam: Where ASAM's starts; None for 0.5.
        std: Where LPF-SGD's starts; None for 0.02.
        examples: Losses and gradients are over so many examples, drawn by ``seed``: it bounds what one move of a slider
            costs, and the status line says it. None takes all. Default 256: about 10 ms for the digits' network on one
            core.
        seed: Names the subset, LPF-SGD's noise and the random directions.
        evaluate_on: Label -> the objective that measures the loss, for example on test data. The gradient always is
            the training objective's. By default the same objectives.
        directions: How many random directions. Default 5: a standard error of about half the spread.
        slice_points: Points of the slice along each axis.

    Attributes:
        objectives: Label -> the objective over the examples that are used, of a copy of the model.

    Raises:
        DataError: There are no objectives.
        MismatchError: ``evaluate_on`` has other labels.
        ConfigError: A method is unknown, or a start is out of range.

    References:
        Y. Zheng et al., CVPR 2021, Algorithm 1. P. Foret et al., ICLR 2021, equation 2. J. Kwon et al., ICML 2021,
        equation 5. D. Bisla et al., AISTATS 2022, Algorithm 1.
    """

    note_takes_values = True

    def __init__(
        self,
        objectives: Mapping[str, Objective],
        *,
        methods: Sequence[str] = ("amp", "sam", "asam", "lpfsgd"),
        epsilon: float | None = None,
        rho: float | None = None,
        rho_asam: float | None = None,
        std: float | None = None,
        examples: int | None = 256,
        seed: int = 0,
        evaluate_on: Mapping[str, Objective] | None = None,
        directions: int = 5,
        slice_points: int = 11,
    ) -> None:
        if not objectives:
            raise DataError("There is nothing to explore.", expected="at least one objective")
        judges = dict(evaluate_on) if evaluate_on is not None else dict(objectives)
        if set(judges) != set(objectives):
            raise MismatchError("evaluate_on has other labels.", expected=list(objectives), got=list(judges))
        starts = {"epsilon": epsilon, "rho": rho, "rho_asam": rho_asam, "std": std}
        self.methods = chosen_methods(methods, starts)
        self.used, self.available = {}, {}
        movers = {}
        for label, objective in objectives.items():
            part = part_of(objective, examples, seed=seed)
            judge = part if judges[label] is objective else part_of(judges[label], examples, seed=seed)
            movers[label] = Mover(part, judge, seed=seed)
            self.used[label], self.available[label] = judge.examples, judges[label].examples
        self.objectives = {label: mover.objective for label, mover in movers.items()}
        self.study = Study(movers, self.methods, directions=directions, points=slice_points)
        self.loss_name = loss_label({"loss": mover.judge.loss_name} for mover in movers.values())
        self._names = {label: filter_names(mover.objective.layout) for label, mover in movers.items()}
        super().__init__(
            self._compute,
            moved,
            controls=self._controls(list(objectives)),
            note=self._note,
            hint="Try: move the slider, then choose another method. Notice: how far the loss at the perturbed weights "
            "lies above that of a random move of the same length, and where it leaves the first-order line.",
            frames_over=next(iter(self.methods.values())).knob.name,
        )

    def _controls(self, labels: list[str]) -> list[Control]:
        options = {method.title: name for name, method in self.methods.items()}
        found = [
            menu("minimum", "weights found by", labels),
            choice("method", "perturbed as in", options, value=next(iter(self.methods)), kind="menu"),
        ]
        for name, method in self.methods.items():
            found += [knob.control(name) for knob in (method.knob, *method.others)]
        return found

    # What is computed -----------------------------------------------------------------------------------------------

    def setting(self, **changes: Any) -> Setting:
        """Return the method and the options that some values of the controls stand for.

        Args:
            **changes: As in :meth:`Panel.values`.

        Raises:
            ConfigError: A name or value is unknown.
        """
        values = self.values(**changes)
        method = self.methods[values["method"]]
        others = tuple((knob.option, float(values[knob.name])) for knob in method.others)
        return Setting(method.name, float(values[method.knob.name]), others)

    def move(self, **changes: Any) -> Move:
        """Return the numbers of one perturbation: the loss at the perturbed weights, and how they got there.

        Args:
            **changes: As in :meth:`Panel.values`: ``minimum``, ``method``, ``epsilon``, ...

        Raises:
            ConfigError: A name or value is unknown.
        """
        return self.study.move(self.values(**changes)["minimum"], self.setting(**changes))

    def theory(self, **changes: Any) -> Theory:
        """Compare the rise of the loss with what theory says of it; where something is missing it is computed.

        Definition: with g the gradient and H the Hessian at the weights, first order is ``g . delta``, second order
        ``g . delta + delta . H delta / 2``. For LPF-SGD the mean over its draws, and no second order.

        Args:
            **changes: As in :meth:`Panel.values`.

        Raises:
            ConfigError: A name or value is unknown.
        """
        label, setting = self.values(**changes)["minimum"], self.setting(**changes)
        move, details = self.move(**changes), self.study.details(label, setting)
        if math.isnan(details.curvature) and move.length and setting.method != "lpfsgd":
            mover = self.study.movers[label]
            details.curvature = mover.curvature(mover.move(setting).deltas[-1])
        second = move.slope + (0.5 * details.curvature * move.length**2 if move.length else 0.0)
        return Theory(true=move.loss - self._base(label), first=move.slope, second=second)

    def _compute(self, **values: Any) -> MovedView:
        return self._filled(values, words=True)

    def drawn(self, **values: Any) -> MovedView:
        """Return what a figure shows, without what is only said in words."""
        return self._filled(self.values(**values), words=False)

    def _filled(self, values: dict[str, Any], *, words: bool) -> MovedView:
        with self.paused():
            for _ in self.study.fill(values["minimum"], self.setting(**values), words=words):
                pass
        return self.quick(**values)

    def quick(self, **values: Any) -> MovedView:
        """Evaluate the perturbed weights, and show with them what else is known already."""
        self.study.move(values["minimum"], self.setting(**values))
        return self._view(values["minimum"], self.setting(**values))

    def fill(self, **values: Any) -> Iterator[str]:
        """Compute the rest, for another thread."""
        if not hasattr(self, "_beside"):
            self._beside = self.study.twin()
        return self._beside.fill(values["minimum"], self.setting(**values))

    def prepare(self, *, progress: bool = True) -> None:
        """Compute everything at every stop of every method's slider, so that all of them answer at once.

        Args:
            progress: Whether a progress bar is shown.
        """
        stops = [(name, value) for name, method in self.methods.items() for value in method.knob.stops]
        with progress_bar(len(stops), desc="perturbed losses", unit="stop", enabled=progress) as bar:
            for name, value in stops:
                self.result(**{"method": name, self.methods[name].knob.name: value})
                bar.update()

    def _view(self, selected: str, setting: Setting) -> MovedView:
        facts, details = self.study.facts[selected], self.study.details(selected, setting)
        here, plane = facts.moves[setting], facts.slices.get(setting.family)
        moves = {
            label: [found.moves.get(stop) for stop in self.study.stops(setting)]
            for label, found in self.study.facts.items()
        }
        points = {label: move for label, found in self.study.facts.items() if (move := found.moves.get(setting))}
        base = self._base(selected)
        order = np.argsort(-np.nan_to_num(here.shares), kind="stable")[:_SHOWN] if here.length else np.zeros(0, int)
        return MovedView(
            title=f"{setting.words}: what it does to the weights found by {selected}",
            caption=self._caption(selected, setting, here, base),
            loss_name=self.loss_name,
            selected=selected,
            curves={label: _curve(found) for label, found in moves.items()},
            points={label: (move.length, move.loss) for label, move in points.items()},
            base=base,
            slope=here.slope / here.length if here.length else math.nan,
            line=None if details.line is None else np.array(details.line),
            random=None if (spread := facts.spread.get(setting.family)) is None else np.array(spread),
            axis=None if plane is None else plane.axis,
            names=("a direction", "another direction") if plane is None else plane.names,
            loss=None if plane is None else plane.loss.copy(),
            outline=details.outline,
            ball=BALLS[setting.method],
            path=details.path,
            cloud=setting.method == "lpfsgd",
            filters=tuple(self._names[selected][index] for index in order),
            shares=here.shares[order],
            relative=here.relative[order],
        )

    def _base(self, label: str) -> float:
        first = next(iter(self.methods.values()))
        others = tuple((knob.option, float(knob.value)) for knob in first.others)
        return self.study.move(label, Setting(first.name, 0.0, others)).loss

    # In words -------------------------------------------------------------------------------------------------------

    def _caption(self, selected: str, setting: Setting, here: Move, base: float) -> str:
        ratio = f" (×{here.loss / base:.3g})" if base > 0 and math.isfinite(here.loss) else ""
        spread = f" ± {here.stderr:.2g}" if here.stderr > 0 else ""
        said = [f"Loss {base:.4g} → {here.loss:.4g}{spread}{ratio}; ‖δ‖₂ = {here.length:.4g}."]
        if here.bound >= 0:
            said.append(f"{here.bound} of {here.tensors} tensors reach the ball; the others move by their gradient.")
        return " ".join(said)

    def _note(self, view: MovedView, **values: Any) -> str:
        selected, setting = values["minimum"], self.setting(**values)
        facts, details = self.study.facts[selected], self.study.details(selected, setting)
        here = facts.moves[setting]
        lines = [f"{setting.words}, at the weights found by {selected}. {view.caption}"]
        if math.isfinite(here.accuracy):
            lines[0] += f" Accuracy {here.accuracy:.1%}."
        lines += [text for text in (self._theory(view, here, details), self._geometry(facts, details)) if text]
        rest = [f"{label} {move.loss:.4g}" for label, found in self.study.facts.items()
                if label != selected and (move := found.moves.get(setting))]  # fmt: skip
        if rest:
            lines.append("The same perturbation of other weights: " + ", ".join(rest) + ".")
        lines.append(self._basis(selected))
        return "\n".join(lines)

    def _theory(self, view: MovedView, here: Move, details: Any) -> str:
        said = []
        if here.length:
            said.append(f"First-order theory says {view.base + here.slope:.4g}")
            if math.isfinite(details.curvature):
                second = view.base + here.slope + 0.5 * details.curvature * here.length**2
                said.append(f"second-order theory {second:.4g}")
        if details.random is not None:
            mean, error = details.random
            said.append(
                f"random moves of the same length {mean:.4g} ± {error:.1g} "
                f"(mean and standard error of {self.study.directions} directions)"
            )
        return ", ".join(said) + "." if said else ""

    def _geometry(self, facts: Any, details: Any) -> str:
        said = []
        if math.isfinite(details.inside):
            said.append(f"The slice holds {details.inside:.1%} of ‖δ‖²")
        if math.isfinite(details.curvature):
            said.append(f"the curvature along δ is {details.curvature:.3g}")
        if math.isfinite(facts.eigenvalue):
            said.append(f"the top Hessian eigenvalue is {facts.eigenvalue:.3g}")
        text = ", ".join(said)
        return f"{text[:1].upper()}{text[1:]}." if said else ""

    def _basis(self, label: str) -> str:
        used, available = self.used[label], self.available[label]
        part = f"{used:,} of {available:,} examples" if used < available else f"all {used:,} examples"
        return f"All of this is over {part}, in evaluation mode."

    # In a page ------------------------------------------------------------------------------------------------------

    def figure_with_frames(self, *, over: str | None = None, **changes: Any) -> go.Figure:
        """Draw a method's perturbations behind plotly's own slider: works with no kernel.

        Args:
            over: The control to slide over; by default the size of the perturbation of ``method``.
            **changes: As in :meth:`Panel.values`.

        Returns:
            A plotly figure with frames.

        Raises:
            ConfigError: A name or value is unknown.
        """
        if over is None:
            over = self.methods[self.values(**changes)["method"]].knob.name
        elif (control := self.controls.get(over)) is not None and control.only is not None:
            changes = {"method": control.only[1][0], **changes}
        return super().figure_with_frames(over=over, **changes)

    def static_parts(self) -> list[tuple[go.Figure, str]]:
        """Return a figure with a slider for each method, and where it starts in words."""
        return [
            (self.figure_with_frames(method=name), self.at_start(self.result(method=name), method=name))
            for name in self.methods
        ]


def _curve(moves: list[Move | None]) -> np.ndarray:
    known = [(math.nan, math.nan) if move is None else (move.length, move.loss) for move in moves]
    return np.array(known, dtype=float).T.reshape(2, -1)
