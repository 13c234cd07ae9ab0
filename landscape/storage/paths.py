"""Paths made of names that come from configs, notebooks and archives."""

from __future__ import annotations

import os
import re
from pathlib import Path

from landscape.errors import MismatchError

_FORBIDDEN = re.compile(r"[\x00-\x1f\\\ud800-\udfff]")
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def _leaves(part: str) -> bool:
    pieces = part.split("/")
    return (
        not part
        or part.startswith("/")
        or ":" in pieces[0]
        or ".." in pieces
        or _FORBIDDEN.search(part) is not None
        or any(_DEVICE.fullmatch(piece) for piece in pieces)
    )


def safe_join(root: str | os.PathLike[str], *parts: str) -> Path:
    """Join names below a root, refusing everything that could leave it.

    Args:
        root: The folder that must not be left.
        *parts: Plain names or relative paths, for example from a config or an archive.

    Returns:
        The joined path, below the resolved root (symbolic links are followed for the check).

    Raises:
        MismatchError: A part is empty, absolute, holds ``..``, a control character, a backslash or half a surrogate
            pair, begins with a drive letter, is a device's name (``nul``), or a link leads outside.

    Example:
        >>> safe_join("runs", "a", "b.json").name
        'b.json'
    """
    base = Path(root).resolve()
    for part in parts:
        if _leaves(part):
            raise MismatchError(
                f"The path {part!r} could lead outside {base}.",
                expected="a relative path of plain names",
                fix="Use letters, digits, '-', '_' and '.'.",
            )
    path = base.joinpath(*parts)
    try:
        inside = path.resolve().is_relative_to(base)
    except (OSError, RuntimeError):  # a loop of links, or a name that the file system cannot hold
        inside = False
    if not inside:
        raise MismatchError(f"The path {path} leads outside {base}, by a link.", fix="Remove the link.")
    return path
