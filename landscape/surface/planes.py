"""Planes in weight space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch

from landscape.errors import MismatchError
from landscape.objective import Objective
from landscape.seeding import derive_seed
from landscape.surface.directions import Direction, random_direction


@dataclass(frozen=True, eq=False)
class Plane:
    """Two directions, which span a plane through whatever point it is looked at from.

    Args:
        direction1: The first axis, alpha.
        direction2: The second axis, beta.

    Raises:
        MismatchError: The directions belong to different layouts, or are parallel, or one is zero.

    Example:
        >>> axes = [Direction(vector=torch.tensor(v), kind="mine", norm="none") for v in ([1.0, 0.0], [1.0, 1.0])]
        >>> round(Plane(*axes).cosine, 4)  # 1 / sqrt(2)
        0.7071
    """

    direction1: Direction
    direction2: Direction

    def __post_init__(self) -> None:
        first, second = self.direction1, self.direction2
        for axis in (first, second):
            if not isinstance(axis, Direction):
                raise MismatchError(
                    "A plane needs two directions.",
                    expected="Direction objects",
                    got=type(axis).__name__,
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
            raise MismatchError(
                "The two directions span no plane.",
                expected="two finite directions that are not parallel",
                got=f"lengths {first.length:.3g} and {second.length:.3g}, cosine {self.cosine:.6g}",
                fix="Use another seed for the second direction, or evaluate_line for one direction.",
            )

    @property
    def cosine(self) -> float:
        """The cosine of the angle between the directions: 0 where they are orthogonal."""
        first = self.direction1.vector.double()
        second = self.direction2.vector.double().to(first.device)
        return float(first @ second / (torch.linalg.vector_norm(first) * torch.linalg.vector_norm(second)))

    @property
    def directions(self) -> tuple[Direction, Direction]:
        """Both directions."""
        return self.direction1, self.direction2

    @classmethod
    def random(
        cls, objective: Objective, *, norm: str = "filter", ignore: str | None = "biasbn", seed: int = 0
    ) -> Self:
        """Draw two random directions from one seed; see :func:`random_plane`."""
        seeds = (derive_seed(seed, "plane", axis) for axis in (1, 2))
        return cls(*(random_direction(objective, norm=norm, ignore=ignore, seed=each) for each in seeds))


def random_plane(objective: Objective, *, norm: str = "filter", ignore: str | None = "biasbn", seed: int = 0) -> Plane:
    """Draw a random plane: two random directions whose seeds are derived from one.

    The directions are independent, and not made orthogonal: that would spoil the norms of their filters. With many
    weights they nearly are; ``plane.cosine`` tells.

    Args:
        objective: Whose weights.
        norm: See :func:`landscape.surface.random_direction`.
        ignore: See there.
        seed: Names the draw. Each direction's own seed is in ``direction.seed``.

    Returns:
        The plane.

    Raises:
        ConfigError: ``norm`` or ``ignore`` is unknown.
        MismatchError: The model has too few weights for a plane.

    Example:
        >>> model = torch.nn.Linear(50, 2)
        >>> objective = Objective(model, (torch.zeros(1, 50), torch.zeros(1, dtype=torch.long)))
        >>> plane = random_plane(objective, seed=3)
        >>> abs(plane.cosine) < 0.5
        True
    """
    return Plane.random(objective, norm=norm, ignore=ignore, seed=seed)
