"""Live or static: whether someone sits in front of the notebook."""

from __future__ import annotations

import os
from typing import Literal

from landscape.errors import unknown_name

Mode = Literal["auto", "live", "static"]
_LIVE = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")


def display_mode(mode: Mode = "auto") -> Literal["live", "static"]:
    """Decide how to show something that has controls.

    "live" and "static" win as they are. "auto" reads the environment: ``LANDSCAPE_MODE``, if it is set to one of the
    two; else live where a notebook server started the kernel (``JPY_SESSION_NAME``, ``VSCODE_PID``, Colab's variable),
    and static elsewhere: under papermill, nbconvert, in a script.

    Args:
        mode: What was asked for.

    Returns:
        "live" (widgets that talk to the kernel) or "static" (a figure with its own slider, for any page).

    Raises:
        ConfigError: ``mode`` or ``LANDSCAPE_MODE`` is something else.

    Example:
        >>> display_mode("static")
        'static'
    """
    if mode == "auto":
        mode = os.environ.get("LANDSCAPE_MODE") or "auto"  # pyright: ignore[reportAssignmentType]
    if mode == "auto":
        return "live" if any(os.environ.get(name) for name in _LIVE) else "static"
    if mode not in ("live", "static"):
        raise unknown_name("mode", mode, ("auto", "live", "static"))
    return mode
