"""Arrays come back equal or not at all: damage of any kind is found, and nothing is unpickled or inflated."""

from __future__ import annotations

import io
import os
import shutil
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from landscape.errors import CorruptFileError, StorageError
from landscape.storage import load_arrays, save_arrays, sha256_arrays

SAMPLE = {
    "loss": np.array([[1.0, np.nan], [-np.inf, 0.0]]),
    "status": np.array([[1, 2], [0, 1]], dtype=np.uint8),
    "provenance": np.array('{"seed": 0}'),
    "empty": np.zeros((0, 3)),
}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Equal names, dtypes, shapes and bits."""
    return a.keys() == b.keys() and all(
        (a[k].dtype, a[k].shape, a[k].tobytes()) == (b[k].dtype, b[k].shape, b[k].tobytes()) for k in a
    )


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """The sample's file content, and a path to write damaged copies to."""
    path = tmp_path_factory.mktemp("arrays") / "a.npz"
    save_arrays(path, SAMPLE)
    return path.read_bytes(), path.with_name("damaged.npz")


def loads_equal_or_is_refused(path) -> bool:
    """Whether the file was refused; fails where it loads as something else."""
    try:
        arrays = load_arrays(path)
    except CorruptFileError as error:
        assert str(path) in str(error)
        assert "What to do" in str(error)
        return True
    assert same(arrays, SAMPLE)
    return False


def test_arrays_come_back_equal(sample, tmp_path):
    save_arrays(tmp_path / "a.npz", SAMPLE)
    assert same(load_arrays(tmp_path / "a.npz"), SAMPLE)


dtypes = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.floating_dtypes(),
    hnp.complex_number_dtypes(),
    hnp.unicode_string_dtypes(max_len=4),
)
array = dtypes.flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\\"), min_size=1, max_size=8)


@given(arrays=st.dictionaries(names, array, max_size=4))
@settings(max_examples=60)
def test_any_names_dtypes_and_shapes_round_trip(sample, arrays):
    path = sample[1].with_name("any.npz")
    save_arrays(path, arrays)
    assert same(load_arrays(path), arrays)


@pytest.mark.parametrize("name", ["file", "allow_pickle", "args", "a.npy", "a/b", "../a", "/a"])
def test_names_that_mean_something_to_numpy_or_zip_are_just_names(tmp_path, name):
    arrays = {"a": np.arange(3), name: np.arange(4.0)}
    save_arrays(tmp_path / "a.npz", arrays)
    assert same(load_arrays(tmp_path / "a.npz"), arrays)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("name", ["", "__sha256__", "a\0b", "a\\b"])
def test_names_that_would_be_lost_are_refused(tmp_path, name):
    with pytest.raises(StorageError, match="named"):
        save_arrays(tmp_path / "a.npz", {name: np.zeros(1)})
    assert list(tmp_path.iterdir()) == []


def test_memory_order_is_no_matter_and_arrays_are_writable(tmp_path):
    c = np.arange(6.0).reshape(2, 3)
    save_arrays(tmp_path / "c", {"a": c})
    save_arrays(tmp_path / "f", {"a": np.asfortranarray(c)})
    save_arrays(tmp_path / "s", {"a": np.repeat(c, 2, axis=1)[:, ::2]})
    loaded = [load_arrays(tmp_path / name)["a"] for name in "cfs"]
    assert all(np.array_equal(a, c) and a.flags.writeable for a in loaded)


def test_the_same_arrays_give_the_same_bytes_and_numpy_reads_them(tmp_path):
    for name in ("a.npz", "b.npz"):
        save_arrays(tmp_path / name, SAMPLE)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert np.array_equal(archive["loss"], SAMPLE["loss"], equal_nan=True)


@given(position=st.integers(0), mask=st.integers(1, 255))
@settings(max_examples=300)
def test_a_flipped_bit_is_found_or_changes_nothing(sample, position, mask):
    content, path = sample
    damaged = bytearray(content)
    damaged[position % len(content)] ^= mask
    path.write_bytes(damaged)
    loads_equal_or_is_refused(path)


def test_bit_flips_in_the_data_are_refused(sample):
    content, path = sample
    start = content.index(SAMPLE["loss"].tobytes())
    for position in range(start, start + SAMPLE["loss"].nbytes):
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        assert loads_equal_or_is_refused(path)


def test_a_file_cut_anywhere_is_refused(sample):
    content, path = sample
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        assert loads_equal_or_is_refused(path)


@given(junk=st.binary(max_size=200))
def test_junk_is_refused(sample, junk):
    path = sample[1]
    path.write_bytes(junk)
    assert loads_equal_or_is_refused(path)


def forge(path, members: dict[str, np.ndarray], compression=zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, values in members.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, values)
            archive.writestr(f"{name}.npy", data.getvalue())


def test_an_array_exchanged_behind_the_checksum_is_found(tmp_path):
    path = tmp_path / "a.npz"
    a = {"a": np.zeros(3)}
    forge(path, a | {"__sha256__": np.array(sha256_arrays(a))})
    assert same(load_arrays(path), a)
    for other in (np.zeros(3, dtype=np.int64), np.zeros((1, 3)), np.zeros(4), np.array([0, 0, -0.0])):
        forge(path, {"a": other, "__sha256__": np.array(sha256_arrays(a))})
        with pytest.raises(CorruptFileError, match="checksum"):
            load_arrays(path)
    forge(path, a)
    with pytest.raises(CorruptFileError, match="checksum"):
        load_arrays(path)


def test_a_number_and_a_list_of_one_number_differ():
    assert sha256_arrays({"a": np.array(1.0)}) != sha256_arrays({"a": np.array([1.0])})
    fields = [np.zeros(1, dtype=[(name, "f8")]) for name in ("x", "y")]
    assert sha256_arrays({"a": fields[0]}) != sha256_arrays({"a": fields[1]})


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("wrap", [True, False], ids=["npz", "npy"])
def test_object_arrays_are_refused_unopened(tmp_path, wrap):
    bomb, path = np.array([Bomb(str(tmp_path / "exploded"))], dtype=object), tmp_path / "a.npz"
    if wrap:
        forge(path, {"a": bomb, "__sha256__": np.array("")})
    else:
        np.save(tmp_path / "a.npy", bomb, allow_pickle=True)
        shutil.move(tmp_path / "a.npy", path)
    with pytest.raises(CorruptFileError):
        load_arrays(path)
    assert not (tmp_path / "exploded").exists()


def test_object_arrays_are_not_written(tmp_path):
    with pytest.raises(StorageError, match="Python objects"):
        save_arrays(tmp_path / "a.npz", {"a": np.array([{}], dtype=object)})
    assert list(tmp_path.iterdir()) == []


def peak_of_refusal(path) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(CorruptFileError):
            load_arrays(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_zip_bomb_is_refused_before_it_is_inflated(tmp_path):
    path = tmp_path / "a.npz"
    forge(path, {"a": np.zeros(4_000_000)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    assert peak_of_refusal(path) < 1_000_000  # inflated: 32 MB


def test_a_header_that_promises_more_than_there_is_allocates_nothing(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", header.getvalue() + bytes(8))
    assert peak_of_refusal(path) < 1_000_000


def test_two_members_of_one_name_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    save_arrays(path, {"a": np.zeros(1)})
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a.npy", archive.read("a.npy"))
    with pytest.raises(CorruptFileError, match="one name"):
        load_arrays(path)
