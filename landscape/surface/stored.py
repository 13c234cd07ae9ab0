"""Directions beside the results that they made: stored where they are small, drawn again where they are not."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.arguments import check_kind, check_objective
from landscape.description import host_array
from landscape.errors import MismatchError
from landscape.objective import Objective
from landscape.surface.directed import VECTORS
from landscape.surface.directions import Direction, gradient_direction, random_direction, weights_checksum
from landscape.surface.perturbation import amp_direction, sam_direction
from landscape.surface.planes import Plane
from landscape.surface.results import Line, Surface

DIRECTIONS_LIMIT = 128 * 2**20
"""Bytes of direction vectors that are stored without being asked for: a plane of 16 million weights in float32."""

REMADE = ("random", "gradient", "sam", "amp")


class DirectionsWarning(UserWarning):
    """A result was saved without its directions, though they cannot be made again, or are others by now."""


def pack(
    directions: Sequence[Direction], records: Sequence[Mapping[str, Any]], origin: Tensor | None, keep: bool | None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Turn vectors into arrays, or into nothing where they are too big.

    Args:
        directions: One or two.
        records: What the result says of them.
        origin: (P,) or None.
        keep: True stores them, False does not, None does up to ``DIRECTIONS_LIMIT`` bytes.

    Returns:
        Name to array, and name to dtype.

    Warns:
        DirectionsWarning: ``keep`` is None, they are too big, and some cannot be made again; or somebody wrote into
            them since the result was made, so they are not stored.
    """
    if keep is False or not directions:
        return {}, {}
    vectors = dict(zip(VECTORS, (direction.vector for direction in directions), strict=False))
    if origin is not None:
        vectors["origin"] = origin
    size = sum(vector.numel() * vector.element_size() for vector in vectors.values())
    if keep is None and size > DIRECTIONS_LIMIT:
        if lost := sorted({direction.kind for direction in directions} - set(REMADE)):
            _warn(
                f"The directions take {size / 2**20:.0f} MiB and were not saved; those of kind {', '.join(lost)} "
                "cannot be made again from their records. keep_directions=True saves them, False says that this is "
                "meant."
            )
        return {}, {}
    if [weights_checksum(each.vector) for each in directions] != [each.get("vector_sha256") for each in records]:
        _warn("The directions were changed since the result was made, so they were not saved with it.")
        return {}, {}
    arrays = {name: host_array(vector) for name, vector in vectors.items()}
    return arrays, {name: str(vector.dtype).removeprefix("torch.") for name, vector in vectors.items()}


def _warn(text: str) -> None:
    warnings.warn(text, DirectionsWarning, stacklevel=5)


def unpack(
    arrays: Mapping[str, np.ndarray], dtypes: Mapping[str, str], records: Sequence[Mapping[str, Any]]
) -> tuple[tuple[Direction, ...], Tensor | None]:
    """Build directions and origin from what :func:`pack` returned; no directions where it returned nothing.

    Raises:
        MismatchError: A vector is not the one that its record tells of.
    """
    vectors = {name: tensor_of(arrays[name], dtype) for name, dtype in dtypes.items()}
    found = [vectors[name] for name in VECTORS[:2] if name in vectors]
    return tuple(map(_rebuilt, found, records)), vectors.get("origin")


def tensor_of(array: np.ndarray, dtype: str) -> Tensor:
    """Turn what :func:`landscape.description.host_array` returned back into a vector of its own dtype."""
    tensor, kind = torch.from_numpy(np.array(array)), getattr(torch, dtype)
    return tensor if tensor.dtype == kind else tensor.view(kind).reshape(-1)  # bytes of a format that NumPy lacks


def _rebuilt(vector: Tensor, record: Mapping[str, Any]) -> Direction:
    if weights_checksum(vector) != record.get("vector_sha256"):
        raise MismatchError(
            "A direction is not the one that the result was made with: its vector was changed in between.",
            expected=str(record.get("vector_sha256"))[:16],
            got=weights_checksum(vector)[:16],
            fix="Evaluate again, with directions that nobody writes into.",
        )
    return Direction(
        vector=vector,
        kind=record["kind"],
        norm=record["norm"],
        ignore=record["ignore"],
        seed=record["seed"],
        layout=record["layout"],
        weights=record["weights_sha256"],
        details=record.get("details", {}),
    )


def redraw(result: Line | Surface, objective: Objective) -> tuple[Direction, ...]:
    """Make the directions of a saved result again, from their records: kind, norm, seed.

    Args:
        result: A line or surface; where it holds its directions, these are returned.
        objective: At the weights that the directions were made at.

    Returns:
        One direction for a line, two for a surface: bit-equal to those that the result was made with.

    Raises:
        ConfigError: It is no line and no surface, or no objective.
        MismatchError: The objective is at other weights; or a direction is of a kind that no record can make again
            ("between", "eigen", "trajectory", your own); or what comes out is another vector (another version of
            torch, other data).

    Example:
        >>> from landscape.surface import evaluate_line
        >>> model = torch.nn.Linear(2, 1).double()
        >>> objective = Objective(model, (torch.ones(1, 2), torch.zeros(1, 1)), torch.nn.functional.mse_loss)
        >>> line = evaluate_line(objective, random_direction(objective, seed=3), points=3, progress=False)
        >>> (again,) = redraw(line, objective)
        >>> again.seed
        3
    """
    fix = "Use what evaluate_line or evaluate_surface gave, or Surface.load(path)."
    check_kind(result, Line | Surface, "This result has no directions.", expected="a Line or a Surface", fix=fix)
    check_objective(objective, "redraw")
    held = (result.direction,) if isinstance(result, Line) else result.plane and result.plane.directions
    if held and held[0] is not None:
        return tuple(direction for direction in held if direction is not None)
    made: list[Direction] = []
    for record in result.directions:
        direction = _remade(record, objective)
        if "orthogonal_to" in record.get("details", {}):
            direction = Plane(made[0], direction).orthogonalized().direction2
        made.append(_rebuilt(direction.vector.cpu(), record))
    return tuple(made)


def _remade(record: Mapping[str, Any], objective: Objective) -> Direction:
    kind, weights = record.get("kind"), record.get("weights_sha256")
    if kind not in REMADE:
        raise MismatchError(
            f"A direction of kind {kind!r} cannot be made again from its record.",
            expected="one of " + ", ".join(REMADE),
            fix="Make it again from what it came from, and save results with keep_directions=True.",
        )
    if weights != weights_checksum(objective.weights()):
        raise MismatchError(
            "The objective is at other weights than the direction was made at.",
            expected=f"weights {str(weights)[:16]}",
            got=f"weights {weights_checksum(objective.weights())[:16]}",
            fix="Load the checkpoint that the result was made from.",
        )
    norm = record.get("details", {}).get("norm_before", record["norm"])
    if kind == "random":
        return random_direction(objective, norm=norm, ignore=record["ignore"], seed=record["seed"])
    if kind == "gradient":
        return gradient_direction(objective, norm=norm)
    return sam_direction(objective) if kind == "sam" else amp_direction(objective)
