"""Curves to look at: a line through weight space, the perturbation profile, the course of training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.config import require_name
from landscape.errors import DataError, unknown_name
from landscape.plotting.chart import Axes, Backend, Chart, Series, draw
from landscape.plotting.field import as_mapping
from landscape.plotting.scale import plural, spans_decade
from landscape.plotting.style import DASHES, KIND_NAMES, MARKERS, Style, styles
from landscape.plotting.units import direction_label, direction_unit, loss_label

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

    from landscape.surface.results import Line, Profile

RADIUS = "radius of the perturbation ‖δ‖₂ (L2 norm over all weights)"
BAND = "band: ± 1 standard error"
ENDS = ("first model", "other model")
"""What the two models of a line are called: the objective's own, and the ``other`` that the line goes to."""

CURVES = {
    "train_loss": ("training loss", "cross-entropy (nats)"),
    "test_loss": ("test loss", "cross-entropy (nats)"),
    "test_nll": ("test NLL", "negative log-likelihood (nats)"),
    "clean_loss": ("training loss at the weights", "cross-entropy (nats)"),
    "rise": ("rise to the perturbed weights", "rise of the loss (nats)"),
    "train_error": ("training error", "error (%)"),
    "test_error": ("test error", "error (%)"),
    "test_ece": ("calibration error", "expected calibration error (%)"),
    "penalty": ("penalty", "penalty (nats)"),
    "lr": ("learning rate", "learning rate"),
    "seconds": ("time", "time (s)"),
    "images_per_second": ("speed", "training speed (images/s)"),
}
"""What training curves can show: key of the metrics -> name, axis label with unit."""
ACROSS = {
    "epoch": "epoch",
    "gradients": "gradients, in passes over the training data",
    "time": "time of training (s)",
}
"""What training curves can be drawn against: key of the metrics -> axis label with unit."""
_PERCENT = {"train_error", "test_error", "test_ece"}
_LOG = {"train_loss", "test_loss", "test_nll", "clean_loss"}


def _gaps(counts: int, what: str = "point") -> str:
    return f"{plural(counts, what)} without a finite value: gaps." if counts else ""


def _drop_infinite(values: Any) -> np.ndarray:
    array = np.array(values, dtype=float)
    array[~np.isfinite(array)] = np.nan
    return array


def line(
    lines: Line | Mapping[str, Line],
    *,
    backend: Backend = "plotly",
    log: bool | None = None,
    accuracy: bool = False,
    title: str | None = None,
    loss_name: str | None = None,
    ends: tuple[str, str] | None = None,
) -> go.Figure | matplotlib.figure.Figure:
    """Draw the loss along a direction, several lines overlaid.

    Args:
        lines: One line with ``alphas`` (A,), ``loss`` (A,), ``accuracy`` (A,), or label -> line.
        backend: "plotly" or "matplotlib".
        log: True for a log10 loss axis; by default where all losses are positive and span more than a decade.
        accuracy: Whether to add a panel with the accuracy, or the metric that the objective was given instead.
        title: What is seen; a plain sentence by default.
        loss_name: Name and unit of the loss; by default what the results' provenance says.
        ends: Names of the models at alpha = 0 and alpha = 1. By default "first model" and "other model" for lines of
            :func:`landscape.surface.interpolation_line` or :func:`landscape.surface.direction_between`, and none for
            other directions, where alpha = 1 is no model.

    Returns:
        The figure; the trained weights (alpha = 0) are marked, or both models of a line between two.

    Raises:
        ConfigError: The backend is unknown.
        DataError: There is nothing to draw, or it is no such result.
    """
    named: dict[str, Any] = as_mapping(lines, "Line")
    looks = styles(named)
    log = spans_decade(np.concatenate([np.ravel(one.loss) for one in named.values()])) if log is None else log
    if ends is None and all(_is_between(one) for one in named.values()):
        ends = ENDS
    x_label, unit = _along(named, ends)
    if loss_name is None:
        loss_name = loss_label(one.provenance for one in named.values())
    wanted = [("loss", loss_name + (", log scale" if log else ""), 1.0, log)]
    if accuracy:
        metrics = {one.provenance.get("metric") for one in named.values()}
        metric = metrics.pop() if len(metrics) == 1 else "metric"
        label, factor = ("accuracy (%)", 100.0) if metric is None else (str(metric), 1.0)
        wanted.append(("accuracy", label, factor, False))
    panels = []
    for attribute, y_label, factor, log_y in wanted:
        series = tuple(
            Series(
                name=name,
                x=np.asarray(one.alphas, float),
                y=factor * _drop_infinite(getattr(one, attribute)),
                style=looks[name],
                markers=len(one.alphas) <= 41,
                size=5,
            )
            for name, one in named.items()
        )
        marks = _marked(named, ends)
        panels.append(Axes(series=series, x_label=x_label, y_label=y_label, log_y=log_y, vertical=marks))
    missing = sum(int(np.sum(~np.isfinite(np.asarray(one.loss, float)))) for one in named.values())
    own = "α = 0 is each network's own minimum." * (len(named) > 1 and ends is None)
    if title is None:
        title = "Loss on the straight line between two models" if ends else "Loss along one direction through the "
        title += "trained weights" * (ends is None)
    caption = " ".join(part for part in (own, unit, _gaps(missing)) if part)
    return draw(Chart(title=title, caption=caption, panels=tuple(panels)), backend)


def _is_between(one: Line) -> bool:
    return bool(one.directions) and one.directions[0].get("kind") == "between"


def _along(named: Mapping[str, Line], ends: tuple[str, str] | None) -> tuple[str, str]:
    """Name the axis along lines; and what it is for each, where that differs."""
    if ends is not None:
        return f"α (0 = {ends[0]}, 1 = {ends[1]})", ""
    units = {name: direction_unit(one.directions, 0) for name, one in named.items()}
    if len(set(units.values())) == 1:
        return direction_label("α", next(iter(named.values())).directions, 0), ""
    told = "; ".join(f"{name}: {unit}" for name, unit in units.items())
    return "α (in each direction's own unit)", f"Units of α differ: {told}."


def _marked(named: Mapping[str, Line], ends: tuple[str, str] | None) -> tuple[tuple[float, str], ...]:
    """Return the places of models that lie on the lines, and their names."""
    places = ((0.0, "trained weights"),) if ends is None else ((0.0, ends[0]), (1.0, ends[1]))
    every = np.concatenate([np.ravel(one.alphas) for one in named.values()])
    return tuple(place for place in places if every.min() <= place[0] <= every.max())


def profile(
    profiles: Profile | Mapping[str, Profile],
    *,
    backend: Backend = "plotly",
    log: bool | None = None,
    log_radius: bool | None = None,
    title: str = "How fast does the loss rise around the trained weights?",
    loss_name: str | None = None,
) -> go.Figure | matplotlib.figure.Figure:
    """Draw the loss against the radius of a perturbation of the weights.

    One profile: a curve for each kind of perturbation. Several: a panel for each kind, the labels overlaid, one loss
    axis for all.

    Args:
        profiles: One profile with ``radii`` (R,), ``loss`` and ``stderr`` kind -> (R,), ``base_loss``; or label ->
            profile.
        backend: "plotly" or "matplotlib".
        log: True for a log10 loss axis; by default where all losses are positive and span more than a decade.
        log_radius: True for a log10 axis of the radius, with 0 beside it; by default where the radii are spaced more
            evenly in the logarithm, and span more than a decade.
        title: What is seen.
        loss_name: Name and unit of the loss; by default what the results' provenance says.

    Returns:
        The figure; radius 0 is the unperturbed loss, bands are one standard error over the random directions.

    Raises:
        ConfigError: The backend is unknown.
        DataError: There is nothing to draw, or it is no such result.
    """
    named: dict[str, Any] = as_mapping(profiles, "Profile")
    kinds: list[str] = list(dict.fromkeys(kind for one in named.values() for kind in one.kinds))
    values = np.concatenate([np.ravel(one.loss[kind]) for one in named.values() for kind in one.kinds])
    log = spans_decade(values) if log is None else log
    if loss_name is None:
        loss_name = loss_label(one.provenance for one in named.values())
    y_label = loss_name + (", log scale" if log else "")
    if log_radius is None:
        log_radius = all(_evenly_logarithmic(np.asarray(one.radii, float)) for one in named.values())
    across = _radius_axis(named, log_radius)
    if len(named) == 1:
        name, only = next(iter(named.items()))
        series = tuple(
            _profile_series(
                only, kind, KIND_NAMES.get(kind, kind), Style(color=color, dash=DASHES[i], marker=MARKERS[i])
            )
            for i, (kind, color) in enumerate(zip(kinds, ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), strict=False))
        )
        label = RADIUS + ", log scale" * log_radius
        panels = [Axes(series=series, x_label=label, y_label=y_label, log_y=log, title=name, **across)]
    else:
        looks = styles(named)
        panels = [
            Axes(
                series=tuple(_profile_series(p, kind, n, looks[n]) for n, p in named.items() if kind in p.kinds),
                x_label="‖δ‖₂ (L2 norm over all weights)" + ", log scale" * log_radius,
                y_label=y_label,
                log_y=log,
                title=KIND_NAMES.get(kind, kind),
                **across,
            )
            for kind in kinds
        ]
    gaps = _gaps(int(np.sum(~np.isfinite(values))))
    beside = ", beside the logarithmic axis" * log_radius
    caption = f"δ is added to the trained weights; radius 0 is their own loss{beside}. {gaps}"
    spread = any(np.any(np.asarray(p.stderr[k]) > 0) for p in named.values() for k in p.kinds)
    band = f"{BAND} over random directions" * spread
    many = len(panels) > 1
    return draw(Chart(title=title, caption=caption.strip(), panels=tuple(panels), share_y=many, band=band), backend)


def _evenly_logarithmic(radii: np.ndarray) -> bool:
    """Tell whether radii are spaced more evenly in the logarithm than as they are, over more than a decade."""
    radii = np.unique(radii[radii > 0])
    if len(radii) < 3 or radii[-1] <= 10 * radii[0]:
        return False
    uneven = [np.std(steps) / np.mean(steps) for steps in (np.diff(np.log(radii)), np.diff(radii))]
    return bool(uneven[0] < uneven[1])


def _radius_axis(named: Mapping[str, Any], log: bool) -> dict[str, Any]:
    """Return the options of the axis of radii; on a log axis, 0 stands an eighth of its length before the rest."""
    radii = np.concatenate([np.ravel(one.radii) for one in named.values()])
    radii = radii[radii > 0]
    if not log or not radii.size:
        return {}
    low, high = float(radii.min()), float(radii.max())
    reach = max(high / low, 10.0)
    return {"log_x": True, "zero": low * reach**-0.125, "x_range": (low * reach**-0.16, high * reach**0.04)}


def _profile_series(one: Profile, kind: str, name: str, style: Style) -> Series:
    radii, loss, error = (
        np.asarray(one.radii, float),
        _drop_infinite(one.loss[kind]),
        np.asarray(one.stderr[kind], float),
    )
    if radii.size and radii.min() > 0:
        radii, loss = np.append(0.0, radii), np.append(one.base_loss, loss)
        error = np.append(0.0, error)
    hover = tuple(
        f"<b>{name}</b><br>‖δ‖₂ = {radius:.4g}<br>loss {value:.4g}" + (f" ± {half:.2g}" if half > 0 else "")
        for radius, value, half in zip(radii, loss, error, strict=True)
    )
    return Series(name=name, x=radii, y=loss, error=error, style=style, hover=hover)


def training_curves(
    metrics: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    backend: Backend = "plotly",
    show: Sequence[str] = ("train_loss", "test_loss", "test_error"),
    across: str = "epoch",
    title: str = "The course of training",
) -> go.Figure | matplotlib.figure.Figure:
    """Draw the metrics of a run, or of several, against the epoch, or against what was paid until then.

    Args:
        metrics: The rows of ``run.metrics()``, or label -> rows. Errors and accuracies are fractions in [0, 1].
        backend: "plotly" or "matplotlib".
        show: Which metrics, a panel each; the keys of :data:`CURVES`.
        across: "epoch"; or "gradients" or "time", of rows that :func:`landscape.study.with_cost` returns.
        title: What is seen.

    Returns:
        The figure; errors are in percent, losses on a log10 axis. Epochs at which a metric was not measured are left
        out; NaN is a gap.

    Raises:
        ConfigError: The backend, a metric, or what ``across`` names is unknown.
        DataError: There is nothing to draw, it is no such result, or the rows do not say what ``across`` names.
    """
    require_name("axis", across, ACROSS)
    for key in show:
        if key not in CURVES:
            raise unknown_name("metric", key, CURVES)
    named: dict[str, Any] = as_mapping(metrics)
    for rows in named.values():
        if not (isinstance(rows, Sequence) and all(isinstance(row, Mapping) for row in rows)):
            raise DataError(
                "Training curves are drawn from rows of metrics.",
                expected="run.metrics(), or label -> run.metrics()",
                got=type(rows).__name__,
                fix="plotting.training_curves(run.metrics()).",
            )
    looks = styles(named)
    panels = []
    missing = 0
    for key in show:
        series = []
        for name, rows in named.items():
            places, values = values_of(rows, key, across=across)
            missing += int(np.sum(~np.isfinite(values)))
            few = len(values) <= 25
            series.append(Series(name=name, x=places, y=values, style=looks[name], markers=few, size=5))
        log = log_of(key, [one.y for one in series])
        label = CURVES[key][1] + (", log scale" if log else "")
        x_label, heading = ACROSS[across], CURVES[key][0]
        panels.append(Axes(series=tuple(series), x_label=x_label, y_label=label, log_y=log, title=heading))
    return draw(Chart(title=title, caption=_gaps(missing), panels=tuple(panels)), backend)


def values_of(rows: Sequence[Mapping[str, Any]], key: str, *, across: str = "epoch") -> tuple[np.ndarray, np.ndarray]:
    """Read one metric of a run's rows.

    Args:
        rows: Of ``run.metrics()``; without "epoch" they are taken as all epochs, numbered from 1.
        key: Of :data:`CURVES`.
        across: Of :data:`ACROSS`: where on the axis a row lies.

    Returns:
        Places and values of the rows that hold the metric, (N,) each; shares in percent, NaN where not finite.

    Raises:
        DataError: The rows do not say what ``across`` names.

    Example:
        >>> places, values = values_of([{"train_accuracy": 0.5}, {}, {"train_accuracy": 0.75}], "train_error")
        >>> places.tolist(), values.tolist()
        ([1.0, 3.0], [50.0, 25.0])
    """
    source = "train_accuracy" if key == "train_error" else key
    found = [(place, row[source]) for place, row in _numbered(rows, across) if row.get(source) is not None]
    places, values = np.array(found, dtype=float).reshape(-1, 2).T
    values = _drop_infinite(1.0 - values if key == "train_error" else values)
    return places, 100 * values if key in _PERCENT else values


def log_of(key: str, curves: Iterable[np.ndarray]) -> bool:
    """Tell whether curves of a metric are drawn on a log10 axis: losses that are positive and span a decade.

    Args:
        key: Of :data:`CURVES`.
        curves: All that share the axis, (N,) each.

    Example:
        >>> log_of("test_nll", [np.array([2.0, 0.1])]), log_of("lr", [np.array([2.0, 0.1])])
        (True, False)
    """
    return key in _LOG and spans_decade(np.concatenate([*curves, np.zeros(0)]))


def _numbered(rows: Sequence[Mapping[str, Any]], across: str) -> list[tuple[Any, Mapping[str, Any]]]:
    """Return each row with its place on the axis; rows that do not number their epochs are taken as all of them."""
    if across == "epoch":
        return [(row.get("epoch", index + 1), row) for index, row in enumerate(rows)]
    if any(across not in row for row in rows):
        raise DataError(
            f"The rows of metrics do not hold {across!r}.", fix="Draw landscape.study.with_cost(run), which adds it."
        )
    return [(row[across], row) for row in rows]
