"""Figures behind plotly's own slider."""

from __future__ import annotations

import plotly.graph_objects as go
import pytest

from landscape.errors import DataError, MismatchError
from landscape.plotting import slider_figure
from landscape.plotting.plotly_base import dress


def test_frames_hold_only_what_differs_and_the_slider_names_its_stops():
    figures = {str(k): go.Figure([go.Scatter(x=[0, 1], y=[0, 1]), go.Scatter(x=[k], y=[k])]) for k in range(3)}
    figure = slider_figure(figures, name="k", start="1")
    assert [frame.name for frame in figure.frames] == ["0", "1", "2"]
    assert all(tuple(frame.traces) == (1,) and len(frame.data) == 1 for frame in figure.frames)
    assert [frame.data[0].x for frame in figure.frames] == [(0,), (1,), (2,)]
    slider = figure.layout.sliders[0]
    assert slider.active == 1 and [step.label for step in slider.steps] == ["0", "1", "2"]
    assert all(list(step.args[0]) == [step.label] and step.method == "animate" for step in slider.steps)
    assert figure.data[1].x == (1,)


def test_a_slider_needs_figures_with_the_same_traces():
    with pytest.raises(MismatchError, match="differ in their traces"):
        slider_figure({"a": go.Figure([go.Scatter()]), "b": go.Figure([go.Bar()])}, name="k")
    with pytest.raises(DataError, match="nothing to slide"):
        slider_figure({}, name="k")
    with pytest.raises(DataError, match="no such stop"):
        slider_figure({"a": go.Figure()}, name="k", start="b")


def test_every_frame_says_its_own_words_and_the_picture_keeps_its_size():
    figures = {}
    for stop, words in {"0": "short", "1": " ".join(["long"] * 60)}.items():
        figures[stop] = dress(
            go.Figure([go.Scatter(y=[0, 1])]), title=words, caption=f"at {stop}", height=300, description=""
        )
        figures[stop].add_annotation(text=f"note {stop}")
    short, long = figures.values()
    figure = slider_figure(figures, name="k")
    assert [frame.layout.title.text for frame in figure.frames] == [short.layout.title.text, long.layout.title.text]
    assert [frame.layout.annotations[0].text for frame in figure.frames] == ["note 0", "note 1"]
    assert long.layout.margin.t > short.layout.margin.t
    assert figure.layout.margin.t == long.layout.margin.t  # room for the longest title, at every stop
    drawn = [one.layout.height - one.layout.margin.t - one.layout.margin.b for one in (short, long, figure)]
    assert drawn[0] == drawn[1] == drawn[2]
