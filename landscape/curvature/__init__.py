"""Curvature: the Hessian as an operator, its eigenpairs, trace and spectral density."""

from landscape.curvature.eigenpairs import ConvergenceWarning
from landscape.curvature.hessian import Hessian, SymmetryWarning
from landscape.curvature.operator import CurvatureOperator
from landscape.curvature.planes import eigen_plane
from landscape.curvature.results import Eigenpairs, Estimate, SpectralDensity

__all__ = [
    "ConvergenceWarning",
    "CurvatureOperator",
    "Eigenpairs",
    "Estimate",
    "Hessian",
    "SpectralDensity",
    "SymmetryWarning",
    "eigen_plane",
]
