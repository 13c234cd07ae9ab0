"""Freed memory stays with the process of the command."""

from __future__ import annotations

import platform
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import landscape.__main__ as start
from landscape.allocator import keep_freed_memory

_LARGE = """
import ctypes, resource
{before}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def use():
    block = libc.malloc(40 << 20)
    ctypes.memset(block, 1, 40 << 20)
    libc.free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(before: str) -> int:
    """Pages that the system hands over again, for five blocks of 40 MiB in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", _LARGE.format(before=before)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def _blocks_of_a_gibibyte() -> bool:
    name, version = platform.libc_ver()
    return name == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)


@pytest.mark.skipif(not _blocks_of_a_gibibyte(), reason="another C library, or an older one")
def test_freed_memory_is_kept() -> None:
    keep = "from landscape.allocator import keep_freed_memory; assert keep_freed_memory({})"
    kept, given_back = faults(keep), faults(keep.replace("({})", "({'MALLOC_TRIM_THRESHOLD_': '1'}) is False"))
    assert given_back > 5 * 10, "without it each block is new"  # at least one huge page of 2 MiB for each two
    assert kept < given_back / 5


class Library:
    """A C library with a limit for the size from which blocks are mapped."""

    def __init__(self, limit: int) -> None:
        self.limit, self.asked = limit, []

    def mallopt(self, parameter: int, value: int) -> int:
        self.asked.append((parameter, value))
        return int(parameter == -1 or value <= self.limit)


@pytest.mark.parametrize(
    ("limit", "done", "asked"),
    [
        (2**40, True, [(-3, 2**30), (-1, 2**31 - 1)]),
        (2**25, True, [(-3, 2**30), (-3, 2**25), (-1, 2**31 - 1)]),
        (0, False, [(-3, 2**30), (-3, 2**25)]),  # the other threshold alone would make every block a new one
    ],
)
def test_older_libraries_have_a_limit(monkeypatch: pytest.MonkeyPatch, limit, done, asked) -> None:
    library = Library(limit)
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    assert keep_freed_memory({"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}) is done
    assert library.asked == asked


@pytest.mark.parametrize(
    "environment",
    [
        {"MALLOC_TRIM_THRESHOLD_": "1000"},
        {"MALLOC_MMAP_THRESHOLD_": "1000"},
        {"GLIBC_TUNABLES": "glibc.malloc.check=1:glibc.malloc.mmap_threshold=1000"},
    ],
)
def test_thresholds_that_the_user_set_stay(monkeypatch: pytest.MonkeyPatch, environment) -> None:
    library = Library(2**40)
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    assert not keep_freed_memory(environment)
    assert library.asked == []


@pytest.mark.parametrize("name", ["study/worker.py", "training/rank.py"])
def test_so_do_the_processes_that_they_start(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    class Asked(Exception):
        pass

    def ask() -> None:
        raise Asked

    monkeypatch.setattr("landscape.allocator.keep_freed_memory", ask)
    monkeypatch.setattr(sys, "argv", [name])
    with pytest.raises(Asked):
        runpy.run_path(str(Path(start.__file__).parent / name), run_name="__main__")


def test_the_commands_that_train_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(start, "_keep_freed_memory", lambda: asked.append(sys.argv[1]))
    monkeypatch.setattr("landscape.cli.main", lambda words: 0)
    for command in ("train", "study", "runs"):
        monkeypatch.setattr(sys, "argv", ["landscape", command])
        assert start.main() == 0
    assert start.main(["train"]) == 0, "a process that is somebody else's"
    assert asked == ["train", "study"]
