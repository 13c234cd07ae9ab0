"""Penalties, adversarial inputs and constraints: small objects that go with any optimizer and with each other."""

from landscape.regularizers.base import Constraint, InputMove, Penalty
from landscape.regularizers.units import PIXELS, InputUnits

__all__ = ["PIXELS", "Constraint", "InputMove", "InputUnits", "Penalty"]
