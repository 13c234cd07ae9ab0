"""Loss surfaces: directions, planes, their evaluation, and the results."""

from landscape.surface.directions import Direction, direction_between, random_direction
from landscape.surface.evaluate import evaluate_line, evaluate_surface
from landscape.surface.exchange import export_result, import_result
from landscape.surface.interpolation import InterpolatedSurface, interpolate
from landscape.surface.perturbation import default_radii, perturbation_direction, perturbation_profile
from landscape.surface.planes import Plane, random_plane
from landscape.surface.results import Line, Profile, Surface
from landscape.surface.topology import Topology, surface_topology

__all__ = [
    "Direction",
    "InterpolatedSurface",
    "Line",
    "Plane",
    "Profile",
    "Surface",
    "Topology",
    "default_radii",
    "direction_between",
    "evaluate_line",
    "evaluate_surface",
    "export_result",
    "import_result",
    "interpolate",
    "perturbation_direction",
    "perturbation_profile",
    "random_direction",
    "random_plane",
    "surface_topology",
]
