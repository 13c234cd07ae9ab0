"""How the ends of the Hessian's spectrum move along a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.plotting.chart import Axes, Backend, Chart, Level, Series, draw
from landscape.plotting.field import as_mapping
from landscape.plotting.scale import plural, spans_decade
from landscape.plotting.style import INK, OKABE_ITO, Style, styles

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

    from landscape.study.results import CurvatureHistory

_ENDS = {"LA": "largest", "SA": "smallest", "LM": "largest in size"}
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def curvature_history(
    histories: CurvatureHistory | Mapping[str, CurvatureHistory],
    *,
    backend: Backend = "plotly",
    log: bool | None = None,
    title: str | None = None,
) -> go.Figure | matplotlib.figure.Figure:
    """Draw the eigenvalues at the checkpoints of a training, or of several, against the step.

    Args:
        histories: Of :func:`landscape.study.curvature_history`, with ``steps`` (T,), ``values``, ``residuals`` and
            ``converged`` (T, k), ``learning_rate``; or label -> history.
        backend: "plotly" or "matplotlib".
        log: True for a log10 axis; by default where all values are positive and span more than a decade.
        title: What is seen; a plain sentence by default.

    Returns:
        The figure. Bands are the residuals: some eigenvalue lies within that of the value. Checkpoints whose
        eigenpairs did not converge are hollow. The dashed line is ``2 / learning_rate``, where there is one and the
        largest eigenvalues are drawn: plain gradient descent is stable below it.

    Raises:
        ConfigError: The backend is unknown.
        DataError: There is nothing to draw, or it is no such result.

    References:
        J. Cohen et al., Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability, ICLR 2021.
    """
    named: dict[str, Any] = as_mapping(histories, "CurvatureHistory")
    ends = {_ENDS.get(str(one.provenance.get("which", "LA")), "chosen") for one in named.values()}
    end = ends.pop() if len(ends) == 1 else "chosen"
    series = tuple(part for name, one in named.items() for part in _curves(name, one, _looks(named)[name]))
    levels = () if end in ("smallest", "chosen") else _levels(named)
    reached = np.concatenate([*(one.values.ravel() for one in named.values()), [level.y for level in levels]])
    log = spans_decade(reached) if log is None else log
    steps = np.concatenate([one.steps for one in named.values()]).astype(float)
    pad = 0.02 * (float(np.ptp(steps)) or 1.0)
    axes = Axes(
        series=series,
        x_label="optimizer step",
        y_label="eigenvalue of the Hessian (loss per squared weight)" + (", log scale" if log else ""),
        log_y=log,
        x_range=(float(steps.min()) - pad, float(steps.max()) + pad),
        y_range=_reach(series, levels, log),
        levels=levels,
    )
    if title is None:
        several = any(one.values.shape[1] > 1 for one in named.values())
        title = f"The {end} {'curvatures' if several else 'curvature'} of the loss along the training"
    spread = any(np.any(np.nan_to_num(one.residuals) > 0) for one in named.values())
    caption = _caption(named, levels) + " Bands: some eigenvalue lies within the residual of each value." * spread
    band = "band: ± residual" * spread
    return draw(Chart(title=title, caption=caption.strip(), panels=(axes,), band=band, row_height=400), backend)


def _looks(named: Mapping[str, Any]) -> dict[str, list[Style]]:
    """Give each eigenvalue of a single history a color; of several, each history a color and its eigenvalues dots."""
    if len(named) == 1:
        ((name, one),) = named.items()
        count = one.values.shape[1]
        return {name: [Style(color=OKABE_ITO[k % 8], dash=_DASHES[k % 6]) for k in range(count)]}
    return {
        name: [style, *(Style(color=style.color, dash="dot", marker=style.marker) for _ in range(1, count))]
        for (name, style), count in zip(
            styles(named).items(), (one.values.shape[1] for one in named.values()), strict=True
        )
    }


def _curves(name: str, one: CurvatureHistory, looks: list[Style]) -> list[Series]:
    values = np.array(one.values, float)
    values[~np.isfinite(values)] = np.nan
    curves = []
    for k in range(values.shape[1]):
        which = f"λ{k + 1}" if values.shape[1] > 1 else ""
        label = ", ".join(filter(None, (name, which)))
        head = f"<b>{label}</b><br>" if label else ""
        texts = tuple(
            f"{head}step {step}: {value:.5g}<br>residual {residual:.1e}" + ", not converged" * (not good)
            for step, value, residual, good in zip(
                one.steps, values[:, k], one.residuals[:, k], one.converged[:, k], strict=True
            )
        )
        curves.append(
            Series(
                name=label,
                x=np.asarray(one.steps, float),
                y=values[:, k],
                error=np.array(one.residuals[:, k], float),
                style=looks[k],
                hover=texts,
                hollow=~np.asarray(one.converged[:, k]),
                size=6.5,
            )
        )
    return curves


def _levels(named: Mapping[str, Any]) -> tuple[Level, ...]:
    """Return the edge of stability, once where all runs have the same."""
    edges = {name: one.stable_up_to for name, one in named.items() if math.isfinite(one.stable_up_to)}
    if len(set(edges.values())) == 1:
        edge = next(iter(edges.values()))
        return (Level(y=edge, text=f"2 / learning rate = {edge:.4g}", color=INK),)
    looks = styles(named)
    return tuple(
        Level(y=edge, text=f"{name}: 2 / learning rate = {edge:.4g}", color=looks[name].color)
        for name, edge in edges.items()
    )


def _reach(series: tuple[Series, ...], levels: tuple[Level, ...], log: bool) -> tuple[float, float] | None:
    """Hold the values, not their bands, and the levels; with room above for a level's name."""
    every = np.concatenate([*(one.y for one in series), [level.y for level in levels]])
    every = every[np.isfinite(every) & ((every > 0) | (not log))]
    if not every.size:
        return None
    low, high = float(every.min()), float(every.max())
    if log:
        share = (high / low) ** 0.1 if high > low else 1.5
        return low / share, high * share
    pad = 0.1 * (high - low or abs(high) or 1.0)
    return low - pad, high + pad


def _caption(named: Mapping[str, Any], levels: tuple[Level, ...]) -> str:
    said = ["Plain gradient descent is stable below 2 / learning rate."] if levels else []
    every = np.concatenate([one.converged.ravel() for one in named.values()])
    if missed := int((~every).sum()):
        said.append(f"Hollow: {missed} of {plural(every.size, 'eigenpair')} not converged.")
    if lost := sum(int((~np.isfinite(one.values)).any(axis=1).sum()) for one in named.values()):
        said.append(f"{plural(lost, 'checkpoint')} without a finite loss: gaps.")
    return " ".join(said)
