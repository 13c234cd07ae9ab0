"""Penalties, adversarial inputs and constraints: small objects that go with any optimizer and with each other."""

from landscape.regularizers.adversarial import AdversarialPenalty
from landscape.regularizers.base import Constraint, InputMove, Penalty
from landscape.regularizers.deformations import Deformations
from landscape.regularizers.gradient import GradientPenalty
from landscape.regularizers.inputs import AdversarialInputs
from landscape.regularizers.loss_gradient import LossGradient
from landscape.regularizers.projection import SpectralProjection
from landscape.regularizers.registry import REGULARIZERS, RegularizerSpec, build_regularizer
from landscape.regularizers.spectral import SpectralPenalty, spectral_norms
from landscape.regularizers.stability import DeformationStability
from landscape.regularizers.tangent import TangentPenalty
from landscape.regularizers.trades import Trades
from landscape.regularizers.units import PIXELS, InputUnits
from landscape.regularizers.vat import VirtualAdversarial

__all__ = [
    "PIXELS",
    "REGULARIZERS",
    "AdversarialInputs",
    "AdversarialPenalty",
    "Constraint",
    "DeformationStability",
    "Deformations",
    "GradientPenalty",
    "InputMove",
    "InputUnits",
    "LossGradient",
    "Penalty",
    "RegularizerSpec",
    "SpectralPenalty",
    "SpectralProjection",
    "TangentPenalty",
    "Trades",
    "VirtualAdversarial",
    "build_regularizer",
    "spectral_norms",
]
