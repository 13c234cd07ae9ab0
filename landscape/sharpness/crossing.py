"""How far one must go until something has risen by so much."""

from __future__ import annotations

import math
from collections.abc import Callable

from landscape.progress import Progress

GROWTH = 5.0  # as in the code of Bisla et al.
EVALUATIONS = 100
"""The most evaluations of one search; ten or twenty are usual."""
_NARROW = 1e-9  # of the place itself: nothing is gained below


class _Beyond:
    """How far a rise is above its target, counted."""

    def __init__(self, rise: Callable[[float], float], target: float, bar: Progress | None) -> None:
        self.rise, self.target, self.bar, self.left = rise, target, bar, EVALUATIONS

    def __call__(self, distance: float) -> float:
        found = self.rise(distance) - self.target
        self.count(1)
        return found

    def count(self, evaluations: int) -> None:
        self.left -= evaluations
        if self.bar is not None:
            self.bar.update(evaluations)


def crossing(
    rise: Callable[[float], float],
    target: float,
    *,
    start: float,
    largest: float,
    tolerance: float,
    bar: Progress | None = None,
) -> float:
    """Find a distance at which a rise reaches a target: grow by factors of 5, then close in.

    Between two distances of which only the further one reaches the target, halving takes turns with the secant. It
    always ends: after 100 evaluations at the latest.

    Args:
        rise: Distance to rise. It is 0 at distance 0.
        target: Above 0.
        start: The first distance tried, above 0.
        largest: The last one.
        tolerance: The rise may be so far from the target.
        bar: Counts evaluations, out of 100; those that were not needed at the end.

    Returns:
        The distance; infinity where the target is not reached up to ``largest``; NaN where the rise turns NaN before it
        is reached.

    Example:
        >>> round(crossing(lambda r: r**2, 4.0, start=0.1, largest=1e6, tolerance=1e-9), 6)
        2.0
        >>> crossing(lambda r: 1.0, 4.0, start=0.1, largest=1e6, tolerance=1e-9)
        inf
    """
    beyond = _Beyond(rise, target, bar)
    found = _search(beyond, min(start, largest), largest, tolerance)
    beyond.count(beyond.left)
    return found


def _search(beyond: _Beyond, far: float, largest: float, tolerance: float) -> float:
    near, below, above = 0.0, -beyond.target, beyond(far)
    while above < 0:  # NaN is not below: the search goes on before it
        if far >= largest or not beyond.left:
            return math.inf
        near, below = far, above
        far = min(GROWTH * far, largest)
        above = beyond(far)
    while math.isnan(above) or abs(above) > tolerance:
        if not beyond.left or far - near <= _NARROW * far:
            break
        between = (near + far) / 2
        if beyond.left % 2 and math.isfinite(above):
            between = near + (far - near) * below / (below - above)
        found = beyond(between)
        if abs(found) <= tolerance:
            return between
        if found < 0:
            near, below = between, found
        else:
            far, above = between, found
    return math.nan if math.isnan(above) else far
