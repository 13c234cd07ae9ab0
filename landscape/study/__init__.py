"""Several runs seen together."""

from landscape.study.contest import Score
from landscape.study.correlation import rank_correlation
from landscape.study.cost import gradients_per_step, longer, method_configs, step_times, with_cost
from landscape.study.curvature import top_and_trace, top_eigenpair
from landscape.study.curvature_history import curvature_history
from landscape.study.effort import Effort, choose_effort
from landscape.study.executor import train_all
from landscape.study.flatness import Flatness, compare_flatness
from landscape.study.generalization import Generalization, compare_generalization
from landscape.study.memorization import memorization
from landscape.study.minima import Minimum, measure_minima, measure_minimum, minima_configs
from landscape.study.paired import pair_runs
from landscape.study.regularization import compare_regularizers
from landscape.study.results import CurvatureHistory, Memorization, RankCorrelation
from landscape.study.statistics import paired_difference
from landscape.study.trajectory import trajectory_plane
from landscape.study.verdict import flattest, paired_verdict

__all__ = [
    "CurvatureHistory",
    "Effort",
    "Flatness",
    "Generalization",
    "Memorization",
    "Minimum",
    "RankCorrelation",
    "Score",
    "choose_effort",
    "compare_flatness",
    "compare_generalization",
    "compare_regularizers",
    "curvature_history",
    "flattest",
    "gradients_per_step",
    "longer",
    "measure_minima",
    "measure_minimum",
    "memorization",
    "method_configs",
    "minima_configs",
    "pair_runs",
    "paired_difference",
    "paired_verdict",
    "rank_correlation",
    "step_times",
    "top_and_trace",
    "top_eigenpair",
    "train_all",
    "trajectory_plane",
    "with_cost",
]
