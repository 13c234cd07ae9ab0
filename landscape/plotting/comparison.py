"""Numbers of several runs, read from rows, with their names, units and standard errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from landscape.errors import DataError, unknown_name
from landscape.plotting.chart import Axes, Backend, Chart, Series, draw
from landscape.plotting.scale import spans_decade
from landscape.plotting.style import Style, styles

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

Rows = Mapping[str, Mapping[str, Any]] | Iterable[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a column means: name, unit, which end is better, the factor from the stored to the shown value."""

    name: str
    unit: str = ""
    better: Literal["low", "high"] | None = None
    factor: float = 1.0

    @property
    def heading(self) -> str:
        """Name and unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


METRICS: dict[str, Metric] = {
    "test_error": Metric(name="test error", unit="%", better="low", factor=100),
    "train_error": Metric(name="training error", unit="%", better="low", factor=100),
    "test_accuracy": Metric(name="test accuracy", unit="%", better="high", factor=100),
    "train_accuracy": Metric(name="training accuracy", unit="%", factor=100),
    "train_loss": Metric(name="training loss", unit="nats"),
    "test_loss": Metric(name="test loss", unit="nats", better="low"),
    "test_nll": Metric(name="test NLL", unit="nats", better="low"),
    "test_ece": Metric(name="calibration error ECE", unit="%", better="low", factor=100),
    "robust_accuracy": Metric(name="robust accuracy", unit="%", better="high", factor=100),
    "top_eigenvalue": Metric(name="top Hessian eigenvalue", unit="loss/weight²", better="low"),
    "trace": Metric(name="Hessian trace", unit="loss/weight²", better="low"),
    "frobenius_norm": Metric(name="Hessian Frobenius norm", unit="loss/weight²", better="low"),
    "lpf": Metric(name="LPF measure", unit="loss", better="low"),
    "lpf_rise": Metric(name="LPF rise", unit="loss", better="low"),
    "sharpness": Metric(name="sharpness", unit="loss", better="low"),
    "gradients_per_step": Metric(name="gradients per step"),
    "step_ms": Metric(name="time per step", unit="ms"),
    "step_ratio": Metric(name="time per step, relative"),
    "seconds_per_epoch": Metric(name="time per epoch", unit="s", better="low"),
    "seconds": Metric(name="time", unit="s", better="low"),
}
"""What the usual columns mean. Errors and accuracies are stored as fractions and shown in percent."""

_LABELS = ("label", "name", "optimizer", "method", "run")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Values and standard errors in shown units, (labels, keys), NaN where there is none."""

    labels: tuple[str, ...]
    keys: tuple[str, ...]
    metrics: tuple[Metric, ...]
    values: np.ndarray
    errors: np.ndarray

    def best(self, column: int) -> list[bool]:
        """Tell which rows hold the best value of a column, or one that is not told apart from it.

        Not told apart are values within two combined standard errors. None is best where no end is better or nothing
        can be compared.
        """
        values, better = self.values[:, column], self.metrics[column].better
        if better is None or np.isfinite(values).sum() < 2:
            return [False] * len(values)
        behind = values if better == "low" else -values
        first = int(np.nanargmin(np.where(np.isfinite(behind), behind, np.nan)))
        errors = np.nan_to_num(self.errors[:, column], posinf=0.0)
        near = values == values[first]
        return list(near | (behind - behind[first] < 2 * np.hypot(errors, errors[first])))

    @property
    def tied(self) -> bool:
        """Whether some column has several values that are best only as far as can be told."""
        columns = range(len(self.keys))
        return any(len({self.values[row, k] for row in np.flatnonzero(self.best(k))}) > 1 for k in columns)


def read_rows(
    rows: Rows, *, columns: Sequence[str] | None = None, metrics: Mapping[str, Metric] | None = None
) -> Comparison:
    """Read rows of numbers.

    Args:
        rows: Label -> values, or rows that hold their label under "label", "name", "optimizer", "method" or "run". A
            value is a number, None, or an object with ``value`` and ``stderr``; the standard error of a plain number
            is looked for under the key with "_stderr" appended.
        columns: Which keys, in order; all that hold numbers by default.
        metrics: Meanings of further keys, or other meanings of known ones.

    Returns:
        The numbers in the units that are shown.

    Raises:
        DataError: There are no rows, a row has no label, or two rows have the same label.
        ConfigError: A column is in no row.

    Example:
        >>> read_rows({"SGD": {"test_error": 0.117}}).values
        array([[11.7]])
    """
    known = {**METRICS, **(metrics or {})}
    named = _named(rows)
    found = list(dict.fromkeys(key for row in named.values() for key, v in row.items() if _is_number(v)))
    found = [key for key in found if not key.endswith("_stderr")]
    for key in columns or ():
        if key not in found:
            raise unknown_name("column", key, found)
    keys = list(columns) if columns is not None else found
    meanings = tuple(known.get(key) or Metric(name=key.replace("_", " ")) for key in keys)
    pairs = [[_value(row, key, m.factor) for key, m in zip(keys, meanings, strict=True)] for row in named.values()]
    cells = np.array(pairs, dtype=float).reshape(len(named), len(keys), 2)
    return Comparison(
        labels=tuple(named), keys=tuple(keys), metrics=meanings, values=cells[..., 0], errors=cells[..., 1]
    )


def _named(rows: Rows) -> dict[str, Mapping[str, Any]]:
    if isinstance(rows, Mapping):
        named = {str(label): row for label, row in rows.items()}
    else:
        listed = list(rows)
        labels = [next((str(row[key]) for key in _LABELS if key in row), None) for row in listed]
        for index, label in enumerate(labels):
            if label is None:
                raise DataError(f"Row {index} has no label.", expected=f"one of the keys {', '.join(_LABELS)}")
        if len(set(labels)) < len(labels):
            raise DataError("Two rows have the same label.", got=labels, fix="Give each row a label of its own.")
        named = {str(label): row for label, row in zip(labels, listed, strict=True)}
    if not named:
        raise DataError("There is nothing to compare.", expected="at least one row")
    return named


def _is_number(value: Any) -> bool:
    if isinstance(value, (bool, str)) or value is None:
        return False
    return isinstance(value, (int, float, np.number)) or hasattr(value, "stderr")


def _value(row: Mapping[str, Any], key: str, factor: float) -> tuple[float, float]:
    value, error = row.get(key), row.get(f"{key}_stderr")
    if hasattr(value, "stderr"):
        value, error = value.value, value.stderr  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
    number = math.nan if value is None else factor * float(value)
    return number, math.nan if error is None else factor * float(error)


def compare(
    rows: Rows,
    *,
    backend: Backend = "plotly",
    columns: Sequence[str] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    title: str = "The runs compared",
) -> go.Figure | matplotlib.figure.Figure:
    """Draw the numbers of several runs: a panel for each number, a line for each run.

    Args:
        rows: As in :func:`read_rows`.
        backend: "plotly" or "matplotlib".
        columns: Which numbers, in order; all by default.
        metrics: Meanings of further keys.
        title: What is seen.

    Returns:
        The figure; bars are one standard error, a log10 axis is used where a number spans more than a decade.

    Raises:
        ConfigError: The backend or a column is unknown.
        DataError: There are no rows, or labels are missing or doubled.
    """
    data = read_rows(rows, columns=columns, metrics=metrics)
    looks = styles(data.labels)
    panels = [_column(data, column, looks) for column in range(len(data.metrics))]
    spread = bool(np.any(np.isfinite(data.errors) & (data.errors > 0)))
    missing = int(np.sum(~np.isfinite(data.values)))
    caption = ("Bars: ± 1 standard error. " if spread else "") + (
        f"{missing} without a finite value." if missing else ""
    )
    chart = Chart(
        title=title,
        caption=caption.strip(),
        panels=tuple(panels),
        share_y=True,
        legend=False,
        columns=min(4, max(1, len(panels))),
        row_height=90 + 34 * len(data.labels),
    )
    return draw(chart, backend)


def _column(data: Comparison, column: int, looks: Mapping[str, Style]) -> Axes:
    """Make the panel of one number: a point with its bar for each run."""
    metric, values, errors = data.metrics[column], data.values[:, column], data.errors[:, column]
    log = spans_decade(values)
    end = {"low": "\nlower is better", "high": "\nhigher is better", None: ""}[metric.better]
    series = tuple(
        Series(
            name=label,
            x=values[row : row + 1],
            y=np.array([float(row)]),
            style=looks[label],
            x_error=errors[row : row + 1] if np.isfinite(errors[row]) else None,
            line=False,
            size=9,
            hover=(f"<b>{label}</b><br>{metric.name}: {cell(values[row], errors[row])} {metric.unit}",),
        )
        for row, label in enumerate(data.labels)
    )
    return Axes(
        series=series,
        x_label=(metric.unit + (", log scale" if log else "")).strip(", ") or "value",
        y_label="",
        title=metric.name + end,
        log_x=log,
        y_names=data.labels,
        x_range=reach(values, errors, log),
    )


def reach(values: np.ndarray, errors: np.ndarray, log: bool) -> tuple[float, float] | None:
    """Choose the range of an axis that holds values with their bars, and 0 where it is linear.

    Args:
        values: (N,); what is not finite does not count, nor what is not positive on a log axis.
        errors: (N,) half widths of the bars; NaN for none.
        log: Whether the axis is log10. It holds bars down to a third of their value, since some reach 0.

    Returns:
        Its ends, with a margin; None where there is nothing to hold.

    Example:
        >>> reach(np.array([0.01, 5.0]), np.array([1.0, 0.1]), True)[0] < 0.01
        True
    """
    half = np.where(np.isfinite(errors), errors, 0)
    kept = np.isfinite(values) & ((values > 0) | (not log))
    if not kept.any():
        return None
    values, half = values[kept], half[kept]
    low, high = values - half, float((values + half).max())
    if log:
        return 0.7 * float(np.maximum(low, values / 3).min()), 1.4 * high
    start, end = min(0.0, float(low.min())), max(0.0, high)
    pad = 0.08 * ((end - start) or 1.0)
    return start - (pad if start < 0 else 0.02 * (end - start or 1.0)), end + (pad if end > 0 else 0.0)


def cell(value: float, error: float) -> str:
    """Write a value with its standard error, rounded to two digits of the error, or to three digits without one.

    Example:
        >>> cell(11.6789, 0.9871), cell(11.6789, float("nan")), cell(123456.0, 7890.0), cell(float("nan"), 0.1)
        ('11.68 ± 0.99', '11.7', '123500 ± 7900', 'NaN')
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else str(value)
    if not (math.isfinite(error) and error > 0):
        return plain(value, 3)
    decimals = 1 - math.floor(math.log10(error))
    if decimals > 6 or abs(value) >= 1e7:
        return f"{value:.4g} ± {error:.2g}"
    shown = max(decimals, 0)
    return f"{round(value, decimals):.{shown}f} ± {round(error, decimals):.{shown}f}"


def plain(value: float, digits: int) -> str:
    """Write a number to some significant digits without an exponent where that is short.

    Example:
        >>> plain(1234.5, 3), plain(0.012345, 3), plain(0.0, 3), plain(1.2e-7, 3)
        ('1234', '0.0123', '0', '1.2e-07')
    """
    if value == 0 or not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits}g}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
