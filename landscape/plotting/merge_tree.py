"""The valleys of a surface as a tree: where each begins, and over which pass it meets a deeper one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.plotting.chart import Axes, Backend, Chart, Note, Series, draw
from landscape.plotting.field import as_mapping
from landscape.plotting.scale import plural, spans_decade
from landscape.plotting.style import INK, OKABE_ITO, Style
from landscape.plotting.units import loss_label

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

    from landscape.surface.topology.results import Topology

_BRANCH = Style(color=OKABE_ITO[0])
_MINIMUM = Style(color=OKABE_ITO[0], marker="circle")
_PASS = Style(color=OKABE_ITO[3], marker="diamond")
_BEYOND = 0.08  # of the range: how far what never ends is drawn


def merge_tree(
    topologies: Topology | Mapping[str, Topology],
    *,
    backend: Backend = "plotly",
    log: bool | None = None,
    most: int = 20,
    title: str = "Which valleys are there, and how high are the passes between them?",
    loss_name: str | None = None,
) -> go.Figure | matplotlib.figure.Figure:
    """Draw the tree in which the valleys of a surface merge as the water rises.

    Definition: each valley is a horizontal line, from the loss at its minimum to that at the lowest pass over which it
    meets a deeper valley, where it joins that one's line. The length of a line is the valley's persistence: how far the
    loss must rise on the surface before one can leave for a deeper place. The deepest valley never ends.

    Args:
        topologies: Of :func:`landscape.surface.surface_topology`, or label -> that, a panel each.
        backend: "plotly" or "matplotlib".
        log: True for a log10 axis; by default where all losses are positive and span more than a decade.
        most: How many valleys are shown at most: those of the largest persistence.
        title: What is seen.
        loss_name: Name and unit of the loss; by default what the results' provenance says.

    Returns:
        The figure. A valley is named by the places of its plane that drain into it (marks whose nearest minimum it
        is), and by the coordinates of its minimum.

    Raises:
        ConfigError: The backend is unknown.
        DataError: There is nothing to draw, or it is no such result.

    References:
        H. Edelsbrunner, J. Harer, Computational Topology, AMS 2010, chapter VII.
    """
    named: dict[str, Any] = as_mapping(topologies, "Topology")
    shown = {label: _shown(one, most) for label, one in named.items()}
    ends = np.concatenate([_ends(one) for one in shown.values()])
    log = spans_decade(ends) if log is None else log
    if loss_name is None:
        loss_name = loss_label(one.provenance for one in named.values())
    reach = _reach(ends, log)
    panels = tuple(
        _panel(label, one, reach, loss_name + (", log scale" if log else ""), log) for label, one in shown.items()
    )
    rows = max((len(panel.y_names or ()) for panel in panels), default=1)
    chart = Chart(
        title=title,
        caption=_caption(named, shown),
        panels=panels,
        columns=1 if rows > 6 else 2,
        row_height=130 + 38 * rows,
    )
    return draw(chart, backend)


def _shown(topology: Topology, most: int) -> Topology:
    """Leave out rings, and the valleys beyond the ``most`` persistent ones."""
    valleys = np.sort(topology.persistence[topology.dimension == 0])[::-1]
    return topology if len(valleys) <= most else topology.simplified(float(valleys[most - 1]))


def _ends(topology: Topology) -> np.ndarray:
    valleys = topology.dimension == 0
    ends = np.concatenate([topology.birth[valleys], topology.death[valleys]])
    return ends[np.isfinite(ends)]


def _reach(ends: np.ndarray, log: bool) -> tuple[float, float]:
    """Return the range of the axis: all births and deaths, and room for the valley that never ends."""
    if not ends.size:
        return 0.0, 1.0
    low, high = float(ends.min()), float(ends.max())
    if log:
        room = (high / low) ** _BEYOND
        return low / room, high * room * room
    room = _BEYOND * ((high - low) or abs(low) or 1.0)
    return low - room, high + 2 * room


def _order(topology: Topology) -> list[int]:
    """Order the valleys so that no line crosses another: each before those that join it, the first to do so first."""
    valleys = np.flatnonzero(topology.dimension == 0)
    joining: dict[int, list[int]] = {}
    for valley in sorted(valleys.tolist(), key=lambda valley: float(topology.death[valley])):
        joining.setdefault(int(topology.parent[valley]), []).append(valley)
    found: list[int] = []
    todo = joining.get(-1, [])[::-1]
    while todo:
        valley = todo.pop()
        found.append(valley)
        todo += joining.get(valley, [])[::-1]
    return found


def _panel(label: str, topology: Topology, reach: tuple[float, float], x_label: str, log: bool) -> Axes:
    order = _order(topology)
    row = {valley: float(number) for number, valley in enumerate(order)}
    names = _names(topology, order)
    told = {
        valley: _told(names[valley], float(topology.birth[valley]), float(topology.death[valley])) for valley in order
    }
    lasting = [valley for valley in order if math.isfinite(topology.death[valley])]
    points = (
        _points("minimum", topology.birth[order], order, row, told, _MINIMUM),
        _points("pass into a deeper valley", topology.death[lasting], lasting, row, told, _PASS),
    )
    notes = []
    for valley in lasting:
        birth, death = float(topology.birth[valley]), float(topology.death[valley])
        middle = math.sqrt(birth * death) if log else (birth + death) / 2
        notes.append(Note(x=middle, y=row[valley], text=f"{death - birth:.3g}", color=INK, side="above"))
    return Axes(
        series=(*(_branch(topology, valley, row, reach[1], told[valley]) for valley in order), *points),
        x_label=x_label,
        y_label="",
        title=label,
        log_x=log,
        x_range=reach,
        y_names=tuple(names[valley] for valley in order) or ("no valley",),
        notes=tuple(notes),
    )


def _told(name: str, birth: float, death: float) -> str:
    if death == math.inf:
        return f"{name}<br>minimum {birth:.4g}, the deepest: no pass to a deeper one"
    return f"{name}<br>minimum {birth:.4g}, pass at {death:.4g}<br>persistence {death - birth:.3g}"


def _branch(topology: Topology, valley: int, row: Mapping[int, float], end: float, told: str) -> Series:
    """Draw a valley: along its row to its pass, and there upright to the row of the deeper one."""
    birth, death, place = float(topology.birth[valley]), float(topology.death[valley]), row[valley]
    lasts = death < math.inf
    x = [birth, death, death] if lasts else [birth, end]
    y = [place, place, row[int(topology.parent[valley])]] if lasts else [place, place]
    hover = (told,) * len(x)
    return Series(name="", x=np.array(x), y=np.array(y), style=_BRANCH, markers=False, width=2.6, hover=hover)


def _points(
    name: str, x: np.ndarray, valleys: list[int], row: Mapping[int, float], told: Mapping[int, str], style: Style
) -> Series:
    y, hover = np.array([row[valley] for valley in valleys]), tuple(told[valley] for valley in valleys)
    return Series(name=name, x=x, y=y, style=style, line=False, size=9, hover=hover)


def _names(topology: Topology, order: list[int]) -> dict[int, str]:
    """Name each valley by what lies in it and by where its minimum is."""
    at = np.stack(
        [topology.alphas[topology.birth_point[order, 0]], topology.betas[topology.birth_point[order, 1]]], axis=1
    )
    plane = topology.provenance.get("plane") or {}
    marks: dict[int, list[str]] = {}
    for name, place in (plane.get("marks") or {}).items():
        if len(order):
            nearest = int(np.linalg.norm(at - np.asarray(place, float), axis=1).argmin())
            marks.setdefault(order[nearest], []).append(str(name))
    return {
        valley: " ".join(filter(None, [", ".join(marks.get(valley, ())), f"({alpha:.3g}, {beta:.3g})"]))
        for valley, (alpha, beta) in zip(order, at.tolist(), strict=True)
    }


def _caption(named: Mapping[str, Topology], shown: Mapping[str, Topology]) -> str:
    left = sum(int((one.dimension == 0).sum()) for one in named.values()) - sum(
        int((one.dimension == 0).sum()) for one in shown.values()
    )
    rest = f" {plural(left, 'valley')} of less persistence left out." if left else ""
    return f"On the lines: persistence, from the minimum up to the pass. In brackets: the minimum's (α, β).{rest}"
