"""Loss surfaces in matplotlib: in three dimensions and as contours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.plotting.field import Field, Fields
from landscape.plotting.matplotlib_base import LABEL, TICK, new_figure
from landscape.plotting.overlay_matplotlib import overlays, pin
from landscape.plotting.style import SEQUENTIAL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEVELS = 18


def _start(fields: Fields, panel: float) -> tuple[Figure, int, int]:
    rows, columns = fields.grid
    width = max(6.8, panel * columns + 1.3)
    figure = new_figure(
        width, panel * rows + 0.2, title=fields.title, caption=fields.caption, description=fields.description
    )
    return figure, rows, columns


def _colorbar(figure: Figure, mappable: Any, axes: list[Any], fields: Fields) -> None:
    values, texts = fields.scale.ticks()
    bar = figure.colorbar(mappable, ax=axes, shrink=0.85, pad=0.03 if len(axes) == 1 else 0.02)
    bar.set_ticks(values, labels=texts)
    bar.ax.tick_params(labelsize=TICK)
    bar.ax.minorticks_off()
    bar.set_label(fields.z_label, fontsize=LABEL)
    bar.outline.set_visible(False)


def _mappable(fields: Fields) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(fields.scale.low, fields.scale.high), SEQUENTIAL)


def surface3d(fields: Fields) -> Figure:
    """Draw surfaces in three dimensions, an axes each."""
    figure, rows, columns = _start(fields, 3.9 if len(fields.fields) > 1 else 5.2)
    mappable = _mappable(fields)
    shown = []
    handles: dict[str, Any] = {}
    for index, field in enumerate(fields.fields):
        axes: Any = figure.add_subplot(rows, columns, index + 1, projection="3d")
        shown.append(axes)
        axes.add_collection3d(_sheet(field, mappable))
        handles |= {place.name: pin(axes, place) for place in field.places if math.isfinite(place.z)}
        _scene(axes, field, fields)
    if handles:
        _legend(figure, handles)
    _colorbar(figure, mappable, shown, fields)
    return figure


def _legend(figure: Figure, handles: dict[str, Any]) -> None:
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=3, fontsize=9.5, frameon=False)


def _sheet(field: Field, mappable: Any) -> Any:
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    x, y = np.meshgrid(field.x, field.y)
    corners = np.stack([x, y, field.z], axis=-1)
    cells = np.stack([corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]], axis=2).reshape(-1, 4, 3)
    cells = cells[np.isfinite(cells).all(axis=(1, 2))]
    colors = mappable.to_rgba(cells[:, :, 2].mean(axis=1)) if len(cells) else []
    return Poly3DCollection(cells, facecolors=colors, edgecolors=colors, linewidths=0.3)


def _scene(axes: Any, field: Field, fields: Fields) -> None:
    from matplotlib.ticker import MaxNLocator

    values, texts = fields.scale.ticks(5)
    axes.set_title(field.name, fontsize=LABEL + 1.5)
    axes.set(xlim=fields.x_range, ylim=fields.y_range, zlim=(fields.scale.low, fields.scale.high))
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
    """Draw surfaces as filled contours with equal aspect, an axes each."""
    figure, rows, columns = _start(fields, 3.5 if len(fields.fields) > 1 else 5.0)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    mappable = _mappable(fields)
    handles: dict[str, Any] = {}
    used = []
    for index, axes in enumerate(grid.flat):
        if index >= len(fields.fields):
            axes.set_visible(False)
            continue
        used.append(axes)
        _map(axes, fields.fields[index], mappable)
        handles |= overlays(axes, fields.fields[index])
        _plane(axes, fields.fields[index], fields, index, columns)
    _legend(figure, handles)
    _colorbar(figure, mappable, used if rows * columns == len(used) else list(grid.flat), fields)
    return figure


def _map(axes: Any, field: Field, mappable: Any) -> None:
    low, high = mappable.norm.vmin, mappable.norm.vmax
    axes.pcolormesh(
        field.x,
        field.y,
        np.ma.masked_invalid(field.z),
        shading="gouraud" if not np.isnan(field.z).any() else "nearest",
        norm=mappable.norm,
        cmap=mappable.get_cmap(),
        rasterized=True,
    )
    finite = field.z[np.isfinite(field.z)]
    levels = np.linspace(low, high, _LEVELS + 1)[1:-1]
    levels = levels[(levels > finite.min()) & (levels < finite.max())] if finite.size else []
    if len(levels) and min(field.z.shape) > 1:
        axes.contour(
            field.x,
            field.y,
            np.ma.masked_invalid(field.z),
            levels=levels,
            colors="white",
            linestyles="solid",
            linewidths=0.6,
            alpha=0.6,
        )


def _plane(axes: Any, field: Field, fields: Fields, index: int, columns: int) -> None:
    single = len(fields.fields) == 1
    axes.set_title(field.name, fontsize=LABEL + 1)
    axes.set(xlim=fields.x_range, ylim=fields.y_range, aspect="equal")
    if index + columns >= len(fields.fields):
        axes.set_xlabel(fields.x_label if single else "α", fontsize=LABEL)
        axes.tick_params(labelbottom=True)
    if index % columns == 0:
        axes.set_ylabel(fields.y_label if single else "β", fontsize=LABEL)
    axes.tick_params(labelsize=TICK)
