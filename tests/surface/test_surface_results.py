"""Results are saved whole and read back bit for bit, NaN included; nothing else is read as a result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from landscape.errors import CorruptFileError, MismatchError, StorageError
from landscape.storage import save_arrays
from landscape.surface import Line, Profile, Surface


@pytest.fixture
def surface() -> Surface:
    loss = np.array([[1.0, np.nan, 3.0], [0.1, np.inf, -np.inf]])
    return Surface(
        alphas=[0.0, 1.0],
        betas=[-1.0, 0.0, 1.0],
        loss=loss,
        accuracy=loss / 7,
        status=[[1, 0, 1], [1, 2, 2]],
        directions=({"seed": 3, "norm": "filter"}, {"seed": 4, "norm": "filter"}),
        provenance={"model": "Net", "versions": {"torch": "2"}, "loss": float("nan")},
    )


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


def test_surface_round_trip(surface: Surface, tmp_path: Path) -> None:
    surface.save(tmp_path / "s.npz")
    loaded = Surface.load(tmp_path / "s.npz")
    for name in ("alphas", "betas", "loss", "accuracy", "status"):
        assert same(getattr(surface, name), getattr(loaded, name))
    assert loaded.directions == surface.directions
    assert repr(loaded.provenance) == repr(surface.provenance)
    assert not loaded.complete and np.isnan(loaded.center_loss)


def test_line_and_profile_round_trip(tmp_path: Path) -> None:
    line = Line(alphas=[0, 1], loss=[1, np.nan], accuracy=[0, 1], status=[1, 2], directions=({"a": 1},), provenance={})
    line.save(tmp_path / "line.npz")
    loaded = Line.load(tmp_path / "line.npz")
    assert same(line.loss, loaded.loss) and loaded.complete and loaded.center_loss == 1.0
    beside = Line(alphas=[1, 2], loss=[1, 2], accuracy=[0, 1], status=[1, 1], directions=(), provenance={})
    assert np.isnan(beside.center_loss)
    curves = {"random": np.array([0.5, np.nan]), "sam": np.array([0.5, 2.0])}
    profile = Profile(
        kinds=("random", "sam"), radii=[0, 1], loss=curves, stderr=curves, base_loss=0.5, provenance={"seed": 1}
    )
    profile.save(tmp_path / "profile.npz")
    again = Profile.load(tmp_path / "profile.npz")
    assert again.kinds == profile.kinds and again.base_loss == 0.5 and again.provenance == {"seed": 1}
    assert all(same(again.loss[kind], profile.loss[kind]) for kind in curves)


def test_arrays_are_copies_that_cannot_be_written(surface: Surface) -> None:
    with pytest.raises(ValueError, match="read-only"):
        surface.loss[0, 0] = 5.0
    mine = np.zeros(2)
    line = Line(alphas=mine, loss=mine, accuracy=mine, status=mine, directions=(), provenance={})
    mine[0] = 1.0
    assert line.loss[0] == 0.0


def test_a_file_of_another_kind(surface: Surface, tmp_path: Path) -> None:
    surface.save(tmp_path / "s.npz")
    with pytest.raises(MismatchError, match="Surface/1"):
        Line.load(tmp_path / "s.npz")
    save_arrays(tmp_path / "mine.npz", {"loss": np.zeros(3)})
    with pytest.raises(MismatchError, match="something else"):
        Surface.load(tmp_path / "mine.npz")
    with pytest.raises(StorageError, match="There is no file"):
        Surface.load(tmp_path / "none.npz")


def test_truncation_at_any_length(surface: Surface, tmp_path: Path) -> None:
    surface.save(tmp_path / "s.npz")
    data = (tmp_path / "s.npz").read_bytes()
    for length in range(0, len(data), 97):
        (tmp_path / "cut.npz").write_bytes(data[:length])
        with pytest.raises(CorruptFileError):
            Surface.load(tmp_path / "cut.npz")


def test_shapes_that_do_not_fit(surface: Surface) -> None:
    fields = {name: getattr(surface, name) for name in ("alphas", "betas", "accuracy", "status")}
    with pytest.raises(MismatchError, match="loss does not fit"):
        Surface(**fields, loss=np.zeros((3, 2)), directions=(), provenance={})
    with pytest.raises(MismatchError, match="curves"):
        Profile(kinds=("sam",), radii=[0], loss={}, stderr={"sam": [0]}, base_loss=0.0, provenance={})
