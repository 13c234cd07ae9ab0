"""Results that hold the directions they were made with: on a plane, unless they say otherwise."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from landscape.surface.archive import StoredResult, save_result

if TYPE_CHECKING:
    from torch import Tensor

    from landscape.surface.directions import Direction
    from landscape.surface.planes import Plane

    Vectors = tuple[tuple[Direction, ...], Tensor | None]

VECTORS = ("vector1", "vector2", "origin")
"""What the directions and the origin are called in a file."""


class DirectedResult(StoredResult):
    """A result that is written as one ``.npz`` file with its vectors, or with what makes them again."""

    _optional = VECTORS
    _words: ClassVar[tuple[str, ...]] = ()
    """What else its file holds as JSON values, beside directions and provenance."""

    directions: tuple[dict[str, Any], ...]
    provenance: dict[str, Any]
    plane: Plane | None

    def _vectors(self) -> Vectors:
        """Return the directions and the origin that it holds."""
        return ((), None) if self.plane is None else (self.plane.directions, self.plane.origin)

    @classmethod
    def _held(cls, directions: tuple[Direction, ...], origin: Tensor | None, text: dict[str, Any]) -> dict[str, Any]:
        """Return the constructor's argument for what :meth:`_vectors` returned."""
        from landscape.surface.planes import Plane

        marks = {name: tuple(place) for name, place in text["provenance"].get("plane", {}).get("marks", {}).items()}
        return {"plane": Plane(*directions, origin=origin, marks=marks) if directions else None}

    def save(self, path: str | os.PathLike[str], *, keep_directions: bool | None = None) -> None:
        """Write the result as one ``.npz`` file, atomically and with a checksum.

        Args:
            path: The file.
            keep_directions: Whether the directions' vectors are saved too, in their own precision. Default None: where
                they take 128 MiB or less (a file should not be a thousand times its result without being asked). What
                is always saved are checksums and records, from which :func:`landscape.surface.redraw` makes random
                and gradient directions again.

        Raises:
            StorageError: The file cannot be written.

        Warns:
            DirectionsWarning: The directions are bigger than that and cannot be made again, or were written into.
        """
        save_result(path, type(self).__name__, *self._packed(keep_directions))

    def _packed(self, keep_directions: bool | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        from landscape.surface.stored import pack

        directions, origin = self._vectors()
        vectors, dtypes = pack(directions, self.directions, origin, keep_directions)
        words = {name: getattr(self, name) for name in ("directions", "provenance", *self._words)}
        return {**{name: getattr(self, name) for name in self._names}, **vectors}, {**words, "vectors": dtypes}

    @classmethod
    def _unpacked(cls, arrays: dict[str, np.ndarray], text: Any) -> dict[str, Any]:
        from landscape.surface.stored import unpack

        directions, origin = unpack(arrays, text.pop("vectors", {}), text["directions"])
        values = {name: arrays[name] for name in cls._names}
        return {**values, **text, **cls._held(directions, origin, text)}
