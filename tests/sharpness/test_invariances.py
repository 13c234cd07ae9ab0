"""What leaves a measure as it was, as declared: every measure against every change."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from landscape.errors import ConfigError
from landscape.objective import Objective
from landscape.sharpness import INVARIANCES, MEASURES
from tests.sharpness.problems import few, found, relu_net, relu_objective, rescaled, scaled_logits

CHANGES: dict[str, Callable[[], Objective]] = {
    "relu_rescaling": lambda: relu_objective(rescaled(relu_net())),
    "loss_shift": lambda: relu_objective(loss_fn=lambda outputs, targets: F.cross_entropy(outputs, targets) + 0.5),
    "logit_scale": lambda: relu_objective(scaled_logits(relu_net(), 2.0)),
}


def test_every_invariance_is_tried() -> None:
    assert set(CHANGES) == set(INVARIANCES)


def test_a_rescaled_network_computes_the_same() -> None:
    one, other = relu_objective(), CHANGES["relu_rescaling"]()
    torch.testing.assert_close(one.outputs(), other.outputs())
    assert (one.weights() / other.weights() - 1).abs().max() > 1


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", MEASURES)
def test_invariances_are_as_declared(name: str, change: str) -> None:
    """Invariant: to 1e-6, which is rounding, and the search for a rise; not invariant: more than 1e-5 apart."""
    changed = CHANGES[change]()
    if change == "loss_shift" and "cross_entropy" in MEASURES[name].needs:
        with pytest.raises(ConfigError, match="cross_entropy"):  # it does not look at the loss at all
            found(changed, name)
        return
    one, other = (found(objective, name, **few(name)).value for objective in (relu_objective(), changed))
    apart = abs(one - other) / abs(one)
    if change in MEASURES[name].invariances:
        assert apart < 1e-6
    else:
        assert apart > 1e-5
