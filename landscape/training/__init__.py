"""Training: settings, the loop, checkpoints, and runs on disk."""

from landscape.training.checkpoint import (
    Checkpoint,
    StorageWarning,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from landscape.training.command import train_command
from landscape.training.listing import RunSummary, list_runs
from landscape.training.metrics import Metrics, classification_metrics, evaluate_classifier, expected_calibration_error
from landscape.training.run import Run
from landscape.training.run_config import RunConfig
from landscape.training.train import train

__all__ = [
    "Checkpoint",
    "Metrics",
    "Run",
    "RunConfig",
    "RunSummary",
    "StorageWarning",
    "classification_metrics",
    "evaluate_classifier",
    "expected_calibration_error",
    "latest_checkpoint",
    "list_runs",
    "load_checkpoint",
    "save_checkpoint",
    "train",
    "train_command",
]
