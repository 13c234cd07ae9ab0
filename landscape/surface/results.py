"""What surfaces are: losses on a line, on a plane, and against the size of a perturbation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import MismatchError
from landscape.surface.archive import StoredResult, frozen_array, span
from landscape.surface.directed import DirectedResult
from landscape.surface.path_results import Barrier, Curve, Trajectory

if TYPE_CHECKING:
    from torch import Tensor

    from landscape.surface.directed import Vectors
    from landscape.surface.directions import Direction
    from landscape.surface.planes import Plane

__all__ = ["DONE", "MISSING", "NON_FINITE", "Barrier", "Curve", "Line", "Profile", "Surface", "Trajectory"]

MISSING, DONE, NON_FINITE, INTERPOLATED = 0, 1, 2, 3
"""The status of a point: not computed yet; computed; computed, and the loss is NaN or infinite; not computed but
interpolated, which only an interpolated view has."""


_FIELDS = ("loss", "accuracy", "status")


def _set(result: object, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(result, name, value)


@dataclass(frozen=True, eq=False, kw_only=True)
class Line(DirectedResult):
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

    _names = ("alphas", *_FIELDS)

    def _vectors(self) -> Vectors:
        return () if self.direction is None else (self.direction,), None

    @classmethod
    def _held(cls, directions: tuple[Direction, ...], origin: Tensor | None, text: dict[str, Any]) -> dict[str, Any]:
        return {"direction": directions[0] if directions else None}


@dataclass(frozen=True, eq=False, kw_only=True)
class Surface(DirectedResult):
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

    _names = ("alphas", "betas", *_FIELDS)


@dataclass(frozen=True, eq=False, kw_only=True)
class Profile(StoredResult):
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

    _names = ("radii", "base_loss", "loss", "stderr")

    def _packed(self) -> tuple[dict[str, np.ndarray], Any]:
        curves = {name: np.stack([getattr(self, name)[kind] for kind in self.kinds]) for name in ("loss", "stderr")}
        text = {"kinds": self.kinds, "provenance": self.provenance}
        return {"radii": self.radii, "base_loss": np.array(self.base_loss), **curves}, text

    @classmethod
    def _unpacked(cls, arrays: dict[str, np.ndarray], text: Any) -> dict[str, Any]:
        kinds = tuple(text["kinds"])
        curves = {name: dict(zip(kinds, arrays[name], strict=True)) for name in ("loss", "stderr")}
        base = float(arrays["base_loss"])
        return {**curves, "kinds": kinds, "radii": arrays["radii"], "base_loss": base, "provenance": text["provenance"]}


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
