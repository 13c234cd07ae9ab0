"""The loss at a perturbed point: on the curve of loss against radius, for each network and kind of perturbation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.plotting.chart import Axes, Backend, Chart, Series, draw
from landscape.plotting.frames import slider_figure
from landscape.plotting.scale import spans_decade
from landscape.plotting.style import KIND_NAMES, styles

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go


@dataclass(frozen=True, kw_only=True)
class PerturbationView:
    """What :func:`perturbation` draws.

    Attributes:
        radii: (R,) norms of the perturbation, the first one 0 for the unperturbed weights.
        loss: Kind -> label -> (R,) losses.
        accuracy: Kind -> label -> (R,) accuracies in [0, 1], NaN where there are none.
        index: Which radius is marked.
        selected: The label that is emphasized; None for all alike.
        notes: Kind -> what the radius is in the method's own terms, for example "ε = ‖δ‖₂ / √8"; or None.
        loss_name: Name and unit of the loss.
    """

    radii: np.ndarray
    loss: Mapping[str, Mapping[str, np.ndarray]]
    accuracy: Mapping[str, Mapping[str, np.ndarray]]
    index: int
    selected: str | None = None
    notes: Mapping[str, str] | None = None
    loss_name: str = "loss"

    @property
    def labels(self) -> list[str]:
        """All labels, in order."""
        return list(dict.fromkeys(label for curves in self.loss.values() for label in curves))

    def words(self, kind: str, label: str) -> str:
        """Say the marked point in words: loss, ratio to the unperturbed loss, accuracy."""
        loss, accuracy = self.loss[kind][label], self.accuracy[kind][label]
        now, base, share = float(loss[self.index]), float(loss[0]), float(accuracy[self.index])
        if not math.isfinite(now):
            return f"{label}: loss {now}"
        ratio = f" (×{now / base:.3g})" if base > 0 else ""
        right = f", accuracy {share:.1%}" if math.isfinite(share) else ""
        return f"{label}: loss {base:.3g} → {now:.3g}{ratio}{right}"


def perturbation(
    view: PerturbationView,
    *,
    backend: Backend = "plotly",
    log: bool | None = None,
    title: str | None = None,
    loss_name: str | None = None,
    caption: str | None = None,
) -> go.Figure | matplotlib.figure.Figure:
    """Draw the loss against the radius, a panel for each kind, with the point at one radius marked.

    Args:
        view: The curves and the marked radius.
        backend: "plotly" or "matplotlib".
        log: True for a log10 loss axis; by default where all losses are positive and span more than a decade.
        title: What is seen; the marked radius by default.
        loss_name: Name and unit of the loss; the view's by default.
        caption: Under the title; the marked losses in words by default.

    Returns:
        The figure.

    Raises:
        ConfigError: The backend is unknown.
    """
    looks = styles(view.labels)
    values = np.concatenate([np.ravel(curve) for curves in view.loss.values() for curve in curves.values()])
    log = spans_decade(values) if log is None else log
    limits = _limits(values, log)
    panels = tuple(
        Axes(
            series=tuple(_curves(view, kind, looks) + _points(view, kind, looks)),
            x_label="‖δ‖₂ (L2 norm over all weights)",
            y_label=(view.loss_name if loss_name is None else loss_name) + (", log scale" if log else ""),
            title=KIND_NAMES.get(kind, kind) + (f"\n{note}" if (note := (view.notes or {}).get(kind)) else ""),
            log_y=log,
            y_range=limits,
            x_range=_pad(0.0, float(view.radii.max()) or 1.0, 0.03),
        )
        for kind in view.loss
    )
    if title is None:
        title = f"The true loss of the weights moved by ‖δ‖₂ = {view.radii[view.index]:.4g}"
    chart = Chart(
        title=title,
        caption=_words(view) if caption is None else caption,
        panels=panels,
        share_y=len(panels) > 1,
    )
    return draw(chart, backend)


def _words(view: PerturbationView) -> str:
    if view.selected is not None:
        kinds = [kind for kind in view.loss if view.selected in view.loss[kind]]
        return "\n".join(f"{KIND_NAMES.get(kind, kind)}: {view.words(kind, view.selected)}." for kind in kinds)
    lines = ["Loss at this radius, and in brackets its ratio to the loss of the trained weights:"]
    for kind, curves in view.loss.items():
        found = "; ".join(f"{label} {_brief(curve, view.index)}" for label, curve in curves.items())
        lines.append(f"{KIND_NAMES.get(kind, kind).split(':')[0]}: {found}.")
    return "\n".join(lines)


def _brief(curve: np.ndarray, index: int) -> str:
    now, base = float(curve[index]), float(curve[0])
    return f"{now:.3g} (×{now / base:.3g})" if base > 0 else f"{now:.3g}"


def _curves(view: PerturbationView, kind: str, looks: Mapping[str, Any]) -> list[Series]:
    return [
        Series(
            name=label,
            x=view.radii,
            y=_finite(curve),
            style=looks[label],
            markers=False,
            width=2.0 if view.selected in (None, label) else 0.9,
        )
        for label, curve in view.loss[kind].items()
    ]


def _points(view: PerturbationView, kind: str, looks: Mapping[str, Any]) -> list[Series]:
    at = slice(view.index, view.index + 1)
    return [
        Series(
            name=label,
            x=view.radii[at],
            y=_finite(curve)[at],
            style=looks[label],
            line=False,
            size=13 if view.selected in (None, label) else 6,
            hover=(f"<b>{view.words(kind, label)}</b><br>‖δ‖₂ = {view.radii[view.index]:.4g}",),
        )
        for label, curve in view.loss[kind].items()
    ]


def _finite(values: Any) -> np.ndarray:
    array = np.array(values, dtype=float)
    array[~np.isfinite(array)] = np.nan
    return array


def _pad(low: float, high: float, share: float) -> tuple[float, float]:
    pad = share * (high - low)
    return low - pad, high + pad


def _limits(values: np.ndarray, log: bool) -> tuple[float, float] | None:
    """Fixed limits, since frames do not rescale the axes."""
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    if not log:
        return _pad(low, high or 1.0, 0.06)
    bottom, top = _pad(math.log10(low), math.log10(high) + 1e-6, 0.06)
    return 10**bottom, 10**top


def perturbation_frames(
    view: PerturbationView,
    *,
    log: bool | None = None,
    title: str = "Move the weights and watch the true loss",
    loss_name: str | None = None,
) -> go.Figure:
    """Draw a perturbation with plotly's own slider over the radii: it works in a static page, with no kernel.

    Args:
        view: The curves; ``index`` is where the slider starts.
        log: As in :func:`perturbation`.
        title: What is seen.
        loss_name: Name and unit of the loss; the view's by default.

    Returns:
        A plotly figure with one frame for each radius; every frame tells its losses in words under the title.
    """
    figures: dict[str, Any] = {
        f"{radius:.4g}": perturbation(replace(view, index=index), log=log, title=title, loss_name=loss_name)
        for index, radius in enumerate(view.radii)
    }
    return slider_figure(
        figures, name="radius of the perturbation ‖δ‖₂ (0 = the trained weights)", start=f"{view.radii[view.index]:.4g}"
    )
