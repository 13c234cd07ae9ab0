"""What is drawn over a surface, in matplotlib: gaps, named places, the path of a training, critical points."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from landscape.plotting.style import MATPLOTLIB_MARKERS

if TYPE_CHECKING:
    from landscape.plotting.field import Field
    from landscape.plotting.overlay import Marks, Path, Place

_PLACE = "#D55E00"
_HATCH: dict[str, Any] = {"facecolor": "#d6d6d6", "edgecolor": "#8c8c8c", "hatch": "////", "linewidth": 0}


def overlays(axes: Any, field: Field) -> dict[str, Any]:
    """Draw all that is over one contour.

    Returns:
        What the legend says, and the drawn object that stands for it.
    """
    handles = _gaps(axes, field)
    if field.path is not None:
        handles[field.path.name] = _path(axes, field.path)
    handles |= {place.name: _place(axes, place) for place in field.places}
    if math.isfinite(field.lowest[2]):
        look = {"markerfacecolor": "none", "markeredgecolor": "#bbbbbb", "markeredgewidth": 1.8, "markersize": 12}
        x, y, _ = field.lowest
        handles["lowest loss on this grid"] = axes.plot([x], [y], "o", linestyle="none", **look)[0]
    return handles | {marks.name: _marks(axes, marks) for marks in field.marks}


def pin(axes: Any, place: Place) -> Any:
    """Mark a place on a surface in three dimensions."""
    look = {"color": _PLACE, "markeredgecolor": "white", "markersize": 7, "linestyle": "none", "zorder": 10}
    return axes.plot([place.x], [place.y], [place.z], MATPLOTLIB_MARKERS[place.pin], **look)[0]


def _gaps(axes: Any, field: Field) -> dict[str, Any]:
    from matplotlib.patches import Patch, Rectangle

    for left, right, bottom, top in field.gaps:
        axes.add_patch(Rectangle((left, bottom), right - left, top - bottom, **_HATCH))
    return {"no value (gap)": Patch(**_HATCH)} if field.gaps else {}


def _place(axes: Any, place: Place) -> Any:
    look = {"color": _PLACE, "markeredgecolor": "white", "markersize": 9, "linestyle": "none", "zorder": 5}
    return axes.plot([place.x], [place.y], MATPLOTLIB_MARKERS[place.symbol], clip_on=False, **look)[0]


def _path(axes: Any, path: Path) -> Any:
    """Draw a black line in a white one, which shows on every color of the map."""
    axes.plot(path.x, path.y, color="white", linewidth=3.2, zorder=3)
    look = {"color": "black", "linewidth": 1.1, "markerfacecolor": "white", "markeredgecolor": "black"}
    return axes.plot(path.x, path.y, marker="o", markersize=3.6, markeredgewidth=0.7, zorder=4, **look)[0]


def _marks(axes: Any, marks: Marks) -> Any:
    look = {"color": marks.color, "markeredgecolor": marks.edge, "markersize": 6.5, "markeredgewidth": 0.9}
    return axes.plot(marks.x, marks.y, marks.marker, clip_on=False, zorder=6, linestyle="none", **look)[0]
