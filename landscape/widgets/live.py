"""Plotly figures that talk to the kernel, and the corrections that they need."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from landscape.plotting.frames import same
from landscape.plotting.picture import Picture, sendable

if TYPE_CHECKING:
    import plotly.graph_objects as go


def figure_widget(figure: go.Figure | Picture) -> Any:
    """Make a live figure that survives a reload of the page and fills the cell.

    Args:
        figure: What is shown first; it is copied.

    Returns:
        A plotly ``FigureWidget``.
    """
    import plotly.graph_objects as go

    content: Any = vars(figure) if isinstance(figure, Picture) else figure.to_plotly_json()
    widget: Any = go.FigureWidget(data=sendable(list(content["data"])), layout=sendable(content["layout"]))
    # A reloaded page asks for these two traits; plotly keeps them at the first figure.
    widget._trait_values["_widget_data"] = widget._data
    widget._trait_values["_widget_layout"] = widget._layout
    # Where updates come faster than the page draws, its reply to an earlier one is taken for the newest one's, and what
    # was set since is taken away from figure and page as "changed by the page". Nothing is taken away here.
    widget._remove_overlapping_props = lambda *_: []
    # Without this, scrolling the page over a surface zooms it.
    widget._config = {"scrollZoom": False, "displaylogo": False, "responsive": True}
    if len(scenes := scenes_of(widget)) > 1:
        _link_cameras(widget, scenes)
    return widget


def scenes_of(figure: Any) -> list[str]:
    """Return the names of a plotly figure's three-dimensional panels, as its layout has them."""
    return [name for name in figure.layout if re.fullmatch(r"scene\d*", name)]


def _link_cameras(figure: Any, scenes: list[str]) -> None:
    """Look at all scenes from one side: where the reader turns one, the others follow."""
    seen = {name: figure.layout[name].camera.to_plotly_json() for name in scenes}

    def follow(layout: Any, *cameras: Any) -> None:
        found = {name: camera.to_plotly_json() for name, camera in zip(scenes, cameras, strict=True)}
        turned = [camera for name, camera in found.items() if camera != seen[name]]
        if not turned:
            return
        seen.update(dict.fromkeys(scenes, turned[0]))  # before they follow, which calls this again
        with figure.batch_update():
            for name in scenes:
                layout[name].camera = turned[0]

    figure.layout.on_change(follow, *((name, "camera") for name in scenes))


def redraw(figure: Any, fresh: Any) -> None:
    """Bring a figure, live or plain, to the content of another one, in place and in one message.

    A camera that the reader turned stays. Figures with other traces replace all traces.

    Args:
        figure: Changed.
        fresh: What it shall show.
    """
    if [trace.type for trace in figure.data] != [trace.type for trace in fresh.data]:
        figure.data = ()
        figure.add_traces(list(fresh.data))
    with getattr(figure, "batch_update", nullcontext)():
        for old, new in zip(figure.data, fresh.data, strict=True):
            _take_over(old, new.to_plotly_json(), leave=("type", "uid"))
        layout = fresh.layout.to_plotly_json()
        for name in list(layout):
            if name.startswith("scene"):
                layout[name].pop("camera", None)
                figure.layout[name].update(layout.pop(name))
        _take_over(figure.layout, layout, leave=("template",))


def _take_over(old: Any, values: dict[str, Any], *, leave: tuple[str, ...]) -> None:
    """Set what differs, so that unchanged arrays do not travel to the page again."""
    present = old.to_plotly_json()
    values = {key: sendable(value) for key, value in values.items() if key not in leave}
    changed = {k: v for k, v in values.items() if not (k in present and same(v, sendable(present[k])))}
    if changed:
        old.update(changed, overwrite=True)


def repaint(figure: Any, before: Picture, after: Picture) -> None:
    """Bring a figure from one picture to another one of the same kind, in place and in one message.

    Only what differs between the two is sent. A camera that the reader turned stays.

    Args:
        figure: Shows ``before``; changed.
        before: What it shows, in plain form.
        after: What it shall show, in plain form.
    """
    with getattr(figure, "batch_update", nullcontext)():
        for trace, old, new in zip(figure.data, before.data, after.data, strict=True):
            if changed := _differences(old, new):
                trace.update(changed, overwrite=True)
        changed = _differences(before.layout, after.layout)
        for name in [name for name in changed if name.startswith("scene")]:
            scene = {key: value for key, value in changed.pop(name).items() if key != "camera"}
            figure.layout[name].update(scene)
        if changed:
            figure.layout.update(changed, overwrite=True)


def _differences(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    gone = dict.fromkeys(old.keys() - new.keys())
    return {**gone, **{key: value for key, value in new.items() if key not in old or not same(value, old[key])}}
