"""Sharpness: measures of how flat a minimum is."""

from landscape.sharpness.measures import MEASURES, Measure, measure

__all__ = ["MEASURES", "Measure", "measure"]
