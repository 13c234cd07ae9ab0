"""What is drawn over a surface: named places, the path of a training, critical points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import ConfigError, DataError, MismatchError
from landscape.plotting.scale import plural

if TYPE_CHECKING:
    from landscape.plotting.field import Fields
    from landscape.surface.results import Curve, Surface, Trajectory

TRAINED = "trained weights (α = β = 0)"
_ORIGIN = "the plane's origin (α = β = 0)"
_SYMBOLS = ("x", "square", "cross", "circle", "diamond")
_PINS = ("diamond", "square", "cross", "circle", "x")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A named point: its height z in drawn coordinates, NaN where none is known; its look on a contour, and as a pin.

    Symbols are plotly's.
    """

    name: str
    x: float
    y: float
    z: float
    symbol: str
    pin: str


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Points of one kind: where they are, what is said of each, and how they look in both backends."""

    name: str
    x: np.ndarray
    y: np.ndarray
    texts: list[str]
    color: str
    edge: str
    symbol: str
    marker: str


@dataclass(frozen=True, kw_only=True)
class Path:
    """A way over a plane, in order, and what is said of each of its points."""

    name: str
    x: np.ndarray
    y: np.ndarray
    texts: list[str]


def places(provenance: Mapping[str, Any], x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[Place, ...]:
    """Find what a surface's plane names: its marks, or else the point that all of it is seen from.

    Args:
        provenance: The surface's; ``provenance["plane"]`` is that of :meth:`landscape.surface.Plane.record`.
        x: (A,) alphas.
        y: (B,) betas.
        z: (A, B) heights as drawn, NaN where there is none.

    Returns:
        The places that lie on the grid.
    """
    plane = provenance.get("plane") or {}
    named = {str(name): (float(place[0]), float(place[1])) for name, place in (plane.get("marks") or {}).items()}
    if not named:
        named = {TRAINED if plane.get("origin_sha256") is None else _ORIGIN: (0.0, 0.0)}
    inside = {name: at for name, at in named.items() if _holds(x, at[0]) and _holds(y, at[1])}
    looks = [(_SYMBOLS[k % len(_SYMBOLS)], _PINS[k % len(_PINS)]) for k in range(len(inside))]
    return tuple(
        Place(name=name, x=at[0], y=at[1], z=_height(x, y, z, at), symbol=symbol, pin=pin)
        for (name, at), (symbol, pin) in zip(inside.items(), looks, strict=True)
    )


def distinct(groups: Sequence[tuple[Place, ...]]) -> list[tuple[Place, ...]]:
    """Give each name a look of its own, the same in every panel.

    Args:
        groups: The places of each panel.
    """
    names = list(dict.fromkeys(place.name for group in groups for place in group))
    looks = {name: (_SYMBOLS[k % len(_SYMBOLS)], _PINS[k % len(_PINS)]) for k, name in enumerate(names)}
    return [
        tuple(replace(place, symbol=looks[place.name][0], pin=looks[place.name][1]) for place in group)
        for group in groups
    ]


def _holds(axis: np.ndarray, value: float) -> bool:
    return bool(axis.min() <= value <= axis.max())


def _height(x: np.ndarray, y: np.ndarray, z: np.ndarray, at: tuple[float, float]) -> float:
    """Return z where it was computed, else the mean of the cell's corners by nearness."""
    total = 0.0
    for i, of_x in _around(x, at[0]):
        for j, of_y in _around(y, at[1]):
            total += of_x * of_y * float(z[i, j])
    return total


def _around(axis: np.ndarray, value: float) -> list[tuple[int, float]]:
    """Return the axis' points beside a value and their shares; one where the value is a point."""
    exact = np.flatnonzero(axis == value)
    if len(exact):
        return [(int(exact[0]), 1.0)]
    order = np.argsort(axis)
    right = int(np.searchsorted(axis[order], value))
    low, high = int(order[right - 1]), int(order[right])
    share = (value - float(axis[low])) / float(axis[high] - axis[low])
    return [(low, 1 - share), (high, share)]


def with_path(
    fields: Fields, surfaces: Mapping[str, Surface], path: Trajectory | Curve | Mapping[str, Any] | None
) -> Fields:
    """Put a path on the surface of its plane, and say in the caption what the plane does not show of it.

    Args:
        fields: Of :func:`landscape.plotting.field.prepare`.
        surfaces: Label -> what they were made of.
        path: That of the only surface, or label -> path.

    Returns:
        The fields with their paths.

    Raises:
        ConfigError: A label is that of no surface, or one path was given for several.
        DataError: It is no path.
        MismatchError: The surface is on another plane.
    """
    if path is None:
        return fields
    named = {str(label): one for label, one in path.items()} if isinstance(path, Mapping) else {"": path}
    drawn, said = {}, []
    for label, one in named.items():
        if label not in surfaces:
            raise ConfigError(
                f"A path is that of no surface: {label!r}.",
                expected="one of " + ", ".join(map(repr, surfaces)),
                got=repr(label),
                fix="Pass label -> path, with the labels of the surfaces.",
            )
        drawn[label] = _path(one)
        _check_plane(one, surfaces[label])
        said += [f"{label}: {told}" if label else told for told in [_share(one)] if told]
    return replace(
        fields,
        fields=tuple(replace(field, path=drawn.get(field.name)) for field in fields.fields),
        caption=" ".join([fields.caption, *said]),
    )


def _path(path: Any) -> Path:
    kinds = {base.__name__ for base in type(path).__mro__}
    if "Trajectory" in kinds:
        told = [
            f"checkpoint of step {step}<br>{beside:.3g} beside the plane"
            for step, beside in zip(path.steps.tolist(), path.distance.tolist(), strict=True)
        ]
        name = "checkpoints, seen on the plane"
    elif "Curve" in kinds:
        told = [f"t = {t:.3g}: loss {loss:.4g}" for t, loss in zip(path.t.tolist(), path.loss.tolist(), strict=True)]
        name = "Bezier curve"
    else:
        raise DataError(
            f"A path cannot be a {type(path).__name__}.",
            expected="a Trajectory or a Curve, or label -> one",
            got=type(path).__name__,
            fix="Use trajectory_plane(...) or bezier_curve(...).",
        )
    return Path(name=name, x=path.coordinates[:, 0], y=path.coordinates[:, 1], texts=told)


def _check_plane(path: Any, surface: Surface) -> None:
    plane = path.plane
    records = path.directions if plane is None else tuple(direction.record() for direction in plane.directions)
    record = path.provenance.get("plane") if plane is None else plane.record()
    mine, theirs = (
        ([each.get("vector_sha256") for each in directions], (of or {}).get("origin_sha256"))
        for directions, of in ((records, record), (surface.directions, surface.provenance.get("plane")))
    )
    if mine != theirs:
        raise MismatchError(
            "The path and the surface are on different planes.",
            expected="a surface on the path's own plane",
            got=f"directions {_short(theirs[0])} where the path has {_short(mine[0])}",
            fix="Evaluate it there: evaluate_surface(objective, path.plane, extent=path.plane.extent()).",
        )


def _short(checksums: list[Any]) -> str:
    return " and ".join(str(checksum)[:8] for checksum in checksums) or "none"


def _share(path: Any) -> str:
    """Say how much of a training's path the plane holds."""
    if not hasattr(path, "explained_by_plane"):
        return ""
    far = float(np.max(path.relative_distance, initial=0.0))
    share = f"{path.explained_by_plane:.1%}" if math.isfinite(path.explained_by_plane) else "an unknown share"
    return (
        f"{plural(len(path.steps), 'checkpoint')}, each at the nearest point of the plane, which holds {share} of "
        f"their squared distances from its origin; a checkpoint lies up to {far:.0%} of its way beside it."
    )
