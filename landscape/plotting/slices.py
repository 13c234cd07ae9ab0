"""A surface seen from above, beside a cut through it: the contour with a line, and the loss along that line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import unknown_name
from landscape.plotting.field import Fields, as_mapping, prepare
from landscape.plotting.scale import Scale
from landscape.plotting.style import INK, SEQUENTIAL, styles

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from landscape.surface.results import Surface


def surface_slice(
    surfaces: Mapping[str, Surface],
    *,
    label: str,
    beta: float = 0.0,
    log: bool | None = None,
    clip: float | None = None,
    loss_name: str | None = None,
) -> go.Figure:
    """Draw one surface as a contour, beside the loss of all surfaces along the line at one beta.

    Args:
        surfaces: Label -> surface; color and loss axis are common to all.
        label: Whose contour is drawn, and whose curve is emphasized.
        beta: Where to cut; each surface is cut at its grid line nearest to it.
        log: As in :func:`landscape.plotting.contour`.
        clip: As in :func:`landscape.plotting.contour`.
        loss_name: Name and unit of the loss; by default what the results' provenance says.

    Returns:
        A plotly figure with the same traces for every label and beta.

    Raises:
        ConfigError: ``label`` is unknown, or ``clip`` cannot be used.
        DataError: There is nothing to draw, or it is no such result.
        MismatchError: A surface's loss does not fit its axes.
    """
    from plotly.subplots import make_subplots

    from landscape.plotting.plotly_base import dress, legend_below

    named: dict[str, Any] = as_mapping(surfaces, "Surface")
    if label not in named:
        raise unknown_name("surface", label, named)
    fields = prepare(named, log=log, clip=clip, title=None, loss_name=loss_name, columns=1, bare_axes=False)
    titles = [label, f"cut at β = {beta:.3g}"]
    figure: Any = make_subplots(1, 2, column_widths=[0.46, 0.54], horizontal_spacing=0.2, subplot_titles=titles)
    _add_contour(figure, fields, label, beta)
    _add_curves(figure, fields, label, beta)
    legend, room = legend_below(list(named))
    figure.update_annotations(font={"size": 15})
    return dress(
        figure,
        title=f"The loss around {label}, and a cut through it",
        caption=fields.caption,
        height=360,
        description=fields.description,
        extra_top=24,
        extra_bottom=room,
        legend=legend,
        coloraxis={
            "colorscale": SEQUENTIAL,
            "cmin": fields.scale.low,
            "cmax": fields.scale.high,
            "colorbar": {"x": 0.43, "xanchor": "left", "thickness": 12, "outlinewidth": 0, **_ticks(fields.scale)},
        },
    )


def _ticks(scale: Scale) -> dict[str, Any]:
    values, texts = scale.ticks()
    return {"tickvals": values, "ticktext": texts}


def _add_contour(figure: Any, fields: Fields, label: str, beta: float) -> None:
    import plotly.graph_objects as go

    from landscape.plotting.plotly_base import AXIS

    field = next(field for field in fields.fields if field.name == label)
    hover = f"α = %{{x:.4g}}<br>β = %{{y:.4g}}<br>%{{text}}<extra>{label}</extra>"
    size = (fields.scale.high - fields.scale.low) / 18
    across, up = field.edges
    heat = go.Heatmap(x=across, y=up, z=field.z, coloraxis="coloraxis", text=field.hover, hovertemplate=hover)
    levels = {"coloring": "none", "start": fields.scale.low + size, "end": fields.scale.high - size, "size": size}
    lines = go.Contour(
        x=None if field.thin else field.x,
        y=None if field.thin else field.y,
        z=None if field.thin else field.z,
        autocontour=False,
        contours=levels,
        showlegend=False,
        line={"color": "rgba(255,255,255,0.5)", "width": 0.8},
        hoverinfo="skip",
    )
    cut = go.Scatter(
        x=list(field.box.x),
        y=[_nearest(field.y, beta)] * 2,
        mode="lines",
        name="where it is cut",
        line={"color": "#D55E00", "width": 2},
        showlegend=False,
        hoverinfo="skip",
    )
    for trace in (heat, lines, cut):
        figure.add_trace(trace, row=1, col=1)
    style = {**AXIS, "zeroline": False, "showgrid": False, "constrain": "domain"}
    scale = {"scaleanchor": "x", "scaleratio": field.box.stretch}
    figure.update_xaxes(
        {**style, "range": list(field.box.x), "title": {"text": "α", "font": {"size": 14}}}, row=1, col=1
    )
    figure.update_yaxes(
        {**style, "range": list(field.box.y), "title": {"text": "β", "font": {"size": 14}}, **scale},
        row=1,
        col=1,
    )


def _nearest(axis: np.ndarray, value: float) -> float:
    return float(axis[np.argmin(np.abs(axis - value))])


def _add_curves(figure: Any, fields: Fields, label: str, beta: float) -> None:
    import plotly.graph_objects as go

    from landscape.plotting.plotly_base import AXIS

    looks = styles(field.name for field in fields.fields)
    for field in fields.fields:
        row = int(np.argmin(np.abs(field.y - beta)))
        chosen = field.name == label
        figure.add_trace(
            go.Scatter(
                x=field.x,
                y=field.z[row],
                mode="lines",
                name=field.name,
                text=field.hover[row],
                line={
                    "color": looks[field.name].color,
                    "dash": looks[field.name].dash,
                    "width": 3.5 if chosen else 1.5,
                },
                hovertemplate=f"{field.name}<br>α = %{{x:.4g}}<br>%{{text}}<extra></extra>",
            ),
            row=1,
            col=2,
        )
    span = fields.scale.high - fields.scale.low
    limits = [fields.scale.low - 0.03 * span, fields.scale.high + 0.03 * span]
    figure.update_xaxes(
        {**AXIS, "range": list(fields.x_range), "title": {"text": "α", "font": {"size": 14}}, "linecolor": INK},
        row=1,
        col=2,
    )
    figure.update_yaxes(
        {
            **AXIS,
            "range": limits,
            "title": {"text": fields.z_label, "font": {"size": 14}},
            "zeroline": False,
            **_ticks(fields.scale),
        },
        row=1,
        col=2,
    )
