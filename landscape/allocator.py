"""Memory on the CPU that a training frees and asks for again at every step, kept by the process."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping

_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_LARGEST = (2**30, 2**25)  # before version 2.35 not above 32 MiB
_NAMED = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "trim_threshold", "mmap_threshold")


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Let this process keep what it frees, where its memory comes from the GNU C library.

    That library gives large blocks back to the system when they are freed, and the system clears each of their pages
    when they are asked for again, which happens at every training step. From here on blocks of up to 1 GiB (32 MiB with
    versions before 2.35) stay with the process. For a program's own process: what else runs in it keeps its memory too.

    Args:
        environment: Its variables; nothing is set where they name one of these thresholds, also in ``GLIBC_TUNABLES``.

    Returns:
        Whether both thresholds were set: one alone would switch off the adaptive other one.

    References:
        The GNU C Library Reference Manual, section 3.2.3.7, Malloc Tunable Parameters.
    """
    said = {**environment, **dict.fromkeys(re.findall(r"\w+", environment.get("GLIBC_TUNABLES", "")), "")}
    try:
        setting = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library; on Windows there is no library without a name
        return False
    if any(name in said for name in _NAMED) or not any(setting(_MMAP, size) == 1 for size in _LARGEST):
        return False
    return setting(_TRIM, 2**31 - 1) == 1
