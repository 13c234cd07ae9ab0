"""Loss surfaces to look at: in three dimensions, and as contours where values can be read off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from landscape.plotting.chart import Backend, check_backend
from landscape.plotting.critical import with_marks
from landscape.plotting.field import as_mapping, prepare
from landscape.plotting.overlay import with_path

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

    from landscape.surface.results import Curve, Surface, Trajectory
    from landscape.surface.topology.results import Topology


def surface3d(
    surfaces: Surface | Mapping[str, Surface],
    *,
    backend: Backend = "plotly",
    log: bool | None = None,
    clip: float | None = None,
    title: str | None = None,
    loss_name: str | None = None,
    columns: int = 3,
) -> go.Figure | matplotlib.figure.Figure:
    """Draw one loss surface, or several side by side, in three dimensions.

    All panels share one color scale, one height scale and one plane, so that what looks flatter is flatter.

    Args:
        surfaces: One surface with ``alphas`` (A,), ``betas`` (B,), ``loss`` (A, B), or label -> surface.
        backend: "plotly" (turns with the mouse) or "matplotlib" (a picture).
        log: True for log10 of the loss, False for the loss; by default log10 where every loss is positive and the
            largest is more than ten times the smallest.
        clip: Losses above this value are drawn at it, and counted in the caption. None draws all.
        title: What is seen; a plain sentence by default.
        loss_name: Name and unit of the loss; by default what the results' provenance says.
        columns: Panels in a row.

    Returns:
        The figure. Points without a finite loss are gaps, counted in the caption.

    Raises:
        ConfigError: The backend is unknown, or ``clip`` cannot be used.
        DataError: There is nothing to draw, or it is no such result.
        MismatchError: A surface's loss does not fit its axes.

    References:
        Li, Xu, Taylor, Studer, Goldstein. Visualizing the loss landscape of neural nets. NeurIPS 2018.
    """
    check_backend(backend)
    fields = prepare(surfaces, log=log, clip=clip, title=title, loss_name=loss_name, columns=columns, bare_axes=True)
    if backend == "plotly":
        from landscape.plotting import field_plotly

        return field_plotly.surface3d(fields)
    from landscape.plotting import field_matplotlib

    return field_matplotlib.surface3d(fields)


def contour(
    surfaces: Surface | Mapping[str, Surface],
    *,
    backend: Backend = "plotly",
    log: bool | None = None,
    clip: float | None = None,
    title: str | None = None,
    loss_name: str | None = None,
    columns: int = 3,
    topology: Topology | Mapping[str, Topology] | None = None,
    path: Trajectory | Curve | Mapping[str, Trajectory | Curve] | None = None,
) -> go.Figure | matplotlib.figure.Figure:
    """Draw one loss surface, or several side by side, as contours with equal aspect.

    The trained weights (or what the plane names: the models it goes through) and the lowest point of the grid are
    marked. Points without a finite loss are hatched.

    Args:
        surfaces: One surface, or label -> surface; see :func:`surface3d`.
        backend: "plotly" or "matplotlib".
        log: As in :func:`surface3d`.
        clip: As in :func:`surface3d`.
        title: What is seen.
        loss_name: Name and unit of the loss; by default what the results' provenance says.
        columns: Panels in a row.
        topology: Of :func:`landscape.surface.surface_topology`, or label -> that: its minima, saddles and maxima are
            marked, each with its loss, birth, death and persistence under the pointer. Simplified first, it shows less.
        path: Of :func:`landscape.surface.trajectory_plane` or :func:`landscape.surface.bezier_curve`, or label -> that:
            drawn over the surface on its own plane. The caption says how much of a training's path the plane holds.

    Returns:
        The figure; all panels share the axes and the color scale.

    Raises:
        ConfigError: The backend is unknown, ``clip`` cannot be used, or a topology's or path's label is no surface's.
        DataError: There is nothing to draw, or it is no such result.
        MismatchError: A surface's loss does not fit its axes, or a topology is of another grid, or a path on another
            plane.
    """
    check_backend(backend)
    fields = prepare(surfaces, log=log, clip=clip, title=title, loss_name=loss_name, columns=columns, bare_axes=False)
    fields = with_path(with_marks(fields, surfaces, topology), as_mapping(surfaces, "Surface"), path)
    if backend == "plotly":
        from landscape.plotting import field_plotly

        return field_plotly.contour(fields)
    from landscape.plotting import field_matplotlib

    return field_matplotlib.contour(fields)
