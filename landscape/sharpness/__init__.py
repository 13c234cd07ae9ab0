"""Sharpness: measures of how flat a minimum is, and networks without a scale of their own."""

from landscape.sharpness.balance import balance
from landscape.sharpness.definitions import INVARIANCES, NEEDS, Measure, Parameter, Published
from landscape.sharpness.measures import MEASURES, measure
from landscape.sharpness.reference import measures_table
from landscape.sharpness.rescale import rescalable_layers, rescale

__all__ = [
    "INVARIANCES",
    "MEASURES",
    "NEEDS",
    "Measure",
    "Parameter",
    "Published",
    "balance",
    "measure",
    "measures_table",
    "rescalable_layers",
    "rescale",
]
