"""Curvature: the Hessian, GGN and Fisher as operators, their eigenpairs, trace and spectral density."""

from landscape.curvature.eigenpairs import ConvergenceWarning
from landscape.curvature.gauss_newton import GGN, Fisher
from landscape.curvature.hessian import Hessian, SymmetryWarning
from landscape.curvature.operator import CurvatureOperator
from landscape.curvature.planes import eigen_plane
from landscape.curvature.results import Eigenpairs, Estimate, SpectralDensity

__all__ = [
    "GGN",
    "ConvergenceWarning",
    "CurvatureOperator",
    "Eigenpairs",
    "Estimate",
    "Fisher",
    "Hessian",
    "SpectralDensity",
    "SymmetryWarning",
    "eigen_plane",
]
