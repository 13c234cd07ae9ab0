"""The lock of a folder that one process writes."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from pathlib import Path
from types import TracebackType

from landscape.errors import LockedError, StorageError
from landscape.storage.files import process_alive
from landscape.storage.paths import as_path


class FolderLock:
    """An exclusive lock on a folder: held by one process, and gone with it, however it ends.

    Uses ``flock`` on ``folder/lock``; the file names the holder for whoever is refused. Readers need no lock.

    Args:
        folder: The folder; created where missing.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, FolderLock(folder):
        ...     print(Path(folder, "lock").exists())
        True
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = as_path(folder) / "lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock or fail at once.

        Raises:
            LockedError: Another process holds it (or this one does, through another FolderLock); the message names
                its pid, host and since when.
            StorageError: The folder cannot be written, or its file system has no locks.
        """
        try:
            import fcntl
        except ImportError as error:  # not POSIX
            raise StorageError("Folder locks need a POSIX system.", fix="Use Linux, macOS or WSL.") from error
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StorageError(
                f"Could not open {self.path}.", got=str(error), fix="Check the folder's rights."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 1000, 0).decode(errors="replace").strip() or "an unknown process"
            os.close(descriptor)
            raise LockedError(
                f"Another process is writing {self.path.parent}.",
                got=holder,
                fix="Wait for it or stop it; reading needs no lock.",
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise StorageError(f"Could not lock {self.path}.", got=str(error), fix="Use a local disk.") from error
        self._descriptor = descriptor
        self._sign(descriptor)

    def _sign(self, descriptor: int) -> None:
        note = f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the note
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, note.encode(), 0)

    def release(self) -> None:
        """Give the lock back, also where a forked child still has the file open; does nothing where it is not held."""
        if self._descriptor is None:
            return
        import fcntl

        descriptor, self._descriptor = self._descriptor, None
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)

    def __enter__(self) -> FolderLock:
        """Take the lock."""
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        self.release()


_NOTE = re.compile(r"process (\d+) on (\S+) since ")


def holder_is_gone(folder: str | os.PathLike[str]) -> bool:
    """Tell whether the process that last locked a folder has certainly ended, without touching the lock.

    Args:
        folder: The folder.

    Returns:
        True where it was a process of this machine that is no more; False where it lives or nothing can be told
        (another machine, no lock, an empty one).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, FolderLock(folder):
        ...     print(holder_is_gone(folder))
        False
    """
    try:
        note = (Path(folder) / "lock").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    found = _NOTE.match(note)
    return found is not None and found[2] == socket.gethostname() and not process_alive(int(found[1]))
