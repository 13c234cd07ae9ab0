"""Small changes of the input that a classifier does not survive."""

from landscape.robustness.accuracy import robust_accuracy
from landscape.robustness.attacks import ATTACKS, Attack
from landscape.robustness.inputs import PerturbedInputs, perturbed
from landscape.robustness.results import RobustAccuracy, worst_case

__all__ = [
    "ATTACKS",
    "Attack",
    "PerturbedInputs",
    "RobustAccuracy",
    "perturbed",
    "robust_accuracy",
    "worst_case",
]
