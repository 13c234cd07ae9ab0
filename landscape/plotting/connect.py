"""Are two models connected: the loss along the ways between them, and how high it rises there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from landscape.errors import DataError, MismatchError
from landscape.plotting.chart import Axes, Backend, Chart, Note, Series, draw
from landscape.plotting.comparison import Metric, compare
from landscape.plotting.curves import ENDS
from landscape.plotting.field import as_mapping
from landscape.plotting.scale import plural, spans_decade
from landscape.plotting.style import DASHES, MARKERS, Style, styles
from landscape.plotting.units import loss_label

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

    from landscape.surface.results import Barrier, Curve, Line

    Way = Line | Curve

Side = Literal["left", "right"]
_LONGEST_NAME, _LETTER = 12, 0.026  # letters; the width of one along t in the narrowest panel


@dataclass(frozen=True, kw_only=True)
class _Way:
    """One curve of a panel, ``y`` as shown; its short name tells it from those of its color."""

    name: str
    short: str
    style: Style
    t: np.ndarray
    y: np.ndarray
    barrier: Barrier
    factor: float

    @property
    def foot(self) -> float:
        """The value of the chord where the barrier is."""
        return self.chord(np.array(self.barrier.at)).item()

    @property
    def top(self) -> float:
        """The value where the barrier is."""
        return self.foot + self.factor * self.barrier.height

    def chord(self, t: np.ndarray) -> np.ndarray:
        """Return the straight line between the values of the two ends, at places t."""
        first, last = (self.y[self.t == end][0] for end in (0.0, 1.0))
        return (1 - t) * first + t * last


def connectivity(
    paths: Way | Mapping[str, Way | Mapping[str, Way]],
    *,
    backend: Backend = "plotly",
    log: bool | None = False,
    accuracy: bool = True,
    ends: tuple[str, str] = ENDS,
    title: str = "How far does the loss rise on the way from one model to the other?",
    loss_name: str | None = None,
) -> go.Figure | matplotlib.figure.Figure:
    """Draw the loss and the accuracy along ways between two models, with the barrier of each.

    Definition: the barrier is ``max_t [L(t) - ((1 - t) L(0) + t L(1))]``, see :func:`landscape.surface.barrier`: how
    far the curve lies above its chord, the dotted line between the ends' values. A bracket marks it.

    Args:
        paths: A line of :func:`landscape.surface.interpolation_line` or a curve of
            :func:`landscape.surface.bezier_curve`; or label -> that; or label -> data -> that, which differ in color
            and in the dashes: ``{"line": {"train": a, "test": b}, "curve": {"train": c, "test": d}}``.
        backend: "plotly" or "matplotlib".
        log: True for a log10 loss axis, None for one where all losses are positive and span more than a decade.
            Default False: a height is a difference, which a linear axis shows.
        accuracy: Whether to add a panel with the accuracy, where there is one.
        ends: Names of the models at t = 0 and t = 1.
        title: What is seen.
        loss_name: Name and unit of the loss; by default what the results' provenance says.

    Returns:
        The figure; the heights of all barriers are in its caption.

    Raises:
        ConfigError: The backend is unknown.
        DataError: There is nothing to draw, or it is no such result.
        MismatchError: A path has no points at t = 0 and t = 1, or some between are not computed yet.

    References:
        J. Frankle et al., Linear Mode Connectivity and the Lottery Ticket Hypothesis, ICML 2020. T. Garipov et al.,
        Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs, NeurIPS 2018.
    """
    flat = _flat(paths)
    looks = _looks(flat)
    name = loss_label(_provenance(one) for one in flat.values()) if loss_name is None else loss_name
    short = {key: key[1] if len({data for _, data in flat}) > 1 else key[0] for key in flat}
    losses = [_way(key, short[key], one, looks[key], "loss") for key, one in flat.items()]
    log = spans_decade(np.concatenate([one.y for one in losses])) if log is None else log
    panels = [_panel(losses, name + ", log scale" * log, ends, log=log)]
    scores = [_way(key, short[key], one, looks[key], "error") for key, one in flat.items()]
    if accuracy and any(np.isfinite(one.y).any() for one in scores):
        metrics = {_provenance(one).get("metric") for one in flat.values()}
        panels.append(_panel(scores, "accuracy (%)" if metrics == {None} else "metric", ends, log=False))
    missing = sum(int((~np.isfinite(one.y)).sum()) for one in losses)
    caption = f"Barrier: how far the loss lies above the dotted line between its ends. {_heights(losses)}"
    caption += f" {plural(missing, 'point')} without a finite loss: gaps." * bool(missing)
    return draw(Chart(title=title, caption=caption, panels=tuple(panels)), backend)


def barrier(
    barriers: Barrier | Mapping[str, Barrier],
    *,
    backend: Backend = "plotly",
    title: str = "How high is the barrier between the two models?",
    loss_name: str = "loss",
) -> go.Figure | matplotlib.figure.Figure:
    """Draw barriers as points: their heights, where they are, and the instability.

    For the curves that they were read from, see :func:`connectivity`.

    Args:
        barriers: One barrier, or label -> barrier, as :func:`landscape.surface.linear_barrier` returns them.
        backend: "plotly" or "matplotlib".
        title: What is seen.
        loss_name: Unit of the loss, which a barrier does not know.

    Returns:
        The figure: a panel each for the height, the instability (the highest value less the mean of the ends), and the
        place t; a line for each label. A barrier of the error is in percentage points.

    Raises:
        ConfigError: The backend is unknown.
        DataError: There is nothing to draw, or it is no such result.
        MismatchError: Some are barriers of the loss, others of the error.
    """
    named: dict[str, Any] = as_mapping(barriers, "Barrier")
    quantities = {one.quantity for one in named.values()}
    if len(quantities) > 1:
        raise MismatchError(
            "Barriers of the loss and of the error have no common axis.",
            expected="barriers of one quantity",
            got=", ".join(sorted(quantities)),
            fix="Draw them one after the other.",
        )
    error = quantities == {"error"}
    unit, factor = ("percentage points", 100.0) if error else (loss_name, 1.0)
    metrics = {
        "height": Metric(name="barrier height", unit=unit, better="low", factor=factor),
        "instability": Metric(name="instability", unit=unit, better="low", factor=factor),
        "at": Metric(name="place of the barrier", unit="t, 0 = first model, 1 = other model"),
    }
    rows = {name or "barrier": {key: getattr(one, key) for key in metrics} for name, one in named.items()}
    return compare(rows, backend=backend, metrics=metrics, title=title)


def _flat(paths: Any) -> dict[tuple[str, str], Any]:
    """Return (label, data) -> path."""
    outer = as_mapping(paths)
    flat = {}
    for label, one in outer.items():
        inner = as_mapping(one) if isinstance(one, Mapping) else {"": one}
        flat |= {(label, data): path for data, path in inner.items()}
    for path in flat.values():
        if not {"Line", "Curve"} & {base.__name__ for base in type(path).__mro__}:
            raise DataError(
                f"This figure cannot show a {type(path).__name__}.",
                expected="a Line or a Curve, label -> one, or label -> data -> one",
                got=type(path).__name__,
                fix="Use interpolation_line(...) or bezier_curve(...); plotting.barrier draws a Barrier.",
            )
    return flat


def _looks(flat: Mapping[tuple[str, str], Any]) -> dict[tuple[str, str], Style]:
    """Give each label a color, and each data its dashes and marker; where there is one label, each data a color."""
    labels, splits = (list(dict.fromkeys(key[k] for key in flat)) for k in (0, 1))
    if len(labels) == 1 or len(splits) == 1:
        of = styles([", ".join(filter(None, key)) for key in flat])
        return dict(zip(flat, of.values(), strict=True))
    colors = styles(labels)
    return {
        (label, data): Style(color=colors[label].color, dash=DASHES[k % len(DASHES)], marker=MARKERS[k % len(MARKERS)])
        for label, data in flat
        for k in [splits.index(data)]
    }


def _provenance(path: Any) -> Mapping[str, Any]:
    return path.provenance if "loss" in path.provenance else path.provenance.get("training") or {}


def _way(key: tuple[str, str], short: str, path: Any, style: Style, quantity: str) -> _Way:
    from landscape.surface.results import Barrier

    t = np.asarray(path.t if hasattr(path, "t") else path.alphas, float)
    found = Barrier.along(path, quantity)
    values = np.array(path.loss if quantity == "loss" else 100 * path.accuracy, float)
    values[~np.isfinite(values)] = np.nan
    factor = 1.0 if quantity == "loss" else -100.0
    name = ", ".join(filter(None, key))
    return _Way(name=name, short=short, style=style, t=t, y=values, barrier=found, factor=factor)


def _panel(ways: list[_Way], y_label: str, ends: tuple[str, str], *, log: bool) -> Axes:
    series = [
        Series(name=way.name, x=way.t, y=way.y, style=way.style, markers=len(way.t) <= 41, size=4.5) for way in ways
    ]
    every = np.concatenate([way.y for way in ways])
    span = float(np.nanmax(every) - np.nanmin(every)) if np.isfinite(every).any() else 0.0
    marked = [way for way in ways if math.isfinite(way.top) and abs(way.top - way.foot) > 0.08 * span]
    notes: list[Note] = []
    places: list[float] = []
    for way in marked:  # brackets at one place stand side by side
        places.append(way.barrier.at + 0.012 * sum(abs(at - way.barrier.at) < 0.01 for at in places))
    for way, at in zip(marked, places, strict=True):
        series += _bracket(way, at)
        near = sorted(each for each in places if abs(each - at) < 0.3)
        first = _outwards(at, near)
        sides = (first, "left" if first == "right" else "right")
        notes += _note(way, at, notes, span, (sides,) if len(near) == 1 else tuple((side,) for side in sides), ways)
    return Axes(
        series=tuple(series),
        x_label=f"t (0 = {ends[0]}, 1 = {ends[1]})",
        y_label=y_label,
        log_y=log,
        vertical=((0.0, ends[0]), (1.0, ends[1])),
        notes=tuple(notes),
    )


def _bracket(way: _Way, at: float) -> list[Series]:
    """Draw the chord, and a bar with ends from it to the curve."""
    t = np.linspace(0.0, 1.0, 101)
    thin = Style(color=way.style.color, dash="dot")
    middle, half = (way.top + way.foot) / 2, abs(way.top - way.foot) / 2
    bar: dict[str, Any] = {"x": np.array([at]), "y": np.array([middle]), "error": np.array([half])}
    return [
        Series(name="", x=t, y=way.chord(t), style=thin, markers=False, width=1.2, hover=("the chord",) * len(t)),
        Series(name="", **bar, style=way.style, line=False, markers=False, hover=(f"barrier {_height(way)}",)),
    ]


def _outwards(at: float, near: list[float]) -> Side:
    """Choose the side away from the brackets nearby, or towards the middle, so that a number stands at its own."""
    if len(near) == 1:
        return "right" if at < 0.5 else "left"
    return "left" if near.index(at) < len(near) / 2 else "right"


def _note(
    way: _Way, at: float, others: list[Note], span: float, choices: tuple[tuple[Side, ...], ...], ways: list[_Way]
) -> list[Note]:
    """Write the height beside its bracket: where no other one stands, and off the curves if there is such a place.

    A long name is left to the legend and the color. ``choices`` are sides, those before others that are preferred.
    """
    alone = "barrier" if len(ways) == 1 else ""
    named = way.short if len(way.short) <= _LONGEST_NAME else ""
    text = f"{named or alone} {_height(way)}".strip()
    for sides in choices:
        free = []
        for side in sides:
            for share in (0.5, 0.62, 0.38, 0.74, 0.26, 0.86, 0.14):
                y = way.foot + share * (way.top - way.foot)
                near = (each for each in others if each.side == side and abs(each.x - at) < 0.3)
                if all(abs(each.y - y) > 0.07 * span for each in near):
                    free.append(Note(x=at, y=y, text=text, color=way.style.color, side=side))
        if free:
            return [note for note in free if not _crossed(note, ways, span)][:1] or free[:1]
    return []


def _crossed(note: Note, ways: list[_Way], span: float) -> bool:
    """Tell whether a curve runs through a note's text."""
    width = _LETTER * len(note.text)
    reach = np.linspace(note.x, note.x + (width if note.side == "right" else -width), 25)[2:]
    curves = (np.interp(reach, way.t[np.argsort(way.t)], way.y[np.argsort(way.t)]) for way in ways)
    return any(bool((np.abs(curve - note.y) < 0.045 * span).any()) for curve in curves)


def _height(way: _Way) -> str:
    size = abs(way.factor) * way.barrier.height
    if not math.isfinite(size):
        return "unknown, as a value on the way is not finite"
    return f"{size:.3g}" + (" points" if way.factor < 0 else "")


def _heights(ways: list[_Way]) -> str:
    places = (f" at t = {way.barrier.at:.3g}" if math.isfinite(way.top) else "" for way in ways)
    said = [" ".join(filter(None, (way.name, _height(way)))) + at for way, at in zip(ways, places, strict=True)]
    return f"Heights: {'; '.join(said)}."
