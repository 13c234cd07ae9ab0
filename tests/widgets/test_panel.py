"""Panels without Jupyter: setting a control's value runs its callback."""

from __future__ import annotations

import threading

import numpy as np
import plotly.graph_objects as go
import pytest

from landscape.errors import ConfigError
from landscape.plotting.picture import Picture
from landscape.widgets import Control, Panel, display_mode, menu, show, show_markdown, slider
from landscape.widgets.live import figure_widget, redraw, repaint
from landscape.widgets.show import PLOTLY, bundle


class Counted:
    """Computes k times a factor and counts how often."""

    def __init__(self):
        self.calls = []

    def __call__(self, *, k, sign):
        self.calls.append((k, sign))
        if k == 3.0 and sign == "minus":
            raise ValueError("no <minus> three")
        return k if sign == "plus" else -k


def _panel(compute=None):
    return Panel(
        compute or Counted(),
        lambda value: go.Figure([go.Scatter(x=[0.0, 1.0], y=[0.0, value])], {"title": {"text": f"k = {value:g}"}}),
        controls=[slider("k", "factor k", [1, 2, 3]), menu("sign", "sign", ["plus", "minus"])],
        note=lambda value: f"the end is at {value:g} <here>",
    )


def test_setting_a_control_moves_the_figure_and_says_so():
    panel = _panel()
    panel.widget()
    panel.sliders["k"].value = 2.0
    assert tuple(panel.live_figure.data[0].y) == (0.0, 2.0)
    assert panel.live_figure.layout.title.text == "k = 2"
    assert "the end is at 2 &lt;here&gt;" in panel.status.value and "role='status'" in panel.status.value
    panel.sliders["sign"].value = "minus"
    assert tuple(panel.live_figure.data[0].y) == (0.0, -2.0)


def test_results_are_computed_once_for_each_setting():
    compute = Counted()
    panel = _panel(compute)
    panel.widget()
    for k in (2.0, 1.0, 2.0):
        panel.sliders["k"].value = k
    panel.figure_with_frames()
    assert sorted(compute.calls) == [(1.0, "plus"), (2.0, "plus"), (3.0, "plus")]


def test_an_error_in_a_callback_is_said_and_the_next_change_recovers():
    panel = _panel()
    panel.widget()
    panel.sliders["sign"].value = "minus"
    panel.sliders["k"].value = 3.0
    assert "role='alert'" in panel.status.value and "ValueError: no &lt;minus&gt; three" in panel.status.value
    panel.sliders["k"].value = 2.0
    assert "role='status'" in panel.status.value


def test_reset_puts_every_control_back():
    panel = _panel()
    box = panel.widget()
    panel.sliders["k"].value, panel.sliders["sign"].value = 2.0, "minus"
    button = next(child for child in box.children[0].children if getattr(child, "description", "") == "Reset")
    drawn = []
    panel.note = lambda value: drawn.append(value) or "said"
    button.click()
    assert (panel.sliders["k"].value, panel.sliders["sign"].value) == (1.0, "plus")
    assert tuple(panel.live_figure.data[0].y) == (0.0, 1.0)
    assert drawn == [1.0]  # all controls at once


def test_a_reloaded_page_gets_the_present_figure():
    panel = _panel()
    panel.widget()
    panel.sliders["k"].value = 3.0
    state = panel.live_figure.get_state()
    assert state["_widget_layout"]["title"]["text"] == "k = 3"
    assert state["_config"]["scrollZoom"] is False


def test_frames_have_one_stop_for_each_value():
    figure = _panel().figure_with_frames()
    assert [frame.name for frame in figure.frames] == ["1", "2", "3"]
    assert [frame.data[0].y[1] for frame in figure.frames] == [1.0, 2.0, 3.0]
    assert figure.layout.sliders[0].currentvalue.prefix == "factor k: "


def test_too_many_stops_are_thinned_and_keep_the_start():
    panel = Panel(
        lambda *, k: k,
        lambda k: go.Figure([go.Scatter(y=[k])]),
        controls=[slider("k", "k", range(100), value=50)],
        note=str,
    )
    names = [frame.name for frame in panel.figure_with_frames().frames]
    assert len(names) <= 17 and "50" in names


def test_wrong_names_and_values_are_refused():
    with pytest.raises(ConfigError, match="Unknown control 'kk'"):
        _panel().figure(kk=1)
    with pytest.raises(ConfigError, match="factor k has no value 7"):
        _panel().figure(k=7)
    with pytest.raises(ConfigError, match="look the same"):
        slider("k", "k", [1.0, 1.0 + 1e-9])
    with pytest.raises(ConfigError, match="has no values"):
        slider("k", "k", [])
    with pytest.raises(ConfigError, match="has no value"):
        Control(name="k", label="k", options=(("a", 1),), value=2)


def test_markdown_is_shown_as_markdown_and_printed_in_a_script(monkeypatch, capsys):
    show_markdown("**a** $b$")
    assert capsys.readouterr().out == "**a** $b$\n"
    shown = []
    monkeypatch.setattr("IPython.core.interactiveshell.InteractiveShell.initialized", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    show_markdown("**a** $b$")
    assert shown == [{"text/markdown": "**a** $b$", "text/plain": "**a** $b$"}]


class Slow(Panel):
    """Draws k at once and adds two more curves later."""

    def __init__(self, pieces):
        self.known, self.pieces, self.threads = {}, pieces, set()
        super().__init__(
            lambda *, k: [k, *self.known.get(k, [])],
            lambda ys: Picture(data=({"type": "scatter", "y": list(ys)},), layout={"title": {"text": f"{ys}"}}),
            controls=[slider("k", "k", [1, 2, 3])],
            note=lambda ys: f"{len(ys)} known",
        )

    def fill(self, *, k):
        self.threads.add(threading.current_thread())
        for number in range(2):
            self.pieces.acquire()
            self.known.setdefault(k, []).append(10 * k + number)
            yield f"piece {number}"

    keeps = False


def test_what_takes_long_is_filled_in_where_the_controls_stand():
    pieces = threading.Semaphore(2)
    panel = Slow(pieces)
    panel.widget()
    assert panel.wait(10)
    assert tuple(panel.live_figure.data[0].y) == (1, 10, 11)
    assert "3 known" in panel.status.value and panel.busy.value == "<small></small>"
    panel.sliders["k"].value = 3
    assert tuple(panel.live_figure.data[0].y) == (3,)
    assert not panel.wait(0.3)
    panel.sliders["k"].value = 2  # before anything of 3 is known
    pieces.release(4)
    assert panel.wait(10)
    assert tuple(panel.live_figure.data[0].y) == (2, 20, 21)
    assert panel.known[3] in ([30], [30, 31]) and threading.main_thread() not in panel.threads


def test_an_error_in_the_background_is_said_and_the_next_change_recovers():
    panel = Slow(threading.Semaphore(10))
    fill, panel.fill = panel.fill, lambda **_: iter([1 / 0])
    panel.widget()
    assert panel.wait(10)
    assert "role='alert'>ZeroDivisionError" in panel.status.value
    panel.fill = fill
    panel.sliders["k"].value = 2
    assert panel.wait(10)
    assert "3 known" in panel.status.value


@pytest.mark.parametrize("as_figure", [True, False])
def test_a_live_figure_holds_lists_only(as_figure):
    """No NaN, which JSON does not know, and no arrays, which come back from the page as dictionaries."""
    nothing = float("nan")
    table = np.array([[1.0, nothing], [np.inf, 2.0]])
    picture = Picture(data=({"type": "heatmap", "z": table, "x": [nothing, 1.0], "y": np.arange(2.0)},), layout={})
    figure = figure_widget(picture.figure() if as_figure else picture)
    fresh = Picture(data=({**picture.data[0], "y": np.arange(2.0) + 1},), layout={})
    repaint(figure, picture.plain(), fresh.plain())
    redraw(figure, fresh.figure())
    (held,) = figure.get_state()["_widget_data"]
    assert [list(row) for row in held["z"]] == [[1.0, None], [None, 2.0]]
    assert list(held["x"]) == [None, 1.0]
    assert held["y"] == [1.0, 2.0]


def test_a_late_reply_of_the_page_takes_nothing_away():
    figure = figure_widget(Picture(data=({"type": "scatter", "x": [1, 2], "y": [3, 4]},), layout={"height": 99}))
    (held,) = figure.get_state()["_widget_data"]
    reply = {"uid": held["uid"], "x": [7, 8], "line": {"color": "red"}}
    figure._js2py_traceDeltas = {"trace_deltas": [reply], "trace_edit_id": figure._last_trace_edit_id}
    late = {"layout_delta": {"height": 450}, "layout_edit_id": figure._last_layout_edit_id}
    figure._js2py_layoutDelta = late
    assert tuple(figure.data[0].x) == (1, 2) and figure.layout.height == 99
    (held,) = figure.get_state()["_widget_data"]
    assert held["x"] == [1, 2]


def test_only_what_differs_is_sent(monkeypatch):
    before = Picture(
        data=({"type": "scatter", "x": [1, 2], "y": [1, 2]},), layout={"title": {"text": "a"}, "height": 99}
    )
    after = Picture(
        data=({"type": "scatter", "x": [1, 2], "y": [1, 3]},), layout={"title": {"text": "b"}, "height": 99}
    )
    figure = go.FigureWidget(before.figure())
    sent = []
    monkeypatch.setattr(figure, "_send_update_msg", lambda *a, **k: sent.append((a, k)))
    repaint(figure, before, after)
    (message,) = sent
    assert "'y'" in str(message) and "'x'" not in str(message) and "height" not in str(message)
    assert tuple(figure.data[0].y) == (1, 3) and figure.layout.title.text == "b"


def test_redraw_keeps_the_camera_that_the_reader_turned():
    def scene(eye, z):
        return go.Figure([go.Surface(z=[[z, 1], [1, 1]])], {"scene": {"camera": {"eye": {"x": eye}}}})

    figure = go.FigureWidget(scene(1.0, 0.0))
    figure.layout.scene.camera.eye.x = 5.0
    redraw(figure, scene(1.0, 2.0))
    assert figure.layout.scene.camera.eye.x == 5.0
    assert figure.data[0].z[0][0] == 2.0


def test_redraw_replaces_traces_of_another_kind():
    figure = go.FigureWidget([go.Scatter(y=[1])])
    redraw(figure, go.Figure([go.Bar(y=[2]), go.Bar(y=[3])]))
    assert [trace.type for trace in figure.data] == ["bar", "bar"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "static"),
        ({"JPY_SESSION_NAME": "a"}, "live"),
        ({"VSCODE_PID": "1"}, "live"),
        ({"JPY_SESSION_NAME": "a", "LANDSCAPE_MODE": "static"}, "static"),
        ({"LANDSCAPE_MODE": "live"}, "live"),
        ({"LANDSCAPE_MODE": ""}, "static"),
    ],
)
def test_mode_is_read_from_the_environment(monkeypatch, variables, expected):
    for name in ("LANDSCAPE_MODE", "JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert display_mode() == expected
    assert display_mode("live") == "live"


def test_an_unknown_mode_is_refused():
    with pytest.raises(ConfigError, match="Unknown mode 'statik'.*Did you mean 'static'"):
        display_mode("statik")


def test_what_is_shown_has_a_text_alternative(results, capsys):
    from landscape import plotting

    data = bundle(plotting.contour(results.surfaces))
    assert data[PLOTLY]["data"] and "one common scale" in data["text/plain"]
    data = bundle(plotting.contour(results.surfaces, backend="matplotlib"))
    assert data["image/png"][:4] == b"\x89PNG" and "one common scale" in data["text/plain"]
    show(_panel(), mode="static")
    assert "the end is at 1" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="cannot be shown"):
        show(3)
