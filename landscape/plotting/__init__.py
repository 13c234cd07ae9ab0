"""Figures of results: pure functions from a result, or a mapping label -> result, to a plotly or matplotlib figure.

Importing this package loads neither library; the function that draws does.
"""

from landscape.plotting.comparison import METRICS, Metric, compare
from landscape.plotting.connect import barrier, connectivity
from landscape.plotting.correlations import correlations
from landscape.plotting.curves import line, profile, training_curves
from landscape.plotting.differences import differences
from landscape.plotting.distances import distances
from landscape.plotting.frames import slider_figure
from landscape.plotting.history import curvature_history
from landscape.plotting.layerwise import layers
from landscape.plotting.line_panels import line_panels
from landscape.plotting.maps import curvature_map
from landscape.plotting.measures import sharpness, sharpness_table
from landscape.plotting.memorized import answers, memorization
from landscape.plotting.merge_tree import merge_tree
from landscape.plotting.ratios import ratios, ratios_table
from landscape.plotting.relation import relation
from landscape.plotting.robustness import robustness, sharpness_robustness
from landscape.plotting.spectrum import density
from landscape.plotting.standard_robust import standard_robust
from landscape.plotting.style import METHODS, styles
from landscape.plotting.surfaces import contour, surface3d
from landscape.plotting.tables import comparison_html, comparison_table

__all__ = [
    "METHODS",
    "METRICS",
    "Metric",
    "answers",
    "barrier",
    "compare",
    "comparison_html",
    "comparison_table",
    "connectivity",
    "contour",
    "correlations",
    "curvature_history",
    "curvature_map",
    "density",
    "differences",
    "distances",
    "layers",
    "line",
    "line_panels",
    "memorization",
    "merge_tree",
    "profile",
    "ratios",
    "ratios_table",
    "relation",
    "robustness",
    "sharpness",
    "sharpness_robustness",
    "sharpness_table",
    "slider_figure",
    "standard_robust",
    "styles",
    "surface3d",
    "training_curves",
]
