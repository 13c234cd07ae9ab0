"""The critical points of a surface as marks on its contours, with what they begin and end in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from landscape.errors import MismatchError, unknown_name
from landscape.plotting.field import Fields, as_mapping
from landscape.plotting.overlay import Marks

if TYPE_CHECKING:
    from landscape.surface.results import Surface
    from landscape.surface.topology.results import Topology


_LOOKS = {
    "minimum": {"color": "#FFFFFF", "edge": "#000000", "symbol": "triangle-down", "marker": "v"},
    "saddle": {"color": "#CC79A7", "edge": "#000000", "symbol": "diamond", "marker": "D"},
    "maximum": {"color": "#000000", "edge": "#FFFFFF", "symbol": "triangle-up", "marker": "^"},
}


def with_marks(
    fields: Fields, surfaces: Surface | Mapping[str, Surface], topologies: Topology | Mapping[str, Topology] | None
) -> Fields:
    """Put the critical points of surfaces on their fields, and say so in the caption.

    Args:
        fields: Of :func:`landscape.plotting.field.prepare`.
        surfaces: What they were made of.
        topologies: That of the only surface, or label -> topology; surfaces without one get no marks.

    Returns:
        The fields with a group of marks for each kind of critical point that occurs.

    Raises:
        ConfigError: A label is that of no surface.
        DataError: It is no topology.
        MismatchError: A topology was computed on another grid than its surface's.
    """
    if topologies is None:
        return fields
    drawn, named = as_mapping(surfaces, "Surface"), as_mapping(topologies, "Topology")
    marks = {}
    for label, topology in named.items():
        if label not in drawn:
            raise unknown_name("surface", label, drawn)
        _check(topology, drawn[label])
        marks[label] = _marks(topology, np.asarray(drawn[label].loss, float))
    least = min(topology.threshold for topology in named.values())
    kept = f" with a persistence of {least:.3g} or more" if least > 0 else ""
    return replace(
        fields,
        fields=tuple(replace(field, marks=marks.get(field.name, ())) for field in fields.fields),
        caption=f"{fields.caption} Marked: minima, saddles and maxima{kept}.",
    )


def _check(topology: Topology, surface: Surface) -> None:
    fits = all(np.array_equal(getattr(topology, axis), getattr(surface, axis)) for axis in ("alphas", "betas"))
    if not fits or not np.array_equal(np.asarray(surface.loss)[tuple(topology.birth_point.T)], topology.birth):
        raise MismatchError(
            "A topology is not that of its surface.",
            expected=f"one with {len(surface.alphas)}x{len(surface.betas)} points and the surface's losses",
            got=topology,
            fix="Compute it from the surface that is drawn: surface_topology(surface).",
        )


def _marks(topology: Topology, loss: np.ndarray) -> tuple[Marks, ...]:
    told: dict[str, dict[tuple[int, ...], list[str]]] = {kind: {} for kind in _LOOKS}
    for number, dimension in enumerate(topology.dimension.tolist()):
        birth, death = float(topology.birth[number]), float(topology.death[number])
        born, died = (tuple(ends[number].tolist()) for ends in (topology.birth_point, topology.death_point))
        never = death == math.inf
        life = f"birth {birth:.4g}, " + (
            "never dies" if never else f"death {death:.4g}, persistence {death - birth:.3g}"
        )
        if dimension == 0:
            told["minimum"][born] = [life] + ["at the edge of the grid"] * _on_edge(born, loss.shape)
        else:
            what = "points without a loss" if never else "a hill"
            told["saddle"].setdefault(born, []).append(f"closes a ring around {what}: {life}")
        if not never and dimension == 0:
            told["saddle"].setdefault(died, []).append(f"leads out of a basin: {life}")
        elif not never:
            told["maximum"][died] = [life]
    return tuple(_group(kind, points, topology, loss) for kind, points in told.items() if points)


def _on_edge(point: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return any(at in (0, count - 1) for at, count in zip(point, shape, strict=True))


def _group(kind: str, told: Mapping[tuple[int, ...], list[str]], topology: Topology, loss: np.ndarray) -> Marks:
    points = np.array(list(told))
    return Marks(
        name=kind,
        x=topology.alphas[points[:, 0]],
        y=topology.betas[points[:, 1]],
        texts=["<br>".join([f"{kind}: loss {loss[point]:.4g}", *lines]) for point, lines in told.items()],
        **_LOOKS[kind],
    )
