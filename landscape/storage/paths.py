"""Paths made of names that come from configs, notebooks and archives."""

from __future__ import annotations

import os
import re
from pathlib import Path

from landscape.errors import MismatchError, StorageError, shown

_FORBIDDEN = re.compile(r"[\x00-\x1f\\\ud800-\udfff]")
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def as_path(path: object) -> Path:
    """Return a path, or say why something cannot be one.

    Args:
        path: What a caller named as a file or a folder; neither need exist.

    Returns:
        The path.

    Raises:
        StorageError: It is neither text nor a path, or it is empty, or holds what no file system takes.

    Example:
        >>> as_path("results/a.npz").name
        'a.npz'
    """
    try:
        text = os.fspath(path)  # type: ignore[call-overload]
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise StorageError("This is no path.", expected="a text or a pathlib.Path", got=shown(path), fix="Name a file.")
    try:
        usable = bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # half a surrogate pair
        usable = False
    if not usable:
        raise StorageError(
            "This cannot be the name of a file or folder.",
            expected="at least one character, and only what can be written in UTF-8",
            got=shown(text),
            fix="Use letters, digits, '-', '_' and '.'.",
        )
    return Path(text)


def require_file(path: object) -> Path:
    """Return the path of a file that is there.

    Args:
        path: What a caller named as a file.

    Raises:
        StorageError: It can be no path, or there is no such file.
    """
    named = as_path(path)
    if not os.path.isfile(named):  # unlike Path.is_file, it takes a name of any length
        raise StorageError(f"There is no file {named}.", fix="Check the path.")
    return named


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
