"""Memory on the CPU that a training frees and asks for again at every step, kept by the process."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

_KEPT = {"MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1), "MALLOC_MMAP_THRESHOLD_": (-3, 2**30)}  # numbers from malloc.h


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Let this process keep what it frees, where its memory comes from the GNU C library.

    That library gives large blocks back to the system when they are freed, and the system clears each of their pages
    when they are asked for again, which happens at every training step. From here on blocks of up to 1 GiB stay with
    the process. For a program's own process: what else runs in it keeps its memory too.

    Args:
        environment: Its variables; a threshold that is named there stays as it is.

    Returns:
        Whether a threshold was set.

    References:
        The GNU C Library Reference Manual, section 3.2.3.7, Malloc Tunable Parameters.
    """
    try:
        setting = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library; on Windows there is no library without a name
        return False
    wanted = [pair for name, pair in _KEPT.items() if name not in environment]
    return sum(setting(parameter, value) for parameter, value in wanted) > 0  # each returns 1 where it was set
