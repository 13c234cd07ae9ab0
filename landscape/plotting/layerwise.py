"""The curvature of each layer's block, in the order of the network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import DataError
from landscape.plotting.chart import Axes, Backend, Chart, Series, draw
from landscape.plotting.comparison import cell, reach
from landscape.plotting.field import as_panels
from landscape.plotting.scale import plural, spans_decade
from landscape.plotting.style import OKABE_ITO, Style

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

    from landscape.curvature.results import Eigenpairs, Estimate
    from landscape.parameters import Layout

    Answers = Mapping[str, Eigenpairs | Estimate | float]

_UNIT = "loss per squared weight"
QUESTIONS = {
    "top": ("largest eigenvalue", _UNIT),
    "trace": ("trace", _UNIT),
    "trace per weight": ("trace per weight", _UNIT),
    "frobenius_norm": ("Frobenius norm", _UNIT),
}
"""What the panels of known questions are called: key -> name, unit."""


def layers(
    answers: Answers | Mapping[str, Answers],
    *,
    backend: Backend = "plotly",
    question: str = "",
    sizes: Mapping[str, int] | Layout | None = None,
    log: bool | None = None,
    title: str = "Where in the network is the curvature?",
) -> go.Figure | matplotlib.figure.Figure:
    """Draw a number of each layer as horizontal bars, the first layer of the network on top.

    Args:
        answers: Layer -> eigenpairs (the first of them is drawn), estimate or number, as ``hessian.layerwise(...)``
            returns them; or question -> that, a panel each: ``{"top": hessian.layerwise("top", k=1), "trace":
            hessian.layerwise("trace")}``.
        backend: "plotly" or "matplotlib".
        question: What ``answers`` answer, where they are of one question: "top", "trace" or "frobenius_norm" name the
            axis and its unit, any other word itself.
        sizes: Layer -> how many weights it has, or ``objective.layout``: adds the trace per weight to a "trace".
        log: True for log10 axes; by default for the panels whose values are all positive and span more than a decade. A
            log axis has no 0 that bars could begin at: points stand there instead.
        title: What is seen.

    Returns:
        The figure; lines through the ends of bars are one standard error, or an eigenvalue's residual. Bars or points
        of eigenpairs that did not converge are hollow.

    Raises:
        ConfigError: The backend is unknown.
        DataError: There is nothing to draw, an answer is no number, or the panels are of different layers.
    """
    panels = _panels(answers)
    if question and "" in panels:
        panels = {question: panels[""]}
    if sizes is not None and "trace" in panels:
        panels = _with_share(panels, sizes)
    names = tuple(next(iter(panels.values())))
    found = {key: _numbers(panel) for key, panel in panels.items()}
    logs = {key: spans_decade(values) if log is None else log for key, (values, _, _) in found.items()}
    drawn = [_axes(key, names, *found[key], log=logs[key], color=OKABE_ITO[k % 8]) for k, key in enumerate(panels)]
    chart = Chart(
        title=title,
        caption=_caption(
            found, logs, pairs=any(hasattr(one, "residuals") for p in panels.values() for one in p.values())
        ),
        panels=tuple(drawn),
        share_y=True,
        legend=False,
        columns=min(3, len(drawn)),
        row_height=90 + max(20, 34 - len(names)) * len(names),
    )
    return draw(chart, backend)


def _panels(answers: Any) -> dict[str, dict[str, Any]]:
    panels = as_panels(
        answers, expected="layer -> answer, or question -> layer -> answer", fix='Use hessian.layerwise("trace").'
    )
    first = list(next(iter(panels.values())))
    for key, panel in panels.items():
        if not panel or list(panel) != first:
            raise DataError(
                f"The panel {key!r} has other layers than the first.",
                expected=", ".join(first) or "at least one layer",
                got=", ".join(panel) or "none",
                fix="Ask all questions of one operator.",
            )
    return panels


def _with_share(panels: dict[str, dict[str, Any]], sizes: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(sizes, Mapping):  # a layout
        count = dict(zip(sizes.names, sizes.sizes, strict=True))
        sizes = {layer: sum(count[name] for name in inside) for layer, inside in sizes.layers.items()}
    if missing := [layer for layer in panels["trace"] if layer not in sizes]:
        raise DataError(
            "Some layers have no size.",
            expected="how many weights each layer has",
            got=f"none of {', '.join(missing)}",
            fix="Pass sizes=objective.layout.",
        )
    share = {}
    for layer, answer in panels["trace"].items():
        value, error, _ = _number(layer, answer)
        share[layer] = (value / sizes[layer], error / sizes[layer], True)
    return {**panels, "trace per weight": share}


def _number(layer: str, answer: Any) -> tuple[float, float, bool]:
    """Return value, half width of its bar and whether it converged."""
    if isinstance(answer, tuple):
        return answer
    if hasattr(answer, "residuals"):
        return float(answer.values[0]), float(answer.residuals[0]), bool(answer.converged[0])
    if hasattr(answer, "stderr") and hasattr(answer, "value"):
        return float(answer.value), float(answer.stderr), True
    if isinstance(answer, (int, float, np.number)) and not isinstance(answer, bool):
        return float(answer), math.nan, True
    raise DataError(
        f"The answer of the layer {layer} is no number.",
        expected="Eigenpairs, an Estimate or a number",
        got=type(answer).__name__,
        fix='Ask for "top", "trace" or "frobenius_norm", or draw densities with plotting.density.',
    )


def _numbers(panel: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = [_number(layer, answer) for layer, answer in panel.items()]
    values, errors = (np.array([row[k] for row in rows], float) for k in (0, 1))
    values[~np.isfinite(values)] = np.nan
    return values, errors, np.array([not row[2] for row in rows])


def _axes(
    key: str,
    names: tuple[str, ...],
    values: np.ndarray,
    errors: np.ndarray,
    hollow: np.ndarray,
    *,
    log: bool,
    color: str,
) -> Axes:
    name, unit = QUESTIONS.get(key, (key, ""))
    shown = np.where(values > 0, values, np.nan) if log else values
    texts = tuple(
        f"<b>{layer}</b><br>{f'{name}: ' if name else ''}{cell(value, error)} {unit}" + ", not converged" * bool(open_)
        for layer, value, error, open_ in zip(names, values, errors, hollow, strict=True)
    )
    series = Series(
        name=name,
        x=shown,
        y=np.arange(len(names), dtype=float),
        style=Style(color=color),
        x_error=errors if np.isfinite(errors).any() else None,
        line=False,
        size=9,
        hover=texts,
        hollow=hollow,
        bars=not log,
    )
    label = ", ".join(filter(None, (unit or "value", "log scale" * log)))
    return Axes(
        series=(series,),
        x_label=label,
        y_label="",
        title=name,
        log_x=log,
        y_names=names,
        x_range=reach(shown, errors, log),
    )


def _caption(found: Mapping[str, Any], logs: Mapping[str, bool], *, pairs: bool) -> str:
    said = ["Layers in the order of the network."]
    if any(np.any(np.nan_to_num(errors) > 0) for _, errors, _ in found.values()):
        said.append("Thin lines: ± 1 standard error" + "; of eigenvalues, the residual" * pairs + ".")
    if missed := sum(int(hollow.sum()) for _, _, hollow in found.values()):
        said.append(f"Hollow: {plural(missed, 'eigenpair')} not converged.")
    if below := sum(int((values <= 0).sum()) for key, (values, _, _) in found.items() if logs[key]):
        said.append(f"{plural(below, 'value')} of 0 or less, which a log axis cannot show.")
    if lost := sum(int(np.isnan(values).sum()) for values, _, _ in found.values()):
        said.append(f"{plural(lost, 'value')} not finite: left out.")
    return " ".join(said)
