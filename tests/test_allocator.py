"""Freed memory stays with the process of the command."""

from __future__ import annotations

import subprocess
import sys

import pytest

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


@pytest.mark.skipif(sys.platform != "linux", reason="the GNU C library is Linux's")
def test_freed_memory_is_kept() -> None:
    keep = "from landscape.allocator import keep_freed_memory; assert keep_freed_memory()"
    kept = faults(keep)
    given_back = faults(
        keep.replace("memory()", "memory({'MALLOC_TRIM_THRESHOLD_': '1', 'MALLOC_MMAP_THRESHOLD_': '1'})").replace(
            "assert ", "assert not "
        )
    )
    assert given_back > 5 * 10, "without it each block is new"  # at least one huge page of 2 MiB for each two
    assert kept < given_back / 5


def test_thresholds_that_the_user_set_stay() -> None:
    assert not keep_freed_memory({"MALLOC_TRIM_THRESHOLD_": "1000", "MALLOC_MMAP_THRESHOLD_": "1000"})


def test_the_commands_that_train_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import landscape.__main__ as start

    asked: list[str] = []
    monkeypatch.setattr(start, "_keep_freed_memory", lambda: asked.append(sys.argv[1]))
    monkeypatch.setattr("landscape.cli.main", lambda words: 0)
    for command in ("train", "study", "runs"):
        monkeypatch.setattr(sys, "argv", ["landscape", command])
        assert start.main() == 0
    assert start.main(["train"]) == 0, "a process that is somebody else's"
    assert asked == ["train", "study"]
