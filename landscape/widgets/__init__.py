"""Explorers made of plots and controls: live in JupyterLab, and as figures with their own slider in a static page.

Importing this package loads neither ipywidgets nor plotly; showing something does.
"""

from landscape.widgets.controls import Control, choice, menu, slider
from landscape.widgets.job import Job
from landscape.widgets.mode import display_mode
from landscape.widgets.monitor import TrainingMonitor
from landscape.widgets.panel import Panel
from landscape.widgets.perturbation import PerturbationExplorer
from landscape.widgets.robustness import RobustnessExplorer
from landscape.widgets.runs import RunComparison
from landscape.widgets.show import show, show_comparison, show_markdown
from landscape.widgets.spectra import SpectrumExplorer
from landscape.widgets.surfaces import SurfaceExplorer

__all__ = [
    "Control",
    "Job",
    "Panel",
    "PerturbationExplorer",
    "RobustnessExplorer",
    "RunComparison",
    "SpectrumExplorer",
    "SurfaceExplorer",
    "TrainingMonitor",
    "choice",
    "display_mode",
    "menu",
    "show",
    "show_comparison",
    "show_markdown",
    "slider",
]
