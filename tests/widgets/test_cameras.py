"""Three-dimensional panels side by side: where one is turned, the others follow."""

from __future__ import annotations

import sys
from typing import Any

import plotly.graph_objects as go
import pytest
from plotly.subplots import make_subplots

from landscape.plotting import surface3d
from landscape.widgets import show
from landscape.widgets.live import figure_widget, scenes_of
from landscape.widgets.show import PLOTLY

PANELS = "landscape.widgets.show"
SIDE = {"eye": {"x": 2.0, "y": 0.5, "z": 0.1}, "up": {"x": 0, "y": 0, "z": 1}, "center": {"x": 0, "y": 0, "z": 0}}
TOP = {"eye": {"x": 0.0, "y": 0.1, "z": 3.0}}


def _live(panels: int) -> Any:
    figure: Any = make_subplots(1, panels, specs=[[{"type": "scene"}] * panels])
    for column in range(panels):
        figure.add_trace(go.Surface(z=[[0, 1], [1, 2]]), row=1, col=column + 1)
    return figure_widget(figure.update_scenes(camera={"eye": {"x": 1.0, "y": 1.0, "z": 1.0}}))


def _turn(widget: Any, scene: str, camera: dict[str, Any]) -> None:
    """Send what the page sends when the reader has turned a scene."""
    widget._js2py_relayout = {"relayout_data": {f"{scene}.camera": camera}, "source_view_id": "a view"}


def _cameras(widget: Any) -> list[Any]:
    return [widget.layout[name].camera.to_plotly_json() for name in scenes_of(widget)]


@pytest.mark.parametrize("panels", [2, 3])
def test_all_scenes_follow_the_one_that_is_turned(panels: int) -> None:
    widget = _live(panels)
    for scene, camera in (("scene2", SIDE), ("scene", TOP), (f"scene{panels}", SIDE)):
        _turn(widget, scene, camera)
        assert _cameras(widget) == [camera] * panels


def test_what_follows_is_sent_once_and_turns_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    widget, sent = _live(3), []
    send = widget._send_update_msg
    monkeypatch.setattr(widget, "_send_update_msg", lambda **given: (sent.append(given), send(**given)))
    _turn(widget, "scene2", SIDE)
    assert len(sent) == 1
    assert set(sent[0]["relayout_data"]) == {
        "scene.camera",
        "scene3.camera",
    }  # the one that is turned is left to the reader's hand
    _turn(widget, "scene2", SIDE)  # where it was: nothing to follow
    assert len(sent) == 1


def test_one_scene_and_other_changes_send_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, several, sent = _live(1), _live(2), []
    for widget in (alone, several):
        monkeypatch.setattr(widget, "_send_update_msg", lambda **given: sent.append(given))
    _turn(alone, "scene", SIDE)
    several._js2py_relayout = {"relayout_data": {"title.text": "other"}, "source_view_id": "a view"}
    assert sent == [] and _cameras(alone) == [SIDE]


@pytest.mark.parametrize(("mode", "labels", "live"), [("live", 2, True), ("live", 1, False), ("static", 2, False)])
def test_surfaces_side_by_side_are_shown_live(results, monkeypatch, mode, labels, live) -> None:
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(sys.modules[PANELS], "display_bundle", seen.append)
    show(surface3d(dict(list(results.surfaces.items())[:labels])), mode=mode)
    (data,) = seen
    assert ("application/vnd.jupyter.widget-view+json" in data) is live
    assert PLOTLY in data and data["text/plain"].startswith("Loss around")  # for pages without a kernel
