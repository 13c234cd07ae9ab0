"""A file is the old one or the new one, whatever happens in between; the message says what to do."""

from __future__ import annotations

import errno
import json
import math
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from landscape.errors import CorruptFileError, StorageError
from landscape.storage import (
    files,
    load_arrays,
    process_alive,
    read_json,
    remove_stale_temporaries,
    replacing,
    require_writable,
    sha256_bytes,
    sha256_file,
    sync_folder,
    write_bytes,
    write_json,
    write_text,
)

WRITER = """
import numpy as np
from landscape.storage import save_arrays
version = 0
while True:
    version += 1
    save_arrays(sys.argv[1], {"a": np.full(2_000_000, version, dtype=np.int64)})
    if version == 1:
        print("ready", flush=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.007, 0.013, 0.021, 0.034, 0.055, 0.089])
def test_kill_9_during_a_write_leaves_the_old_file_or_the_new_one(program, tmp_path, delay):
    path = tmp_path / "a.npz"
    process = program(WRITER, path)
    assert process.stdout.readline() == "ready\n"
    time.sleep(delay)
    process.kill()
    process.wait()
    array = load_arrays(path)["a"]
    assert array.shape == (2_000_000,)
    assert (array == array[0]).all()
    strays = [entry.name for entry in tmp_path.iterdir() if entry != path]
    assert remove_stale_temporaries(tmp_path) == len(strays) <= 1
    assert list(tmp_path.iterdir()) == [path]


def test_the_order_is_fsync_rename_fsync_of_the_folder(tmp_path, monkeypatch):
    path, events = tmp_path / "a", []
    write_bytes(path, b"old")
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor):
        status = os.fstat(descriptor)
        events.append("fsync folder" if stat.S_ISDIR(status.st_mode) else f"fsync file of {status.st_size}")
        real_fsync(descriptor)

    def replace(source, target):
        events.append(f"replace {path.read_bytes()!r}")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_bytes(path, b"newer")
    assert events == ["fsync file of 5", "replace b'old'", "fsync folder"]
    events.clear()
    write_bytes(tmp_path / "new" / "folder" / "a", b"")
    assert events[:2] == ["fsync folder", "fsync folder"]  # the folders' own entries, before anything is put there


FULL_DISK = """
import resource, signal
from landscape.errors import StorageError
from landscape.storage import write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_bytes(sys.argv[1], bytes(3_000_000))
except StorageError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_old_file_and_no_temporary(program, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    message, trouble = program(FULL_DISK, path).communicate(timeout=60)
    assert trouble == ""
    assert str(path) in message
    assert "3.0 MB are needed" in message
    assert "MB are free" in message
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_failing_disk_leaves_the_old_file(tmp_path, monkeypatch, failing, code):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(StorageError, match=r"a\.bin") as caught:
        write_bytes(path, b"new")
    assert ("Make room" in str(caught.value)) == (code != errno.EIO)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_system_that_cannot_sync_folders_is_no_error(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_bytes(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_an_unknown_folder_cannot_be_synced(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        sync_folder(tmp_path / "nowhere")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, StorageError])
def test_an_exception_in_the_block_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half")
        raise error("stop")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_an_error_and_changes_nothing(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(StorageError), replacing(path):
        pass
    assert path.read_text() == "old"


@pytest.mark.parametrize("path", ["file/below", "file/below/deep", "n" * 300, "x/" + "n" * 300])
def test_a_path_that_cannot_be_is_our_own_error(tmp_path, path):
    (tmp_path / "file").write_text("a file, no folder")
    with pytest.raises(StorageError, match="Could not write"):
        write_bytes(tmp_path / path, b"x")


def test_a_folder_in_the_way_is_our_own_error(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(StorageError):
        write_bytes(tmp_path / "a", b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_names_as_long_as_the_file_system_takes(tmp_path):
    for name in ("n" * 250, "ä" * 120):
        write_bytes(tmp_path / name, b"x")
        assert (tmp_path / name).read_bytes() == b"x"


def test_text_and_json_round_trip(tmp_path):
    write_text(tmp_path / "a" / "t", "ä\n")
    assert (tmp_path / "a" / "t").read_bytes() == "ä\n".encode()
    value = {"b": [1, 2.5, None, True, "ä"], "a": {}}
    write_json(tmp_path / "j", value)
    assert read_json(tmp_path / "j") == value
    assert list(read_json(tmp_path / "j")) == ["b", "a"]


def test_json_keeps_nan_and_infinity(tmp_path):
    write_json(tmp_path / "j", [math.nan, math.inf, -math.inf])
    nan, up, down = read_json(tmp_path / "j")
    assert math.isnan(nan)
    assert (up, down) == (math.inf, -math.inf)


def test_a_value_that_is_no_json_touches_no_file(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "j", object())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"a": 1', b"\xff\xfe", b"[" * 100_000, b"1" * 5_000], ids=lambda c: repr(c[:8])
)
def test_damaged_json_names_the_file(tmp_path, content):
    path = tmp_path / "j.json"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"j\.json"):
        read_json(path)


@pytest.mark.parametrize("length", range(len(json.dumps({"a": [1, 2]}))))
def test_json_truncated_anywhere_is_found(tmp_path, length):
    (tmp_path / "j").write_text(json.dumps({"a": [1, 2]})[:length])
    with pytest.raises(CorruptFileError):
        read_json(tmp_path / "j")


@pytest.mark.parametrize("reader", [read_json, sha256_file, load_arrays])
def test_missing_files_and_folders_are_our_own_errors(tmp_path, reader):
    with pytest.raises(StorageError, match="There is no file"):
        reader(tmp_path / "missing")
    with pytest.raises(StorageError):
        reader(tmp_path)


def test_checksums(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert sha256_bytes(b"abc") == sha256_file(tmp_path / "a") == known


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_process_alive():
    assert process_alive(os.getpid())
    assert process_alive(1)
    assert not process_alive(dead_pid())
    assert not process_alive(10**30)


def test_only_temporaries_of_dead_writers_of_this_machine_are_removed(tmp_path):
    host = socket.gethostname()
    stale = f".a.npz.{host}.{dead_pid()}.0123abcd.landscape-tmp"
    kept = [
        f".a.npz.{host}.{os.getpid()}.0123abcd.landscape-tmp",  # its writer lives
        f".a.npz.elsewhere.{dead_pid()}.0123abcd.landscape-tmp",  # its writer's machine cannot be asked
        f".a.npz.{host}.²3.0123abcd.landscape-tmp",
        f".a.npz.{host}.{'9' * 40}.0123abcd.landscape-tmp",
        ".landscape-tmp",
        "a.npz",
    ]
    for name in [stale, *kept]:
        (tmp_path / name).touch()
    assert remove_stale_temporaries(tmp_path) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(kept)
    assert remove_stale_temporaries(tmp_path / "nowhere") == 0


def test_temporaries_are_never_taken_for_data(tmp_path):
    with replacing(tmp_path / "a.npz") as temporary:
        temporary.write_bytes(b"half")
        assert list(tmp_path.glob("*.npz")) == []
        assert temporary.name.startswith(".")


def test_what_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("kept")
    require_writable(tmp_path / "file")
    require_writable(tmp_path / "new" / "file")
    assert (tmp_path / "file").read_text() == "kept" and list((tmp_path / "new").iterdir()) == []
    for path in (tmp_path, tmp_path / "file" / "below", Path("."), Path("/"), Path("/proc/no/file")):
        with pytest.raises(StorageError, match="Could not write"):
            require_writable(path)


def test_small_amounts_are_told_apart_from_none(tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 300}))
    with pytest.raises(StorageError, match=r"1\.2 kB are needed, 0\.3 kB are free"):
        write_bytes(tmp_path / "a", bytes(1200))
