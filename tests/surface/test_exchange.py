"""Files of other programs: numbers as they are, axes the right way round, nothing taken for what it is not."""

from __future__ import annotations

import base64
import csv
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from landscape import plotting
from landscape.errors import (
    ConfigError,
    CorruptFileError,
    DataError,
    MismatchError,
    MissingDependencyError,
    StorageError,
)
from landscape.surface import Line, Surface, interpolate
from landscape.surface.exchange import (
    export_csv,
    export_hdf5,
    export_result,
    export_vtp,
    import_csv,
    import_hdf5,
    import_result,
)
from landscape.surface.results import INTERPOLATED

FIELDS = ("alphas", "betas", "loss", "accuracy", "status")


@pytest.fixture
def surface() -> Surface:
    """Three by four points with every kind of number."""
    loss = np.array([[1.0, 0.1, 1 / 3, np.nan], [-0.0, np.inf, -np.inf, np.nan], [5e-324, 1e308, 2.5, -7.0]])
    return Surface(
        alphas=[-1.0, 0.0, 0.7],
        betas=[-2.0, -0.1, 1 / 7, 2.0],
        loss=loss,
        accuracy=np.where(np.isfinite(loss), [0.1, 0.25, 1 / 3, np.nan], np.nan),
        status=[[1, 1, 1, 2], [1, 2, 2, 0], [1, 1, 1, 1]],
        directions=({"norm": "filter", "seed": 1}, {"norm": "filter", "seed": 2}),
        provenance={"loss": "mse_loss", "nothing": float("nan")},
    )


@pytest.fixture
def line(surface: Surface) -> Line:
    return Line(
        alphas=surface.betas, loss=surface.loss[1], accuracy=surface.accuracy[0], status=surface.status[1],
        directions=surface.directions[:1], provenance=surface.provenance,
    )  # fmt: skip


@pytest.fixture
def smooth() -> Surface:
    axis = np.linspace(-1, 1, 7)
    loss = 1 + axis[:, None] ** 2 + axis[:4] ** 4
    return Surface(
        alphas=axis, betas=axis[:4], loss=loss, accuracy=loss / 10, status=np.ones((7, 4)), directions=({}, {}),
        provenance={},
    )  # fmt: skip


def same(one, other, names=FIELDS) -> bool:
    return all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in names)


# ---------------------------------------------------------------------------------------------------------- CSV


def test_a_table_holds_every_number_bit_for_bit(surface, line, tmp_path):
    negative = surface.loss.copy()
    negative[0, 3] = -np.nan  # its sign differs, and is kept
    for one in (surface, replace(surface, loss=negative), replace(surface, alphas=surface.alphas[::-1])):
        export_csv(one, tmp_path / "s.csv")
        again = import_csv(tmp_path / "s.csv")
        assert type(again) is Surface and same(one, again)
        assert again.provenance == {"imported_from": "s.csv"}
    export_csv(line, tmp_path / "l.csv")
    again = import_csv(tmp_path / "l.csv")
    assert type(again) is Line and same(line, again, ("alphas", "loss", "accuracy", "status"))


def test_a_table_is_what_others_expect(surface, line, tmp_path):
    export_csv(surface, tmp_path / "s.csv")
    with open(tmp_path / "s.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["alpha", "beta", "loss", "accuracy", "status"]
    assert len(rows) == 12
    assert rows[2] == ["-1.0", repr(1 / 7), repr(1 / 3), repr(1 / 3), "done"]
    assert [row[-1] for row in rows[3:8]] == ["non-finite", "done", "non-finite", "non-finite", "missing"]
    export_csv(line, tmp_path / "l.csv")
    assert (tmp_path / "l.csv").read_text().splitlines()[0] == "alpha,loss,accuracy,status"
    assert b"\r" not in (tmp_path / "l.csv").read_bytes()


def test_tables_of_others_in_any_order(tmp_path):
    (tmp_path / "t.csv").write_text("beta, loss ,step,alpha\n1,4,x,1\n0,1,x,0\n\n1,nan,x,0\n")
    found = import_csv(tmp_path / "t.csv")
    assert (found.alphas.tolist(), found.betas.tolist()) == ([0, 1], [0, 1])
    np.testing.assert_array_equal(found.loss, [[1, np.nan], [np.nan, 4]])
    assert found.status.tolist() == [[1, 2], [0, 1]] and not found.complete
    assert np.isnan(found.accuracy).all()


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("", CorruptFileError, "cannot be read"),
        ("x,y\n1,2\n", CorruptFileError, "no table of losses"),
        ("alpha,loss\n1,two\n", CorruptFileError, "no number"),
        ("alpha,loss\n1,2,3\n", CorruptFileError, "another length"),
        ("alpha,loss,status\n1,2,fine\n", CorruptFileError, "unknown status"),
        ("alpha,loss\n1,2\n1,3\n", MismatchError, "twice"),
        ("alpha,loss\n", CorruptFileError, "no rows"),
        ("alpha,loss\nnan,2\n", CorruptFileError, "no place"),
        ("alpha,beta,loss\n" + "".join(f"{i},{i},0\n" for i in range(999)), MismatchError, "no grid"),
        ("alpha,loss\n\0,2\n", CorruptFileError, "no number|cannot be read"),
    ],
)
def test_tables_that_are_none(text, error, words, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(error, match=words):
        import_csv(tmp_path / "t.csv")


def test_an_interpolated_view_is_called_so_in_every_file(smooth, tmp_path):
    view = interpolate(smooth, points=13)
    export_csv(view, tmp_path / "v.csv")
    again = import_csv(tmp_path / "v.csv")
    assert same(view, again)
    assert again.provenance["interpolated"]["max_error"] == view.max_error
    assert again.provenance["interpolated"]["relative_error"] == view.relative_error
    assert "Interpolated, not computed" in plotting.contour(again).layout.title.text.replace("<br>", " ")
    (tmp_path / "w.csv").write_text("alpha,loss,status\n0,1,done\n1,2,interpolated\n")
    assert np.isnan(import_csv(tmp_path / "w.csv").provenance["interpolated"]["max_error"])
    export_vtp(view, tmp_path / "v.vtp")
    arrays = parsed(tmp_path / "v.vtp")[1]
    np.testing.assert_array_equal(arrays["interpolated"], (view.status == INTERPOLATED).ravel())
    np.testing.assert_array_equal(arrays["error"], view.error.ravel())
    pytest.importorskip("h5py")
    export_hdf5(view, tmp_path / "v.h5")
    again = import_hdf5(tmp_path / "v.h5")
    assert (again.status == INTERPOLATED).all()
    assert again.provenance["interpolated"] == view.provenance["interpolated"]


# ---------------------------------------------------------------------------------------------------------- VTK


def parsed(path: Path) -> tuple[ElementTree.Element, dict[str, np.ndarray]]:
    """A .vtp file by the standard library alone: the piece, and its arrays by name."""
    root = ElementTree.parse(path).getroot()
    assert root.attrib == {
        "type": "PolyData", "version": "1.0", "byte_order": "LittleEndian", "header_type": "UInt64"
    }  # fmt: skip
    (piece,) = root.findall("PolyData/Piece")
    arrays = {}
    for kind in ("PointData", "Points", "Polys"):
        for array in piece.find(kind):
            data = base64.b64decode(array.text)
            assert int.from_bytes(data[:8], "little") == len(data) - 8
            dtype = {"Float64": "<f8", "Int64": "<i8", "UInt8": "u1"}[array.attrib["type"]]
            arrays[array.attrib["Name"]] = np.frombuffer(data[8:], dtype=dtype)
    return piece, arrays


def test_paraview_gets_every_finite_point_and_the_cells_between_them(surface, tmp_path):
    export_vtp(surface, tmp_path / "s.vtp")
    piece, arrays = parsed(tmp_path / "s.vtp")
    finite = np.isfinite(surface.loss)
    alphas, betas = np.meshgrid(surface.alphas, surface.betas, indexing="ij")
    points = arrays["Points"].reshape(-1, 3)
    assert points.tobytes() == np.stack([alphas, betas, surface.loss], axis=-1)[finite].tobytes()
    assert int(piece.attrib["NumberOfPoints"]) == len(points) == 8
    for name in ("loss", "accuracy", "status"):
        assert arrays[name].tobytes() == getattr(surface, name)[finite].tobytes()
    positive = points[:, 2] > 0
    np.testing.assert_array_equal(arrays["log_loss"][positive], np.log10(points[positive, 2]))
    assert np.isnan(arrays["log_loss"][~positive]).all()
    # of the six cells two have three finite corners, the others fewer
    assert int(piece.attrib["NumberOfPolys"]) == 2 and arrays["offsets"].tolist() == [3, 6]
    corners = [tuple(points[i, :2].tolist()) for i in arrays["connectivity"]]
    assert set(corners[:3]) == {(-1.0, -2.0), (0.0, -2.0), (-1.0, -0.1)}
    assert set(corners[3:]) == {(0.0, -2.0), (0.7, -2.0), (0.7, -0.1)}
    for empty in ("NumberOfVerts", "NumberOfLines", "NumberOfStrips"):
        assert piece.attrib[empty] == "0"
    assert piece.find("PointData").attrib["Scalars"] == "loss"


def test_cells_are_quadrilaterals_seen_from_above_and_tile_the_plane(smooth, tmp_path):
    export_vtp(smooth, tmp_path / "s.vtp")
    piece, arrays = parsed(tmp_path / "s.vtp")
    assert int(piece.attrib["NumberOfPolys"]) == 6 * 3
    corners = arrays["Points"].reshape(-1, 3)[arrays["connectivity"].reshape(-1, 4)]
    assert arrays["offsets"].tolist() == list(range(4, 73, 4))
    x, y = corners[..., 0], corners[..., 1]
    areas = 0.5 * (x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)
    np.testing.assert_allclose(areas, 1 / 9)  # all counterclockwise, all of a cell's size
    assert len({tuple(sorted(cell)) for cell in arrays["connectivity"].reshape(-1, 4).tolist()}) == 18


def test_a_gap_is_bordered_by_triangles(smooth, tmp_path):
    loss = smooth.loss.copy()
    loss[2, 1] = np.nan
    export_vtp(replace(smooth, loss=loss), tmp_path / "s.vtp")
    piece, arrays = parsed(tmp_path / "s.vtp")
    sizes = np.diff(arrays["offsets"], prepend=0)
    assert sorted(sizes.tolist()) == [3] * 4 + [4] * 14
    assert int(piece.attrib["NumberOfPoints"]) == 27 and arrays["connectivity"].max() == 26


def test_the_height_may_be_the_logarithm(smooth, tmp_path):
    loss = smooth.loss.copy()
    loss[0, 0] = 0.0
    export_vtp(replace(smooth, loss=loss), tmp_path / "s.vtp", log=True)
    arrays = parsed(tmp_path / "s.vtp")[1]
    np.testing.assert_array_equal(arrays["Points"].reshape(-1, 3)[:, 2], np.log10(loss.ravel()[1:]))
    assert arrays["loss"][0] == loss[0, 1]


def test_what_paraview_cannot_show(surface, line, tmp_path):
    with pytest.raises(DataError, match="Only surfaces"):
        export_vtp(line, tmp_path / "l.vtp")
    with pytest.raises(DataError, match="No point"):
        export_vtp(replace(surface, loss=surface.loss * np.nan), tmp_path / "n.vtp")
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------------------------- HDF5


def written_by_the_original(path: Path, x: np.ndarray, y: np.ndarray | None, **values) -> None:
    """As plot_surface.py does: an array of shape (x, y), filled in the flat order of numpy's meshgrid."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["dir_file"] = "directions.h5"
        file["xcoordinates"] = x
        if y is not None:
            file["ycoordinates"] = y
        for name, function in values.items():
            stored = -np.ones(len(x) if y is None else (len(x), len(y)))
            coordinates = [x] if y is None else [grid.ravel() for grid in np.meshgrid(x, y)]
            for index, point in enumerate(zip(*coordinates, strict=True)):
                stored.ravel()[index] = function(*point)
            file[name] = stored


@pytest.mark.parametrize("count", [3, 5])
def test_a_file_of_the_original_program(count, tmp_path):
    x, y = np.linspace(-1, 1, count), np.linspace(-2, 2, 3)
    written_by_the_original(
        tmp_path / "s.h5", x, y, train_loss=lambda a, b: 10 * a + b if a < 0.9 else -1,
        train_acc=lambda a, b: 75.0 + b if a < 0.9 else -1, test_loss=lambda a, b: a - 7 * b,
    )  # fmt: skip
    found = import_hdf5(tmp_path / "s.h5")
    assert (found.alphas.tolist(), found.betas.tolist()) == (x.tolist(), y.tolist())
    expected = 10 * x[:, None] + y
    expected[-1] = np.nan
    np.testing.assert_array_equal(found.loss, expected)
    assert (found.status[-1] == 0).all() and (found.status[:-1] == 1).all()
    np.testing.assert_allclose(found.accuracy[0], (75 + y) / 100, rtol=1e-15)
    assert np.isnan(found.accuracy[-1]).all()
    assert found.provenance == {"imported_from": "s.h5"}
    test = import_hdf5(tmp_path / "s.h5", split="test", missing=None)
    np.testing.assert_array_equal(test.loss, x[:, None] - 7 * y)
    assert np.isnan(test.accuracy).all() and test.complete
    turned = import_hdf5(tmp_path / "s.h5", rows="x")
    assert turned.loss[0, 1] == (expected[1, 0] if count == 3 else expected.T.ravel()[1])


def test_the_original_programs_reader_sees_the_right_points(smooth, tmp_path):
    h5py = pytest.importorskip("h5py")
    export_hdf5(smooth, tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5", "r") as file:
        x, y = np.meshgrid(file["xcoordinates"][:], file["ycoordinates"][:])
        assert file["train_loss"].shape == (7, 4)
        np.testing.assert_allclose(file["train_loss"][:].ravel(), (1 + x**2 + y**4).ravel(), rtol=1e-15)
        np.testing.assert_allclose(file["train_acc"][:].ravel(), 10 * (1 + x**2 + y**4).ravel(), rtol=1e-15)


def test_hdf5_round_trip(surface, line, tmp_path):
    pytest.importorskip("h5py")
    half = replace(surface, loss=surface.loss / 2)
    export_hdf5({"train": surface, "test": half}, tmp_path / "s.h5")
    again = import_hdf5(tmp_path / "s.h5")
    assert same(surface, again, ("alphas", "betas", "loss", "status"))
    np.testing.assert_allclose(again.accuracy, surface.accuracy, rtol=1e-15)  # through percent
    assert again.directions == surface.directions
    assert again.provenance["loss"] == "mse_loss" and again.provenance["imported_from"] == "s.h5"
    np.testing.assert_array_equal(import_hdf5(tmp_path / "s.h5", split="test").loss, half.loss)
    export_hdf5(line, tmp_path / "l.h5")
    back = import_hdf5(tmp_path / "l.h5")
    assert type(back) is Line and same(line, back, ("alphas", "loss", "status"))
    written_by_the_original(tmp_path / "o.h5", np.arange(3.0), None, train_loss=lambda a: a, train_acc=lambda a: 50)
    assert import_hdf5(tmp_path / "o.h5").loss.tolist() == [0, 1, 2]


def test_a_loss_of_minus_one_is_not_taken_for_a_missing_point(surface, tmp_path):
    pytest.importorskip("h5py")
    loss = surface.loss.copy()
    loss[0, 0] = -1.0
    real = replace(surface, loss=loss)
    with pytest.raises(DataError, match="exactly -1"):
        export_hdf5(real, tmp_path / "s.h5")
    assert not (tmp_path / "s.h5").exists()
    export_hdf5(real, tmp_path / "s.h5", keep_minus_one=True)
    assert same(real, import_hdf5(tmp_path / "s.h5"), ("loss", "status"))
    written_by_the_original(tmp_path / "o.h5", np.arange(2.0), None, train_loss=lambda a: a - 1)
    assert import_hdf5(tmp_path / "o.h5").status.tolist() == [0, 1]
    assert import_hdf5(tmp_path / "o.h5", missing=None).status.tolist() == [1, 1]
    assert import_hdf5(tmp_path / "o.h5", missing=0.0).status.tolist() == [1, 0]


def test_hdf5_files_that_hold_something_else(surface, tmp_path):
    h5py = pytest.importorskip("h5py")
    with pytest.raises(StorageError, match="There is no file"):
        import_hdf5(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(CorruptFileError, match="cannot be read"):
        import_hdf5(tmp_path / "text.h5")
    export_hdf5(surface, tmp_path / "s.h5")
    with pytest.raises(MismatchError, match="no test_loss"):
        import_hdf5(tmp_path / "s.h5", split="test")
    data = (tmp_path / "s.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptFileError):
        import_hdf5(tmp_path / "cut.h5")
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["xcoordinates"], file["train_loss"] = np.zeros(3), np.zeros(4)
    with pytest.raises(MismatchError, match="do not fit"):
        import_hdf5(tmp_path / "odd.h5")
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file.create_group("xcoordinates"), file.create_group("train_loss")
    with pytest.raises(CorruptFileError):
        import_hdf5(tmp_path / "group.h5")
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        del file["landscape_train"]
        file["landscape_train"] = '{"provenance": 3}'
    with pytest.raises(CorruptFileError):
        import_hdf5(tmp_path / "s.h5")
    with pytest.raises(MismatchError, match="same axes"):
        export_hdf5({"train": surface, "test": replace(surface, alphas=surface.alphas * 2)}, tmp_path / "m.h5")
    with pytest.raises(DataError, match="nothing to export"):
        export_hdf5({}, tmp_path / "m.h5")
    with pytest.raises(StorageError):
        export_hdf5(surface, tmp_path / "text.h5" / "s.h5")


def test_without_h5py_the_error_says_what_to_install(surface, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingDependencyError, match="pip install h5py"):
        export_hdf5(surface, tmp_path / "s.h5")
    with pytest.raises(MissingDependencyError, match="pip install h5py"):
        import_hdf5(tmp_path / "s.h5")
    export_result(surface, tmp_path / "s.csv")  # the rest works


# -------------------------------------------------------------------------------------------------- by the name


def test_the_name_of_a_file_says_its_format(surface, tmp_path):
    pytest.importorskip("h5py")
    for name in ("a.csv", "a.h5", "a.HDF5"):
        export_result(surface, tmp_path / name)
        assert same(surface, import_result(tmp_path / name), ("alphas", "betas", "loss", "status"))
    export_result(surface, tmp_path / "a.vtp")
    assert parsed(tmp_path / "a.vtp")
    with pytest.raises(ConfigError, match=r"Unknown format '\.vtk'.*'\.vtp'"):
        export_result(surface, tmp_path / "a.vtk")
    with pytest.raises(ConfigError, match="Unknown format"):
        import_result(tmp_path / "a.vtp")
    with pytest.raises(ConfigError, match="'results'"):
        export_result(surface, tmp_path / "results")
