"""What paths through weight space are: a training's checkpoints on a plane, a curve of low loss, and a barrier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.config import is_number, require
from landscape.errors import MismatchError, unknown_name
from landscape.surface.archive import StoredResult, frozen_array, span
from landscape.surface.directed import DirectedResult
from landscape.surface.grid import covering

if TYPE_CHECKING:
    from torch import Tensor

    from landscape.surface.planes import Plane
    from landscape.surface.results import Line

QUANTITIES = ("loss", "error")


@dataclass(frozen=True, eq=False, kw_only=True)
class Trajectory(DirectedResult):
    """A path of T checkpoints and the plane of its principal components.

    All arrays are read-only float64, unless said otherwise.

    Attributes:
        steps: (T,) int64, the number of each checkpoint: its optimizer step for a run, else 0, 1, 2...
        coordinates: (T, 2) the nearest point of the plane to each checkpoint, in units of the weights.
        distance: (T,) how far each checkpoint is from the plane, in units of the weights. A surface on the plane shows
            the losses of ``coordinates``, not of the checkpoints.
        explained: (T - 1,) the share of each principal component, descending, of all squared distances of the
            checkpoints from the plane's origin; the sum is 1. The plane has the first two.
        center: "last" or "mean": which point is the plane's origin.
        directions: Two dictionaries that say what the axes are (plain JSON values).
        provenance: What the checkpoints are (plain JSON values).
        plane: The plane, orthonormal, or None where it was not saved.

    Raises:
        MismatchError: The arrays do not fit together.
    """

    steps: np.ndarray
    coordinates: np.ndarray
    distance: np.ndarray
    explained: np.ndarray
    center: str
    directions: tuple[dict[str, Any], ...]
    provenance: dict[str, Any]
    plane: Plane | None = None

    def __post_init__(self) -> None:
        steps = frozen_array("steps", self.steps, (-1,), np.int64)
        arrays = {
            "steps": steps,
            "coordinates": frozen_array("coordinates", self.coordinates, (len(steps), 2)),
            "distance": frozen_array("distance", self.distance, steps.shape),
            "explained": frozen_array("explained", self.explained, (-1,)),
            "directions": tuple(self.directions),
        }
        for name, value in arrays.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """One line: how many checkpoints, and how well the plane holds them."""
        far = np.max(self.relative_distance, initial=0.0)
        shares = " + ".join(f"{share:.1%}" for share in self.explained[:2])
        return f"Trajectory({len(self.steps)} checkpoints, {shares} on the plane, up to {far:.1%} of the way beside it)"

    @property
    def explained_by_plane(self) -> float:
        """The share of all squared distances from the origin that lies on the plane."""
        return float(self.explained[:2].sum())

    @property
    def relative_distance(self) -> np.ndarray:
        """(T,) the distance from the plane as a share of the distance from its origin, 0 to 1; 0 at the origin."""
        whole = np.hypot(np.linalg.norm(self.coordinates, axis=1), self.distance)
        return np.divide(self.distance, whole, out=np.zeros_like(whole), where=whole > 0)

    def extent(self, margin: float = 0.25) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return ranges of alpha and beta that hold the path, for ``evaluate_surface(extent=...)``.

        Args:
            margin: How much more on each side, as a share of each range.

        Raises:
            ConfigError: The margin is negative.
        """
        return covering(self.coordinates, margin)

    _names = ("steps", "coordinates", "distance", "explained")
    _words = ("center",)


@dataclass(frozen=True, kw_only=True)
class Barrier:
    """How much the loss, or the error, rises on a path between two models.

    Attributes:
        height: ``max_t [L(t) - ((1 - t) L(0) + t L(1))]``, never negative; NaN where a loss on the path is.
        at: The t of that maximum, 0 to 1.
        instability: ``max_t L(t) - (L(0) + L(1)) / 2``: the same for equal ends.
        quantity: "loss", in its own unit, or "error", as a fraction.

    References:
        R. Entezari et al., The Role of Permutation Invariance in Linear Mode Connectivity of Neural Networks, ICLR
        2022, definition 2.1 (height). J. Frankle et al., Linear Mode Connectivity and the Lottery Ticket Hypothesis,
        ICML 2020, section 2 (instability, of the error).
    """

    height: float
    at: float
    instability: float
    quantity: str

    @classmethod
    def along(cls, path: Line | Curve, quantity: str = "loss") -> Barrier:
        """Read the barrier off a path; see :func:`landscape.surface.barrier`.

        Args:
            path: A line with points at alpha = 0 and 1, or a curve.
            quantity: "loss", or "error": one minus the accuracy.

        Raises:
            ConfigError: ``quantity`` is unknown.
            MismatchError: The path has no point at 0 or 1, or a point between them is not computed yet.
        """
        if quantity not in QUANTITIES:
            raise unknown_name("quantity", quantity, QUANTITIES)
        t = path.t if isinstance(path, Curve) else path.alphas
        inside = (t >= 0) & (t <= 1)
        missing = not isinstance(path, Curve) and (path.status[inside] == 0).any()
        if missing or not ((t == 0).any() and (t == 1).any()):
            raise MismatchError(
                "This path does not go from one model to the other.",
                expected="computed points at 0, at 1 and between",
                got=f"{int(inside.sum())} points from 0 to 1" + (", some of them missing" if missing else ""),
                fix="Use interpolation_line(objective, other).",
            )
        order = np.argsort(t[inside], kind="stable")
        place = t[inside][order]
        values = (path.loss if quantity == "loss" else 1 - path.accuracy)[inside][order]
        with np.errstate(invalid="ignore"):  # infinite ends have no mean: NaN
            excess = values - ((1 - place) * values[0] + place * values[-1])
            instability = values.max() - (values[0] + values[-1]) / 2
        return cls(
            height=float(excess.max()),
            at=float(place[excess.argmax()]),
            instability=float(instability),
            quantity=quantity,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Curve(StoredResult):
    """A quadratic Bezier curve between two models, and the loss along it.

    Definition: ``w(t) = (1 - t)**2 start + 2 t (1 - t) middle + t**2 end``.

    All arrays are read-only float64, unless said otherwise.

    Attributes:
        t: (A,) places on the curve, 0 to 1.
        loss: (A,) mean loss; NaN and infinities as they came.
        accuracy: (A,) fraction of right predictions in [0, 1]; NaN where it has no meaning.
        history: (E,) mean training loss of each epoch, at random places on the curve.
        start: (P,) tensor, the weights at t = 0.
        middle: (P,) tensor, the control point that was trained; the curve bends towards it and does not reach it.
        end: (P,) tensor, the weights at t = 1.
        provenance: What was trained and evaluated, and how (plain JSON values).

    Raises:
        MismatchError: The arrays do not fit together.
    """

    t: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    history: np.ndarray
    start: Tensor
    middle: Tensor
    end: Tensor
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        t = frozen_array("t", self.t, (-1,))
        object.__setattr__(self, "t", t)
        for name in ("loss", "accuracy"):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), t.shape))
        object.__setattr__(self, "history", frozen_array("history", self.history, (-1,)))

    def __repr__(self) -> str:
        """One line: how many points, and their losses."""
        return f"Curve({len(self.t)} points, t {span(self.t)}, loss {span(self.loss)}, P = {len(self.start)})"

    @property
    def max_loss(self) -> float:
        """The highest loss along the curve; NaN where one is."""
        return float(np.max(self.loss))

    @property
    def plane(self) -> Plane:
        """The plane that the curve lies in: orthonormal, with its origin at the start, and all three points marked.

        Raises:
            MismatchError: The curve is a straight line.
        """
        from landscape.surface.planes import plane_through

        return plane_through(self.start, self.end, self.middle, orthonormal=True, names=("start", "end", "middle"))

    @property
    def coordinates(self) -> np.ndarray:
        """(A, 2) where the curve's points lie on :attr:`plane`."""
        marks, t = self.plane.marks, self.t[:, None]
        return 2 * t * (1 - t) * np.array(marks["middle"]) + t**2 * np.array(marks["end"])

    def point(self, t: float) -> Tensor:
        """Return the weights at a place on the curve, (P,); at 0 and 1 bit for bit those of the models.

        Args:
            t: The place: 0 is the start, 1 the end.

        Raises:
            ConfigError: It is no number.
        """
        require(is_number(t), "t", "a number, 0 at the start and 1 at the end", t, "Use 0.5 for the middle.")
        return (1 - t) ** 2 * self.start + 2 * t * (1 - t) * self.middle + t**2 * self.end

    _points = ("start", "middle", "end")
    _names = ("t", "loss", "accuracy", "history", *_points)

    def _packed(self) -> tuple[dict[str, np.ndarray], Any]:
        from landscape.description import host_array

        arrays = {name: getattr(self, name) for name in self._names}
        points = {name: host_array(getattr(self, name)) for name in self._points}
        dtype = str(self.start.dtype).removeprefix("torch.")
        return {**arrays, **points}, {"provenance": self.provenance, "dtype": dtype}

    @classmethod
    def _unpacked(cls, arrays: dict[str, np.ndarray], text: Any) -> dict[str, Any]:
        from landscape.surface.stored import tensor_of

        points = {name: tensor_of(arrays[name], text["dtype"]) for name in cls._points}
        return {**arrays, **points, "provenance": text["provenance"]}
