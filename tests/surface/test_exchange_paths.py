"""Profiles, trajectories and curves as tables; and what is said of results that a format cannot hold."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from landscape.errors import DataError, LandscapeError
from landscape.surface import (
    Curve,
    Profile,
    Trajectory,
    export_result,
    import_result,
    surface_topology,
    trajectory_plane,
)
from landscape.surface.exchange import EXPORTS, export_hdf5, import_hdf5

STREAM = torch.Generator().manual_seed(0)
ODD = [0.1, 1 / 3, np.nan, np.inf, 5e-324]


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def column(rows: list[dict[str, str]], name: str) -> bytes:
    return np.array([float(row[name]) for row in rows]).tobytes()


@pytest.fixture
def profile() -> Profile:
    curves = {"random": ODD, "sam": ODD[::-1]}
    stderr = {"random": np.sqrt(ODD), "sam": np.zeros(5)}
    return Profile(
        kinds=("random", "sam"), radii=np.arange(5) / 7, loss=curves, stderr=stderr, base_loss=0.1, provenance={}
    )


@pytest.fixture
def trajectory() -> Trajectory:
    return trajectory_plane(torch.randn(6, 9, generator=STREAM), steps=[0, 5, 10, 15, 20, 25], progress=False)  # type: ignore


@pytest.fixture
def curve() -> Curve:
    start, middle, end = torch.randn(3, 4, generator=STREAM)
    return Curve(
        t=np.linspace(0, 1, 5), loss=ODD, accuracy=ODD[::-1], history=[1.0], start=start, middle=middle, end=end,
        provenance={},
    )  # fmt: skip


def test_a_profile_has_a_row_for_each_kind_and_radius(profile, tmp_path):
    export_result(profile, tmp_path / "a.csv")
    rows = read(tmp_path / "a.csv")
    assert [*rows[0]] == ["kind", "radius", "loss", "stderr"]
    assert [row["kind"] for row in rows] == ["random"] * 5 + ["sam"] * 5
    for kind in profile.kinds:
        mine = [row for row in rows if row["kind"] == kind]
        assert column(mine, "radius") == profile.radii.tobytes()
        assert column(mine, "loss") == profile.loss[kind].tobytes()
        assert column(mine, "stderr") == profile.stderr[kind].tobytes()


def test_a_trajectory_has_a_row_for_each_checkpoint(trajectory, tmp_path):
    export_result(trajectory, tmp_path / "a.csv")
    rows = read(tmp_path / "a.csv")
    assert [*rows[0]] == ["step", "alpha", "beta", "distance"]
    assert [row["step"] for row in rows] == ["0", "5", "10", "15", "20", "25"]
    assert column(rows, "alpha") == trajectory.coordinates[:, 0].tobytes()
    assert column(rows, "beta") == trajectory.coordinates[:, 1].tobytes()
    assert column(rows, "distance") == trajectory.distance.tobytes()


def test_a_curve_has_a_row_for_each_place(curve, tmp_path):
    export_result(curve, tmp_path / "a.csv")
    rows = read(tmp_path / "a.csv")
    assert [*rows[0]] == ["t", "loss", "accuracy"]
    for name in rows[0]:
        assert column(rows, name) == getattr(curve, name).tobytes()


def test_no_table_of_a_path_is_taken_for_a_surface(profile, trajectory, curve, tmp_path):
    for result in (profile, trajectory, curve):
        export_result(result, tmp_path / "a.csv")
        with pytest.raises(LandscapeError, match=r"no table of losses.*columns alpha, beta"):
            import_result(tmp_path / "a.csv")


def test_the_advice_about_another_format_works(profile, trajectory, curve, results, tmp_path):
    line = results.lines["SGD"]
    for result in (profile, trajectory, curve, line):
        with pytest.raises(DataError, match=r"Only surfaces.*Write a \.csv file"):
            export_result(result, tmp_path / "a.vtp")
        export_result(result, tmp_path / "a.csv")
    for result in (profile, trajectory, curve):
        for name in ("a.h5", "a.hdf5"):
            with pytest.raises(DataError, match=r"cannot hold it.*as \.csv"):
                export_result(result, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("suffix", EXPORTS)
def test_several_results_and_results_of_other_kinds(results, tmp_path, suffix):
    surfaces, path = results.surfaces, tmp_path / f"a{suffix}"
    topology = surface_topology(surfaces["SGD"])
    for thing in (topology, {"train": topology}, {}, [surfaces["SGD"]], "surface", None):
        with pytest.raises(DataError, match=r"Expected: .*What to do: "):
            export_result(thing, path)  # type: ignore[arg-type]
    if suffix in (".csv", ".vtp"):
        with pytest.raises(DataError, match="Write a file for each"):
            export_result(surfaces, path)
        for label, surface in surfaces.items():
            export_result(surface, path.with_stem(label.split()[0]))
    else:
        export_result(surfaces, path)
        assert import_hdf5(path, split="SGD").loss.tobytes() == surfaces["SGD"].loss.tobytes()


def test_a_loss_of_minus_one_names_what_can_be_called(results, tmp_path):
    surface = results.surfaces["SGD"]
    loss = surface.loss.copy()
    loss[2, 3] = -1.0
    surface = replace(surface, loss=loss)
    with pytest.raises(DataError, match=r"exactly -1.*\.csv.*exchange\.export_hdf5\(result, path, keep_minus_one=True"):
        export_result(surface, tmp_path / "a.h5")
    export_result(surface, tmp_path / "a.csv")
    assert import_result(tmp_path / "a.csv").loss.tobytes() == loss.tobytes()
    export_hdf5(surface, tmp_path / "a.h5", keep_minus_one=True)
    assert import_result(tmp_path / "a.h5").loss.tobytes() == loss.tobytes()


@pytest.mark.parametrize("suffix", EXPORTS)
@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "\ud800"])
def test_names_that_no_disk_takes(results, tmp_path, suffix, name):
    path = f"{tmp_path}/{name}{suffix}"
    with pytest.raises(LandscapeError, match="What to do: "):
        export_result(results.surfaces["SGD"], path)
    with pytest.raises(LandscapeError, match="What to do: "):
        import_result(path)
    assert list(tmp_path.iterdir()) == []
