"""Minima, saddles, maxima, merge tree and persistence, against flood fills at every level."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from landscape.errors import ConfigError, MismatchError
from landscape.surface import Surface, Topology, interpolate, surface_topology

EIGHT, FOUR = np.ones((3, 3)), ndimage.generate_binary_structure(2, 1)


def surface_of(loss: np.ndarray) -> Surface:
    loss = np.asarray(loss, dtype=float)
    return Surface(
        alphas=np.arange(loss.shape[0]),
        betas=np.arange(loss.shape[1]),
        loss=loss,
        accuracy=loss,
        status=np.where(np.isfinite(loss), 1, 2),
        directions=({}, {}),
        provenance={"seed": 1},
    )


def topology_of(loss: np.ndarray) -> Topology:
    return surface_topology(surface_of(loss))


def noise(seed: int, shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def below(loss: np.ndarray, level: float) -> tuple[np.ndarray, int]:
    """The connected parts of the points with a loss of at most a level, by flood fill."""
    return ndimage.label(np.isfinite(loss) & (loss <= level), structure=EIGHT)


def holes(loss: np.ndarray, level: float) -> int:
    above = np.pad(~(np.isfinite(loss) & (loss <= level)), 1, constant_values=True)
    return ndimage.label(above, structure=FOUR)[1] - 1


def euler(present: np.ndarray) -> int:
    """Points as closed squares: squares - edges + corners of their union."""
    padded = np.pad(present, 1)
    edges = (padded[1:] | padded[:-1]).sum() + (padded[:, 1:] | padded[:, :-1]).sum()
    corners = padded[1:, 1:] | padded[:-1, 1:] | padded[1:, :-1] | padded[:-1, :-1]
    return int(present.sum() - edges + corners.sum())


def kinds(loss: np.ndarray) -> tuple[list, dict, list]:
    """Minima, saddles with their multiplicity and maxima of distinct losses, each from the eight points around it."""
    minima, saddles, maxima = [], {}, []
    padded = np.pad(np.where(np.isfinite(loss), loss, np.inf), 1, constant_values=np.inf)
    around = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    for i, j in np.argwhere(np.isfinite(loss)).tolist():
        lower = [bool(padded[i + 1 + di, j + 1 + dj] < loss[i, j]) for di, dj in around]
        # the border of the closed square that is added: an edge brings its corners
        border = [one or (k % 2 == 0 and (lower[k - 1] or lower[(k + 1) % 8])) for k, one in enumerate(lower)]
        arcs = sum(not before and after for before, after in pairwise([border[-1], *border]))
        if not any(border):
            minima.append((i, j))
        elif all(border):
            maxima.append((i, j))
        elif arcs > 1:
            saddles[i, j] = arcs - 1
    return minima, saddles, maxima


def points(found: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(point) for point in found.tolist()]


grids = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays(float, shape, elements=st.sampled_from([0, 1, 2, 3, 4, 5, 6, np.nan, np.inf, -np.inf]))
)


@given(grids)
def test_parts_and_holes_at_every_level_are_those_of_flood_fill(loss):
    topology = topology_of(loss)
    for level in (-1, 0, 0.5, 1, 2, 3, 4, 5, 6, 7):
        assert topology.components(level) == below(loss, level)[1]
        assert topology.holes(level) == holes(loss, level)
    assert (topology.persistence > 0).all()
    assert topology.non_finite == (~np.isfinite(loss)).sum()


def _meeting(topology: Topology, one: int, other: int) -> float:
    """The level at which the basins of two minima are first one, by the tree alone."""

    def way_up(part: int) -> list[tuple[int, float]]:
        steps, level = [(part, -np.inf)], -np.inf
        while (parent := int(topology.parent[part])) >= 0:
            level = max(level, float(topology.death[part]))
            steps.append((parent, level))
            part = parent
        return steps

    first, second = dict(way_up(one)), dict(way_up(other))
    return min((max(level, second[part]) for part, level in first.items() if part in second), default=np.inf)


@given(grids)
def test_the_tree_says_at_which_level_any_two_minima_are_joined(loss):
    topology = topology_of(loss)
    minima = points(topology.minima)
    for one, other in combinations(range(len(minima)), 2):
        expected = np.inf
        for level in range(7):
            labels, _ = below(loss, level)
            if labels[minima[one]] == labels[minima[other]] > 0:
                expected = level
                break
        assert _meeting(topology, one, other) == expected


@given(grids)
def test_births_and_deaths_are_the_losses_at_their_points(loss):
    topology = topology_of(loss)
    basins, never = topology.dimension == 0, np.isinf(topology.death)
    assert [loss[p] for p in points(topology.birth_point)] == topology.birth.tolist()
    assert [loss[p] for p in points(topology.death_point[~never])] == topology.death[~never].tolist()
    assert (topology.death_point[never] == -1).all()
    assert ((topology.parent >= 0) == (basins & ~never)).all()
    assert (topology.parent < np.arange(len(topology.parent))).all()
    assert topology.birth[basins].tolist() == sorted(topology.birth[basins])
    assert topology.death[~basins].tolist() == sorted(topology.death[~basins], reverse=True)


@given(grids)
def test_the_euler_characteristic(loss):
    topology = topology_of(loss)
    finite_deaths = np.isfinite(topology.death)
    saddles = ((topology.dimension == 0) & finite_deaths).sum() + (topology.dimension == 1).sum()
    assert len(topology.minima) - saddles + len(topology.maxima) == euler(np.isfinite(loss))


@pytest.mark.parametrize("shape", [(20, 30), (1, 40), (40, 1), (2, 25), (7, 7)])
def test_critical_points_are_those_that_their_neighbors_show(shape):
    loss = noise(0, shape)
    loss[noise(1, shape) > 1.5] = np.nan
    topology = topology_of(loss)
    minima, saddles, maxima = kinds(loss)
    assert sorted(points(topology.minima)) == minima
    assert sorted(points(topology.maxima)) == maxima
    joined = np.concatenate(
        [topology.death_point[(topology.dimension == 0)], topology.birth_point[topology.dimension == 1]]
    )
    counted = {point: int((joined == point).all(axis=1).sum()) for point in points(topology.saddles)}
    assert {point: count for point, count in counted.items() if point != (-1, -1)} == saddles


def test_two_wells_a_hill_and_a_pass():
    a, b = np.meshgrid(np.linspace(-1.5, 1.5, 31), np.linspace(-1, 1, 21), indexing="ij")
    topology = topology_of((a**2 - 1) ** 2 + b**2 + 0.1 * a)
    assert points(topology.minima) == [(5, 10), (25, 10)]
    assert topology.death[0] == np.inf and topology.parent.tolist() == [-1, 0]
    assert points(topology.saddles) == [(15, 10)]
    assert topology.death[1] == 1.0
    assert topology.persistence[1] == 1.0 - 0.1
    assert not topology.minima_on_edge.any()
    assert (topology.components(-0.2), topology.components(0.5), topology.components(1.0)) == (0, 2, 1)
    mountain = topology_of(np.exp(-(a**2) - b**2) + 0.1 * a**2 + 0.2 * b**2)
    assert points(mountain.maxima) == [(15, 10)]
    assert (mountain.dimension == 1).sum() == 1
    ring = int(np.flatnonzero(mountain.dimension == 1)[0])
    assert mountain.death[ring] == 1.0 and mountain.holes(0.9) == 1 and mountain.holes(1.0) == 0


def test_a_diagonal_valley_is_one_basin_and_a_diagonal_ridge_no_wall():
    valley = np.where(np.eye(6), 0.0, 1.0)
    assert len(topology_of(valley).minima) == 1
    assert len(topology_of(1 - valley).minima) == 1


def test_constant_and_monotone_grids():
    constant = topology_of(np.full((5, 6), 2.0))
    assert points(constant.minima) == [(0, 0)]
    assert len(constant.saddles) == len(constant.maxima) == 0
    rising = topology_of(np.arange(30.0).reshape(5, 6)[::-1])
    assert points(rising.minima) == [(4, 0)]
    assert len(rising.birth) == 1 and rising.minima_on_edge.all()


def test_three_basins_that_meet_in_one_point_all_flow_into_the_lowest():
    loss = np.full((5, 5), 9.0)
    loss[2, 2] = 5
    for value, at in enumerate([(0, 4), (4, 0), (0, 0)]):
        loss[at], loss[1 + at[0] // 2, 1 + at[1] // 2] = value, 3 + value / 10
    loss[2, 0:2], loss[0:2, 2] = 8, 8
    topology = topology_of(loss)
    assert topology.parent[:3].tolist() == [-1, 0, 0]
    assert topology.death[:3].tolist() == [np.inf, 5, 5]
    assert points(topology.death_point[1:3]) == [(2, 2), (2, 2)]
    assert (2, 2) in points(topology.saddles) and len(topology.saddles) == len(set(points(topology.saddles)))


def test_what_has_no_loss_is_no_point_and_is_counted():
    loss = np.array([[0, 5, np.nan, 1], [0, 6, np.inf, 1], [0, 7, -np.inf, 1]], dtype=float)
    surface = surface_of(loss)
    surface = replace(surface, status=[[1, 1, 0, 1], [1, 1, 2, 1], [1, 1, 2, 1]])
    topology = surface_topology(surface)
    assert (topology.missing, topology.non_finite) == (1, 2)
    assert np.isinf(topology.death).sum() == 2  # the parts never meet
    assert "3 points left out" in repr(topology)
    hole = np.arange(25.0).reshape(5, 5)
    hole[2, 2] = np.nan
    around = topology_of(hole)
    assert (around.birth[1], around.death[1], points(around.death_point)[1]) == (17.0, np.inf, (-1, -1))
    assert len(around.maxima) == 0 and points(around.saddles) == [(3, 2)]
    nothing = topology_of(np.full((3, 3), np.nan))
    assert len(nothing.birth) == 0 and nothing.components(1e300) == 0 and nothing.non_finite == 9


@given(st.integers(0, 1000), st.sampled_from([(6, 9), (9, 9), (1, 12)]))
def test_growing_functions_of_the_loss_and_mirrored_grids_have_the_same_pairs(seed, shape):
    loss = noise(seed, shape)
    plain = topology_of(loss)
    bent = topology_of(np.exp(3 * loss) - 7)
    for name in ("dimension", "birth_point", "death_point", "parent"):
        np.testing.assert_array_equal(getattr(bent, name), getattr(plain, name))
    np.testing.assert_array_equal(bent.birth, np.exp(3 * plain.birth) - 7)
    for turned in (loss[::-1], loss[:, ::-1], loss.T, loss[::-1].T):
        other = topology_of(turned)
        np.testing.assert_array_equal(other.birth, plain.birth)
        np.testing.assert_array_equal(other.death, plain.death)
        np.testing.assert_array_equal(other.parent, plain.parent)


@given(st.integers(0, 1000))
def test_distinct_losses_do_not_care_for_the_order_of_points_elsewhere(seed):
    """Shifting the whole grid shifts the points and nothing else."""
    loss = noise(seed, (7, 8))
    shifted = np.full((9, 11), np.nan)
    shifted[2:, 3:] = loss
    inner, outer = topology_of(loss), topology_of(shifted)
    np.testing.assert_array_equal(outer.minima, inner.minima + np.array([2, 3]))
    np.testing.assert_array_equal(outer.birth, inner.birth)
    np.testing.assert_array_equal(outer.death, inner.death)


def test_simplification_keeps_the_large_pairs_and_a_tree():
    topology = topology_of(noise(3, (25, 25)))
    simple = topology.simplified(1.0)
    kept = topology.persistence >= 1.0
    np.testing.assert_array_equal(simple.birth, topology.birth[kept])
    np.testing.assert_array_equal(simple.persistence, topology.persistence[kept])
    assert 1 < len(simple.minima) < len(topology.minima)
    old = np.flatnonzero(kept)
    assert [old[p] if p >= 0 else -1 for p in simple.parent] == topology.parent[kept].tolist()
    assert simple.threshold == 1.0 and simple.simplified(0.5).threshold == 1.0
    assert "of persistence 1 or more" in repr(simple)
    assert len(topology.simplified(np.inf).birth) == 1
    for wrong in (-1, np.nan):
        with pytest.raises(ConfigError, match="persistence threshold"):
            topology.simplified(wrong)


def test_round_trip(tmp_path: Path):
    loss = noise(4, (12, 9))
    loss[0, 0] = np.nan
    topology = topology_of(loss).simplified(0.2)
    topology.save(tmp_path / "topology.npz")
    loaded = Topology.load(tmp_path / "topology.npz")
    for name in ("alphas", "betas", "dimension", "birth", "death", "birth_point", "death_point", "parent"):
        assert getattr(loaded, name).tobytes() == getattr(topology, name).tobytes()
    for name in ("non_finite", "missing", "provenance", "threshold"):
        assert getattr(loaded, name) == getattr(topology, name)
    with pytest.raises(ValueError, match="read-only"):
        loaded.birth[0] = 0
    with pytest.raises(MismatchError, match="Surface/1"):
        Surface.load(tmp_path / "topology.npz")
    with pytest.raises(MismatchError, match="pairs"):
        replace(topology, parent=[0])


def test_a_ripple_of_interpolation_is_below_its_error():
    axis = np.linspace(-1, 1, 11)
    loss = np.abs(axis[:, None] - 0.03) + np.abs(axis[None, :] + 0.07)
    coarse = replace(surface_of(loss), alphas=axis, betas=axis)
    view = interpolate(coarse)
    topology = surface_topology(view)
    assert len(topology.simplified(2 * view.max_error).minima) == 1
    assert topology.provenance["interpolated"]["nodes"] == [11, 11]
    assert "81x81 points interpolated" in repr(topology) and "interpolated" not in repr(surface_topology(coarse))


def test_a_large_grid_takes_seconds_at_most():
    for loss in (noise(5, (501, 501)), np.add.outer(np.arange(501.0), np.arange(501.0)), np.zeros((501, 501))):
        start = time.process_time()
        topology_of(loss)
        assert time.process_time() - start < 5  # a second where the machine is free
