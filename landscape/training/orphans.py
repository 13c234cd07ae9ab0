"""A process that does not outlive the one that started it."""

from __future__ import annotations

import os
import signal
import threading
import time

from landscape.storage.files import process_alive

_LOOK = 0.5  # seconds between looks at the parent


def end_with(parent: int, *, grace: float | None = None) -> None:
    """Have this process told to end, by SIGTERM, as soon as its parent is no more.

    An orphan is given another parent by the system, however its own one ended; so this process looks every half second
    whose child it is. The number of the dead one, used again for another process, is not mistaken for it. (Windows
    gives orphans no other parent: nothing happens there.)

    Args:
        parent: The process that started this one.
        grace: Seconds after which a process that has not heeded SIGTERM is killed; None leaves it alone.
    """
    present = os.getppid()
    if present != parent and process_alive(parent):
        parent = present  # a wrapper of the interpreter stands between the two, and waits for this process
    threading.Thread(target=_watch, args=(parent, grace), daemon=True, name="end-with-parent").start()


def _watch(parent: int, grace: float | None) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os.kill(os.getpid(), signal.SIGTERM)
    if grace is not None:
        time.sleep(grace)
        os.kill(os.getpid(), signal.SIGKILL)
