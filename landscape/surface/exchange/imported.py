"""What an imported result says of itself: where it comes from, and whether it is interpolated."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from landscape.surface.results import DONE, INTERPOLATED, MISSING, NON_FINITE, Line, Surface


def status_of(loss: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Tell the status of points from their losses.

    Example:
        >>> status_of(np.array([1.0, np.inf, np.nan]), np.array([False, False, True])).tolist()
        [1, 2, 0]
    """
    return np.where(missing, MISSING, np.where(np.isfinite(loss), DONE, NON_FINITE)).astype(np.uint8)


def imported_result(
    path: str | os.PathLike[str],
    axes: list[np.ndarray],
    values: dict[str, np.ndarray],
    *,
    error: np.ndarray | None = None,
    text: dict[str, Any] | None = None,
) -> Line | Surface:
    """Make a line of one axis or a surface of two.

    Args:
        path: Where it was read from; the provenance holds its name.
        axes: One or two.
        values: Loss, accuracy and status on them.
        error: The estimated error of interpolated points, where the file holds it.
        text: Directions and provenance, where the file holds them.

    Returns:
        The result. Where a point is interpolated, the provenance says so.
    """
    text = text or {"directions": [{"kind": "imported"}] * len(axes), "provenance": {}}
    provenance = {**text["provenance"], "imported_from": Path(path).name}
    points = values["status"] == INTERPOLATED
    if points.any() and "interpolated" not in provenance:
        most = float(np.nanmax(error)) if error is not None and np.isfinite(error).any() else math.nan
        finite = values["loss"][np.isfinite(values["loss"])]
        extent = float(finite.max()) - float(finite.min())
        provenance["interpolated"] = {
            "method": "a method that the file does not name",
            "nodes": [int((values["status"] == DONE).sum())],
            "order": math.nan,
            "max_error": most,
            "relative_error": most / extent if extent > 0 else math.nan,
        }
    common: dict[str, Any] = {**values, "directions": tuple(text["directions"]), "provenance": provenance}
    if len(axes) == 1:
        return Line(alphas=axes[0], **common)
    return Surface(alphas=axes[0], betas=axes[1], **common)
