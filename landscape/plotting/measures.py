"""Measures of sharpness of several models: one row for each measure, whatever its unit and size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import DataError, unknown_name
from landscape.plotting.chart import Axes, Backend, Chart, Note, Series, draw
from landscape.plotting.comparison import cell, reach
from landscape.plotting.field import as_panels
from landscape.plotting.style import styles

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

    from landscape.curvature.results import Estimate

    Measured = Mapping[str, Estimate]

MEANINGS: dict[str, tuple[str, str]] = {
    "lpf": ("loss", "sharper"),
    "lpf_normalized": ("1", "sharper"),
    "epsilon_sharpness": ("1 / weight", "sharper"),
    "epsilon_sharpness_box": ("percent", "sharper"),
    "sam_sharpness": ("loss", "sharper"),
    "asam_sharpness": ("loss", "sharper"),
    "average_adaptive_sharpness": ("loss", "sharper"),
    "worst_case_adaptive_sharpness": ("loss", "sharper"),
    "pac_bayes": ("nats", "sharper"),
    "pac_bayes_sigma": ("weight", "flatter"),
    "frobenius": ("loss per squared weight", "sharper"),
    "lambda_max": ("loss per squared weight", "sharper"),
    "trace": ("loss per squared weight", "sharper"),
    "effective_dimension": ("directions", "sharper"),
    "fisher_rao": ("nats", "sharper"),
    "weights_hessian": ("loss", "sharper"),
    "relative_flatness": ("loss", "sharper"),
    "shannon_entropy": ("nats", "flatter"),
    "local_entropy": ("loss", "flatter"),
    "local_entropy_along_gradient": ("loss", "flatter"),
    "local_entropy_gradient_norm": ("weight", "sharper"),
}
"""The measures of :data:`landscape.sharpness.MEASURES`: name -> unit, and what a larger value means."""


def sharpness(
    measured: Measured | Mapping[str, Measured],
    *,
    backend: Backend = "plotly",
    relative_to: str | None = None,
    title: str | None = None,
) -> go.Figure | matplotlib.figure.Figure:
    """Draw measures of sharpness: a row for each measure, models by color, on one logarithmic axis.

    Of several models, values are drawn as ratios to those of one model, since measures have different units and sizes;
    what that model has stands below each measure's name. Of one model they are drawn as they are.

    Args:
        measured: Measure -> estimate, as :func:`landscape.sharpness.measure` returns them, or label -> that.
        backend: "plotly" or "matplotlib".
        relative_to: The label of the model whose values are 1; the first by default.
        title: What is seen; a plain sentence by default.

    Returns:
        The figure; bars are one standard error of the value itself. What a logarithmic axis cannot show (NaN, 0, a
        negative value, a ratio to one of these) is written in its row instead.

    Raises:
        ConfigError: The backend or ``relative_to`` is unknown.
        DataError: There is nothing to draw, or something is no estimate.

    Example:
        >>> from landscape.curvature import Estimate
        >>> models = {"SGD": {"trace": Estimate(200.0, 20.0, 9)}, "SAM": {"trace": Estimate(50.0, 5.0, 9)}}
        >>> sharpness(models).data[1].x.tolist()
        [0.25]
    """
    named = _named(measured)
    base = _base(named, relative_to)
    rows = list(dict.fromkeys(name for found in named.values() for name in found))
    unit = named[base] if base is not None else None
    ratios = {label: _ratios(found, rows, unit) for label, found in named.items()}
    looks, count = styles(named), len(named)
    series = tuple(
        Series(
            name=label,
            x=values,
            y=np.arange(len(rows)) + _shift(number, count),
            x_error=errors if np.isfinite(errors).any() else None,
            style=looks[label],
            line=False,
            size=8.5,
            hover=tuple(_told(label, name, named[label].get(name)) for name in rows),
        )
        for number, (label, (values, errors)) in enumerate(ratios.items())
    )
    values, errors = (np.concatenate([pair[k] for pair in ratios.values()]) for k in (0, 1))
    limits = _limits(values, errors, base)
    axes = Axes(
        series=series,
        x_label=f"value {'in the unit of each measure' if base is None else f'relative to {base}'}, log scale",
        y_label="",
        log_x=True,
        x_range=limits,
        y_names=tuple(_row_name(name, None if unit is None else unit.get(name), unit is None) for name in rows),
        stripes=True,
        vertical=((1.0, base),) if base is not None else (),
        notes=tuple(_unshown(named, rows, ratios, looks, limits)),
    )
    if title is None:
        title = "How sharp are the minima, by each measure?" if count > 1 else "How sharp is the minimum?"
    chart = Chart(
        title=title,
        caption=_caption(rows, errors, base),
        panels=(axes,),
        legend=count > 1,
        row_height=80 + max(46, 17 * count) * len(rows),
    )
    return draw(chart, backend)


def sharpness_table(measured: Measured | Mapping[str, Measured]) -> str:
    """Write measures of sharpness as aligned plain text: a row for each measure, a column for each model.

    Args:
        measured: Measure -> estimate, or label -> that.

    Returns:
        Lines joined by newlines, each value with its standard error.

    Raises:
        DataError: There is nothing to write, or something is no estimate.

    Example:
        >>> from landscape.curvature import Estimate
        >>> models = {"SGD": {"trace": Estimate(200.0, 20.0, 9)}, "SAM": {"trace": Estimate(50.0, 5.0, 9)}}
        >>> print(sharpness_table(models))
        measure  unit                          SGD         SAM
        -------  -----------------------  --------  ----------
        trace    loss per squared weight  200 ± 20  50.0 ± 5.0
        larger is sharper; ± 1 standard error
    """
    named = _named(measured)
    rows = list(dict.fromkeys(name for found in named.values() for name in found))
    grid = [["measure", "unit", *(label or "value" for label in named)]]
    for name in rows:
        texts = [_cell(found[name]) if name in found else "" for found in named.values()]
        grid.append([_marked(name), _meaning(name)[0], *texts])
    widths = [max(len(line[k]) for line in grid) for k in range(len(grid[0]))]
    sides = (str.ljust, str.ljust, *[str.rjust] * len(named))
    lines = ["  ".join(put(text, w) for put, text, w in zip(sides, line, widths, strict=True)) for line in grid]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*(line.rstrip() for line in lines), f"{_direction(rows)}; ± 1 standard error"])


def _named(measured: Any) -> dict[str, dict[str, Estimate]]:
    named = as_panels(
        measured,
        expected="measure -> estimate, or label -> measure -> estimate",
        fix="Use measure(objective, names).",
    )
    for found in named.values():
        for name, estimate in found.items():
            if not (hasattr(estimate, "value") and hasattr(estimate, "stderr")):
                raise DataError(
                    f"The measure {name} is no estimate.",
                    expected="an Estimate, with value and stderr",
                    got=type(estimate).__name__,
                    fix="Use measure(objective, names), or Estimate(value, stderr, matvecs=0).",
                )
    if not any(named.values()):
        raise DataError("There is nothing to draw.", expected="at least one measure", got="none")
    return named


def _base(named: Mapping[str, Any], relative_to: str | None) -> str | None:
    if relative_to is None:
        return next(iter(named)) if len(named) > 1 else None
    if relative_to not in named:
        raise unknown_name("model", relative_to, named)
    return relative_to


def _ratios(found: Measured, rows: list[str], base: Measured | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the drawn values and errors, NaN where a logarithmic axis has no place for them."""
    values, errors = (np.full(len(rows), np.nan) for _ in range(2))
    for row, name in enumerate(rows):
        unit = 1.0 if base is None else float(base[name].value) if name in base else math.nan
        if name in found and 0 < unit < math.inf and 0 < (value := float(found[name].value)) < math.inf:
            values[row], errors[row] = value / unit, float(found[name].stderr) / unit
    return values, errors


def _limits(values: np.ndarray, errors: np.ndarray, base: str | None) -> tuple[float, float]:
    low, high = reach(values, errors, True) or (0.1, 10.0)
    return (low, high) if base is None else (min(low, 0.7), max(high, 1.4))


def _shift(number: int, count: int) -> float:
    """Spread models over half of a row."""
    return 0.0 if count == 1 else 0.5 * (number / (count - 1) - 0.5)


def _unshown(
    named: Mapping[str, Any], rows: list[str], ratios: Mapping[str, Any], looks: Mapping[str, Any], limits: Any
) -> list[Note]:
    """Write what has no place on the axis at its left end."""
    notes = []
    for number, (label, found) in enumerate(named.items()):
        for row, name in enumerate(rows):
            if name in found and not math.isfinite(ratios[label][0][row]):
                text = f"{label}: {_cell(found[name])}" if label else _cell(found[name])
                y = row + _shift(number, len(named))
                notes.append(Note(x=limits[0], y=y, text=text, color=looks[label].color))
    return notes


def _meaning(name: str) -> tuple[str, str]:
    """Return the unit of a measure, and what a larger value means: "sharper" or "flatter"."""
    return MEANINGS.get(name, ("", "sharper"))


def _marked(name: str) -> str:
    return name + "*" * (_meaning(name)[1] == "flatter")


def _direction(rows: list[str]) -> str:
    other = any(_meaning(name)[1] == "flatter" for name in rows)
    return "larger is sharper" + ", but flatter where a name has a star" * other


def _cell(estimate: Estimate) -> str:
    return cell(float(estimate.value), float(estimate.stderr))


def _row_name(name: str, base: Estimate | None, alone: bool) -> str:
    """Name a measure, and below that the value that its row is relative to, or its unit where it is to nothing."""
    unit = _meaning(name)[0].replace("1 / ", "per ").removeprefix("1")
    below = unit if alone else f"{_cell(base)} {unit}".strip() if base is not None else ""
    return f"{_marked(name)}\n{below}" if below else _marked(name)


def _told(label: str, name: str, estimate: Estimate | None) -> str:
    head = f"<b>{label}</b><br>" if label else ""
    return f"{head}{name}: {_cell(estimate)} {_meaning(name)[0]}" if estimate is not None else head + name


def _caption(rows: list[str], errors: np.ndarray, base: str | None) -> str:
    said = [f"L{_direction(rows)[1:]}."]
    if base is not None:
        said.append(f"Below each name: the value of {base}.")
    if np.any(np.nan_to_num(errors) > 0):
        said.append("Bars: ± 1 standard error.")
    return " ".join(said)
