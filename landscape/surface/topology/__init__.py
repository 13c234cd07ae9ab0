"""The topology of a surface: minima, saddles, maxima, the merge tree and persistence."""

from landscape.surface.topology.persistence import surface_topology
from landscape.surface.topology.results import Topology

__all__ = ["Topology", "surface_topology"]
