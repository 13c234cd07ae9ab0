"""Loss surfaces in plotly: in three dimensions and as contours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.plotting.field import Field, Fields
from landscape.plotting.geometry import size
from landscape.plotting.overlay_plotly import overlays, pin
from landscape.plotting.plotly_base import AXIS, PAGE, dress, legend_below, wrapped
from landscape.plotting.style import INK
from landscape.plotting.units import wrapped_label

if TYPE_CHECKING:
    import plotly.graph_objects as go

_LEVELS = 18
_GRID3D = "#b4b4b4"


def _colorbar(fields: Fields, pixels: float, **place: Any) -> dict[str, Any]:
    """Describe a color bar of a length in pixels: its ticks and its wrapped title."""
    values, texts = fields.scale.ticks(max(3, min(7, int(pixels / 40))))
    title = wrapped_label(fields.z_label, int(pixels / 7.2)).replace("\n", "<br>")
    return {
        "title": {"text": title, "side": "right", "font": {"size": 14}},
        "lenmode": "pixels",
        "len": pixels,
        "tickvals": values,
        "ticktext": texts,
        "thickness": 16,
        "outlinewidth": 0,
        **place,
    }


def surface3d(fields: Fields) -> go.Figure:
    """Draw surfaces in three dimensions, a scene each."""
    from plotly.subplots import make_subplots

    rows, columns = fields.grid
    titles, above = _headings(fields)
    figure: Any = make_subplots(
        rows=rows,
        cols=columns,
        specs=[[{"type": "scene"}] * columns] * rows,
        subplot_titles=titles if above else None,
        horizontal_spacing=0.01,
        vertical_spacing=0.06,
    )
    named: set[str] = set()
    for index, field in enumerate(fields.fields):
        where: dict[str, Any] = {"row": index // columns + 1, "col": index % columns + 1}
        figure.add_trace(_sheet(field, fields), **where)
        for place in (each for each in field.places if math.isfinite(each.z)):
            trace = pin(place, fields.scale.high, field)
            figure.add_trace(trace.update(showlegend=place.name not in named), **where)
            named.add(place.name)
        figure.update_scenes(_scene(field, fields, small=columns > 1), **where)
    figure.update_annotations(font={"size": 15})
    return dress(
        figure,
        title=fields.title,
        caption=fields.caption,
        height=(330 if columns > 1 else 480) * rows,
        description=fields.description,
        extra_top=above,
        coloraxis=_coloraxis(fields, 330 if columns > 1 else 400, x=1.0),
        margin_l=4,
        margin_b=40,
        legend={"orientation": "h", "x": 0, "y": 0, "yanchor": "top", "font": {"size": 13}},
    )


def _coloraxis(fields: Fields, pixels: float, **place: Any) -> dict[str, Any]:
    limits = {"cmin": fields.scale.low, "cmax": fields.scale.high}
    return {"colorscale": fields.colors, **limits, "colorbar": _colorbar(fields, pixels, **place)}


def _headings(fields: Fields) -> tuple[list[str], int]:
    """Return what stands over the panels, and the room in pixels that it takes."""
    titles = [wrapped(field.heading, fields.grid[1]) for field in fields.fields]
    return titles, 6 + 18 * (max(title.count("<br>") for title in titles) + 1) if any(titles) else 0


def _sheet(field: Field, fields: Fields) -> go.Surface | go.Scatter3d:
    """Build the sheet of a grid; of a single row or column a curve, of a single point a marker."""
    import plotly.graph_objects as go

    if field.thin:
        x, y = np.meshgrid(field.x, field.y)
        look = {"color": field.z.ravel(), "coloraxis": "coloraxis"}
        return go.Scatter3d(
            x=x.ravel(),
            y=y.ravel(),
            z=field.z.ravel(),
            mode="lines+markers",
            line={**look, "width": 5},
            marker={**look, "size": 4},
            text=field.hover.ravel(),
            hovertemplate="α = %{x:.4g}<br>β = %{y:.4g}<br>%{text}<extra>" + field.name + "</extra>",
            name=field.name or "loss",
            showlegend=False,
            connectgaps=False,
        )
    size = (fields.scale.high - fields.scale.low) / _LEVELS
    return go.Surface(
        x=field.x,
        y=field.y,
        z=field.z,
        coloraxis="coloraxis",
        text=field.hover,
        hovertemplate="α = %{x:.4g}<br>β = %{y:.4g}<br>%{text}<extra>" + field.name + "</extra>",
        contours={
            "z": {
                "show": True,
                "start": fields.scale.low,
                "end": fields.scale.high,
                "size": size,
                "color": "rgba(255,255,255,0.45)",
                "width": 1,
                "highlight": False,
            },
            "x": {"highlight": False},
            "y": {"highlight": False},
        },
        lighting={"ambient": 0.8, "diffuse": 0.5, "specular": 0.05, "roughness": 0.9},
        name=field.name or "loss",
        showlegend=False,
        connectgaps=False,
    )


def _scene(field: Field, fields: Fields, *, small: bool) -> dict[str, Any]:
    values, texts = fields.scale.ticks(5)
    span = fields.scale.high - fields.scale.low
    base = {
        "gridcolor": _GRID3D,
        "zerolinecolor": _GRID3D,
        "showgrid": True,
        "showbackground": False,
        "tickfont": {"size": 11},
        "linecolor": INK,
        "showline": True,
        "showspikes": False,
    }
    return {
        "xaxis": {**base, "title": {"text": "α", "font": {"size": 15}}, "range": list(field.box.x), "nticks": 5},
        "yaxis": {**base, "title": {"text": "β", "font": {"size": 15}}, "range": list(field.box.y), "nticks": 5},
        "zaxis": {
            **base,
            "title": {"text": "" if small else "loss", "font": {"size": 14}},
            "tickvals": values,
            "ticktext": texts,
            "range": [fields.scale.low - 0.02 * span, fields.scale.high + 0.02 * span],
        },
        "aspectmode": "cube",
        "camera": {
            "eye": {"x": 1.6, "y": -1.8, "z": 1.3} if small else {"x": 1.35, "y": -1.5, "z": 1.05},
            "center": {"x": 0, "y": 0, "z": -0.18},
        },
    }


def contour(fields: Fields) -> go.Figure:
    """Draw surfaces as filled contours, a panel each, to scale where they are not too flat for that."""
    from plotly.subplots import make_subplots

    rows, columns = fields.grid
    titles, above = _headings(fields)
    widest = (PAGE - 190) / columns - 20
    side = 340 if columns > 1 else 480
    height = max(size(field.box.aspect, side, widest)[1] for field in fields.fields)
    between = 60 + above
    whole = height * rows + between * (rows - 1)
    figure: Any = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=titles if above else None,
        horizontal_spacing=(0.05 if fields.shared else 0.08) if columns > 1 else 0.0,
        vertical_spacing=between / whole if rows > 1 else 0.0,
    )
    named: set[str] = set()
    for index, field in enumerate(fields.fields):
        where: dict[str, Any] = {"row": index // columns + 1, "col": index % columns + 1}
        for trace in [*_map(field, fields), *overlays(field, named)]:
            figure.add_trace(trace, **where)
        _plane_axes(figure, field, fields.labels(index), where, height)
    figure.update_annotations(font={"size": 15})
    legend, room = legend_below(list(named)) if named else ({}, 0)
    return dress(
        figure,
        title=fields.title,
        caption=fields.caption,
        height=int(whole),
        description=fields.description,
        extra_top=above,
        extra_bottom=room,
        coloraxis=_coloraxis(fields, min(max(whole, 170), 400), x=1.01),
        legend=legend,
    )


def _map(field: Field, fields: Fields) -> list[go.Contour | go.Heatmap]:
    import plotly.graph_objects as go

    common = {"z": field.z, "name": field.name or "loss", "showlegend": False, "connectgaps": False}
    hover = {
        "coloraxis": "coloraxis",
        "text": field.hover,
        "hovertemplate": f"α = %{{x:.4g}}<br>β = %{{y:.4g}}<br>%{{text}}<extra>{field.name}</extra>",
    }
    if field.thin:  # a single row has no contours, and its cells no height of their own
        across, up = field.edges
        return [go.Heatmap(x=across, y=up, **common, **hover)]
    size = (fields.scale.high - fields.scale.low) / _LEVELS
    levels = {"start": fields.scale.low + size, "end": fields.scale.high - size, "size": size}
    line = {"color": f"rgba({','.join(map(str, fields.lines))},0.5)", "width": 0.8}
    common |= {"x": field.x, "y": field.y}
    if not field.gaps:
        return [go.Contour(**common, **hover, autocontour=False, line=line, contours={"coloring": "heatmap", **levels})]
    return [  # contours blank out a gap's neighbors too, a heat map does not
        go.Heatmap(**common, **hover),
        go.Contour(**common, autocontour=False, line=line, contours={"coloring": "none", **levels}, hoverinfo="skip"),
    ]


def _plane_axes(figure: Any, field: Field, labels: tuple[str, str], where: dict[str, Any], height: float) -> None:
    style = {**AXIS, "zeroline": False, "showgrid": False, "constrain": "domain"}
    texts = labels[0], wrapped_label(labels[1], int(height / 7.2)).replace("\n", "<br>")
    x, y = ({**style, "title": {"text": text, "font": {"size": 14}}} for text in texts)
    figure.update_xaxes({**x, "range": list(field.box.x)}, **where)
    name = figure.get_subplot(where["row"], where["col"]).xaxis.plotly_name.replace("axis", "")
    scale = {"scaleanchor": name, "scaleratio": field.box.stretch}
    figure.update_yaxes({**y, "range": list(field.box.y), **scale}, **where)
