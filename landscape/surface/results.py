"""What surfaces are: losses on a line, on a plane, and against the size of a perturbation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from landscape.errors import MismatchError
from landscape.surface.archive import frozen_array, load_result, save_result, span
from landscape.surface.path_results import Barrier, Curve, Trajectory

if TYPE_CHECKING:
    from torch import Tensor

    from landscape.surface.directions import Direction
    from landscape.surface.planes import Plane

__all__ = ["DONE", "MISSING", "NON_FINITE", "Barrier", "Curve", "Line", "Profile", "Surface", "Trajectory"]

MISSING, DONE, NON_FINITE, INTERPOLATED = 0, 1, 2, 3
"""The status of a point: not computed yet; computed; computed, and the loss is NaN or infinite; not computed but
interpolated, which only an interpolated view has."""


def _set(result: object, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(result, name, value)


@dataclass(frozen=True, eq=False, kw_only=True)
class Line:
    """The loss along one direction: ``loss[i] = L(w + alphas[i] * d)``.

    All arrays are read-only float64, unless said otherwise.

    Attributes:
        alphas: (A,), in units of the direction's own length.
        loss: (A,) mean loss; NaN and infinities as they came; NaN where missing.
        accuracy: (A,) fraction of right predictions in [0, 1]; NaN where it has no meaning, or missing.
        status: (A,) uint8: 0 missing, 1 done, 2 done and the loss is not finite.
        directions: One dictionary that says what the direction is (plain JSON values).
        provenance: What was evaluated and how (plain JSON values).
        direction: The direction itself, or None where it was not saved; see :func:`landscape.surface.redraw`.

    Raises:
        MismatchError: The arrays do not fit together.

    Example:
        >>> values = {"loss": [1, 0, 1], "accuracy": [0, 1, 0], "status": [1, 1, 1]}
        >>> line = Line(alphas=[-1, 0, 1], **values, directions=({},), provenance={})
        >>> line.center_loss, line.complete
        (0.0, True)
    """

    alphas: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    status: np.ndarray
    directions: tuple[dict[str, Any], ...]
    provenance: dict[str, Any]
    direction: Direction | None = None

    def __post_init__(self) -> None:
        alphas = frozen_array("alphas", self.alphas, (-1,))
        _set(self, alphas=alphas, directions=tuple(self.directions), **_fields(self, alphas.shape))

    def __repr__(self) -> str:
        """One line: how many points, where, and their losses."""
        return f"Line({len(self.alphas)} points, alpha {span(self.alphas)}, {_losses(self)})"

    @property
    def center_loss(self) -> float:
        """The loss at alpha = 0: the model's own; NaN where alpha = 0 is no point or is missing.

        An even number of points, evenly spaced around 0, has no center.
        """
        return _at(self.loss, self.alphas)

    @property
    def complete(self) -> bool:
        """Whether every point has been computed."""
        return bool((self.status != MISSING).all())

    def save(self, path: str | os.PathLike[str], *, keep_directions: bool | None = None) -> None:
        """Write the line as one ``.npz`` file, atomically and with a checksum.

        Args:
            path: The file.
            keep_directions: See :meth:`Surface.save`.

        Raises:
            StorageError: The file cannot be written.

        Warns:
            DirectionsWarning: The directions are bigger than that and cannot be made again, or were written into.
        """
        arrays = {name: getattr(self, name) for name in ("alphas", *_FIELDS)}
        _save(self, path, arrays, keep_directions)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a line back; nothing is unpickled.

        Raises:
            StorageError: There is no such file.
            CorruptFileError: It is damaged.
            MismatchError: It holds something else.
        """
        values, directions, _ = _load(path, "Line", ("alphas", *_FIELDS))
        return cls(**values, direction=directions[0] if directions else None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Surface:
    """The loss on a plane: ``loss[i, j] = L(w + alphas[i] * d1 + betas[j] * d2)``.

    All arrays are read-only float64, unless said otherwise.

    Attributes:
        alphas: (A,), in units of the first direction's own length.
        betas: (B,), in units of the second direction's own length.
        loss: (A, B) mean loss; NaN and infinities as they came; NaN where missing.
        accuracy: (A, B) fraction of right predictions in [0, 1]; NaN where it has no meaning, or missing.
        status: (A, B) uint8: 0 missing, 1 done, 2 done and the loss is not finite.
        directions: Two dictionaries that say what the directions are (plain JSON values).
        provenance: What was evaluated and how (plain JSON values).
        plane: The plane itself, or None where it was not saved; see :func:`landscape.surface.redraw`.

    Raises:
        MismatchError: The arrays do not fit together.

    Example:
        >>> surface = Surface(
        ...     alphas=[-1, 0, 1], betas=[0], loss=[[1], [0], [1]], accuracy=[[0], [1], [0]], status=[[1], [1], [0]],
        ...     directions=({}, {}), provenance={},
        ... )
        >>> surface.center_loss, surface.complete
        (0.0, False)
    """

    alphas: np.ndarray
    betas: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    status: np.ndarray
    directions: tuple[dict[str, Any], ...]
    provenance: dict[str, Any]
    plane: Plane | None = None

    def __post_init__(self) -> None:
        alphas, betas = (frozen_array(name, getattr(self, name), (-1,)) for name in ("alphas", "betas"))
        fields = _fields(self, (len(alphas), len(betas)))
        _set(self, alphas=alphas, betas=betas, directions=tuple(self.directions), **fields)

    def __repr__(self) -> str:
        """One line: how many points, where, and their losses."""
        shape = f"{len(self.alphas)}x{len(self.betas)} points"
        return f"Surface({shape}, alpha {span(self.alphas)}, beta {span(self.betas)}, {_losses(self)})"

    @property
    def center_loss(self) -> float:
        """The loss at alpha = beta = 0: the model's own; NaN where (0, 0) is no point or is missing.

        An even number of points along an axis, evenly spaced around 0, has no center.
        """
        return _at(self.loss, self.alphas, self.betas)

    @property
    def complete(self) -> bool:
        """Whether every point has been computed."""
        return bool((self.status != MISSING).all())

    def save(self, path: str | os.PathLike[str], *, keep_directions: bool | None = None) -> None:
        """Write the surface as one ``.npz`` file, atomically and with a checksum.

        Args:
            path: The file.
            keep_directions: Whether the plane's vectors are saved too, in their own precision. Default None: where they
                take 128 MiB or less (a file should not be a thousand times its result without being asked). What
                is always saved are checksums and records, from which :func:`landscape.surface.redraw` makes random
                and gradient directions again.

        Raises:
            StorageError: The file cannot be written.

        Warns:
            DirectionsWarning: The directions are bigger than that and cannot be made again, or were written into.
        """
        arrays = {name: getattr(self, name) for name in ("alphas", "betas", *_FIELDS)}
        _save(self, path, arrays, keep_directions)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a surface back; nothing is unpickled.

        Raises:
            StorageError: There is no such file.
            CorruptFileError: It is damaged.
            MismatchError: It holds something else.
        """
        from landscape.surface.planes import Plane

        values, directions, origin = _load(path, "Surface", ("alphas", "betas", *_FIELDS))
        marks = {name: tuple(place) for name, place in values["provenance"].get("plane", {}).get("marks", {}).items()}
        return cls(**values, plane=Plane(*directions, origin=origin, marks=marks) if directions else None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Profile:
    """The loss against the size of a perturbation: ``loss[kind][i] = L(w + radii[i] * d_kind)``, ``||d_kind|| = 1``.

    Attributes:
        kinds: The kinds of perturbation: "random", "sam", "amp".
        radii: (R,) the global L2 norm of the perturbation, over all weights together, for every kind.
        loss: Kind to (R,) mean loss; for "random" the mean over the draws.
        stderr: Kind to (R,) standard error of that mean; 0 for the kinds that draw nothing.
        base_loss: The loss of the unperturbed weights.
        provenance: What was evaluated and how (plain JSON values).

    Raises:
        MismatchError: The arrays do not fit together.

    Example:
        >>> curves = {"loss": {"sam": [2, 3]}, "stderr": {"sam": [0, 0]}}
        >>> profile = Profile(kinds=("sam",), radii=[0, 1], **curves, base_loss=2.0, provenance={})
        >>> profile.loss["sam"].tolist()
        [2.0, 3.0]
    """

    kinds: tuple[str, ...]
    radii: np.ndarray
    loss: Mapping[str, np.ndarray]
    stderr: Mapping[str, np.ndarray]
    base_loss: float
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        radii = frozen_array("radii", self.radii, (-1,))
        if set(self.kinds) != set(self.loss) or set(self.kinds) != set(self.stderr):
            raise MismatchError(
                "A profile's curves are not those of its kinds.", expected=self.kinds, got=tuple(self.loss)
            )
        loss, stderr = (
            {kind: frozen_array(f"{name}[{kind!r}]", curves[kind], radii.shape) for kind in self.kinds}
            for name, curves in (("loss", self.loss), ("stderr", self.stderr))
        )
        _set(self, kinds=tuple(self.kinds), radii=radii, loss=loss, stderr=stderr, base_loss=float(self.base_loss))

    def __repr__(self) -> str:
        """One line: which kinds, how far, and their losses."""
        every = np.concatenate([np.zeros(0), *self.loss.values()])
        finite = f"{np.isfinite(every).mean():.0%} finite" if every.size else "empty"
        radii = f"{len(self.radii)} radii {span(self.radii)}"
        return f"Profile({', '.join(self.kinds)}; {radii}, loss {self.base_loss:.4g} at 0, {span(every)}, {finite})"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the profile as one ``.npz`` file, atomically and with a checksum.

        Raises:
            StorageError: The file cannot be written.
        """
        curves = {name: np.stack([getattr(self, name)[kind] for kind in self.kinds]) for name in ("loss", "stderr")}
        text = {"kinds": self.kinds, "provenance": self.provenance}
        save_result(path, "Profile", {"radii": self.radii, "base_loss": np.array(self.base_loss), **curves}, text)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a profile back; nothing is unpickled.

        Raises:
            StorageError: There is no such file.
            CorruptFileError: It is damaged.
            MismatchError: It holds something else.
        """
        arrays, text = load_result(path, "Profile", ("radii", "base_loss", "loss", "stderr"))
        kinds = tuple(text["kinds"])
        return cls(
            kinds=kinds,
            radii=arrays["radii"],
            loss=dict(zip(kinds, arrays["loss"], strict=True)),
            stderr=dict(zip(kinds, arrays["stderr"], strict=True)),
            base_loss=float(arrays["base_loss"]),
            provenance=text["provenance"],
        )


_FIELDS = ("loss", "accuracy", "status")


def _save(
    result: Line | Surface, path: str | os.PathLike[str], arrays: dict[str, np.ndarray], keep: bool | None
) -> None:
    from landscape.surface.stored import pack

    if isinstance(result, Line):
        directions, origin = () if result.direction is None else (result.direction,), None
    else:
        directions, origin = ((), None) if result.plane is None else (result.plane.directions, result.plane.origin)
    vectors, dtypes = pack(directions, result.directions, origin, keep)
    text = {"directions": result.directions, "provenance": result.provenance, "vectors": dtypes}
    save_result(path, type(result).__name__, {**arrays, **vectors}, text)


def _load(
    path: str | os.PathLike[str], kind: str, names: tuple[str, ...]
) -> tuple[dict[str, Any], tuple[Direction, ...], Tensor | None]:
    from landscape.surface.stored import VECTORS, unpack

    arrays, text = load_result(path, kind, names, optional=VECTORS)
    records = tuple(text["directions"])
    directions, origin = unpack(arrays, text.get("vectors", {}), records)
    values = {**{name: arrays[name] for name in names}, "directions": records, "provenance": text["provenance"]}
    return values, directions, origin


def _fields(result: Line | Surface, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    dtypes = {"status": np.uint8}
    return {name: frozen_array(name, getattr(result, name), shape, dtypes.get(name, np.float64)) for name in _FIELDS}


def _losses(result: Line | Surface) -> str:
    done = result.status != MISSING
    share = np.isfinite(result.loss[done]).mean() if done.any() else 0.0
    computed = "" if done.all() else f", {done.mean():.0%} computed"
    return f"loss {span(result.loss)}, {share:.0%} finite{computed}"


def _at(values: np.ndarray, *axes: np.ndarray) -> float:
    zeros = [np.flatnonzero(axis == 0.0) for axis in axes]
    return float(values[tuple(zero[0] for zero in zeros)]) if all(len(zero) for zero in zeros) else float("nan")
