"""Loss surfaces in matplotlib: in three dimensions and as contours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.plotting.field import Field, Fields
from landscape.plotting.geometry import size
from landscape.plotting.matplotlib_base import LABEL, TICK, new_figure
from landscape.plotting.overlay_matplotlib import overlays, pin
from landscape.plotting.units import wrapped_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEVELS = 18
_LETTERS = 11.5
"""How many letters of a panel's heading fit in an inch."""


def _start(fields: Fields, width: float, height: float) -> tuple[Figure, list[str]]:
    """Begin a figure whose panels are so large, in inches, and return it with the panels' wrapped headings."""
    rows, columns = fields.grid
    headings = [wrapped_label(field.heading, int(_LETTERS * width)) for field in fields.fields]
    lines = max(heading.count("\n") for heading in headings) * 0.2
    figure = new_figure(
        max(6.8, width * columns + 1.3),
        (height + lines) * rows + 0.2,
        title=fields.title,
        caption=fields.caption,
        description=fields.description,
    )
    return figure, headings


def _colorbar(figure: Figure, mappable: Any, axes: list[Any], fields: Fields, height: float) -> None:
    values, texts = fields.scale.ticks(max(3, min(7, int(2 * height))))
    bar = figure.colorbar(mappable, ax=axes, shrink=0.85, pad=0.03 if len(axes) == 1 else 0.02)
    bar.set_ticks(values, labels=texts)
    bar.ax.tick_params(labelsize=TICK)
    bar.ax.minorticks_off()
    bar.set_label(wrapped_label(fields.z_label, int(13 * height)), fontsize=LABEL)
    bar.outline.set_visible(False)


def _mappable(fields: Fields) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(fields.scale.low, fields.scale.high), fields.colors)


def surface3d(fields: Fields) -> Figure:
    """Draw surfaces in three dimensions, an axes each."""
    side = 3.9 if len(fields.fields) > 1 else 5.2
    (rows, columns), (figure, headings) = fields.grid, _start(fields, side, side)
    mappable = _mappable(fields)
    shown = []
    handles: dict[str, Any] = {}
    for index, field in enumerate(fields.fields):
        axes: Any = figure.add_subplot(rows, columns, index + 1, projection="3d")
        shown.append(axes)
        _sheet(axes, field, mappable)
        handles |= {place.name: pin(axes, place) for place in field.places if math.isfinite(place.z)}
        axes.set_title(headings[index], fontsize=LABEL + 1.5)
        _scene(axes, field, fields)
    if handles:
        _legend(figure, handles)
    _colorbar(figure, mappable, shown, fields, side * rows)
    return figure


def _legend(figure: Figure, handles: dict[str, Any]) -> None:
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=3, fontsize=9.5, frameon=False)


def _sheet(axes: Any, field: Field, mappable: Any) -> None:
    """Draw the cells of a grid; a single row or column as a curve, a single point as a marker."""
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    x, y = np.meshgrid(field.x, field.y)
    if field.thin:
        shown = np.isfinite(field.z)
        axes.plot(x.ravel(), y.ravel(), field.z.ravel(), color="#7f7f7f", linewidth=1.2)
        axes.scatter(x[shown], y[shown], field.z[shown], c=mappable.to_rgba(field.z[shown]), s=26, depthshade=False)
        return
    corners = np.stack([x, y, field.z], axis=-1)
    cells = np.stack([corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]], axis=2).reshape(-1, 4, 3)
    cells = cells[np.isfinite(cells).all(axis=(1, 2))]
    colors = mappable.to_rgba(cells[:, :, 2].mean(axis=1)) if len(cells) else []
    axes.add_collection3d(Poly3DCollection(cells, facecolors=colors, edgecolors=colors, linewidths=0.3))


def _scene(axes: Any, field: Field, fields: Fields) -> None:
    from matplotlib.ticker import MaxNLocator

    values, texts = fields.scale.ticks(5)
    axes.set(xlim=field.box.x, ylim=field.box.y, zlim=(fields.scale.low, fields.scale.high))
    axes.set_xlabel("α", fontsize=LABEL + 1)
    axes.set_ylabel("β", fontsize=LABEL + 1)
    axes.set_zticks(values, texts)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, prune="both"))
    axes.tick_params(labelsize=8.5, pad=1)
    axes.set_box_aspect((1, 1, 0.9), zoom=0.95)
    axes.view_init(elev=28, azim=-52)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((1, 1, 1, 0))


def contour(fields: Fields) -> Figure:
    """Draw surfaces as filled contours, an axes each, to scale where they are not too flat for that."""
    rows, columns = fields.grid
    side = 2.8 if len(fields.fields) > 1 else 4.3
    sizes = [size(field.box.aspect, side, 12.5 / columns - 0.7) for field in fields.fields]
    width, height = (max(each[k] for each in sizes) for k in (0, 1))
    figure, headings = _start(fields, width + 0.7, height + 0.7)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=fields.shared, sharey=fields.shared)
    mappable = _mappable(fields)
    handles: dict[str, Any] = {}
    used = []
    for index, axes in enumerate(grid.flat):
        if index >= len(fields.fields):
            axes.set_visible(False)
            continue
        field = fields.fields[index]
        used.append(axes)
        _map(axes, field, fields, mappable)
        handles |= overlays(axes, field)
        axes.set_title(headings[index], fontsize=LABEL + 1)
        _plane(axes, field, fields.labels(index), sizes[index])
    _legend(figure, handles)
    _colorbar(figure, mappable, used if rows * columns == len(used) else list(grid.flat), fields, height * rows)
    return figure


def _map(axes: Any, field: Field, fields: Fields, mappable: Any) -> None:
    look: dict[str, Any] = {"norm": mappable.norm, "cmap": mappable.get_cmap(), "rasterized": True}
    values = np.ma.masked_invalid(field.z)
    if field.thin:
        axes.pcolormesh(*field.edges, values, shading="flat", **look)
        return
    axes.pcolormesh(field.x, field.y, values, shading="nearest" if np.isnan(field.z).any() else "gouraud", **look)
    finite = field.z[np.isfinite(field.z)]
    levels = np.linspace(fields.scale.low, fields.scale.high, _LEVELS + 1)[1:-1]
    levels = levels[(levels > finite.min()) & (levels < finite.max())] if finite.size else []
    if len(levels):
        lines: dict[str, Any] = {"colors": [[part / 255 for part in fields.lines]], "linewidths": 0.6, "alpha": 0.6}
        axes.contour(field.x, field.y, values, levels=levels, linestyles="solid", **lines)


def _plane(axes: Any, field: Field, labels: tuple[str, str], inches: tuple[float, float]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set(xlim=field.box.x, ylim=field.box.y, aspect=field.box.stretch)
    for axis, label, length, step in zip((axes.xaxis, axes.yaxis), labels, inches, (2.2, 2.5), strict=True):
        axis.set_major_locator(MaxNLocator(max(2, min(8, int(step * length))), steps=[1, 2, 2.5, 5, 10]))
        if label:
            axis.set_label_text(wrapped_label(label, int(13 * length)), fontsize=LABEL)
    if labels[0]:
        axes.tick_params(labelbottom=True)
    axes.tick_params(labelsize=TICK)
