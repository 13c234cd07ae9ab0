"""Files of published datasets: nothing damaged or half-written is ever taken for data. The network is file://."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile

import pytest

from landscape.datasets import Archive, Member, ensure_files
from landscape.datasets import files as files_module
from landscape.errors import CorruptFileError, DataError, StorageError


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def tar_of(contents):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as pack:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            pack.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(contents):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as pack:
        for name, content in contents.items():
            pack.writestr(name, content)
    return buffer.getvalue()


PARTS = {"batches/one": b"1" * 1000, "batches/two": b"2" * 1000, "batches/readme.html": b"read me"}
CASES = {
    "tar": ("set.tar.gz", tar_of(PARTS), {"batches/one": PARTS["batches/one"], "batches/two": PARTS["batches/two"]}),
    "gz": ("raw/images.gz", gzip.compress(b"pixels" * 100, mtime=0), {"raw/images": b"pixels" * 100}),
    "zip": ("signs/set.zip", zip_of({"S/Train/a.ppm": b"a", "list.csv": b"x;y"}), {"signs/list.csv": b"x;y"}),
    "plain": ("digits.mat", b"MATLAB" * 50, {"digits.mat": b"MATLAB" * 50}),
}


@pytest.fixture(params=sorted(CASES))
def case(request, tmp_path):
    """(archive, its content, its members' contents), with a server that has it."""
    path, content, members = CASES[request.param]
    server = tmp_path / "server" / "file"
    server.parent.mkdir()
    server.write_bytes(content)
    archive = Archive(
        path=path,
        md5=md5(content),
        urls=("file:///nowhere/at/all", server.as_uri()),
        members=tuple(Member(name, md5(value)) for name, value in members.items()),
    )
    return archive, content, members


def ensure(archive, root, **settings):
    ensure_files("toy", [archive], root, progress=False, **settings)


def check(root, members):
    assert {name: (root / name).read_bytes() for name in members} == members
    assert not [path for path in root.rglob("*") if "unpacking" in path.name or "tmp" in path.name]


def test_a_download_is_verified_unpacked_and_kept(case, tmp_path):
    archive, content, members = case
    ensure(archive, tmp_path / "data", download=True)
    check(tmp_path / "data", members)
    assert (tmp_path / "data" / archive.path).read_bytes() == content
    (tmp_path / "server" / "file").unlink()
    ensure(archive, tmp_path / "data", download=True)  # there already: no network


def test_an_archive_that_is_there_is_unpacked_without_a_download(case, tmp_path):
    archive, content, members = case
    place = tmp_path / "data" / archive.path
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    ensure(archive, tmp_path / "data")
    check(tmp_path / "data", members)


def test_what_was_unpacked_by_hand_will_do(case, tmp_path):
    archive, _, members = case
    for name, value in members.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(value)
    ensure(archive, tmp_path / "data")


def test_a_missing_file_is_never_fetched_unasked(case, tmp_path):
    archive, *_ = case
    with pytest.raises(DataError, match=f"MD5 {archive.md5}.*landscape data download toy"):
        ensure(archive, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_wrong_download_never_reaches_the_folder(case, tmp_path):
    archive, content, _ = case
    (tmp_path / "server" / "file").write_bytes(content[:-1])
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        ensure(archive, tmp_path / "data", download=True)
    message = str(caught.value)
    assert "/nowhere/at/all" in message and f"{len(content) - 1} bytes" in message
    assert str(tmp_path / "data" / archive.path) in message and archive.md5 in message
    assert not (tmp_path / "data").exists()


def test_a_damaged_member_is_named_and_mended_when_asked(case, tmp_path):
    archive, _, members = case
    root, name = tmp_path / "data", sorted(members)[0]
    ensure(archive, root, download=True)
    (root / name).write_bytes(b"damage")
    with pytest.raises(CorruptFileError, match=f"(?s){name} is damaged.*{md5(members[name])}.*{md5(b'damage')}"):
        ensure(archive, root)
    assert (root / name).read_bytes() == b"damage"  # the user's file is not touched unasked
    ensure(archive, root, download=True)
    check(root, members)
    assert (root / (name + ".corrupt")).read_bytes() == b"damage"


def test_a_damaged_archive_is_named_and_fetched_again_when_asked(case, tmp_path):
    archive, content, members = case
    place = tmp_path / "data" / archive.path
    place.parent.mkdir(parents=True)
    place.write_bytes(content[:-3])
    with pytest.raises(CorruptFileError, match=place.name):
        ensure(archive, tmp_path / "data")
    ensure(archive, tmp_path / "data", download=True)
    check(tmp_path / "data", members)


@pytest.mark.parametrize("case", ["tar", "zip"], indirect=True)
def test_an_interrupted_unpacking_leaves_nothing_that_looks_whole(case, tmp_path, monkeypatch):
    archive, content, members = case
    place = tmp_path / "data" / archive.path
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    real, calls = files_module.os.replace, []

    def interrupted(source, target):
        calls.append(target)
        raise KeyboardInterrupt

    monkeypatch.setattr(files_module.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ensure(archive, tmp_path / "data")
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == [place]
    monkeypatch.setattr(files_module.os, "replace", real)
    ensure(archive, tmp_path / "data")
    check(tmp_path / "data", members)


def test_an_archive_cannot_write_outside_the_folder(tmp_path):
    content = tar_of({"../escaped": b"x", "inside": b"y"})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "set.tar.gz").write_bytes(content)
    archive = Archive(path="set.tar.gz", md5=md5(content), urls=(), members=(Member("inside", md5(b"y")),))
    with pytest.raises(StorageError, match="outside"):
        ensure(archive, tmp_path / "data")
    assert not (tmp_path / "escaped").exists()


def test_a_table_that_contradicts_itself_ends_in_an_error(tmp_path):
    """An archive whose members do not have the sums that are listed for them: no endless unpacking."""
    content = tar_of({"inside": b"y"})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "set.tar.gz").write_bytes(content)
    archive = Archive(path="set.tar.gz", md5=md5(content), urls=(), members=(Member("inside", md5(b"z")),))
    with pytest.raises(CorruptFileError, match="inside"):
        ensure(archive, tmp_path / "data", download=True)
