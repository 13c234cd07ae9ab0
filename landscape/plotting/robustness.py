"""Accuracy against the radius within which each input may be changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import DataError, MismatchError
from landscape.plotting.chart import Axes, Backend, Chart, Note, Series, draw
from landscape.plotting.comparison import METRICS, cell
from landscape.plotting.measures import MEANINGS
from landscape.plotting.scale import spans_decade
from landscape.plotting.style import Style, styles

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

    from landscape.curvature.results import Estimate
    from landscape.robustness.results import RobustAccuracy

    Measured = Mapping[str, Estimate]

_AXES = {
    ("l2", True): "radius (L2 norm, pixels from 0 to 1)",
    ("linf", True): "radius (L-infinity norm, in 1/255)",
    ("l2", False): "radius (L2 norm, in units of the inputs)",
    ("linf", False): "radius (L-infinity norm, in units of the inputs)",
}
"""Norm, and whether inputs are images, to what the radius is called."""


def robustness(
    found: Mapping[str, RobustAccuracy] | RobustAccuracy,
    *,
    backend: Backend = "plotly",
    title: str = "How much does a small change of the input cost?",
) -> go.Figure | matplotlib.figure.Figure:
    """Draw accuracy against the radius: a curve for each network or attack, a panel for each norm and unit.

    Args:
        found: Label -> result of :func:`landscape.robustness.robust_accuracy`, or one result.
        backend: "plotly" or "matplotlib".
        title: What is seen.

    Returns:
        The figure; bands are Wilson's 95 % intervals. Every curve is an upper bound: an attack may have missed
        something.

    Raises:
        ConfigError: The backend is unknown.
        DataError: There is nothing to draw.

    Example:
        >>> from math import nan
        >>> from landscape.robustness import RobustAccuracy
        >>> one = RobustAccuracy(attack="fgm", norm="l2", epsilons=[0, 1],
        ...     sizes=[[nan, nan], [0.5, nan]], settings={}, provenance={})
        >>> robustness(one).data[1].y.tolist()  # in front of its band
        [100.0, 50.0]
    """
    named = found if isinstance(found, Mapping) else {found.attack: found}
    if not named:
        raise DataError("There is nothing to draw.", expected="label -> robust accuracy", got="an empty mapping")
    looks = styles(named)
    panels = []
    for (norm, images), label in _AXES.items():
        chosen = {name: one for name, one in named.items() if (one.norm, one.images) == (norm, images)}
        if not chosen:
            continue
        factor = radius_factor(norm, images)
        series = [
            Series(
                name=name,
                x=factor * one.epsilons,
                y=100.0 * one.accuracy,
                limits=(100.0 * one.interval[:, 0], 100.0 * one.interval[:, 1]),
                style=looks[name],
                hover=tuple(
                    f"<b>{name}</b><br>radius {factor * radius:.4g}<br>{100 * share:.1f} % right "
                    f"(95 %: {100 * low:.1f} to {100 * high:.1f})"
                    for radius, share, (low, high) in zip(one.epsilons, one.accuracy, one.interval, strict=True)
                ),
            )
            for name, one in chosen.items()
        ]
        panels.append(Axes(series=tuple(series), x_label=label, y_label="accuracy (%)", y_range=(0.0, 104.0)))
    counts = sorted({one.examples for one in named.values()})
    caption = f"Over {' and '.join(map(str, counts))} examples. What an attack missed would lower a curve."
    chart = Chart(title=title, caption=caption, panels=tuple(panels), columns=2, band="95 % interval")
    return draw(chart, backend)


def sharpness_robustness(
    measured: Mapping[str, Measured | Sequence[Measured]],
    found: Mapping[str, RobustAccuracy | Sequence[RobustAccuracy]],
    *,
    epsilon: float,
    measures: Sequence[str] | None = None,
    backend: Backend = "plotly",
    title: str = "Is the flatter network the more robust one?",
) -> go.Figure | matplotlib.figure.Figure:
    """Draw robust accuracy against sharpness: a point for each network, a panel for each measure.

    Args:
        measured: Label -> measure -> estimate, as :func:`landscape.measure` gives it; or label -> those of several
            networks, which share a look.
        found: Label -> robust accuracy, or label -> those of the same networks in the same order.
        epsilon: At which of their radii.
        measures: Which measures, in order; those of the first network by default.
        backend: "plotly" or "matplotlib".
        title: What is seen.

    Returns:
        The figure. Bars are Wilson's 95 % interval upwards and one standard error sideways; a horizontal axis is
        logarithmic where all values are positive and span over a decade. Points of one panel have their names beside
        them; several panels share a legend.

    Raises:
        ConfigError: The backend is unknown.
        DataError: There is nothing to draw, or a measure or the radius is missing.
        MismatchError: Labels, numbers of networks, norms or numbers of examples differ.

    Example:
        >>> from math import nan
        >>> from landscape.curvature import Estimate
        >>> from landscape.robustness import RobustAccuracy
        >>> one = RobustAccuracy(
        ...     attack="fgm", norm="l2", epsilons=[1.0], sizes=[[0.5, nan]], settings={}, provenance={})
        >>> figure = sharpness_robustness({"SGD": {"trace": Estimate(3.0, 0.1, 0)}}, {"SGD": one}, epsilon=1.0)
        >>> figure.data[0].x.tolist(), figure.data[0].y.tolist()
        ([3.0], [50.0])
    """
    numbers, shares = _networks(measured, found)
    names = list(next(iter(numbers.values()))[0]) if measures is None else list(measures)
    _check_measures(numbers, names)
    places = {label: [place_of(one, epsilon) for one in its] for label, its in shares.items()}
    looks, first = styles(numbers), next(iter(shares.values()))[0]
    alone = len(names) == 1
    panels = tuple(_against(name, numbers, shares, places, looks, named=alone) for name in names)
    radius = radius_text(epsilon, first.norm, first.images)
    count = sum(map(len, numbers.values()))
    said = f"{count} networks, {first.examples:,} examples each, changed within {radius}. To the right: "
    said += ", ".join(dict.fromkeys(_meaning(name)[1] for name in names)) + ". Bars: Wilson's 95 % interval upwards"
    errors = np.array([one[name].stderr for its in numbers.values() for one in its for name in names], float)
    said += ", ± 1 standard error sideways." if np.nan_to_num(errors).any() else "."
    chart = Chart(title=title, caption=said, panels=panels, share_y=not alone, legend=not alone)
    return draw(chart, backend)


def _networks(measured: Any, found: Any) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Return label -> networks of both, checked against each other."""
    if not measured or not found:
        raise DataError("There is nothing to draw.", expected="label -> measures, and label -> robust accuracy")
    numbers = {str(label): list(one) if isinstance(one, Sequence) else [one] for label, one in measured.items()}
    shares = {str(label): list(one) if isinstance(one, Sequence) else [one] for label, one in found.items()}
    counts, others = ({label: len(its) for label, its in each.items()} for each in (numbers, shares))
    if counts != others:
        raise MismatchError("Measures and accuracies are of other networks.", expected=counts, got=others)
    kinds = {(one.norm, one.examples) for its in shares.values() for one in its}
    if len(kinds) > 1:
        raise MismatchError("These accuracies cannot be compared.", expected="one norm, one set of examples", got=kinds)
    return numbers, shares


def _check_measures(numbers: Mapping[str, Sequence[Any]], names: Sequence[str]) -> None:
    for label, its in numbers.items():
        missing = [name for name in names for one in its if name not in one]
        if missing or not names:
            raise DataError(f"{label} has no measure {', '.join(missing)}.", expected=list(names), got=list(its[0]))


def radius_factor(norm: str, images: bool) -> float:
    """Return by what a radius is multiplied where it is drawn: L-infinity radii of images are in 1/255."""
    return 255.0 if norm == "linf" and images else 1.0


def short_radius(epsilon: float, norm: str, images: bool) -> str:
    """Return a radius in the units of its inputs.

    Example:
        >>> short_radius(8 / 255, "linf", True), short_radius(8 / 255, "linf", False)
        ('8/255', '0.03137')
    """
    factor = radius_factor(norm, images)
    return f"{epsilon:.4g}" if factor == 1.0 else f"{factor * epsilon:.3g}/{factor:g}"


def radius_text(epsilon: float, norm: str, images: bool = True) -> str:
    """Return a radius in the units of its inputs, with its norm.

    Example:
        >>> radius_text(0.5, "l2"), radius_text(8 / 255, "linf")
        ('0.5 (L2)', '8/255 (L-infinity)')
    """
    return f"{short_radius(epsilon, norm, images)} ({'L-infinity' if norm == 'linf' else 'L2'})"


def place_of(one: RobustAccuracy, epsilon: float) -> int:
    """Return which of its radii this is.

    Args:
        one: Accuracies.
        epsilon: The radius.

    Raises:
        DataError: It is none of them.
    """
    row = int(np.argmin(np.abs(one.epsilons - epsilon)))
    if not np.isclose(one.epsilons[row], epsilon):
        raise DataError("There is no accuracy at this radius.", expected=one.epsilons.tolist(), got=epsilon)
    return row


def _against(
    name: str,
    numbers: Mapping[str, Sequence[Any]],
    shares: Mapping[str, Sequence[RobustAccuracy]],
    places: Mapping[str, Sequence[int]],
    looks: Mapping[str, Style],
    *,
    named: bool,
) -> Axes:
    """Build one panel."""
    series = []
    for label, its in numbers.items():
        rows = list(zip(shares[label], places[label], strict=True))
        value, error = (np.array([getattr(one[name], field) for one in its], float) for field in ("value", "stderr"))
        y = np.array([100 * one.accuracy[row] for one, row in rows])
        low, high = (np.array([100 * one.interval[row, side] for one, row in rows]) for side in (0, 1))
        hover = tuple(
            f"<b>{label}</b><br>{name}: {cell(x, s)}<br>{share:.1f} % right (95 %: {a:.1f} to {b:.1f})"
            for x, s, share, a, b in zip(value, error, y, low, high, strict=True)
        )
        series.append(Series(
            name=label, x=value, y=y, x_error=error if np.nan_to_num(error).any() else None, limits=(low, high),
            style=looks[label], line=False, size=10, hover=hover,
        ))  # fmt: skip
    every = np.concatenate([one.x for one in series])
    log = spans_decade(every)
    heading, unit = METRICS[name].name if name in METRICS else name, _meaning(name)[0]
    return Axes(
        series=tuple(series),
        x_label=f"{heading}{f' ({unit})' * bool(unit)}{', log scale' * log}",
        y_label="robust accuracy (%)",
        log_x=log,
        notes=_labels(series, log) if named else (),
    )


def _meaning(name: str) -> tuple[str, str]:
    """Return the unit of a measure, and what larger means."""
    return MEANINGS.get(name, ("", "sharper"))


def _labels(series: Sequence[Series], log: bool) -> tuple[Note, ...]:
    """Name one point of each label, on the side where its name covers least."""
    across = [np.log10(one.x) if log else one.x for one in series]
    wide, high = (float(np.ptp(np.concatenate(each))) or 1.0 for each in (across, [one.y for one in series]))
    points = [(xs / wide, one.y / high) for xs, one in zip(across, series, strict=True)]
    taken = []
    for (xs, ys), one in zip(points, series, strict=True):
        ends = one.limits if one.limits is not None else (one.y, one.y)
        bars = np.linspace(*ends, 5, axis=1) / high
        taken += [(x, place) for x, y, bar in zip(xs, ys, bars, strict=True) for place in (y, *bar)]
    notes = []
    for (xs, ys), one in zip(points, series, strict=True):
        length = 0.016 * len(one.name)
        rows = list(enumerate(zip(xs, ys, strict=True)))
        places = [(x + sign * (0.03 + length / 2), y, k, sign) for k, (x, y) in rows for sign in (1, -1)]
        covered = [sum(abs(x - a) < length / 2 + 0.02 and abs(y - b) < 0.05 for a, b in taken) for x, y, *_ in places]
        x, y, k, sign = places[int(np.argmin(covered))]
        taken += [(x + part * length, y) for part in (-0.4, 0.0, 0.4)]
        text, where = f"\u00a0\u00a0{one.name}\u00a0\u00a0", {"x": float(one.x[k]), "y": float(one.y[k])}
        notes.append(Note(**where, text=text, color=one.style.color, side="right" if sign > 0 else "left"))
    return tuple(notes)
