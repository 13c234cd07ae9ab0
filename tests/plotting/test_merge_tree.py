"""The tree of valleys: lines from minima to passes, none across another, named by what lies in them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from landscape import plotting
from landscape.errors import DataError
from landscape.seeding import generator
from landscape.surface import surface_topology
from landscape.surface.results import Surface
from landscape.surface.topology import Topology


def surface(loss, marks=None) -> Surface:
    loss = np.atleast_2d(np.asarray(loss, float))
    rows, columns = loss.shape
    plane = {"plane": {"origin_sha256": "x", "marks": marks or {}}}
    return Surface(
        alphas=np.arange(rows), betas=np.arange(columns), loss=loss, accuracy=loss, status=np.ones(loss.shape),
        directions=({}, {}), provenance={"loss": "cross_entropy", **plane},
    )  # fmt: skip


def rough(seed: int, size: int = 12) -> Topology:
    import torch

    return surface_topology(surface(torch.rand(size, size, generator=generator(seed, "rough")).numpy()))


def branches(figure) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (np.asarray(trace.x, float), np.asarray(trace.y, float))
        for trace in figure.data
        if trace.mode == "lines" and len(trace.x) in (2, 3)
    ]


def names(figure) -> list[str]:
    return list(next(figure.select_yaxes()).ticktext)


def test_each_valley_runs_from_its_minimum_to_its_pass_and_joins_the_deeper_one():
    figure = plotting.merge_tree(surface_topology(surface([2, 0, 3, 1, 2.5, 2, 4])))
    assert names(figure) == ["(0, 1)", "(0, 3)", "(0, 5)"]
    (x, y), second, third = branches(figure)
    assert x[0] == 0 and x[1] > 3 and list(y) == [0, 0]  # the deepest goes on
    assert (list(second[0]), list(second[1])) == ([1, 3, 3], [1, 1, 0])
    assert (list(third[0]), list(third[1])) == ([2, 2.5, 2.5], [2, 2, 1])
    texts = [text for trace in figure.data if trace.mode == "text" for text in trace.text]
    assert sorted(texts) == ["0.5", "2"]


@pytest.mark.parametrize("seed", range(6))
def test_no_line_crosses_another(seed):
    found = branches(plotting.merge_tree(rough(seed)))
    assert len(found) > 8
    for x, y in found:
        if len(x) == 3:  # upright at the pass, from the valley's row to its parent's
            low, high = sorted((y[0], y[2]))
            between = [other for other in found if low < other[1][0] < high]
            assert all(other[0][1] <= x[1] for other in between)


def test_the_most_persistent_are_shown_and_the_others_counted():
    topology = rough(0)
    valleys = int((topology.dimension == 0).sum())
    figure = plotting.merge_tree(topology, most=4)
    shown = np.sort(topology.persistence[topology.dimension == 0])[::-1][:4]
    lengths = [x[1] - x[0] if len(x) == 3 else math.inf for x, _ in branches(figure)]
    np.testing.assert_allclose(sorted(lengths, reverse=True), shown)
    assert f"{valleys - 4} valleys of less persistence left out" in figure.layout.meta["description"]


def test_valleys_are_named_by_the_places_in_them():
    marks = {"SGD": (0.0, 1.2), "SAM": (0.0, 0.8), "other": (0.0, 3.0)}
    figure = plotting.merge_tree(surface_topology(surface([2, 0, 3, 1, 2], marks)))
    assert names(figure) == ["SGD, SAM (0, 1)", "other (0, 3)"]


def test_several_trees_share_their_axis_which_is_logarithmic_where_that_helps():
    one, two = (surface_topology(surface(loss)) for loss in ([0.2, 0.01, 0.1, 0.05, 0.4], [5, 0.02, 3, 1, 5]))
    figure = plotting.merge_tree({"SGD": one, "SAM": two})
    axes = list(figure.select_xaxes())
    assert {axis.type for axis in axes} == {"log"} and axes[0].range == axes[1].range
    assert {axis.type for axis in plotting.merge_tree(two, log=False).select_xaxes()} <= {None, "linear", "-"}
    assert len(plotting.merge_tree({"SGD": one, "SAM": two}, backend="matplotlib").axes) == 2


def test_a_surface_without_a_valley_or_with_one_is_drawn():
    assert len(branches(plotting.merge_tree(surface_topology(surface([3, 2, 1]))))) == 1
    nothing = surface_topology(surface([math.nan, math.nan]))
    assert branches(plotting.merge_tree(nothing)) == []
    assert names(plotting.merge_tree(nothing)) == ["no valley"]
    plotting.merge_tree(nothing, backend="matplotlib")


def test_what_is_no_topology_is_refused():
    for wrong in ({}, surface([1, 2])):
        with pytest.raises(DataError):
            plotting.merge_tree(wrong)
