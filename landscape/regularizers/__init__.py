"""Penalties, adversarial inputs and constraints: small objects that go with any optimizer and with each other."""

from landscape.regularizers.base import Constraint, InputMove, Penalty
from landscape.regularizers.projection import SpectralProjection
from landscape.regularizers.spectral import SpectralPenalty, spectral_norms
from landscape.regularizers.units import PIXELS, InputUnits

__all__ = [
    "PIXELS",
    "Constraint",
    "InputMove",
    "InputUnits",
    "Penalty",
    "SpectralPenalty",
    "SpectralProjection",
    "spectral_norms",
]
