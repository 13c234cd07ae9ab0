"""Several runs seen together."""

from landscape.study.effort import Effort, choose_effort
from landscape.study.minima import Minimum, measure_minima, measure_minimum, minima_configs
from landscape.study.verdict import flattest

__all__ = [
    "Effort",
    "Minimum",
    "choose_effort",
    "flattest",
    "measure_minima",
    "measure_minimum",
    "minima_configs",
]
