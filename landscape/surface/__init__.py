"""Loss surfaces: directions, planes, their evaluation, and the results."""

from landscape.surface.batchnorm import recompute_batch_norm
from landscape.surface.bezier import bezier_curve, evaluate_curve
from landscape.surface.connectivity import barrier, interpolation_line, linear_barrier
from landscape.surface.directions import Direction, direction_between, gradient_direction, random_direction
from landscape.surface.evaluate import evaluate_line, evaluate_surface
from landscape.surface.exchange import export_result, import_result
from landscape.surface.interpolation import InterpolatedSurface, interpolate
from landscape.surface.perturbation import (
    amp_direction,
    default_radii,
    perturbation_direction,
    perturbation_profile,
    sam_direction,
)
from landscape.surface.planes import Plane, plane_through, random_plane
from landscape.surface.results import Barrier, Curve, Line, Profile, Surface, Trajectory
from landscape.surface.stored import DirectionsWarning, redraw
from landscape.surface.topology import Topology, surface_topology
from landscape.surface.trajectory import trajectory_plane

__all__ = [
    "Barrier",
    "Curve",
    "Direction",
    "DirectionsWarning",
    "InterpolatedSurface",
    "Line",
    "Plane",
    "Profile",
    "Surface",
    "Topology",
    "Trajectory",
    "amp_direction",
    "barrier",
    "bezier_curve",
    "default_radii",
    "direction_between",
    "evaluate_curve",
    "evaluate_line",
    "evaluate_surface",
    "export_result",
    "gradient_direction",
    "import_result",
    "interpolate",
    "interpolation_line",
    "linear_barrier",
    "perturbation_direction",
    "perturbation_profile",
    "plane_through",
    "random_direction",
    "random_plane",
    "recompute_batch_norm",
    "redraw",
    "sam_direction",
    "surface_topology",
    "trajectory_plane",
]
