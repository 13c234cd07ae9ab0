"""Loss surfaces prepared for drawing: one common color scale, common axes where they fit, gaps counted and named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import DataError, MismatchError
from landscape.plotting.arrangement import arrange
from landscape.plotting.geometry import Box, edges
from landscape.plotting.overlay import TRAINED, Marks, Path, Place, distinct, places
from landscape.plotting.scale import Scale, common_scale, plural
from landscape.plotting.style import SEQUENTIAL
from landscape.plotting.units import direction_label, loss_label

if TYPE_CHECKING:
    from landscape.surface.results import Surface


@dataclass(frozen=True, kw_only=True)
class Field:
    """One surface in drawn coordinates: ``z`` is (B, A), rows along beta, NaN where nothing can be drawn.

    ``unit`` says what its axes mean where the panels differ in that.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    hover: np.ndarray
    places: tuple[Place, ...]
    lowest: tuple[float, float, float]
    non_finite: int
    missing: int
    unloggable: int
    clipped: int
    box: Box
    unit: str = ""
    marks: tuple[Marks, ...] = ()
    path: Path | None = None

    @property
    def thin(self) -> bool:
        """Whether it is a single row, column or point, which has no area."""
        return min(self.z.shape) == 1

    @property
    def heading(self) -> str:
        """What stands over its panel: its name, and what its axes mean where that is not the same for all."""
        return "\n".join(part for part in (self.name, self.unit) if part)

    @property
    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the cells around its points begin and end, (A + 1,) and (B + 1,)."""
        return edges(self.x, self.box.x), edges(self.y, self.box.y)

    @property
    def gaps(self) -> list[tuple[float, float, float, float]]:
        """The cells without a value, as rectangles (left, right, bottom, top)."""
        xs, ys = self.edges
        holes = np.argwhere(np.isnan(self.z)).tolist()
        return [(float(xs[j]), float(xs[j + 1]), float(ys[i]), float(ys[i + 1])) for i, j in holes]


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Surfaces that share one scale; ``shared`` says whether they share axes too.

    ``colors`` is the color map's name, ``lines`` the color of the contour lines on it, red, green, blue.
    """

    fields: tuple[Field, ...]
    scale: Scale
    title: str
    caption: str
    x_label: str
    y_label: str
    z_label: str
    columns: int
    shared: bool = True
    colors: str = SEQUENTIAL
    lines: tuple[int, int, int] = (255, 255, 255)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns."""
        columns = max(1, min(self.columns, len(self.fields)))
        return -(-len(self.fields) // columns), columns

    @property
    def x_range(self) -> tuple[float, float]:
        """The smallest interval that holds what every panel shows of alpha."""
        return min(field.box.x[0] for field in self.fields), max(field.box.x[1] for field in self.fields)

    @property
    def y_range(self) -> tuple[float, float]:
        """The same of beta."""
        return min(field.box.y[0] for field in self.fields), max(field.box.y[1] for field in self.fields)

    def labels(self, index: int) -> tuple[str, str]:
        """Name the axes of a panel; with their units where the figure has no caption for them.

        Args:
            index: Which panel; inside of a grid with common axes, only the outer ones have labels.
        """
        if len(self.fields) == 1:
            return self.x_label, self.y_label
        below, left = index + self.grid[1] >= len(self.fields), index % self.grid[1] == 0
        return "α" * (below or not self.shared), "β" * (left or not self.shared)

    @property
    def description(self) -> str:
        """The title, the caption and each surface's key values: what stands for the picture."""
        parts = [f"{self.title}. {self.caption}"]
        for field in self.fields:
            finite = field.z[np.isfinite(field.z)]
            if finite.size:
                ends = [10**v if self.scale.log else v for v in (finite.min(), finite.max())]
                parts.append(f"{field.name or 'Surface'}: from {ends[0]:.4g} to {ends[1]:.4g}.")
        return " ".join(parts)


_DRAWN_BY = {
    "Surface": "contour or plotting.surface3d",
    "Line": "line",
    "Profile": "profile",
    "SpectralDensity": "density",
    "Topology": "contour(..., topology=...)",
    "Trajectory": "contour(..., path=...)",
    "Curve": "connectivity",
    "Barrier": "barrier",
    "CurvatureMap": "curvature_map",
    "CurvatureHistory": "curvature_history",
}


def as_mapping(results: object, kind: str | None = None) -> dict[str, Any]:
    """Take one result as a mapping with the empty label.

    Args:
        results: One result, or label -> result.
        kind: The class that every result must be of; None takes anything.

    Returns:
        Label -> result.

    Raises:
        DataError: The mapping is empty, or a result is of another class.
    """
    found = {str(k): v for k, v in results.items()} if isinstance(results, Mapping) else {"": results}
    if not found:
        raise DataError("There is nothing to draw.", expected="at least one result", got="an empty mapping")
    for one in found.values():
        classes = [base.__name__ for base in type(one).__mro__]
        if kind is not None and kind not in classes:
            drawn = next((f"plotting.{_DRAWN_BY[name]} draws a {name}" for name in classes if name in _DRAWN_BY), None)
            raise DataError(
                f"This figure cannot show a {classes[0]}.",
                expected=f"a {kind}, or label -> {kind}",
                got=classes[0],
                fix=f"{drawn or f'Pass a {kind}'}.",
            )
    return found


def as_rows(found: object, *, expected: str, fix: str, message: str = "There is nothing to draw.") -> dict[str, Any]:
    """Take a mapping that must hold something.

    Args:
        found: Name -> anything.
        expected: What it should be, for the error.
        fix: What to do, for the error.
        message: What is wrong, for the error.

    Returns:
        Name -> anything.

    Raises:
        DataError: It is no mapping, or empty.
    """
    if not isinstance(found, Mapping) or not found:
        got = "an empty mapping" if isinstance(found, Mapping) else type(found).__name__
        raise DataError(message, expected=expected, got=got, fix=fix)
    return {str(name): one for name, one in found.items()}


def as_panels(found: object, *, expected: str, fix: str, message: str = "There is nothing to draw.") -> dict[str, Any]:
    """Take rows as one panel with the empty title.

    Args:
        found: Row -> anything, or panel -> row -> anything.
        expected: As in :func:`as_rows`.
        fix: As there.
        message: As there.

    Returns:
        Panel -> row -> anything.

    Raises:
        DataError: It is no mapping, or empty.

    Example:
        >>> words = {"expected": "row -> number", "fix": "Use {'a': 1}."}
        >>> as_panels({"a": 1}, **words), as_panels({"left": {"a": 1}}, **words)
        ({'': {'a': 1}}, {'left': {'a': 1}})
    """
    rows = as_rows(found, expected=expected, fix=fix, message=message)
    nested = all(isinstance(one, Mapping) for one in rows.values())
    return {name: dict(one) for name, one in rows.items()} if nested else {"": rows}


def prepare(
    surfaces: Surface | Mapping[str, Surface],
    *,
    title: str | None,
    loss_name: str | None,
    columns: int,
    bare_axes: bool,
    log: bool | None = None,
    clip: float | None = None,
    scale: Scale | None = None,
) -> Fields:
    """Bring surfaces to one scale; see :func:`landscape.plotting.surface3d` for the arguments not named here.

    Args:
        surfaces: One surface, or label -> surface.
        title: What is seen; None for a plain sentence.
        loss_name: Name and unit of the loss; None for what the results' provenance says.
        columns: Panels in a row.
        bare_axes: Whether the axes' names have no units, which the caption then says.
        log: As there, where no scale is given.
        clip: As there, where no scale is given.
        scale: One that is shared with surfaces that are not shown; by default the scale of these surfaces.

    Raises:
        DataError: There is no surface.
        MismatchError: A surface's arrays do not fit together.
    """
    named = as_mapping(surfaces, "Surface")
    for name, surface in named.items():
        _check(name, surface)
    if scale is None:
        scale = common_scale([surface.loss for surface in named.values()], log=log, clip=clip)
    placed = arrange({name: (np.ravel(s.alphas), np.ravel(s.betas), s.directions) for name, s in named.items()})
    fields = tuple(
        _field(name, surface, scale, box, unit)
        for (name, surface), box, unit in zip(named.items(), placed.boxes, placed.units, strict=True)
    )
    looks = distinct([field.places for field in fields])
    fields = tuple(replace(field, places=own) for field, own in zip(fields, looks, strict=True))
    first = next(iter(named.values()))
    if loss_name is None:
        loss_name = loss_label(surface.provenance for surface in named.values())
    default = _title(fields)
    if interpolated := interpolation_note(named):
        default += ", interpolated"
    said = [placed.unit if bare_axes or len(fields) > 1 else "", placed.caption]
    said += [
        "" if bare_axes else placed.scales,
        *_caption(fields, scale, "Colors and heights" if bare_axes else "Colors"),
    ]
    return Fields(
        fields=fields,
        scale=scale,
        title=title if title is not None else default,
        caption=" ".join(part for part in said if part) + interpolated,
        x_label=direction_label("α", first.directions, 0),
        y_label=direction_label("β", first.directions, 1),
        z_label=loss_name + (", log scale" if scale.log else ""),
        columns=columns,
        shared=placed.shared,
    )


def _title(fields: tuple[Field, ...]) -> str:
    around = all(any(place.name == TRAINED for place in field.places) for field in fields)
    if len(fields) > 1:
        whose = "around each set of trained weights" if around else "on each plane"
        return f"Loss {whose}, on one common scale"
    return "Loss around the trained weights" if around else "Loss on a plane through weight space"


def interpolation_note(surfaces: Mapping[str, Surface]) -> str:
    """Say which surfaces are interpolated, from what, and how far off they may be; nothing where none is.

    Args:
        surfaces: Label -> surface; ``provenance["interpolated"]`` says it.

    Returns:
        A sentence after a space, or "".
    """
    said = []
    for name, surface in surfaces.items():
        if how := surface.provenance.get("interpolated"):
            nodes = "x".join(map(str, how["nodes"]))
            error = f"error estimated at no more than {how['max_error']:.2g}, {how['relative_error']:.1%} of the range"
            error = error if math.isfinite(how["max_error"]) else "its error could not be estimated"
            said.append(f"{f'{name}, ' if name else ''}{how['method']} through {nodes} computed points ({error})")
    return f" Interpolated, not computed: {'; '.join(said)}." if said else ""


def _check(name: str, surface: Surface) -> None:
    shape = (len(surface.alphas), len(surface.betas))
    if np.shape(surface.loss) != shape:
        raise MismatchError(
            f"The surface {name!r} has a loss that does not fit its axes.", expected=shape, got=np.shape(surface.loss)
        )


def _field(name: str, surface: Surface, scale: Scale, box: Box, unit: str) -> Field:
    loss = np.asarray(surface.loss, dtype=float)
    z = scale.drawn(loss)
    missing = np.asarray(surface.status) == 0
    alphas, betas = np.asarray(surface.alphas, float), np.asarray(surface.betas, float)
    unloggable = np.isfinite(loss) & (loss <= 0) if scale.log else np.zeros_like(missing)
    lowest = (math.nan, math.nan, math.nan)
    if np.isfinite(z).any():
        i, j = np.unravel_index(np.nanargmin(np.where(np.isfinite(z), loss, np.nan)), z.shape)
        lowest = (float(alphas[i]), float(betas[j]), float(z[i, j]))
    return Field(
        name=name,
        x=alphas,
        y=betas,
        z=z.T.copy(),
        hover=_hover(surface, missing).T.copy(),
        places=places(surface.provenance, alphas, betas, z),
        lowest=lowest,
        non_finite=int((~np.isfinite(loss) & ~missing).sum()),
        missing=int(missing.sum()),
        unloggable=int(unloggable.sum()),
        clipped=int((loss > scale.clip).sum()) if scale.clip is not None else 0,
        box=box,
        unit=unit,
    )


def _hover(surface: Surface, missing: np.ndarray) -> np.ndarray:
    loss, accuracy = np.asarray(surface.loss, float), np.asarray(surface.accuracy, float)
    texts, metric = np.empty(loss.shape, dtype=object), surface.provenance.get("metric")
    for index, value in np.ndenumerate(loss):
        share = accuracy[index] if accuracy.shape == loss.shape else math.nan
        score = f"accuracy {share:.1%}" if metric is None else f"{metric} {share:.4g}"
        texts[index] = f"loss {value:.4g}" + (f"<br>{score}" if math.isfinite(share) else "")
    texts[np.asarray(surface.status) == 3] += "<br>interpolated"
    texts[missing] = "not computed"
    return texts


def _caption(fields: tuple[Field, ...], scale: Scale, what: str) -> list[str]:
    said = [f"{what} are log10 of the loss." if scale.log else f"{what} are linear in the loss."]
    for field in fields:
        if field.z.size == 1 and math.isfinite(value := field.z.item()):
            said.append(
                f"{f'{field.name}: the' if field.name else 'The'} loss is {10**value if scale.log else value:.4g}."
            )
    if clipped := sum(field.clipped for field in fields):
        said.append(f"{plural(clipped, 'point')} with a loss above {scale.clip:g} drawn at {scale.clip:g}.")
    for attribute, meaning in (
        ("non_finite", "without a finite loss"),
        ("unloggable", "with a loss of 0 or less, which a log scale cannot show"),
        ("missing", "not computed yet"),
    ):
        counts = {field.name: getattr(field, attribute) for field in fields if getattr(field, attribute)}
        if counts:
            where = ", ".join(f"{name} {count}" for name, count in counts.items() if name)
            said.append(f"{plural(sum(counts.values()), 'point')} {meaning}{f' ({where})' if where else ''}: gaps.")
    return said
