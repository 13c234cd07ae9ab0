"""Optimizers that look for flat minima, on one engine."""

from landscape.optim.amp import AMP, AdversarialModelPerturbation
from landscape.optim.engine import PerturbedOptimizer
from landscape.optim.lpfsgd import LPFSGD
from landscape.optim.registry import OPTIMIZERS, build_optimizer
from landscape.optim.sam import SAM

__all__ = [
    "AMP",
    "LPFSGD",
    "OPTIMIZERS",
    "SAM",
    "AdversarialModelPerturbation",
    "PerturbedOptimizer",
    "build_optimizer",
]
