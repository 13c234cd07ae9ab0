"""landscape: train with AMP, SAM/ASAM and LPF-SGD, slice loss surfaces, measure flatness. As ``ll`` in all examples."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape import plotting, study, widgets
    from landscape.curvature import (
        GGN,
        ConvergenceWarning,
        Eigenpairs,
        Estimate,
        Fisher,
        Hessian,
        SpectralDensity,
        eigen_plane,
    )
    from landscape.datasets import DATASETS, Augmentation, Dataset, load_dataset
    from landscape.errors import LandscapeError
    from landscape.models import MODELS, build_model
    from landscape.objective import Evaluation, Objective
    from landscape.optim import (
        AMP,
        GNP,
        GSAM,
        LPFSGD,
        NSO,
        OPTIMIZERS,
        SAM,
        EntropyAdam,
        EntropySGD,
        FriendlySAM,
        LookSAM,
        SmoothOut,
        VaSSO,
        build_optimizer,
    )
    from landscape.parameters import Layout, preserved
    from landscape.robustness import robust_accuracy
    from landscape.sharpness import MEASURES, balance, measure
    from landscape.study import trajectory_plane
    from landscape.surface import (
        Direction,
        Line,
        Plane,
        Profile,
        Surface,
        Trajectory,
        bezier_curve,
        direction_between,
        evaluate_line,
        evaluate_surface,
        linear_barrier,
        perturbation_direction,
        perturbation_profile,
        plane_through,
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
    "GNP",
    "GSAM",
    "LPFSGD",
    "NSO",
    "OPTIMIZERS",
    "SAM",
    "EntropyAdam",
    "EntropySGD",
    "FriendlySAM",
    "LookSAM",
    "SmoothOut",
    "VaSSO",
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
    "Trajectory",
    "bezier_curve",
    "direction_between",
    "eigen_plane",
    "evaluate_line",
    "evaluate_surface",
    "linear_barrier",
    "perturbation_direction",
    "perturbation_profile",
    "plane_through",
    "random_direction",
    "random_plane",
    "trajectory_plane",
    # curvature and sharpness
    "GGN",
    "MEASURES",
    "ConvergenceWarning",
    "Eigenpairs",
    "Estimate",
    "Fisher",
    "Hessian",
    "SpectralDensity",
    "balance",
    "measure",
    # robustness
    "robust_accuracy",
    # errors
    "LandscapeError",
    # looking
    "plotting",
    "study",
    "widgets",
]

# Where each name lives. Loaded on first use: `landscape doctor` must start where torch is broken, and nobody pays for
# rooms that are not entered.
_HOMES = {
    name: home
    for home, names in {
        "curvature": "GGN ConvergenceWarning Eigenpairs Estimate Fisher Hessian SpectralDensity eigen_plane",
        "datasets": "DATASETS Augmentation Dataset load_dataset",
        "errors": "LandscapeError",
        "models": "MODELS build_model",
        "objective": "Evaluation Objective",
        "optim": "AMP GNP GSAM LPFSGD NSO OPTIMIZERS SAM AdversarialModelPerturbation EntropyAdam EntropySGD "
        "FriendlySAM LookSAM SmoothOut VaSSO build_optimizer",
        "parameters": "Layout preserved",
        "robustness": "robust_accuracy",
        "sharpness": "MEASURES balance measure",
        "study": "trajectory_plane",
        "surface": "Direction Line Plane Profile Surface Trajectory bezier_curve direction_between evaluate_line "
        "evaluate_surface linear_barrier perturbation_direction perturbation_profile plane_through "
        "random_direction random_plane",
        "training": "Run RunConfig train",
    }.items()
    for name in names.split()
}
_ROOMS = frozenset({*_HOMES.values(), "plotting", "recipes", "widgets"})


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        found = getattr(import_module(f"landscape.{_HOMES[name]}"), name)
    elif name in _ROOMS:
        found = import_module(f"landscape.{name}")
    else:
        raise AttributeError(f"module 'landscape' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
