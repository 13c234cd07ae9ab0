"""Error, NLL and calibration error against definitions written down a second time, example by example."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from landscape.errors import DataError
from landscape.training import classification_metrics, expected_calibration_error


def by_hand(logits, targets, bins):
    """Guo et al.: bin m holds the confidences in ((m-1)/M, m/M]."""
    scores = np.exp(logits - logits.max(1, keepdims=True))
    scores /= scores.sum(1, keepdims=True)
    confidence, right = scores.max(1), scores.argmax(1) == targets
    total = 0.0
    for m in range(1, bins + 1):
        inside = (confidence > (m - 1) / bins) & (confidence <= m / bins)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    wrong = 1.0 - right.mean()
    return wrong, -np.log(scores[np.arange(len(targets)), targets]).mean(), total


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("spread", [0.1, 2.0, 30.0])
def test_metrics_are_those_of_the_definition(bins, spread):
    stream = np.random.default_rng(7)
    logits, targets = spread * stream.normal(size=(3000, 5)), stream.integers(0, 5, 3000)
    wrong, nll, ece = by_hand(logits, targets, bins)
    given = torch.tensor(logits), torch.tensor(targets)
    assert expected_calibration_error(*given, bins=bins).item() == pytest.approx(ece, abs=1e-12)
    if bins == 15:
        found = classification_metrics(*given)
        assert (found.error, found.nll, found.ece) == pytest.approx((wrong, nll, ece), abs=1e-12)


def test_calibration_of_nothing_is_refused_and_nan_is_shown():
    with pytest.raises(DataError, match="do not belong together"):
        expected_calibration_error(torch.zeros(3, 2), torch.zeros(4, dtype=torch.long))
    spoiled = torch.tensor([[torch.nan, 0.0], [1.0, 0.0]])
    assert np.isnan(classification_metrics(spoiled, torch.tensor([0, 1])).ece)


def test_nan_logits_give_nan_in_everything():
    logits = torch.tensor([[0.0, 1.0], [torch.nan, torch.nan]])
    found = classification_metrics(logits, torch.tensor([1, 0]))
    assert math.isnan(found.error) and math.isnan(found.nll) and math.isnan(found.ece)
