"""Planes in weight space: random ones, and through three models."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from landscape.arguments import check_objective
from landscape.errors import ConfigError, MismatchError, shown
from landscape.objective import Objective
from landscape.seeding import derive_seed
from landscape.surface.arguments import check_marks
from landscape.surface.directions import Direction, direction_between, point_of, random_direction, weights_checksum
from landscape.surface.grid import covering

Point = nn.Module | Objective | Tensor


@dataclass(frozen=True, eq=False)
class Plane:
    """Two directions, which span a plane through a point: the origin, or whatever weights it is looked at from.

    Args:
        direction1: The first axis, alpha.
        direction2: The second axis, beta.
        origin: (P,) the point alpha = beta = 0, or None for the present weights of the model that is evaluated.
        marks: Names of points on the plane, and where they lie: (alpha, beta).

    Raises:
        MismatchError: The directions belong to different layouts, or are parallel, or one is zero; or the origin is no
            floating-point tensor of their length.
        ConfigError: The marks are no places by name.

    Example:
        >>> axes = [Direction(vector=torch.tensor(v), kind="mine", norm="none") for v in ([1.0, 0.0], [1.0, 1.0])]
        >>> round(Plane(*axes).cosine, 4)  # 1 / sqrt(2)
        0.7071
    """

    direction1: Direction
    direction2: Direction
    origin: Tensor | None = field(default=None, kw_only=True)
    marks: Mapping[str, tuple[float, float]] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        first, second = self.direction1, self.direction2
        for axis in (first, second):
            if not isinstance(axis, Direction):
                raise MismatchError(
                    "A plane needs two directions.",
                    expected="Direction objects",
                    got=shown(axis),
                    fix="Use random_direction(...) or direction_between(...), or Direction(vector=...).",
                )
        if first.size != second.size or (first.layout and second.layout and first.layout != second.layout):
            raise MismatchError(
                "The two directions belong to different models.",
                expected=f"{first.size} weights, layout {first.layout or 'unknown'}",
                got=f"{second.size} weights, layout {second.layout or 'unknown'}",
                fix="Make both directions from one model.",
            )
        if not abs(self.cosine) < 1 - 1e-6:  # NaN too: a zero or non-finite direction
            raise self._no_plane()
        if self.origin is not None:
            self._check_origin()
        check_marks(self.marks)

    def _no_plane(self) -> MismatchError:
        """Say why the two directions span none, and what helps."""
        first, second = self.directions
        fix = "Use another seed or model for the second direction, or evaluate_line for one direction."
        if 0.0 in (first.length, second.length):
            drawn = "random" in (first.kind, second.kind)
            fix = "Draw it with norm='none': at the scale of weights that are zero, every direction is zero."
            fix = fix if drawn else "Use two different points for a direction between them."
        elif not math.isfinite(first.length + second.length):
            fix = "Use weights and gradients that are finite."
        return MismatchError(
            "The two directions span no plane.",
            expected="two finite directions that are not parallel",
            got=f"lengths {first.length:.3g} and {second.length:.3g}, cosine {self.cosine:.6g}",
            fix=fix,
        )

    def _check_origin(self) -> None:
        origin, size = self.origin, self.direction1.size
        right = isinstance(origin, Tensor) and origin.is_floating_point() and tuple(origin.shape) == (size,)
        if not right:
            raise MismatchError(
                "The plane's origin is no point of the model that its directions belong to.",
                expected=f"a floating-point tensor of shape ({size},)",
                got=f"shape {tuple(origin.shape)}, {origin.dtype}" if isinstance(origin, Tensor) else shown(origin),
                fix="Use objective.weights() of the same model, or None for its present weights.",
            )

    def __repr__(self) -> str:
        """One line: both directions, the angle between them, and what else it has."""
        origin = "" if self.origin is None else ", an origin"
        marks = f", marks {', '.join(self.marks)}" if self.marks else ""
        return f"Plane({self.direction1}, {self.direction2}, cosine {self.cosine:.3g}{origin}{marks})"

    @property
    def cosine(self) -> float:
        """The cosine of the angle between the directions: 0 where they are orthogonal."""
        first, second = self._axes()
        return float(first @ second / (torch.linalg.vector_norm(first) * torch.linalg.vector_norm(second)))

    @property
    def directions(self) -> tuple[Direction, Direction]:
        """Both directions."""
        return self.direction1, self.direction2

    def _axes(self) -> tuple[Tensor, Tensor]:
        first = self.direction1.vector.double()
        return first, self.direction2.vector.double().to(first.device)

    @classmethod
    def random(
        cls,
        objective: Objective,
        *,
        norm: str = "filter",
        ignore: str | None = "biasbn",
        seed: int = 0,
        orthogonal: bool = False,
    ) -> Self:
        """Draw two random directions from one seed; see :func:`random_plane`."""
        check_objective(objective, "random_plane")
        seeds = (derive_seed(seed, "plane", axis) for axis in (1, 2))
        plane = cls(*(random_direction(objective, norm=norm, ignore=ignore, seed=each) for each in seeds))
        return plane.orthogonalized() if orthogonal else plane

    def orthogonalized(self) -> Self:
        """Return the same plane with its second axis made orthogonal to the first, at the length that it had.

        Definition: ``d2 - (d2.d1 / d1.d1) d1``, scaled to ``||d2||``. This mixes the first direction into the second,
        so the filters of the second no longer have the norms that they were given; its ``norm`` becomes "none".
        Marks are computed anew.
        """
        first, second = self._axes()
        turned = second - (second @ first) / (first @ first) * first
        turned *= torch.linalg.vector_norm(second) / torch.linalg.vector_norm(turned)
        old = self.direction2
        vector = turned.to(device=old.vector.device, dtype=old.vector.dtype)
        details = {**old.details, "orthogonal_to": weights_checksum(self.direction1.vector), "norm_before": old.norm}
        ignore = old.ignore if old.ignore == self.direction1.ignore else None
        plane = replace(self, direction2=replace(old, vector=vector, norm="none", ignore=ignore, details=details))
        if not self.marks:
            return plane
        points = [alpha * first + beta * second for alpha, beta in self.marks.values()]
        coordinates, _ = replace(plane, origin=None).project(points, origin=torch.zeros_like(first))
        return replace(plane, marks=dict(zip(self.marks, _pairs(coordinates), strict=True)))

    def project(self, points: Iterable[Point], *, origin: Point | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Find the nearest point of the plane to each of some points, and how far from it they are.

        Definition: ``(alpha, beta)`` minimizes ``||p - origin - alpha d1 - beta d2||``, which is the distance. In
        float64; the axes need not be orthogonal. Points are read one after the other, and none is kept.

        Args:
            points: T models, objectives or weight vectors (P,).
            origin: Where alpha = beta = 0, for a plane that has no origin of its own.

        Returns:
            Coordinates (T, 2) in units of the directions' own lengths, and distances (T,) in units of the weights.

        Raises:
            MismatchError: There is no origin, or a point belongs to another model.

        Example:
            >>> axes = [Direction(vector=v, kind="mine", norm="none") for v in torch.eye(3)[:2]]
            >>> coordinates, distance = Plane(*axes).project([torch.tensor([1.0, 2.0, 3.0])], origin=torch.zeros(3))
            >>> coordinates.tolist(), distance.tolist()
            ([[1.0, 2.0]], [3.0])
        """
        if self.origin is None and origin is None:
            raise MismatchError(
                "This plane goes through no point of its own.",
                expected="an origin",
                fix="Call project(points, origin=...).",
            )
        single = isinstance(points, nn.Module) or (isinstance(points, Tensor) and points.ndim < 2)
        if single or isinstance(points, str | bytes) or not isinstance(points, Iterable):
            raise MismatchError(
                "These are no points.",
                expected="a list of models, objectives or weight vectors (P,)",
                got=shown(points),
                fix="Pass one as a list of its own: [point].",
            )
        axes = torch.stack(self._axes())
        center = self._read(self.origin if origin is None else origin).to(axes.device)
        inverse = torch.linalg.inv(axes @ axes.T)
        rows: list[Tensor] = []
        for point in points:
            apart = self._read(point).to(axes.device) - center
            place = inverse @ (axes @ apart)
            apart -= place @ axes
            rest = inverse @ (axes @ apart)  # what rounding left of it
            rows.append(torch.cat([place + rest, torch.linalg.vector_norm(apart - rest @ axes).reshape(1)]))
        found = torch.stack(rows).cpu().numpy() if rows else np.zeros((0, 3))
        return found[:, :2], found[:, 2]

    def _read(self, point: Point | None) -> Tensor:
        vector, layout = point_of(point)  # type: ignore[arg-type]
        known = self.direction1.layout
        if len(vector) != self.direction1.size or (known and layout and known != layout):
            raise MismatchError(
                "The plane belongs to another model.",
                expected=f"{self.direction1.size} weights, layout {known or 'unknown'}",
                got=f"{len(vector)} weights, layout {layout or 'unknown'}",
                fix="Use points of the architecture that the plane was made from.",
            )
        return vector.double()

    def extent(self, margin: float = 0.25) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return ranges of alpha and beta that hold the origin and all marks, for ``evaluate_surface(extent=...)``.

        Args:
            margin: How much more on each side, as a share of each range.

        Raises:
            ConfigError: There are no marks, or they and the origin lie on one axis.
        """
        if not self.marks:
            raise ConfigError("The plane has no marks.", fix="Give the extent yourself, for example 1.0.")
        return covering(np.array([(0.0, 0.0), *self.marks.values()]), margin)

    def record(self) -> dict[str, Any]:
        """Say what is known beside the directions, in plain JSON values: marks, and the origin's checksum."""
        origin = None if self.origin is None else weights_checksum(self.origin)
        return {"origin_sha256": origin, "marks": {name: list(place) for name, place in self.marks.items()}}


def _pairs(coordinates: np.ndarray) -> list[tuple[float, float]]:
    return [(float(alpha), float(beta)) for alpha, beta in coordinates]


def random_plane(
    objective: Objective,
    *,
    norm: str = "filter",
    ignore: str | None = "biasbn",
    seed: int = 0,
    orthogonal: bool = False,
) -> Plane:
    """Draw a random plane: two random directions whose seeds are derived from one.

    The directions are independent, and by default not made orthogonal: that would spoil the norms of their filters.
    With many weights they nearly are; ``plane.cosine`` tells.

    Args:
        objective: Whose weights.
        norm: See :func:`landscape.surface.random_direction`.
        ignore: See there.
        seed: Names the draw. Each direction's own seed is in ``direction.seed``.
        orthogonal: Whether the second direction is made orthogonal to the first; see :meth:`Plane.orthogonalized`.

    Returns:
        The plane.

    Raises:
        ConfigError: It is no objective, ``norm`` or ``ignore`` is unknown, or ``ignore`` leaves no weight to move.
        MismatchError: The model has too few weights for a plane.

    Example:
        >>> model = torch.nn.Linear(50, 2)
        >>> objective = Objective(model, (torch.zeros(1, 50), torch.zeros(1, dtype=torch.long)))
        >>> plane = random_plane(objective, seed=3)
        >>> abs(plane.cosine) < 0.5
        True
    """
    return Plane.random(objective, norm=norm, ignore=ignore, seed=seed, orthogonal=orthogonal)


def plane_through(
    a: Point, b: Point, c: Point, *, orthonormal: bool = False, names: Sequence[str] = ("a", "b", "c")
) -> Plane:
    """Build the plane through three models, with its origin at the first.

    Definition: with barycentric axes (the default) ``d1 = b - a`` and ``d2 = c - a``, so the models lie at (0, 0),
    (1, 0) and (0, 1), and the point (alpha, beta) is ``(1 - alpha - beta) a + alpha b + beta c``. With ``orthonormal``
    axes ``d1 = u / ||u||`` and ``d2 = v / ||v||``, where ``u = b - a`` and ``v = (c - a) - ((c - a).u / u.u) u``:
    shapes and distances are then those of weight space. Where the models lie is in ``plane.marks``.

    Statistics of normalization layers are no weights: on the whole plane they are those of the model that is evaluated.
    ``evaluate_surface(..., batch_norm="recompute")`` makes each point's own.

    Args:
        a: A model, an objective (its model's present weights) or a weight vector (P,).
        b: Another one of the same layout.
        c: A third one.
        orthonormal: Whether the axes are orthogonal and of norm 1, as in Garipov et al., or barycentric.
        names: What the three are called.

    Returns:
        The plane; ``plane.origin`` are the weights of a, ``plane.extent()`` the ranges that hold all three.

    Raises:
        MismatchError: The three do not have the same weights by name and shape, or lie on one line.
        ConfigError: ``names`` are not three different ones.

    Example:
        >>> a, b, c = torch.zeros(3), torch.tensor([3.0, 0.0, 0.0]), torch.tensor([1.0, 2.0, 0.0])
        >>> plane_through(a, b, c).marks
        {'a': (0.0, 0.0), 'b': (1.0, 0.0), 'c': (0.0, 1.0)}
        >>> plane_through(a, b, c, orthonormal=True).marks
        {'a': (0.0, 0.0), 'b': (3.0, 0.0), 'c': (1.0, 2.0)}

    References:
        T. Garipov et al., Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs, NeurIPS 2018, appendix A.
    """
    if not (isinstance(names, Sequence) and len(names) == 3 and len({n for n in names if isinstance(n, str)}) == 3):
        raise ConfigError(
            "names are out of range.",
            expected="three different names",
            got=shown(names),
            fix='For example names=("a", "b", "c").',
        )
    origin, _ = point_of(a)
    places = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    marks = dict(zip(names, places, strict=True))
    first, second = direction_between(a, b), direction_between(a, c)
    first = replace(first, layout=first.layout or second.layout)
    plane = Plane(first, replace(second, layout=first.layout), origin=origin.clone(), marks=marks)
    if not orthonormal:
        return plane
    plane = plane.orthogonalized()
    axes = [_unit(plane.direction1), _unit(plane.direction2)]
    lengths = [direction.length for direction in plane.directions]
    scaled = {name: (alpha * lengths[0], beta * lengths[1]) for name, (alpha, beta) in plane.marks.items()}
    return Plane(*axes, origin=plane.origin, marks=scaled)


def _unit(direction: Direction) -> Direction:
    vector = (direction.vector.double() / direction.length).to(direction.vector.dtype)
    return replace(direction, vector=vector, norm="unit", details={})
