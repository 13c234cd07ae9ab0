"""Surfaces for ParaView: VTK's XML format for polygons, written by hand."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping

import numpy as np

from landscape.arguments import check_kind
from landscape.errors import DataError
from landscape.storage import write_text
from landscape.surface.results import INTERPOLATED, Surface

_TYPES = {"f8": "Float64", "i8": "Int64", "u1": "UInt8"}


def export_vtp(surface: Surface, path: str | os.PathLike[str], *, log: bool = False) -> None:
    """Write a surface as a VTK PolyData file (.vtp), atomically: ParaView opens it as it is.

    Points lie at x = alpha, y = beta and z = loss, in one sheet of quadrilaterals, and triangles where one of the four
    corners has no loss. Points without a finite loss are left out. Each point carries ``loss``, ``accuracy``,
    ``log_loss`` (log10; NaN where the loss is not positive), ``status``, and in an interpolated view
    ``interpolated`` (0 or 1) and ``error``. Numbers are float64 in base64: none is rounded.

    Args:
        surface: What to write.
        path: The file.
        log: Whether the height is log10 of the loss; points with a loss of 0 or less are then left out as well.

    Raises:
        DataError: It is no surface, or no point has a finite loss.
        StorageError: The file cannot be written.

    References:
        VTK file formats, https://docs.vtk.org/en/latest/design_documents/VTKFileFormats.html.
    """
    several = isinstance(surface, Mapping)
    fix = "Write a file for each surface." if several else "Write a .csv file: it holds lines and paths too."
    check_kind(surface, Surface, "Only surfaces are written for ParaView.", fix=fix, error=DataError)
    loss = surface.loss
    visible = np.isfinite(loss) & (loss > 0) if log else np.isfinite(loss)
    if not visible.any():
        raise DataError(
            "No point of this surface can be written.",
            expected="finite losses, positive ones for log",
            fix="Write a .csv file, which holds NaN and infinities too.",
        )
    logarithm = np.log10(loss, out=np.full(loss.shape, np.nan), where=np.isfinite(loss) & (loss > 0))
    alphas, betas = np.meshgrid(surface.alphas, surface.betas, indexing="ij")
    points = np.stack([alphas, betas, logarithm if log else loss], axis=-1)[visible]
    scalars = {"loss": loss, "accuracy": surface.accuracy, "log_loss": logarithm, "status": surface.status}
    if "interpolated" in surface.provenance:
        scalars["interpolated"] = (surface.status == INTERPOLATED).astype(np.uint8)
    error = getattr(surface, "error", None)
    if error is not None:
        scalars["error"] = error
    connectivity, offsets = _cells(visible)
    write_text(path, _document(points, {name: one[visible] for name, one in scalars.items()}, connectivity, offsets))


def _cells(shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners of all cells, counterclockwise seen from above, and where each cell ends among them."""
    number = np.cumsum(shown).reshape(shown.shape) - 1
    corners, present = (
        np.stack([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], axis=-1).reshape(-1, 4)
        for grid in (number, shown)
    )
    whole = present.sum(axis=1) >= 3
    return corners[whole][present[whole]], np.cumsum(present[whole].sum(axis=1))


def _array(name: str, values: np.ndarray, components: int = 1) -> str:
    kind = {"f": "f8", "i": "i8", "u": "u1"}[values.dtype.kind]
    data = np.ascontiguousarray(values, dtype=f"<{kind}").tobytes()
    packed = base64.b64encode(len(data).to_bytes(8, "little") + data).decode()
    head = f'<DataArray type="{_TYPES[kind]}" Name="{name}" NumberOfComponents="{components}" format="binary">'
    return f"{head}{packed}</DataArray>"


def _document(points: np.ndarray, scalars: dict[str, np.ndarray], connectivity: np.ndarray, offsets: np.ndarray) -> str:
    empty = '<DataArray type="Int64" Name="connectivity" format="ascii"></DataArray>'
    empty += '<DataArray type="Int64" Name="offsets" format="ascii"></DataArray>'
    counts = f'NumberOfPoints="{len(points)}" NumberOfVerts="0" NumberOfLines="0" NumberOfStrips="0"'
    lines = [
        '<?xml version="1.0"?>',
        '<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">',
        "<PolyData>",
        f'<Piece {counts} NumberOfPolys="{len(offsets)}">',
        '<PointData Scalars="loss">',
        *(_array(name, values) for name, values in scalars.items()),
        "</PointData>",
        "<CellData></CellData>",
        f"<Points>{_array('Points', points, 3)}</Points>",
        *(f"<{kind}>{empty}</{kind}>" for kind in ("Verts", "Lines", "Strips")),
        f"<Polys>{_array('connectivity', connectivity)}{_array('offsets', offsets)}</Polys>",
        "</Piece>",
        "</PolyData>",
        "</VTKFile>",
    ]
    return "\n".join(lines) + "\n"
