"""Whatever a config, a notebook or an archive says, the path stays below its root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from landscape.errors import LandscapeError, MismatchError, StorageError
from landscape.storage import (
    FolderLock,
    Ledger,
    append_line,
    as_path,
    load_arrays,
    read_json,
    require_file,
    require_writable,
    safe_join,
    save_arrays,
    sha256_file,
    write_bytes,
    write_json,
    write_text,
)

pieces = st.sampled_from(["..", ".", "/", "\\", "\0", ":", "a", "C:", "~", "con", "\n", "\ud800", " ", "-"])
parts = st.one_of(st.text(st.characters(exclude_categories=[]), max_size=12), st.lists(pieces, max_size=6).map("".join))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with a link that stays inside, one that leads outside, and a loop."""
    root = tmp_path_factory.mktemp("root")
    (root / "folder").mkdir()
    (root / "inside").symlink_to(root / "folder")
    (root / "outside").symlink_to(root.parent)
    (root / "loop").symlink_to(root / "loop")
    return root


@given(names=st.lists(parts, max_size=3))
@settings(max_examples=200)
@example(names=["outside"])
@example(names=["folder", "..", ".."])
@example(names=["\ud800"])
@example(names=["n" * 5000])
def test_a_path_stays_below_its_root_or_is_refused(root, names):
    try:
        path = safe_join(root, *names)
    except MismatchError:
        return
    assert path.is_relative_to(root.resolve())
    assert path.resolve().is_relative_to(root.resolve())


@pytest.mark.parametrize(
    "part",
    ["", "/etc/passwd", "..", "a/../../b", "a/..", "a\0b", "..\\b", "C:/x", "c:x", "con", "NUL.txt", "a/aux", "a\nb"],
)
def test_refused_with_what_to_do(root, part):
    with pytest.raises(MismatchError, match="could lead outside") as caught:
        safe_join(root, part)
    assert "What to do" in str(caught.value)
    with pytest.raises(MismatchError):
        safe_join(root, "a", part)


@pytest.mark.parametrize("part", ["outside", "outside/x", "loop", "loop/x"])
def test_links_that_lead_outside_are_refused(root, part):
    with pytest.raises(MismatchError, match="link"):
        safe_join(root, part)


@pytest.mark.parametrize(
    "part", ["a", "a/b.json", "inside/x", ".hidden", "a..b", "...", "console", "step_00000000.safetensors", "ü", "a b"]
)
def test_plain_names_are_joined(root, part):
    assert safe_join(root, part) == root.resolve() / part


def test_a_root_that_is_a_link_and_a_root_that_is_not_there(root, tmp_path):
    assert safe_join(root / "inside", "x") == root.resolve() / "folder" / "x"
    assert safe_join(tmp_path / "not yet", "x") == tmp_path.resolve() / "not yet" / "x"
    assert safe_join(root) == root.resolve()


# --------------------------------------------------------------------------------------------- what may be a path

USES = {
    "write_bytes": lambda path: write_bytes(path, b"a"),
    "write_text": lambda path: write_text(path, "a"),
    "write_json": lambda path: write_json(path, 1),
    "read_json": read_json,
    "require_writable": require_writable,
    "save_arrays": lambda path: save_arrays(path, {}),
    "load_arrays": load_arrays,
    "sha256_file": sha256_file,
    "append": lambda path: Ledger(path).append({"a": 1}),
    "append_line": lambda path: append_line(path, "a"),
    "lock": lambda path: FolderLock(path).acquire(),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("path", [None, 5, 0, True, b"a", "", "a\0b", "\ud800", ["a"], ..., int], ids=repr)
def test_what_cannot_be_a_path_is_told_by_every_function(use, path, tmp_path, monkeypatch):
    """Also 0 and 1, which ``open`` takes for open files."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=r"Expected: .*Got: .*What to do: "):
        USES[use](path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("use", USES)
def test_a_name_that_is_too_long_for_the_disk(use, tmp_path):
    with pytest.raises(StorageError, match="What to do: "):
        USES[use](tmp_path / ("a" * 300))
    assert list(tmp_path.iterdir()) == []


@given(text=parts)
@settings(max_examples=200)
@example(text="")
def test_every_text_is_a_path_or_one_error(text):
    try:
        path = as_path(text)
    except LandscapeError as error:
        assert "Expected: " in str(error) and "What to do: " in str(error)
    else:
        assert path == Path(text) and os.fsencode(path)
        os.path.exists(path)  # the system takes it


def test_names_that_are_no_text_but_files_have_them_are_taken(tmp_path):
    name = os.fsdecode(b"caf\xe9")  # latin-1, as old disks hold it
    write_text(tmp_path / name, "a")
    assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [b"caf\xe9"]


@pytest.mark.parametrize("name", ["missing.npz", "a" * 5000, "."])
def test_a_file_that_is_not_there(tmp_path, name):
    with pytest.raises(StorageError, match=r"There is no file .*What to do: Check the path\."):
        require_file(tmp_path / name)
    (tmp_path / "whole").write_text("")
    assert require_file(str(tmp_path / "whole")) == tmp_path / "whole"
