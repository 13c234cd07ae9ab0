"""What an attack found: for every example and radius whether it holds, with the uncertainty of the share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from landscape.errors import DataError, MismatchError
from landscape.surface.archive import StoredResult, frozen_array

_NORMAL = 1.959963984540054  # 97.5 % of a normal distribution lie below


@dataclass(frozen=True, eq=False, kw_only=True)
class RobustAccuracy(StoredResult):
    """Which examples a classifier still gets right within a radius, as far as an attack can tell.

    An attack finds mistakes; that it finds none proves nothing. So every accuracy here is an upper bound.

    Attributes:
        attack: Its name, or those of several that were taken together.
        norm: "l2" or "linf": of the pixels' change, where pixels run from 0 to 1; of the inputs' where they are no
            images.
        epsilons: (E,) the radii, ascending.
        sizes: (E, N) the norm of the change found that misclassifies within the radius; 0 where none was needed, NaN
            where none was found.
        settings: The attack's (plain JSON values).
        provenance: What was attacked (plain JSON values).
        complete: False where Ctrl-C ended it early: it is then of the examples done by then.
        images: Whether the inputs are images, so that radii are of pixels from 0 to 1; else of the inputs as they are.

    Example:
        >>> found = RobustAccuracy(attack="fgm", norm="l2", epsilons=[0.0, 1.0],
        ...     sizes=[[np.nan] * 4, [0.5] + [np.nan] * 3], settings={}, provenance={})
        >>> found.accuracy.tolist(), found.interval[1].round(2).tolist()
        ([1.0, 0.75], [0.3, 0.95])

    References:
        E. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, JASA 1927 (the interval).
    """

    attack: str
    norm: str
    epsilons: np.ndarray
    sizes: np.ndarray
    settings: dict[str, Any]
    provenance: dict[str, Any]
    complete: bool = True
    images: bool = True
    _names: ClassVar[tuple[str, ...]] = ("epsilons", "sizes")

    def __post_init__(self) -> None:
        """Check the shapes, and make the arrays read-only."""
        epsilons = frozen_array("epsilons", self.epsilons, (-1,))
        object.__setattr__(self, "epsilons", epsilons)
        object.__setattr__(self, "sizes", frozen_array("sizes", self.sizes, (len(epsilons), -1)))

    @property
    def broken(self) -> np.ndarray:
        """(E, N) bool: misclassified within the radius, without any change included."""
        found = ~np.isnan(self.sizes)
        found.flags.writeable = False
        return found

    @property
    def examples(self) -> int:
        """The number of examples N."""
        return self.sizes.shape[1]

    @property
    def accuracy(self) -> np.ndarray:
        """(E,) the share of examples that no change within the radius was found to break."""
        return 1.0 - self.broken.mean(axis=1)

    @property
    def stderr(self) -> np.ndarray:
        """(E,) standard errors ``sqrt(p (1 - p) / N)``: of the draw of the examples, not of the attack."""
        p = self.accuracy
        return np.sqrt(p * (1.0 - p) / self.examples)

    @property
    def interval(self) -> np.ndarray:
        """(E, 2) Wilson's 95 % intervals, which stay within [0, 1]."""
        p, n, z = self.accuracy, self.examples, _NORMAL
        center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        return np.stack([center - half, center + half], axis=1).clip(0.0, 1.0)

    def __repr__(self) -> str:
        """One line: the attack, and the accuracy at each radius."""
        told = ", ".join(f"{e:g}: {100 * a:.1f} %" for e, a in zip(self.epsilons, self.accuracy, strict=True))
        return f"RobustAccuracy({self.attack}, {self.norm}, {self.examples} examples; {told})"

    def _packed(self) -> tuple[Mapping[str, np.ndarray], Any]:
        names = ("attack", "norm", "settings", "provenance", "complete", "images")
        text = {name: getattr(self, name) for name in names}
        return {name: getattr(self, name) for name in self._names}, text

    @classmethod
    def _unpacked(cls, arrays: dict[str, np.ndarray], text: Any) -> dict[str, Any]:
        return {**arrays, **text}


def worst_case(results: Sequence[RobustAccuracy]) -> RobustAccuracy:
    """Take several attacks together: an example holds where none of them broke it.

    Args:
        results: Of the same examples, norm and radii.

    Returns:
        The union of what they broke, with the smallest changes.

    Raises:
        DataError: There is none.
        MismatchError: They are of other examples, norms or radii.
    """
    if not results:
        raise DataError("There is nothing to take together.", expected="at least one result", got="none")
    first = results[0]
    for other in results[1:]:
        same = other.norm == first.norm and np.array_equal(other.epsilons, first.epsilons)
        if not same or other.sizes.shape != first.sizes.shape or other.provenance != first.provenance:
            raise MismatchError(
                "These attacks cannot be taken together.",
                expected="the same model, examples, norm and radii",
                got=f"{first!r} and {other!r}",
            )
    sizes = np.stack([result.sizes for result in results])
    smallest = np.where(np.isnan(sizes).all(axis=0), math.nan, np.nan_to_num(sizes, nan=math.inf).min(axis=0))
    return RobustAccuracy(
        attack=" and ".join(dict.fromkeys(result.attack for result in results)),
        norm=first.norm,
        epsilons=first.epsilons,
        sizes=smallest,
        settings={"together": [result.settings for result in results]},
        provenance=first.provenance,
        complete=all(result.complete for result in results),
        images=first.images,
    )
