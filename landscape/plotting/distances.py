"""How far the checkpoints of a training are from its end, on the plane that shows them and beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.plotting.chart import Axes, Backend, Chart, Series, draw
from landscape.plotting.field import as_mapping
from landscape.plotting.style import DASHES, MARKERS, OKABE_ITO, Style

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

    from landscape.surface.results import Trajectory


def distances(
    path: Trajectory,
    *,
    backend: Backend = "plotly",
    title: str = "How far is each checkpoint from the plane?",
) -> go.Figure | matplotlib.figure.Figure:
    """Draw how far each checkpoint is from the plane's origin: on the plane, beside it, and in all.

    Definition: with p the distance from the origin to the checkpoint's nearest point of the plane, and r the distance
    from there to the checkpoint, its distance d from the origin is ``sqrt(p**2 + r**2)``: they are at right angles.

    Args:
        path: Of :func:`landscape.trajectory_plane`.
        backend: "plotly" or "matplotlib".
        title: What is seen.

    Returns:
        The figure: three curves against the step, in L2 norms.

    Raises:
        ConfigError: The backend is unknown.
        DataError: It is no trajectory.

    Example:
        >>> import landscape as ll
        >>> from torch import tensor
        >>> points = [tensor(p) for p in ([3.0, 0.0, 4.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0])]
        >>> found = ll.surface.trajectory_plane(points, progress=False)
        >>> whole, on, beside = (trace.y for trace in distances(found).data)
        >>> whole.round(6).tolist(), bool(abs(on**2 + beside**2 - whole**2).max() < 1e-9)
        ([5.0, 2.0, 0.0], True)
    """
    one: Any = as_mapping(path, "Trajectory").popitem()[1]
    on, beside = np.linalg.norm(one.coordinates, axis=1), np.asarray(one.distance, float)
    origin = "the end" if one.center == "last" else "the mean of all"
    parts = {
        f"distance from {origin}": np.hypot(on, beside),
        "its part on the plane": on,
        "its part beside the plane": beside,
    }
    steps = np.asarray(one.steps, float)
    series = tuple(
        Series(
            name=name,
            x=steps,
            y=values,
            style=Style(color=OKABE_ITO[k], dash=DASHES[k], marker=MARKERS[k]),
            markers=len(steps) <= 41,
            size=5,
        )
        for k, (name, values) in enumerate(parts.items())
    )
    axes = Axes(series=series, x_label="optimizer step", y_label="L2 norm over all weights")
    caption = "The two parts are at right angles: their squares add up to that of the distance."
    return draw(Chart(title=title, caption=caption, panels=(axes,)), backend)
