"""Penalties, adversarial inputs and constraints: small objects that go with any optimizer and with each other."""

from landscape.regularizers.base import Constraint, InputMove, Penalty
from landscape.regularizers.deformations import Deformations
from landscape.regularizers.projection import SpectralProjection
from landscape.regularizers.spectral import SpectralPenalty, spectral_norms
from landscape.regularizers.stability import DeformationStability
from landscape.regularizers.tangent import TangentPenalty
from landscape.regularizers.units import PIXELS, InputUnits

__all__ = [
    "PIXELS",
    "Constraint",
    "DeformationStability",
    "Deformations",
    "InputMove",
    "InputUnits",
    "Penalty",
    "SpectralPenalty",
    "SpectralProjection",
    "TangentPenalty",
    "spectral_norms",
]
