"""Curvature: the Hessian, GGN and Fisher as operators, their eigenpairs, trace, diagonal, norm and density."""

from landscape.curvature.gauss_newton import GGN, Fisher
from landscape.curvature.hessian import Hessian, SymmetryWarning
from landscape.curvature.maps import curvature_map
from landscape.curvature.operator import CurvatureOperator
from landscape.curvature.planes import eigen_plane
from landscape.curvature.results import CurvatureMap, DiagonalEstimate, Eigenpairs, Estimate, SpectralDensity
from landscape.curvature.unfinished import ConvergenceWarning, InterruptedWarning

__all__ = [
    "GGN",
    "ConvergenceWarning",
    "CurvatureMap",
    "CurvatureOperator",
    "DiagonalEstimate",
    "Eigenpairs",
    "Estimate",
    "Fisher",
    "Hessian",
    "InterruptedWarning",
    "SpectralDensity",
    "SymmetryWarning",
    "curvature_map",
    "eigen_plane",
]
