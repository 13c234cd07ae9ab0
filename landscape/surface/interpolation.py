"""An interpolated view of a coarse surface: a bicubic spline, with its error estimated from the nested grids."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from landscape.arguments import check_kind
from landscape.errors import ConfigError, DataError
from landscape.surface.archive import frozen_array, span
from landscape.surface.grid import both
from landscape.surface.results import DONE, INTERPOLATED, MISSING, NON_FINITE, Surface

Spline = Callable[..., np.ndarray]
_DEGREE = 3
_DECADE = 10
_BETTER = 0.3  # of the mean square error, for logarithms to be taken
_FLOOR = 0.01  # of the range: how deep a minimum may lie in the logarithm
_ROUNDING = 64 * np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False, kw_only=True)
class InterpolatedSurface(Surface):
    """A surface most of whose points were not computed but interpolated.

    It can be drawn as a surface is; figures say that it is interpolated, because its provenance does. Its file is read
    back by this class only. Arrays are read-only float64, unless said otherwise; those not named here are as in
    :class:`~landscape.surface.Surface`.

    Attributes:
        loss: (A, B) the computed loss at the nodes; the spline's value elsewhere; NaN in every cell between nodes that
            touches a node without a finite loss. A spline can undershoot: no value is kept from being negative.
        accuracy: (A, B) as computed at the nodes; NaN elsewhere.
        status: (A, B) uint8: 1 computed; 3 interpolated; 2 a loss that is not finite, or no value because of one; 0 no
            value because of a node that was not computed.
        error: (A, B) estimated largest distance of ``loss`` from the true loss, in units of the loss: 0 at the nodes;
            NaN where there is no value, or nothing to estimate it from.
        nodes: How many computed points along each axis the spline goes through.
        order: The order of convergence that was seen, and that the estimate starts from; NaN where the grid is too
            small to see one.
    """

    error: np.ndarray
    nodes: tuple[int, int]
    order: float

    def __post_init__(self) -> None:
        super().__post_init__()
        error = frozen_array("error", self.error, self.loss.shape)
        for name, value in {"error": error, "nodes": tuple(self.nodes), "order": float(self.order)}.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """One line: how many points from how many, where, their losses, and the estimated error."""
        shape, nodes = f"{len(self.alphas)}x{len(self.betas)}", f"{self.nodes[0]}x{self.nodes[1]}"
        error = f"error at most {self.max_error:.2g} ({self.relative_error:.2%} of the range), estimated"
        plane = f"alpha {span(self.alphas)}, beta {span(self.betas)}, loss {span(self.loss)}"
        return f"InterpolatedSurface({shape} points from {nodes} computed, {plane}, {error})"

    @property
    def max_error(self) -> float:
        """The largest estimated error, in units of the loss; NaN where none could be estimated."""
        known = self.error[np.isfinite(self.loss)]
        return float(known.max()) if known.size else math.nan

    @property
    def relative_error(self) -> float:
        """The largest estimated error as a fraction of the range of the finite losses."""
        finite = self.loss[np.isfinite(self.loss)]
        extent = float(finite.max()) - float(finite.min()) if finite.size else 0.0
        return self.max_error / extent if extent > 0 else math.nan

    @property
    def complete(self) -> bool:
        """Whether every point has been computed: only where the view has no points beside the nodes."""
        return bool(((self.status == DONE) | (self.status == NON_FINITE)).all())

    _names = (*Surface._names, "error")
    _words = ("nodes", "order")


def interpolate(surface: Surface, *, points: int | tuple[int, int] = (81, 81)) -> InterpolatedSurface:
    """Look at a coarse surface through a spline, and say how far off it may be.

    Definition: the tensor product of interpolating cubic splines (not-a-knot; of the highest degree that there are
    points for where there are fewer than four), through the losses; on a complete grid this is scipy's
    ``RectBivariateSpline(..., s=0)``. Where all losses are positive and span a decade, as around a trained minimum, the
    view may be the mean S of this and of ``exp(T) + l - c``, T the same spline through ``log(loss - l + c)``, l the
    smallest loss and c 1 % of the range: the two often err in opposite directions. It is so where S, made of every
    second node, finds the others with less than 0.3 of the mean square error of the first spline; provenance says it.
    Where some nodes have no finite loss, splines run along each stretch of finite ones, first along alpha and then
    along beta and the other way round, and the mean of both is taken: every cell between four finite nodes has a value,
    and no other cell has one.

    The error is estimated from the nested grids. Let S_h be the spline through all nodes and S_2h that through every
    second one. At the nodes that S_2h leaves out its error is known; with that of S_4h it shows the order p at which
    the error falls, the smaller one of the largest errors' and of the root mean squares'. The error of S_h is taken as
    ``2**-q * max |S_h - S_2h|``, q = 2 p - 4 but at least -1 and at most 1, over the cell and two cells around it,
    compared at the nodes and in the middle between them; q = 0 where the grid is too small to show p.

    That is cautious on purpose. A smooth loss has p = 4, which would allow q = 4; one with kinks has p = 1, and its
    S_h can be further from it than from S_2h. Over random functions, smooth ones and sums of kinks, ``max_error`` was
    at least the true largest error in 99 of 100 and 6 to 12 times it in the middle (up to 50 times on 7x7 nodes); a
    single kink along a grid line is the worst case: one in seven places of it is missed. What lies between the nodes
    altogether, noise for example, no estimate sees. Two nodes along an axis show nothing: the error is then NaN.

    Args:
        surface: A computed surface; missing and non-finite points allowed.
        points: How many points the view has along each axis, evenly from end to end; one number for both. Default 81:
            contours without corners. Those that coincide with nodes hold the computed values, bit for bit. An axis of
            a single node keeps it.

    Returns:
        The view.

    Raises:
        ConfigError: ``points`` is no number, or no pair of numbers, of at least 2.
        DataError: It is no surface, is itself interpolated, or an axis does not ascend.

    Example:
        >>> axis = np.linspace(-1, 1, 5)
        >>> loss = axis[:, None] ** 3 + axis**2  # a cubic is its own spline
        >>> surface = Surface(
        ...     alphas=axis, betas=axis, loss=loss, accuracy=loss, status=np.ones((5, 5)), directions=({}, {}),
        ...     provenance={},
        ... )
        >>> view = interpolate(surface, points=41)
        >>> bool(np.abs(view.loss - (view.alphas[:, None] ** 3 + view.betas**2)).max() < 1e-14)
        True

    References:
        de Boor. A Practical Guide to Splines. Springer 1978, chapters IV and XVII. The error estimate follows Roache.
        Perspective: a method for uniform reporting of grid refinement studies. J. Fluids Eng. 116, 1994.
    """
    _check(surface)
    nodes = (surface.alphas, surface.betas)
    x, y = (_view_axis(axis, count) for axis, count in zip(nodes, both(points), strict=True))
    values = np.where(np.isfinite(surface.loss), surface.loss, np.nan)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        logarithms = _by_logarithms(nodes, values)
        spline = partial(_spline, logarithms=logarithms)
        order, error = _estimate(spline, nodes, values, (x, y))
        loss = spline(nodes, values, (x, y))
    status = _status(surface, x, y)
    status[(status == INTERPOLATED) & ~np.isfinite(loss)] = NON_FINITE  # finite losses so large that the spline is not
    accuracy = np.full(loss.shape, np.nan)
    at_x, at_y = np.flatnonzero(np.isin(x, nodes[0])), np.flatnonzero(np.isin(y, nodes[1]))
    here = np.ix_(at_x, at_y)
    there = np.ix_(np.searchsorted(nodes[0], x[at_x]), np.searchsorted(nodes[1], y[at_y]))
    for mine, computed in ((loss, surface.loss), (accuracy, surface.accuracy), (status, surface.status)):
        mine[here] = computed[there]
    error[here] = np.where(np.isfinite(surface.loss[there]), 0.0, np.nan)
    error[~np.isfinite(loss)] = np.nan
    view = InterpolatedSurface(
        alphas=x,
        betas=y,
        loss=loss,
        accuracy=accuracy,
        status=status,
        directions=surface.directions,
        provenance={},
        plane=surface.plane,
        error=error,
        nodes=(len(nodes[0]), len(nodes[1])),
        order=order,
    )
    return replace(view, provenance={**surface.provenance, "interpolated": _label(view, logarithms)})


def _check(surface: Surface) -> None:
    fix = "Use evaluate_surface(objective, plane), Surface.load(path) or import_result(path)."
    check_kind(surface, Surface, "This is no surface.", fix=fix, error=DataError)
    if "interpolated" in surface.provenance:
        raise DataError(
            "This surface is interpolated already.", expected="a computed surface", fix="Interpolate what was computed."
        )
    for name in ("alphas", "betas"):
        axis = getattr(surface, name)
        if not (len(axis) and np.isfinite(axis).all() and (np.diff(axis) > 0).all()):
            raise DataError(
                f"The surface's {name} do not ascend.",
                expected="finite numbers, each above the one before",
                got=np.array2string(axis, threshold=8),
                fix="Sort its axis, and the losses with it.",
            )


def _label(view: InterpolatedSurface, logarithms: bool) -> dict[str, Any]:
    degrees = [min(_DEGREE, count - 1) for count in view.nodes]
    cubic = degrees == [_DEGREE, _DEGREE]
    method = "bicubic spline" if cubic else f"spline of degree {degrees[0]} x {degrees[1]}"
    return {
        "method": f"mean of a {method} of the loss and one of its logarithm" if logarithms else method,
        "nodes": list(view.nodes),
        "order": view.order,
        "max_error": view.max_error,
        "relative_error": view.relative_error,
    }


def _view_axis(nodes: np.ndarray, count: int) -> np.ndarray:
    if len(nodes) == 1:
        return nodes.copy()
    if count < 2:
        raise ConfigError(
            "An axis of several nodes cannot be seen in one point.", expected="at least 2", got=count, fix="Use 81."
        )
    axis = np.linspace(nodes[0], nodes[-1], count)
    nearest = nodes[np.abs(axis[:, None] - nodes).argmin(axis=1)]
    return np.where(np.abs(axis - nearest) <= 1e-12 * (nodes[-1] - nodes[0]), nearest, axis)


# ------------------------------------------------------------------------------------------------------- the spline


def _by_logarithms(nodes: tuple[np.ndarray, np.ndarray], values: np.ndarray) -> bool:
    """Whether losses are positive, span a decade, and logarithms help to find the nodes from every second one."""
    finite = values[np.isfinite(values)]
    if not (finite.size and finite.min() > 0 and finite.max() >= _DECADE * finite.min()):
        return False
    plain, mixed = (
        _wrong(partial(_spline, logarithms=logarithms), nodes, values, _coarser(nodes, values))
        for logarithms in (False, True)
    )
    return bool(plain.size) and bool(np.mean(mixed**2) < _BETTER * np.mean(plain**2))


def _spline(
    nodes: tuple[np.ndarray, np.ndarray], values: np.ndarray, at: tuple[np.ndarray, np.ndarray], *, logarithms: bool
) -> np.ndarray:
    if not logarithms:
        return _through(nodes, values, at)
    lowest, highest = np.nanmin(values), np.nanmax(values)
    floor = _FLOOR * (highest - lowest)
    curved = np.exp(_through(nodes, np.log(values - lowest + floor), at)) + lowest - floor
    return (_through(nodes, values, at) + curved) / 2


def _through(nodes: tuple[np.ndarray, np.ndarray], values: np.ndarray, at: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    (a, b), (x, y) = nodes, at
    first = _along(b, _along(a, values, x).T, y).T
    if np.isfinite(values).all():
        return first
    return (first + _along(a, _along(b, values.T, y).T, x)) / 2


def _along(nodes: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Interpolate each column (n, m) along its stretches of finite values; NaN between them."""
    from scipy.interpolate import make_interp_spline

    found = np.full((len(at), values.shape[1]), np.nan)
    patterns, kind = np.unique(np.isfinite(values), axis=1, return_inverse=True)
    for index, pattern in enumerate(patterns.T):
        columns = np.flatnonzero(kind.reshape(-1) == index)
        for low, high in _stretches(pattern):
            inside = np.flatnonzero((at >= nodes[low]) & (at <= nodes[high]))
            known = values[low : high + 1, columns]
            if low < high and len(inside):
                spline = make_interp_spline(nodes[low : high + 1], known, k=min(_DEGREE, high - low))
                found[np.ix_(inside, columns)] = spline(at[inside])
            else:
                found[np.ix_(inside, columns)] = known[:1]
    return found


def _stretches(finite: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], finite, [False]]).astype(np.int8)))
    return [(int(low), int(high) - 1) for low, high in edges.reshape(-1, 2)]


def _status(surface: Surface, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What each point of the view is: interpolated, or without a value because of a node beside it."""
    rows = (np.searchsorted(surface.alphas, x, "right") - 1, np.searchsorted(surface.alphas, x, "left"))
    columns = (np.searchsorted(surface.betas, y, "right") - 1, np.searchsorted(surface.betas, y, "left"))
    corners = [np.ix_(row, column) for row in rows for column in columns]
    finite = np.logical_and.reduce([np.isfinite(surface.loss[corner]) for corner in corners])
    missing = np.logical_or.reduce([surface.status[corner] == MISSING for corner in corners])
    return np.where(finite, INTERPOLATED, np.where(missing, MISSING, NON_FINITE)).astype(np.uint8)


# -------------------------------------------------------------------------------------------------------- its error


def _halves(count: int) -> np.ndarray:
    """Every second index, and the last one."""
    every = np.arange(0, count, 2)
    return every if every[-1] == count - 1 else np.append(every, count - 1)


def _coarser(nodes: tuple[np.ndarray, np.ndarray], values: np.ndarray) -> tuple[tuple, np.ndarray]:
    a, b = (_halves(len(axis)) for axis in nodes)
    return (nodes[0][a], nodes[1][b]), values[np.ix_(a, b)]


def _estimate(
    spline: Spline, nodes: tuple[np.ndarray, np.ndarray], values: np.ndarray, at: tuple[np.ndarray, np.ndarray]
) -> tuple[float, np.ndarray]:
    """The order that was seen, and the estimated error at the points of the view, nodes and gaps not yet told apart."""
    shape = (len(at[0]), len(at[1]))
    if any(len(axis) == 2 for axis in nodes):  # nothing between two ends shows how the loss bends along that axis
        return math.nan, np.full(shape, np.nan)
    coarse = _coarser(nodes, values)
    order = _order(spline, nodes, values, coarse)
    x, y = (np.sort(np.concatenate([axis, (axis[1:] + axis[:-1]) / 2])) for axis in nodes)
    apart = np.abs(spline(nodes, values, (x, y)) - spline(*coarse, (x, y)))
    apart = np.where(np.isfinite(apart), apart, -np.inf)
    if not np.isfinite(apart).any():
        return order, np.full(shape, np.nan)
    exponent = 0.0 if math.isnan(order) else min(max(2 * order - 4, -1.0), 1.0)
    around = _largest_around(apart)
    around = 2.0**-exponent * np.where(np.isfinite(around), around, apart.max())
    cells = np.ix_(*(_cell(axis, points) for axis, points in zip(nodes, at, strict=True)))
    return order, np.maximum(around[cells], _ROUNDING * np.nanmax(np.abs(values)))


def _cell(nodes: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.clip(np.searchsorted(nodes, points, "right") - 1, 0, max(len(nodes) - 2, 0))


def _wrong(
    spline: Spline, nodes: tuple[np.ndarray, np.ndarray], values: np.ndarray, coarse: tuple[tuple, np.ndarray]
) -> np.ndarray:
    """How far a spline through some nodes is from the values of the others, where it has a value."""
    at, known = coarse
    wrong = np.abs(spline(at, known, nodes) - values)
    left_out = ~(np.isin(nodes[0], at[0])[:, None] & np.isin(nodes[1], at[1]))
    return wrong[left_out & np.isfinite(wrong)]


def _order(
    spline: Spline, nodes: tuple[np.ndarray, np.ndarray], values: np.ndarray, coarse: tuple[tuple, np.ndarray]
) -> float:
    """How fast the error falls as the distance of the nodes is halved: the smaller one of two ways to see it."""
    coarser, sizes = _coarser(*coarse), []
    if coarser[1].shape == coarse[1].shape:
        return math.nan
    for at, known in (coarse, coarser):
        wrong = _wrong(spline, nodes, values, (at, known))
        if not wrong.size:
            return math.nan
        sizes.append((wrong.max(), math.sqrt(np.mean(wrong**2))))
    (fine, fine_rms), (rough, rough_rms) = sizes
    if fine <= _ROUNDING * np.nanmax(np.abs(values)):
        return float(_DEGREE + 1)
    return float(np.log2(min(rough / fine, rough_rms / fine_rms)))


def _largest_around(apart: np.ndarray) -> np.ndarray:
    """The largest difference (2A - 1, 2B - 1) in each cell and two cells around it, (A - 1, B - 1) at least 1."""
    for axis in (0, 1):
        if apart.shape[axis] > 1:
            padding = [(0, 0), (0, 0)]
            padding[axis] = (4, 4)
            padded = np.pad(apart, padding, constant_values=-np.inf)
            windows = np.lib.stride_tricks.sliding_window_view(padded, 11, axis=axis)
            apart = windows.max(axis=-1)[::2] if axis == 0 else windows.max(axis=-1)[:, ::2]
    return apart
