"""What all penalties have in common, whatever they penalize."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from landscape.errors import ConfigError, ModelError
from landscape.regularizers import REGULARIZERS, Penalty, build_regularizer
from tests.regularizers.nets import MOVES, gradients, images, smooth

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


class Holding(nn.Module):
    """Gives an object that holds logits among other things, as transformers' models do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Any:
        return SimpleNamespace(loss=None, logits=self.model(inputs))


@pytest.mark.parametrize("name", PENALTIES)
def test_outputs_may_hold_the_logits(name: str):
    model, (inputs, targets) = smooth(), images()
    expected = built(name)(model, inputs, targets, step=3)
    holding, moving = Holding(model), inputs.clone().requires_grad_()
    for given, outputs in ((inputs, None), (inputs, holding(inputs)), (moving, holding(moving))):
        if "spectral" in name:  # names differ, and so do the vectors that power iterations begin with
            assert built(name)(holding, given, targets, outputs=outputs, step=3).isfinite()
            continue
        found = built(name)(holding, given, targets, outputs=outputs, step=3)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", MOVES)
def test_inputs_are_moved_by_logits_that_are_held(name: str):
    model, (inputs, targets) = smooth(), images()
    assert torch.equal(MOVES[name]()(Holding(model), inputs, targets), MOVES[name]()(model, inputs, targets))


@pytest.mark.parametrize("name", [name for name in PENALTIES if "spectral" not in name])
def test_outputs_that_hold_none_are_refused(name: str):
    model, (inputs, targets) = smooth(), images()
    with pytest.raises(ModelError, match="no logits"):
        built(name)(lambda x: {"logits": model(x)}, inputs, targets)
    moving = inputs.clone().requires_grad_()
    for outputs in ({"logits": 1}, model(moving)[:3]):
        if name not in ("deformation", "tangent"):  # which look at none
            with pytest.raises(ModelError, match="no logits"):
                built(name)(model, moving, targets, outputs=outputs)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in PENALTIES if "spectral" not in name])
def test_outputs_of_another_model_are_not_used(name: str):
    model, (inputs, targets) = smooth(), images()
    penalty, other = built(name), smooth()
    for parameter in other.parameters():
        parameter.data.mul_(3.0)
    expected = penalty(model, inputs, targets, step=3)
    by_weights = gradients(expected, model)
    moving = inputs.clone().requires_grad_()
    for given, outputs in ((inputs, other(inputs)), (moving, other(moving)), (moving, model(moving).detach())):
        found = penalty(model, given, targets, outputs=outputs, step=3)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(gradients(found, model), by_weights, rtol=1e-10, atol=1e-15)


COUNTING = [*(name for name in PENALTIES if name in ("vat", "trades", "deformation", "tangent", "spectral")), *MOVES]


@pytest.mark.parametrize("step", ["a", 1.5, True, float("nan")])
@pytest.mark.parametrize("name", COUNTING)
def test_a_step_that_is_none_is_refused_and_counts_for_nothing(name: str, step: Any):
    """Of those for which it means something: they draw, or go on, by its number."""
    model, (inputs, targets) = smooth(), images()
    penalty = built(name) if name in PENALTIES else MOVES[name]()
    with pytest.raises(ConfigError, match="step is out of range.*whole number"):
        penalty(model, inputs, targets, step=step)
    fresh = built(name) if name in PENALTIES else MOVES[name]()
    assert torch.equal(penalty(model, inputs, targets), fresh(model, inputs, targets))
