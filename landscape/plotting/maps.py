"""Where on a plane the loss bends which way: maps of the ends of the Hessian's spectrum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import unknown_name
from landscape.plotting.arrangement import arrange
from landscape.plotting.chart import Backend, check_backend
from landscape.plotting.field import Field, Fields, as_mapping
from landscape.plotting.geometry import Box
from landscape.plotting.overlay import Marks, distinct, places
from landscape.plotting.scale import Scale, common_scale, plural
from landscape.plotting.style import DIVERGING, SEQUENTIAL
from landscape.plotting.units import direction_label

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

    from landscape.curvature.results import CurvatureMap

UNIT = "loss per squared weight"


@dataclass(frozen=True, kw_only=True)
class _Quantity:
    """What can be drawn of a map: its title, the name and unit of its axis, and what its colors mean."""

    title: str
    label: str
    meaning: str


_SIGNED = "White is 0, red bends upwards, blue downwards."
QUANTITIES = {
    "highest": _Quantity(title="The largest curvature", label=f"largest eigenvalue ({UNIT})", meaning=_SIGNED),
    "lowest": _Quantity(title="The smallest curvature", label=f"smallest eigenvalue ({UNIT})", meaning=_SIGNED),
    "ratio": _Quantity(
        title="How convex the loss is",
        label="|smallest / largest eigenvalue|",
        meaning="Near 0 the loss is convex; at 1 it bends downwards as much as upwards.",
    ),
}
"""What :func:`curvature_map` can show: a map's attribute -> its words."""


def curvature_map(
    maps: CurvatureMap | Mapping[str, CurvatureMap],
    *,
    show: str = "highest",
    backend: Backend = "plotly",
    log: bool | None = None,
    clip: float | None = None,
    title: str | None = None,
    columns: int = 3,
) -> go.Figure | matplotlib.figure.Figure:
    """Draw one end of the Hessian's spectrum over a plane, or the ratio of both, of one map or several.

    Where some value is below 0, colors diverge from white at 0: both signs have the same reach. Else they are those of
    a surface.

    Args:
        maps: Of :func:`landscape.curvature.curvature_map`, with ``alpha`` (A,), ``beta`` (B,), ``lowest``, ``highest``
            and ``ratio`` (A, B); or label -> map.
        show: "highest", the largest eigenvalue; "lowest", the smallest; "ratio", ``|lowest / highest|``.
        backend: "plotly" or "matplotlib".
        log: True for log10 colors; by default where all eigenvalues are positive and span more than a decade. A ratio
            is linear from 0 unless asked for.
        clip: Values above this one are drawn at it, and counted in the caption. None draws all.
        title: What is seen; a plain sentence by default.
        columns: Panels in a row.

    Returns:
        The figure. Points without a Hessian are hatched, points whose eigenpairs did not converge are marked; both are
        counted in the caption.

    Raises:
        ConfigError: The backend or ``show`` is unknown, or ``clip`` cannot be used.
        DataError: There is nothing to draw, or it is no such result.

    References:
        H. Li et al., Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018, section 6.
    """
    check_backend(backend)
    if show not in QUANTITIES:
        raise unknown_name("quantity of a curvature map", show, QUANTITIES)
    named: dict[str, Any] = as_mapping(maps, "CurvatureMap")
    values = {name: np.array(getattr(one, show), float) for name, one in named.items()}
    scale, signed = _scale(show, values, log, clip)
    placed = arrange({name: (one.alpha, one.beta, _directions(one)) for name, one in named.items()})
    panels = zip(named.items(), values.values(), placed.boxes, placed.units, strict=True)
    fields = tuple(_field(name, one, z, scale, box, unit) for (name, one), z, box, unit in panels)
    looks = distinct([field.places for field in fields])
    fields = tuple(replace(field, places=own) for field, own in zip(fields, looks, strict=True))
    what, first = QUANTITIES[show], next(iter(named.values()))
    said = [placed.unit * (len(named) > 1), placed.caption, placed.scales]
    said += [what.meaning if signed or show == "ratio" else "", *_caption(named, values, scale)]
    drawn = Fields(
        fields=fields,
        scale=scale,
        title=f"{what.title} over the plane" if title is None else title,
        caption=" ".join(part for part in said if part),
        x_label=direction_label("α", _directions(first), 0),
        y_label=direction_label("β", _directions(first), 1),
        z_label=what.label + (", log scale" if scale.log else ""),
        columns=columns,
        shared=placed.shared,
        colors=DIVERGING if signed else SEQUENTIAL,
        lines=(60, 60, 60) if signed else (255, 255, 255),
    )
    if backend == "plotly":
        from landscape.plotting import field_plotly

        return field_plotly.contour(drawn)
    from landscape.plotting import field_matplotlib

    return field_matplotlib.contour(drawn)


def _directions(one: CurvatureMap) -> list[dict[str, Any]]:
    return list(one.provenance.get("directions") or [])


def _scale(show: str, values: Mapping[str, np.ndarray], log: bool | None, clip: float | None) -> tuple[Scale, bool]:
    """Choose the scale, and tell whether it diverges from 0."""
    every = np.concatenate([each.ravel() for each in values.values()])
    every = every[np.isfinite(every)]
    signed = bool((every < 0).any()) and not log
    found = common_scale([every], log=False if signed or (show == "ratio" and log is None) else log, clip=clip)
    if signed:
        reach = float(np.abs(found.drawn(every)).max())
        return Scale(log=False, clip=clip, low=-reach, high=reach), True
    if show == "ratio" and not found.log:
        return Scale(log=False, clip=clip, low=0.0, high=max(found.high, 0.01)), False
    return found, False


def _missed(one: CurvatureMap) -> np.ndarray:
    """Return (A, B): where an eigenpair did not converge; by the tolerance, where the map itself does not say."""
    if one.converged is not None:
        return ~np.asarray(one.converged)
    largest = np.maximum(np.abs(one.lowest), np.abs(one.highest))
    return np.asarray(one.residuals) > one.provenance.get("tol", math.inf) * largest


def _field(name: str, one: CurvatureMap, values: np.ndarray, scale: Scale, box: Box, unit: str) -> Field:
    z, missed = scale.drawn(values), _missed(one)
    alphas, betas = np.asarray(one.alpha, float), np.asarray(one.beta, float)
    hover = np.empty(values.shape, dtype=object)
    for at in np.ndindex(values.shape):
        hover[at] = (
            f"largest eigenvalue {one.highest[at]:.4g}<br>smallest {one.lowest[at]:.4g}<br>ratio {one.ratio[at]:.3g}"
            f"<br>residual {one.residuals[at]:.2g}" + ", not converged" * bool(missed[at])
        )
    known = "plane" in one.provenance  # else the plane may have had another origin than the trained weights
    rows, columns = np.nonzero(missed)
    marks = Marks(
        name="not converged",
        x=alphas[rows],
        y=betas[columns],
        texts=[str(hover[at]) for at in zip(rows, columns, strict=True)],
        color="#FFFFFF",
        edge="#000000",
        symbol="diamond",
        marker="D",
    )
    return Field(
        name=name,
        x=alphas,
        y=betas,
        z=z.T.copy(),
        hover=hover.T.copy(),
        places=places(one.provenance, alphas, betas, z) if known else (),
        lowest=(math.nan, math.nan, math.nan),
        non_finite=int((~np.isfinite(values)).sum()),
        missing=0,
        unloggable=0,
        clipped=0,
        box=box,
        unit=unit,
        marks=(marks,) * bool(len(rows)),
    )


def _caption(named: Mapping[str, Any], values: Mapping[str, np.ndarray], scale: Scale) -> list[str]:
    every = np.concatenate([each.ravel() for each in values.values()])
    finite = np.isfinite(every)
    said = []
    if scale.clip is not None and (above := int((every[finite] > scale.clip).sum())):
        said.append(f"{plural(above, 'point')} above {scale.clip:g} drawn at {scale.clip:g}.")
    if scale.log and (below := int((every[finite] <= 0).sum())):
        said.append(f"{plural(below, 'point')} of 0 or less, which a log scale cannot show: gaps.")
    if lost := int((~finite).sum()):
        complete = all(one.complete for one in named.values())
        said.append(f"{plural(lost, 'point')} without a value{'' if complete else ' (interrupted)'}: gaps.")
    if missed := sum(int(_missed(one).sum()) for one in named.values()):
        said.append(f"{plural(missed, 'point')} not converged, with residuals up to {_worst(named):.2g}.")
    return said


def _worst(named: Mapping[str, Any]) -> float:
    return max(float(np.max(one.residuals[_missed(one)], initial=0.0)) for one in named.values())
