"""The interpolated view: exact where it must be, silent where it knows nothing, and honest about the rest."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landscape import plotting
from landscape.errors import ConfigError, DataError, MismatchError
from landscape.surface import Surface, evaluate_surface, random_plane
from landscape.surface.interpolation import InterpolatedSurface, interpolate
from landscape.surface.results import DONE, INTERPOLATED, MISSING, NON_FINITE
from landscape.widgets import SurfaceExplorer

AXIS = np.linspace(-1, 1, 11)


def surface_of(loss: np.ndarray, alphas: np.ndarray = AXIS, betas: np.ndarray = AXIS) -> Surface:
    status = np.where(np.isfinite(loss), DONE, NON_FINITE)
    return Surface(
        alphas=alphas, betas=betas, loss=loss, accuracy=loss / 100, status=status, directions=({}, {}), provenance={}
    )


def computed(function, alphas: np.ndarray = AXIS, betas: np.ndarray = AXIS) -> Surface:
    return surface_of(function(alphas[:, None], betas[None, :]), alphas, betas)


def mistake(view: InterpolatedSurface, function) -> np.ndarray:
    return np.abs(view.loss - function(view.alphas[:, None], view.betas[None, :]))


def waves(seed: int, scale: float):
    """A random smooth function that changes over about ``scale``."""
    stream = np.random.default_rng(seed)
    frequencies, phases = stream.normal(size=(40, 2)) / scale, stream.uniform(0, 2 * np.pi, 40)
    return lambda a, b: sum(np.cos(u * a + v * b + p) for (u, v), p in zip(frequencies, phases, strict=True))


# ------------------------------------------------------------------------------------------------------- the spline


def test_cubics_are_reproduced_and_their_error_is_that_of_rounding():
    coefficients = np.random.default_rng(0).normal(size=(4, 4))

    def cubic(a, b):
        return np.polynomial.polynomial.polyval2d(*np.broadcast_arrays(a, b), coefficients)

    uneven = np.array([-1, -0.8, -0.1, 0.0, 0.3, 1.0, 1.1])
    for axes in ((AXIS, AXIS), (uneven, AXIS[:7])):
        surface = computed(cubic, *axes)
        view = interpolate(surface, points=(37, 50))
        # a spline amplifies the rounding of values below 20 by no more than about 10
        assert mistake(view, cubic).max() < 1e-13
        assert 0 < view.max_error < 1e-12
        assert view.order == 4.0


def test_it_is_the_spline_of_scipy():
    from scipy.interpolate import RectBivariateSpline

    alphas, betas = np.sort(np.random.default_rng(1).uniform(size=(2, 9)), axis=1)
    loss = np.random.default_rng(2).normal(size=(9, 6))
    view = interpolate(surface_of(loss, alphas, betas[:6]), points=(33, 20))
    theirs = RectBivariateSpline(alphas, betas[:6], loss, s=0)(view.alphas, view.betas)
    np.testing.assert_allclose(view.loss, theirs, rtol=0, atol=1e-11 * np.abs(theirs).max())  # uneven nodes: rounding


def test_nodes_keep_what_was_computed_bit_for_bit():
    surface = computed(waves(0, 0.3))
    view = interpolate(surface, points=(41, 31))  # every 4th and every 3rd
    for name in ("loss", "accuracy", "status"):
        assert getattr(view, name)[::4, ::3].tobytes() == getattr(surface, name).tobytes()
    assert (view.error[::4, ::3] == 0).all()
    assert view.alphas[::4].tobytes() == surface.alphas.tobytes()
    assert view.center_loss == surface.center_loss
    between = view.status == INTERPOLATED
    assert between.sum() == 41 * 31 - 121
    assert np.isnan(view.accuracy[between]).all()
    assert (view.error[between] > 0).all()
    assert not view.complete
    assert interpolate(surface, points=11).complete


def test_a_node_without_a_value_leaves_its_cells_open_and_moves_nothing_else():
    def quadratic(a, b):
        return 3 * a**2 + a * b - b**2 + 2

    loss = quadratic(AXIS[:, None], AXIS[None, :])
    loss[3, 4], loss[3, 5], loss[10, 10], loss[7, 7] = np.nan, np.inf, -np.inf, np.nan
    surface = surface_of(loss)
    status = surface.status.copy()
    status[7, 7] = MISSING
    surface = replace(surface, status=status)
    view = interpolate(surface, points=41)
    holes = np.zeros((41, 41), bool)
    for i, j in ((3, 4), (3, 5), (10, 10), (7, 7)):
        holes[max(4 * i - 3, 0) : 4 * i + 4, max(4 * j - 3, 0) : 4 * j + 4] = True
    np.testing.assert_array_equal(~np.isfinite(view.loss), holes)
    np.testing.assert_array_equal(~np.isfinite(view.error), holes)
    assert mistake(view, quadratic)[~holes].max() < 1e-13  # each stretch of nodes is enough for a parabola
    assert view.loss[12, 20] == np.inf and view.loss[40, 40] == -np.inf and np.isnan(view.loss[12, 16])
    assert (view.status[holes] != INTERPOLATED).all()
    assert set(view.status[25:32, 25:32].ravel()) == {MISSING}
    assert set(view.status[9:16, 13:24].ravel()) == {NON_FINITE}
    swapped = surface_of(loss.T)
    np.testing.assert_array_equal(interpolate(swapped, points=41).loss, view.loss.T)


def test_a_lone_node_between_gaps_has_its_own_value_only():
    loss = np.full((5, 5), np.nan)
    loss[2, 2] = 7.0
    view = interpolate(surface_of(loss, AXIS[:5], AXIS[:5]), points=9)
    assert np.isfinite(view.loss).sum() == 1 and view.loss[4, 4] == 7.0
    assert math.isnan(view.relative_error)
    nothing = interpolate(surface_of(np.full((5, 5), np.nan), AXIS[:5], AXIS[:5]), points=9)
    assert math.isnan(nothing.max_error) and not np.isfinite(nothing.loss).any()


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (1, 1), (3, 3), (3, 9), (4, 5)])
def test_small_grids(shape):
    alphas, betas = np.linspace(0, 1, shape[0]), np.linspace(0, 1, shape[1])
    view = interpolate(computed(lambda a, b: a + 2 * b, alphas, betas), points=13)
    assert view.loss.shape == tuple(13 if count > 1 else 1 for count in shape)
    assert mistake(view, lambda a, b: a + 2 * b).max() < 1e-14
    assert view.max_error <= 1e-13


def test_two_nodes_along_an_axis_show_no_error():
    view = interpolate(computed(lambda a, b: a**2 + b, AXIS[:2], AXIS), points=5)
    assert math.isnan(view.max_error) and math.isnan(view.order) and math.isnan(view.relative_error)
    assert np.isfinite(view.loss).all()


def test_losses_so_large_that_a_spline_overflows_are_no_number_and_no_warning():
    loss = np.where(np.arange(11) % 2, 1.0, -1.0)[:, None] * np.full((11, 11), 1.7e308)
    view = interpolate(surface_of(loss), points=21)
    lost = ~np.isfinite(view.loss)
    assert (view.status[lost] == NON_FINITE).all()


# -------------------------------------------------------------------------------------------------------- its error


@given(st.integers(0, 2**32 - 1), st.floats(0.3, 2.0), st.sampled_from([7, 9, 11, 12, 21]))
def test_the_estimate_covers_the_error_of_smooth_functions(seed, scale, points):
    axis = np.linspace(-1, 1, points)
    scale = max(scale, 2.5 / (points - 1))  # shorter waves hide between the nodes
    function = waves(seed, scale)
    view = interpolate(computed(function, axis, axis), points=61)
    wrong = mistake(view, function)
    assert wrong.max() <= view.max_error
    resolved = points >= 11 and scale >= 8 / (points - 1)  # four distances of the nodes
    assert not resolved or view.max_error <= 30 * wrong.max() + 1e-10  # and is of some use
    assert (wrong <= view.error + 1e-12).mean() > 0.97  # where it is, as well as how large


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: np.exp(2 * a - b),
        lambda a, b: a**4 + 3 * b**4 - a**2 * b**2,
        lambda a, b: np.log1p(np.exp(5 * a + 3 * b)) + np.log1p(np.exp(-4 * b)),
        lambda a, b: 1 / (1 + 4 * a**2 + b**2),
        lambda a, b: np.abs(a - 0.13) + b**2,
        lambda a, b: np.abs(a + b) + 0 * a,
        lambda a, b: np.maximum(0, 0.7 * a - 0.4 * b + 0.05) ** 2,
    ],
)
@pytest.mark.parametrize("points", [9, 11, 21])
def test_the_estimate_covers_the_error_of_known_functions(function, points):
    axis = np.linspace(-1, 1, points)
    view = interpolate(computed(function, axis, axis), points=81)
    assert mistake(view, function).max() <= view.max_error


def test_the_estimate_covers_nearly_every_kink():
    stream = np.random.default_rng(0)
    covered = []
    for _ in range(100):
        (u, v), shift = stream.normal(size=2), stream.uniform(-0.7, 0.7)

        def kink(a, b, u=u, v=v, shift=shift):
            return np.abs(u * a + v * b + shift)

        view = interpolate(computed(kink), points=61)
        wrong = mistake(view, kink).max()
        covered.append(wrong <= view.max_error)
        assert wrong <= 3 * view.max_error
    assert np.mean(covered) >= 0.97


def test_a_kink_along_a_grid_line_is_mostly_seen():
    covered = []
    for shift in np.linspace(-0.7, 0.7, 71):
        view = interpolate(computed(lambda a, b, s=shift: np.abs(a - s) + 0 * b), points=(201, 11))
        wrong = mistake(view, lambda a, b, s=shift: np.abs(a - s) + 0 * b).max()
        covered.append(wrong <= view.max_error)
    assert np.mean(covered) >= 0.75


def test_the_order_of_a_smooth_function_is_seen():
    axis = np.linspace(-1, 1, 33)
    assert interpolate(computed(lambda a, b: np.exp(a + b), axis, axis)).order == pytest.approx(4, abs=0.4)
    assert interpolate(computed(lambda a, b: np.abs(a - 0.013) + b, axis, axis)).order < 2


def test_logarithms_help_where_the_loss_is_like_a_trained_networks():
    """A steep valley with a flat floor: softplus of a cone, in the way of cross-entropy around a minimum."""

    def valley(a, b):
        return np.log1p(np.exp(8 * np.sqrt(a**2 + 0.3 * b**2 + 0.1 * a * b + 0.02) - 6)) + 0.25

    axis = np.linspace(-1, 1, 11)
    surface = computed(valley, axis, axis)
    view = interpolate(surface, points=21)
    method = view.provenance["interpolated"]["method"]
    assert method == "mean of a bicubic spline of the loss and one of its logarithm"
    lifted = interpolate(replace(surface, loss=surface.loss + 10), points=21)  # no decade: the plain spline
    assert lifted.provenance["interpolated"]["method"] == "bicubic spline"
    wrong = mistake(view, valley).max()
    plain = np.abs(lifted.loss - 10 - valley(view.alphas[:, None], view.betas)).max()
    assert wrong < 0.6 * plain and wrong <= view.max_error
    nodes = view.status == DONE
    assert nodes.sum() == 121 and (view.loss[nodes] == surface.loss.ravel()).all()


def test_logarithms_are_left_where_they_do_not_help():
    view = interpolate(computed(lambda a, b: (a + 1.2) ** 3 + (b + 1.2) ** 2), points=31)
    assert view.provenance["interpolated"]["method"] == "bicubic spline"
    assert mistake(view, lambda a, b: (a + 1.2) ** 3 + (b + 1.2) ** 2).max() < 1e-12


def test_a_networks_surface(objective):
    every = evaluate_surface(objective, random_plane(objective, seed=0), points=41, progress=False)
    coarse = surface_of(every.loss[::4, ::4], every.alphas[::4], every.betas[::4])
    view = interpolate(coarse, points=41)
    wrong, extent = np.abs(view.loss - every.loss).max(), np.ptp(every.loss)
    assert wrong <= view.max_error
    assert wrong <= 0.005 * extent
    assert view.relative_error == pytest.approx(view.max_error / np.ptp(view.loss))
    assert view.max_error < 0.05 * extent


def test_the_plane_stays_with_the_view_and_its_file(objective, tmp_path: Path):
    plane = random_plane(objective, seed=1)
    view = interpolate(evaluate_surface(objective, plane, points=5, progress=False), points=9)
    assert view.plane is plane
    view.save(tmp_path / "with.npz")
    view.save(tmp_path / "without.npz", keep_directions=False)
    kept = InterpolatedSurface.load(tmp_path / "with.npz")
    assert kept.plane is not None and kept.directions == view.directions
    for mine, theirs in zip(kept.plane.directions, plane.directions, strict=True):
        assert torch.equal(mine.vector, theirs.vector)
    assert InterpolatedSurface.load(tmp_path / "without.npz").plane is None


# -------------------------------------------------------------------------------------- it always says what it is


def test_it_is_labeled_everywhere(tmp_path: Path):
    surface = replace(computed(waves(3, 0.5)), provenance={"loss": "mse_loss"})
    view = interpolate(surface, points=31)
    assert "31x31 points from 11x11 computed" in repr(view)
    assert "estimated" in repr(view)
    label = view.provenance["interpolated"]
    assert label["nodes"] == [11, 11] and label["method"] == "bicubic spline"
    assert label["max_error"] == view.max_error and view.provenance["loss"] == "mse_loss"
    assert "interpolated" not in surface.provenance
    low = interpolate(computed(waves(3, 0.5), AXIS[:3], AXIS), points=5)
    assert low.provenance["interpolated"]["method"] == "spline of degree 2 x 3"
    view.save(tmp_path / "view.npz")
    with pytest.raises(MismatchError, match="InterpolatedSurface"):
        Surface.load(tmp_path / "view.npz")
    loaded = InterpolatedSurface.load(tmp_path / "view.npz")
    for name in ("alphas", "betas", "loss", "accuracy", "status", "error"):
        assert getattr(loaded, name).tobytes() == getattr(view, name).tobytes()
    assert (loaded.nodes, loaded.order, loaded.provenance) == (view.nodes, view.order, view.provenance)
    with pytest.raises(DataError, match="interpolated already"):
        interpolate(view)


@pytest.mark.parametrize("backend", ["plotly", "matplotlib"])
@pytest.mark.parametrize("draw", [plotting.contour, plotting.surface3d])
def test_figures_say_it(draw, backend):
    surface = computed(lambda a, b: 2 + a**2 + b**4)
    view = interpolate(surface, points=21)

    def words(shown, **options):
        figure = draw(shown, backend=backend, **options)
        text = figure.layout.title.text if backend == "plotly" else " ".join(one.get_text() for one in figure.texts)
        return " ".join(text.replace("<br>", " ").split())

    assert "interpolated" not in words(surface).lower()
    said = words(view)
    assert "trained weights, interpolated" in said
    assert "Interpolated, not computed: bicubic spline through 11x11 computed points (error estimated at no" in said
    assert "Interpolated, not computed: B, bicubic" in words({"A": surface, "B": view}, title="Mine")
    assert "could not be estimated" in words(interpolate(computed(lambda a, b: a + b, AXIS[:2], AXIS), points=5))


def test_the_text_under_the_pointer_says_it():
    view = interpolate(computed(lambda a, b: 2 + a**2 + b**4), points=21)
    texts = plotting.contour(view).data[0].text
    assert "interpolated" in texts[0][1] and "interpolated" not in texts[0][0]
    figure = SurfaceExplorer({"A": view}).figure()
    assert "Interpolated, not computed" in figure.layout.title.text.replace("<br>", " ")


def test_what_cannot_be_interpolated():
    surface = computed(lambda a, b: a + b)
    with pytest.raises(ConfigError, match="one point"):
        interpolate(surface, points=1)
    with pytest.raises(ConfigError, match="pair"):
        interpolate(surface, points=(1, 2, 3))
    with pytest.raises(DataError, match="do not ascend"):
        interpolate(surface_of(surface.loss, AXIS[::-1]))
