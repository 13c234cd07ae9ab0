"""Loss surfaces in plotly: in three dimensions and as contours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from landscape.plotting.field import Field, Fields
from landscape.plotting.overlay_plotly import overlays, pin
from landscape.plotting.plotly_base import AXIS, dress
from landscape.plotting.style import INK, SEQUENTIAL

if TYPE_CHECKING:
    import plotly.graph_objects as go

_LEVELS = 18
_GRID3D = "#b4b4b4"


def _colorbar(fields: Fields, **place: Any) -> dict[str, Any]:
    values, texts = fields.scale.ticks()
    return {
        "title": {"text": fields.z_label, "side": "right", "font": {"size": 14}},
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
    titled = any(field.name for field in fields.fields)
    figure: Any = make_subplots(
        rows=rows,
        cols=columns,
        specs=[[{"type": "scene"}] * columns] * rows,
        subplot_titles=[field.name for field in fields.fields] if titled else None,
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
    figure.update_scenes(_scene(fields, small=columns > 1))
    figure.update_annotations(font={"size": 15})
    axis = {
        "colorscale": SEQUENTIAL,
        "cmin": fields.scale.low,
        "cmax": fields.scale.high,
        "colorbar": _colorbar(fields, len=min(1.0, 360 / (400 * rows)), x=1.0),
    }
    return dress(
        figure,
        title=fields.title,
        caption=fields.caption,
        height=(330 if columns > 1 else 480) * rows,
        description=fields.description,
        extra_top=24 if titled else 0,
        coloraxis=axis,
        margin_l=4,
        margin_b=40,
        legend={"orientation": "h", "x": 0, "y": 0, "yanchor": "top", "font": {"size": 13}},
    )


def _sheet(field: Field, fields: Fields) -> go.Surface:
    import plotly.graph_objects as go

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


def _scene(fields: Fields, *, small: bool) -> dict[str, Any]:
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
        "xaxis": {**base, "title": {"text": "α", "font": {"size": 15}}, "range": list(fields.x_range), "nticks": 5},
        "yaxis": {**base, "title": {"text": "β", "font": {"size": 15}}, "range": list(fields.y_range), "nticks": 5},
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
    """Draw surfaces as filled contours with equal aspect, a panel each."""
    from plotly.subplots import make_subplots

    rows, columns = fields.grid
    titled = any(field.name for field in fields.fields)
    figure: Any = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[field.name for field in fields.fields] if titled else None,
        horizontal_spacing=0.05 if columns > 1 else 0.0,
        vertical_spacing=0.2 / rows if rows > 1 else 0.0,
    )
    named: set[str] = set()
    for index, field in enumerate(fields.fields):
        where: dict[str, Any] = {"row": index // columns + 1, "col": index % columns + 1}
        for trace in [*_map(field, fields), *overlays(field, named)]:
            figure.add_trace(trace, **where)
        _plane_axes(figure, fields, where)
    figure.update_annotations(font={"size": 15})
    bar = _colorbar(fields, len=min(1.0, 1.2 / rows), x=1.01)
    return dress(
        figure,
        title=fields.title,
        caption=fields.caption,
        height=(340 if columns > 1 else 480) * rows,
        description=fields.description,
        extra_top=24 if titled else 0,
        coloraxis={"colorscale": SEQUENTIAL, "cmin": fields.scale.low, "cmax": fields.scale.high, "colorbar": bar},
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
            "font": {"size": 13},
        },
    )


def _map(field: Field, fields: Fields) -> list[go.Contour | go.Heatmap]:
    import plotly.graph_objects as go

    size = (fields.scale.high - fields.scale.low) / _LEVELS
    common = {
        "x": field.x,
        "y": field.y,
        "z": field.z,
        "coloraxis": "coloraxis",
        "name": field.name or "loss",
        "showlegend": False,
        "connectgaps": False,
    }
    hover = {
        "text": field.hover,
        "hovertemplate": f"α = %{{x:.4g}}<br>β = %{{y:.4g}}<br>%{{text}}<extra>{field.name}</extra>",
    }
    levels = {"start": fields.scale.low + size, "end": fields.scale.high - size, "size": size}
    line = {"color": "rgba(255,255,255,0.5)", "width": 0.8}
    if not field.gaps:
        return [go.Contour(**common, **hover, autocontour=False, line=line, contours={"coloring": "heatmap", **levels})]
    return [  # contours blank out a gap's neighbors too, a heat map does not
        go.Heatmap(**common, **hover),
        go.Contour(**common, autocontour=False, line=line, contours={"coloring": "none", **levels}, hoverinfo="skip"),
    ]


def _plane_axes(figure: Any, fields: Fields, where: dict[str, Any]) -> None:
    single = len(fields.fields) == 1
    x_title = fields.x_label if single else "α"
    y_title = fields.y_label if single else "β" * (where["col"] == 1)
    style = {**AXIS, "zeroline": False, "showgrid": False, "constrain": "domain"}
    figure.update_xaxes(
        {**style, "range": list(fields.x_range), "title": {"text": x_title, "font": {"size": 14}}}, **where
    )
    figure.update_yaxes(
        {**style, "range": list(fields.y_range), "title": {"text": y_title, "font": {"size": 14}}}, **where
    )
    name = figure.get_subplot(where["row"], where["col"]).xaxis.plotly_name.replace("axis", "")
    figure.update_yaxes(scaleanchor=name, row=where["row"], col=where["col"])
