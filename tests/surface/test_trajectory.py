"""The plane of a path: known paths, the singular value decomposition, and what lies beside the plane."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from landscape.errors import ConfigError, MismatchError, NonFiniteError
from landscape.objective import Objective
from landscape.progress import Progress, progress_bar
from landscape.seeding import generator
from landscape.surface import Trajectory, evaluate_surface, trajectory_plane


def find(points: Sequence, **options: object) -> Trajectory:
    return trajectory_plane(points, progress=False, **options)


def basis(count: int, size: int = 60) -> torch.Tensor:
    """Orthonormal rows (count, size)."""
    stream = generator(0, "tests", "basis")
    return torch.linalg.qr(torch.randn(size, count, generator=stream, dtype=torch.float64)).Q.T


def walk(count: int = 12, size: int = 60, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    steps = torch.randn(count, size, generator=generator(1, "tests", "walk"), dtype=torch.float64)
    return list(steps.cumsum(0).to(dtype))


def test_a_path_in_two_dimensions_is_held_whole() -> None:
    """1e-12: sums of 60 products of numbers up to 4."""
    axes, angles = basis(2), torch.linspace(0, 5, 9, dtype=torch.float64)
    plain = torch.stack([4 * angles.cos(), angles.sin()], dim=1)
    found = find(list(plain @ axes + 7.0))
    assert found.explained_by_plane == pytest.approx(1, abs=1e-14)
    assert found.explained[0] > 0.8 and len(found.explained) == 8
    np.testing.assert_allclose(found.distance, 0, atol=1e-12)
    np.testing.assert_allclose(found.relative_distance, 0, atol=1e-10)
    apart = torch.cdist(plain, plain).numpy()
    on_plane = torch.from_numpy(np.array(found.coordinates))
    np.testing.assert_allclose(torch.cdist(on_plane, on_plane).numpy(), apart, atol=1e-7)  # cdist squares
    assert (found.coordinates[-1] == 0).all()  # the last point is the origin
    assert abs(found.plane.cosine) < 1e-14


def test_a_helix_leaves_its_plane_by_its_height() -> None:
    """A flat helix around the last point: the plane is that of the circle, the distance is the height."""
    axes, angles = basis(3), 2 * torch.pi * torch.arange(13, dtype=torch.float64) / 12
    height = 0.1 * (-1.0) ** torch.arange(13, dtype=torch.float64)  # up and down, so that no tilted plane is better
    points = torch.stack([10 * angles.cos(), 7 * angles.sin(), height], dim=1)[:12]
    path = [*(points @ axes), torch.zeros(60, dtype=torch.float64)]
    found = find(path)
    np.testing.assert_allclose(found.distance[:12], 0.1, rtol=1e-9)
    np.testing.assert_allclose(np.abs(found.coordinates[:12, 0]), points[:, 0].abs().numpy(), atol=1e-9)
    np.testing.assert_allclose(np.abs(found.coordinates[:12, 1]), points[:, 1].abs().numpy(), atol=1e-9)
    squares = np.array([600, 294, 0.12])  # 12 points: 100 / 2, 49 / 2 and 0.01 each
    np.testing.assert_allclose(found.explained[:3], squares / squares.sum(), rtol=1e-9)
    assert found.explained.sum() == pytest.approx(1, rel=1e-14)
    whole = points.norm(dim=1).numpy()
    np.testing.assert_allclose(found.relative_distance[:12], 0.1 / whole, rtol=1e-9)
    assert found.distance[12] == 0 and found.relative_distance[12] == 0


@pytest.mark.parametrize("center", ["last", "mean"])
@pytest.mark.parametrize("memory", [2**30, 16 * 60 * 5, 0])
def test_axes_are_singular_vectors(center: str, memory: int) -> None:
    """Against numpy's SVD of the whole matrix; 1e-9: squares of singular values lose half of the digits' margin."""
    path = walk()
    matrix = torch.stack(path).numpy()
    origin = matrix[-1] if center == "last" else matrix.mean(0)
    _, values, vectors = np.linalg.svd(matrix - origin, full_matrices=False)
    found = find(path, center=center, memory=memory)
    np.testing.assert_allclose(found.explained, (values**2 / (values**2).sum())[:11], rtol=1e-9, atol=1e-14)
    for mine, theirs in zip(found.plane.directions, vectors, strict=False):
        assert abs(mine.vector.numpy() @ theirs) == pytest.approx(1, abs=1e-12)
    places = (matrix - origin) @ vectors[:2].T
    np.testing.assert_allclose(np.abs(found.coordinates), np.abs(places), atol=1e-9)
    rest = np.linalg.norm(matrix - origin - places @ vectors[:2], axis=1)
    np.testing.assert_allclose(found.distance, rest, atol=1e-9)
    np.testing.assert_allclose(found.plane.origin.numpy(), origin, atol=1e-13)
    assert found.coordinates[np.abs(found.coordinates).argmax(0), [0, 1]].min() > 0  # the sign is a choice, always one


def test_memory_and_sequences_that_read_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reader(Sequence):
        """Gives each point anew and counts."""

        def __init__(self, points: list[torch.Tensor]) -> None:
            self.points, self.reads = points, 0

        def __len__(self) -> int:
            return len(self.points)

        def __getitem__(self, index: int) -> torch.Tensor:
            self.reads += 1
            return self.points[index].clone()

    bars = []

    def counted(total: int, **options: object) -> Progress:
        bars.append((total, progress_bar(total, desc="", unit="", enabled=False)))
        return bars[-1][1]

    monkeypatch.setattr("landscape.surface.trajectory.progress_bar", counted)
    path = walk(dtype=torch.float32)
    before = [point.clone() for point in path]
    whole, pieces = Reader(path), Reader(path)
    first, second = find(whole), find(pieces, memory=16 * 60 * 5)  # blocks of 5, 5 and 2 points
    assert whole.reads == 1 + 2 * 12 and pieces.reads == 1 + 3 * 12 + 5 + 10
    assert [(total, bar.done) for total, bar in bars] == [(24, 24), (51, 51)]
    np.testing.assert_allclose(first.coordinates, second.coordinates, rtol=1e-5)  # float32 axes
    assert all(map(torch.equal, path, before))
    assert first.plane.origin.data_ptr() != path[-1].data_ptr()


def test_single_precision_says_where_its_own_plane_is() -> None:
    """Coordinates fit the axes as they are stored: 1e-6 of weights of order 10 would be their rounding."""
    path = walk(dtype=torch.float32)
    found = find(path)
    axes = torch.stack([direction.vector for direction in found.plane.directions]).double()
    rebuilt = found.plane.origin.double() + torch.from_numpy(np.array(found.coordinates)) @ axes
    beside = torch.stack(path).double() - rebuilt
    np.testing.assert_allclose((beside @ axes.T).numpy(), 0, atol=1e-13)
    np.testing.assert_allclose(beside.norm(dim=1).numpy(), found.distance, rtol=1e-12)


def test_models_on_their_plane(tiny_problem) -> None:
    models = []
    for number in range(4):
        models.append(copy.deepcopy(tiny_problem.model))
        with torch.no_grad():
            for parameter in models[-1].parameters():
                parameter *= 1 + 0.3 * number
                parameter.add_(0.05 * number**2)
    found = find(models, steps=[0, 10, 20, 40])  # w, 1.3 w + c, ...: all in the plane of w and a constant vector
    objective = Objective(models[0], tiny_problem.data)
    assert found.steps.tolist() == [0, 10, 20, 40] and found.steps.dtype == np.int64
    assert found.explained_by_plane == pytest.approx(1)
    (low, high), _ = found.extent(0.1)
    assert low < found.coordinates[:, 0].min() and high > found.coordinates[:, 0].max()
    for place, model in zip(found.coordinates, models, strict=True):
        reach = tuple((x, x + 1.0) for x in place.tolist())
        surface = evaluate_surface(objective, found.plane, extent=reach, points=2, progress=False)
        own = Objective(model, tiny_problem.data).evaluate().loss
        assert surface.loss[0, 0] == pytest.approx(own, rel=1e-9)
    assert found.directions[0]["layout"] == objective.layout.fingerprint
    assert found.directions[1]["details"] == {"component": 2, "explained": found.explained[1]}


def test_trajectories_are_saved_whole(tmp_path: Path) -> None:
    found = find(walk(), steps=range(0, 120, 10), center="mean")
    found.save(tmp_path / "t.npz")
    loaded = Trajectory.load(tmp_path / "t.npz")
    for name in ("steps", "coordinates", "distance", "explained"):
        mine, theirs = getattr(found, name), getattr(loaded, name)
        assert mine.tobytes() == theirs.tobytes() and mine.dtype == theirs.dtype and not theirs.flags.writeable
    assert (loaded.center, loaded.directions, loaded.provenance) == (found.center, found.directions, found.provenance)
    for mine, theirs in zip(found.plane.directions, loaded.plane.directions, strict=True):
        assert torch.equal(mine.vector, theirs.vector) and mine.record() == theirs.record()
    assert torch.equal(found.plane.origin, loaded.plane.origin)
    found.save(tmp_path / "bare.npz", keep_directions=False)
    assert Trajectory.load(tmp_path / "bare.npz").plane is None
    assert repr(loaded).startswith("Trajectory(12 checkpoints, ") and "%" in repr(loaded)


def test_paths_that_have_no_plane() -> None:
    path = walk(4)
    with pytest.raises(ConfigError, match="at least 3"):
        find(path[:2])
    with pytest.raises(ConfigError, match="Did you mean 'mean'"):
        find(path, center="means")
    with pytest.raises(ConfigError, match="steps"):
        find(path, steps=[1, 2])
    for count in range(3, 40):
        with pytest.raises(MismatchError, match="spans no plane"):
            find([path[0] + np.sin(k) * path[1] for k in range(count)])
    with pytest.raises(MismatchError, match="spans no plane"):
        find([path[0]] * 4)
    with pytest.raises(MismatchError, match="Point 1"):
        find([path[0], torch.zeros(3), path[1]])
    with pytest.raises(MismatchError, match="Point 0"):
        find([nn.Linear(2, 1, bias=False), *[nn.Linear(1, 2, bias=False)] * 3])
    with pytest.raises(NonFiniteError, match="at 1, 2"):
        find([path[0], path[1] * np.nan, path[2] * np.inf, path[3]])
