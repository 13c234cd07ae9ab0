"""landscape: train with AMP, SAM/ASAM and LPF-SGD, slice loss surfaces, measure flatness. As ``ll`` in all examples."""

from landscape import plotting, study, widgets
from landscape.curvature import ConvergenceWarning, Eigenpairs, Estimate, Hessian, SpectralDensity, eigen_plane
from landscape.datasets import DATASETS, Augmentation, Dataset, load_dataset
from landscape.errors import LandscapeError
from landscape.models import MODELS, build_model
from landscape.objective import Evaluation, Objective
from landscape.optim import AMP, LPFSGD, OPTIMIZERS, SAM, AdversarialModelPerturbation, build_optimizer
from landscape.parameters import Layout, preserved
from landscape.sharpness import MEASURES, measure
from landscape.surface import (
    Direction,
    Line,
    Plane,
    Profile,
    Surface,
    direction_between,
    evaluate_line,
    evaluate_surface,
    perturbation_direction,
    perturbation_profile,
    random_direction,
    random_plane,
)
from landscape.training import Run, RunConfig, train

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 - grouped by room
    # data and models
    "DATASETS",
    "MODELS",
    "Augmentation",
    "Dataset",
    "build_model",
    "load_dataset",
    # optimizers
    "AMP",
    "LPFSGD",
    "OPTIMIZERS",
    "SAM",
    "AdversarialModelPerturbation",
    "build_optimizer",
    # training
    "Run",
    "RunConfig",
    "train",
    # the loss as a function of the weights
    "Evaluation",
    "Layout",
    "Objective",
    "preserved",
    # surfaces
    "Direction",
    "Line",
    "Plane",
    "Profile",
    "Surface",
    "direction_between",
    "eigen_plane",
    "evaluate_line",
    "evaluate_surface",
    "perturbation_direction",
    "perturbation_profile",
    "random_direction",
    "random_plane",
    # curvature and sharpness
    "MEASURES",
    "ConvergenceWarning",
    "Eigenpairs",
    "Estimate",
    "Hessian",
    "SpectralDensity",
    "measure",
    # errors
    "LandscapeError",
    # looking
    "plotting",
    "study",
    "widgets",
]
