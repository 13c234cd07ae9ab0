"""Classification metrics: error, negative log-likelihood, expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from landscape.datasets.dataset import Dataset
from landscape.errors import DataError
from landscape.training.precision import AUTOCAST, autocast


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Classification metrics over a set of examples.

    Attributes:
        error: Fraction of wrong predictions, 0 to 1.
        nll: Mean negative log-likelihood, in nats.
        ece: Expected calibration error with 15 bins, 0 to 1.
        examples: How many examples.
    """

    error: float
    nll: float
    ece: float
    examples: int


def expected_calibration_error(logits: Tensor, targets: Tensor, *, bins: int = 15) -> Tensor:
    """Compute the expected calibration error.

    Definition: examples are sorted by confidence (the largest softmax probability) into bins of equal width;
    ``ECE = sum_b n_b / N * |accuracy_b - mean confidence_b|``.

    Args:
        logits: (N, K), unnormalized log-probabilities.
        targets: (N,) class numbers.
        bins: Number of bins. Default 15: Guo et al. 2017, table 1.

    Returns:
        0-d float64 tensor in [0, 1]; NaN where a logit is NaN.

    Raises:
        DataError: ``bins`` is below 1, or the shapes do not belong together.

    Example:
        One example, right, with confidence 0.5: ECE = |1 - 0.5|.

        >>> expected_calibration_error(torch.tensor([[0.0, 0.0]]), torch.tensor([0])).item()
        0.5

    References:
        C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017, eq. 3.
    """
    if bins < 1 or logits.ndim != 2 or targets.shape != logits.shape[:1]:
        raise DataError(
            "Logits, targets and bins do not belong together.",
            expected="logits (N, K), targets (N,), bins of at least 1",
            got=f"{tuple(logits.shape)}, {tuple(targets.shape)}, {bins}",
        )
    confidence, prediction = logits.double().softmax(1).max(1)
    right = (prediction == targets).double()
    index = (confidence.nan_to_num(0.0) * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=torch.float64, device=logits.device)
    gaps = gaps.index_add(0, index, right - confidence)
    return gaps.abs().sum() / len(targets)


def classification_metrics(logits: Tensor, targets: Tensor) -> Metrics:
    """Compute error, NLL and ECE from logits.

    Args:
        logits: (N, K).
        targets: (N,) class numbers.

    Returns:
        The metrics; NaN logits give NaN.

    Raises:
        DataError: The shapes do not belong together.

    Example:
        >>> classification_metrics(torch.tensor([[9.0, 0.0], [9.0, 0.0]]), torch.tensor([0, 1])).error
        0.5
    """
    ece = expected_calibration_error(logits, targets)
    wrong = torch.where(logits.isnan().any(1), torch.nan, (logits.argmax(1) != targets).double()).mean()
    nll = nn.functional.cross_entropy(logits.double(), targets)
    error, nll_value, ece_value = torch.stack([wrong, nll, ece]).tolist()
    return Metrics(error=error, nll=nll_value, ece=ece_value, examples=len(targets))


@torch.no_grad()
def predict(model: nn.Module, dataset: Dataset, *, batch_size: int = 512, precision: str = "float32") -> Tensor:
    """Return a model's outputs for a dataset, in evaluation mode; the model's mode comes back.

    Args:
        model: A classifier.
        dataset: Read on the model's device.
        batch_size: Examples per forward pass.
        precision: "bfloat16" and "float16" run under autocast; else the weights' own precision.

    Returns:
        (N, K), on the model's device.
    """
    first = next(model.parameters())
    held = dataset.to(first.device)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with autocast(precision, first.device):
            indices = torch.arange(len(held), device=first.device)
            return torch.cat([model(held.normalized(part, dtype=first.dtype)) for part in indices.split(batch_size)])
    finally:
        for module, mode in modes:
            module.training = mode


def evaluate_classifier(
    model: nn.Module, dataset: Dataset, *, batch_size: int = 512, precision: str = "float32"
) -> Metrics:
    """Compute error, NLL and ECE of a model on a dataset.

    Args:
        model: A classifier; its mode comes back.
        dataset: The data.
        batch_size: Examples per forward pass.
        precision: As in :func:`predict`.

    Returns:
        The metrics.
    """
    logits = predict(model, dataset, batch_size=batch_size, precision=precision)
    return classification_metrics(
        logits.float() if logits.dtype in AUTOCAST.values() else logits, dataset.targets.to(logits.device)
    )
