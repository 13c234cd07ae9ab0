"""What all penalties have in common, whatever they penalize."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from landscape.regularizers import REGULARIZERS, Penalty, build_regularizer
from tests.regularizers.nets import gradients, images, smooth

PENALTIES: dict[str, dict[str, Any]] = {
    **{name: {} for name, spec in REGULARIZERS.items() if spec.kind == "penalty"},
    "vat": {"epsilon": 0.5},
    "spectral of operators": {"operator": "convolution"},
    "spectral-svd of operators": {"operator": "convolution"},
}


def built(name: str) -> Penalty:
    made = build_regularizer(name.removesuffix(" of operators"), **PENALTIES[name])
    assert isinstance(made, Penalty)
    return made


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_has_its_graph_where_gradients_are_switched_off(name: str, mode: Callable[[], Any]):
    model, (inputs, targets) = smooth(), images()
    expected = built(name)(model, inputs, targets, step=3)
    by_weights = gradients(expected, model)
    assert any(each.any() for each in by_weights)
    with mode():
        found = built(name)(model, inputs.clone(), targets, step=3)
    assert torch.equal(found, expected)
    assert all(map(torch.equal, gradients(found, model), by_weights))
