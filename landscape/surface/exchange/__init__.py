"""Surfaces in other programs' files: HDF5 as loss-landscape writes it, VTK for ParaView, CSV for everything else."""

from landscape.surface.exchange.hdf5 import export_hdf5, import_hdf5
from landscape.surface.exchange.suffixes import EXPORTS, IMPORTS, export_result, import_result
from landscape.surface.exchange.table import export_csv, import_csv
from landscape.surface.exchange.vtk import export_vtp

__all__ = [
    "EXPORTS",
    "IMPORTS",
    "export_csv",
    "export_hdf5",
    "export_result",
    "export_vtp",
    "import_csv",
    "import_hdf5",
    "import_result",
]
