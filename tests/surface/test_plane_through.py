"""Planes through three models: where the models lie, and that the surface passes through their losses."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from landscape.errors import ConfigError, MismatchError
from landscape.objective import Objective
from landscape.seeding import generator
from landscape.surface import Direction, Plane, evaluate_surface, plane_through, random_plane


def moved(model: nn.Module, seed: int, size: float = 0.5) -> nn.Module:
    twin, stream = copy.deepcopy(model), generator(seed, "tests", "moved")
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter += size * torch.randn(parameter.shape, generator=stream, dtype=torch.float64).to(parameter.dtype)
    return twin


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("orthonormal", [False, True])
def test_three_models_have_their_own_losses_on_the_surface(tiny_problem, orthonormal: bool, dtype: torch.dtype) -> None:
    """1e-6 relative: in float32 a point is off by a rounding or two."""
    models = [moved(tiny_problem.model, seed).to(dtype) for seed in (1, 2, 3)]
    objectives = [Objective(model, tiny_problem.data, batch_size=16) for model in models]
    plane = plane_through(*models, orthonormal=orthonormal, names=("SGD", "SAM", "AMP"))
    assert list(plane.marks) == ["SGD", "SAM", "AMP"] and plane.marks["SGD"] == (0.0, 0.0)
    for asked in objectives:  # of whichever model: the plane has its own origin
        for place, theirs in zip(plane.marks.values(), objectives, strict=True):
            found = evaluate_surface(
                asked, plane, extent=tuple((x, x + 1.0) for x in place), points=2, progress=False
            )  # the first point of both axes is the model
            assert found.loss[0, 0] == pytest.approx(theirs.evaluate().loss, rel=1e-6)


def test_barycentric_axes(tiny_problem) -> None:
    a, b, c = (moved(tiny_problem.model, seed) for seed in (1, 2, 3))
    plane = plane_through(a, b, c)
    wa, wb, wc = (Objective(model, tiny_problem.data).weights() for model in (a, b, c))
    assert torch.equal(plane.origin, wa) and plane.marks == {"a": (0.0, 0.0), "b": (1.0, 0.0), "c": (0.0, 1.0)}
    coordinates, distance = plane.project([0.2 * wa + 0.5 * wb + 0.3 * wc, a])
    np.testing.assert_allclose(coordinates, [[0.5, 0.3], [0.0, 0.0]], atol=1e-14)  # some roundings of order 1
    np.testing.assert_allclose(distance, 0.0, atol=1e-13)
    assert plane.extent(0.1) == ((-0.1, 1.1), (-0.1, 1.1))


def test_orthonormal_axes_keep_lengths_and_angles(tiny_problem) -> None:
    a, b, c = (moved(tiny_problem.model, seed) for seed in (1, 2, 3))
    plane = plane_through(a, b, c, orthonormal=True)
    weights = [Objective(model, tiny_problem.data).weights() for model in (a, b, c)]
    assert abs(plane.cosine) < 1e-14
    assert [direction.length for direction in plane.directions] == pytest.approx([1.0, 1.0], rel=1e-14)
    places = np.array(list(plane.marks.values()))
    for i in range(3):
        for j in range(i):
            apart = float((weights[i] - weights[j]).norm())
            assert np.linalg.norm(places[i] - places[j]) == pytest.approx(apart, rel=1e-13)
    assert places[1, 1] == pytest.approx(0, abs=1e-13) and places[2, 1] > 0


def test_distances_from_a_skewed_plane() -> None:
    """By hand: the plane of the first two coordinates, with axes (1, 0, 0) and (1, 2, 0)."""
    axes = [Direction(vector=torch.tensor(v), kind="mine", norm="none") for v in ([1.0, 0.0, 0.0], [1.0, 2.0, 0.0])]
    plane = Plane(*axes, origin=torch.tensor([0.0, 0.0, 1.0]))
    coordinates, distance = plane.project([torch.tensor([3.0, 4.0, -4.0]), torch.tensor([0.0, 0.0, 1.0])])
    np.testing.assert_allclose(coordinates, [[1.0, 2.0], [0.0, 0.0]], atol=1e-15)
    np.testing.assert_allclose(distance, [5.0, 0.0], atol=1e-15)
    with pytest.raises(MismatchError, match="no point of its own"):
        Plane(*axes).project([torch.zeros(3)])
    with pytest.raises(MismatchError, match="another model"):
        plane.project([torch.zeros(2)])
    with pytest.raises(MismatchError, match="origin"):
        Plane(*axes, origin=torch.zeros(2))


def test_axes_that_are_nearly_parallel_cost_no_digits() -> None:
    """A point of the plane is as far from it as its own rounding, 1e-16 of its length, however skewed the axes are."""
    stream = generator(0, "tests", "skewed")
    first, other = (torch.randn(50, generator=stream, dtype=torch.float64) for _ in range(2))
    axes = [Direction(vector=v, kind="mine", norm="none") for v in (first, first + 2e-3 * other)]
    point = 300 * axes[0].vector - 200 * axes[1].vector
    coordinates, distance = Plane(*axes).project([point], origin=torch.zeros_like(point))
    np.testing.assert_allclose(coordinates, [[300, -200]], rtol=1e-6)  # 1e-16 times the condition number, squared
    assert distance[0] < 1e-12


def test_the_origin_is_where_a_plane_is_looked_at_from(objective: Objective, snapshot, assert_unchanged) -> None:
    plane = random_plane(objective, seed=1)
    elsewhere = objective.weights() + 0.3 * plane.direction1.vector
    anchored = Plane(*plane.directions, origin=elsewhere)
    before = snapshot(objective.model)
    found = evaluate_surface(objective, anchored, points=3, progress=False)
    assert_unchanged(before, objective.model)
    assert found.center_loss == objective.evaluate(elsewhere).loss != objective.evaluate().loss
    own = Plane(*plane.directions, origin=objective.weights())
    here = evaluate_surface(objective, own, points=3, progress=False)
    assert here.loss.tobytes() == evaluate_surface(objective, plane, points=3, progress=False).loss.tobytes()
    assert found.provenance["weights_sha256"] != here.provenance["weights_sha256"]
    assert found.provenance["plane"]["origin_sha256"] == found.provenance["weights_sha256"]


def test_one_extent_for_each_axis(objective: Objective) -> None:
    found = evaluate_surface(
        objective, random_plane(objective), extent=((-1.0, 2.0), (0.0, 0.5)), points=(4, 2), progress=False
    )
    assert found.alphas.tolist() == [-1.0, 0.0, 1.0, 2.0] and found.betas.tolist() == [0.0, 0.5]
    with pytest.raises(ConfigError, match="low < high"):
        evaluate_surface(objective, random_plane(objective), extent=((0, 1), (1, 0)), points=2, progress=False)


def test_three_that_make_no_plane(tiny_problem) -> None:
    a, b = (moved(tiny_problem.model, seed) for seed in (1, 2))
    start, end = (Objective(model, tiny_problem.data).weights() for model in (a, b))
    with pytest.raises(MismatchError, match="span no plane"):
        plane_through(a, b, start + 0.5 * (end - start))
    with pytest.raises(MismatchError, match="span no plane"):
        plane_through(a, b, a)
    with pytest.raises(MismatchError, match="one architecture"):
        plane_through(a, b, nn.Linear(118, 1).double())
    with pytest.raises(ConfigError, match="three different names"):
        plane_through(a, b, moved(a, 3), names=("x", "y", "x"))
    with pytest.raises(ConfigError, match="no marks"):
        random_plane(Objective(a, tiny_problem.data)).extent()
    with pytest.raises(ConfigError, match="margin"):
        plane_through(a, b, moved(a, 3)).extent(-1)


def test_orthogonalized_planes_keep_their_marks(tiny_problem) -> None:
    models = [moved(tiny_problem.model, seed) for seed in (1, 2, 3)]
    plane = plane_through(*models).orthogonalized()
    coordinates, distance = plane.project(models)
    np.testing.assert_allclose(coordinates, list(plane.marks.values()), atol=1e-13)
    np.testing.assert_allclose(distance, 0, atol=1e-12)
