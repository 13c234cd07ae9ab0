"""Forwards that a graph of calls would get wrong: derivatives are those that torch gives of the model itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.curvature import GGN, Hessian
from landscape.differentiable import DifferentiableModel
from landscape.errors import ModelError
from landscape.objective import Objective
from landscape.seeding import generator, seeded
from landscape.tracing import traced


class Through(torch.autograd.Function):
    """The sign, with the derivative of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0]


def no_grad(self: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        h = torch.tanh(self.a(x))
    return self.b(h)


def through(self: Any, x: Tensor) -> Tensor:
    return self.b(torch.tanh(Through.apply(self.a(x)) + self.a(x)))


def detached(self: Any, x: Tensor) -> Tensor:
    h = torch.tanh(self.a(x))
    h.detach_()
    return self.b(h)


def clamped(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    h.clamp_(max=2.0)
    return self.b(torch.tanh(h))


def skipped(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    y = self.act(h)
    return self.b(torch.tanh(y) + h)


def doubled(self: Any, x: Tensor) -> Tensor:
    h = y = self.a(x)
    h *= 1 + (h > 2)
    return self.b(torch.tanh(h) * y)


def untraced(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    y = self.act(h)
    return self.b(torch.tanh(y) + h if len(x) else h)


def keyword(self: Any, x: Tensor) -> Tensor:
    return self.b(torch.tanh(self.a(input=F.relu(input=self.act(input=x)))))


def objective_of(forward: Callable[..., Any]) -> Objective:
    """Of 30 examples of which the first eight are small and positive: nothing is cut off there."""

    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.act = nn.Linear(6, 5), nn.Linear(5, 3), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return forward(self, x)

    with seeded(0, "tests", "own"):
        model = Body().double()
    model.a.weight.data.abs_()
    model.a.bias.data.abs_()
    x = 4 * torch.randn(30, 6, generator=generator(0, "tests", "own"), dtype=torch.float64)
    x[:8] = 0.02 * x[:8].abs()
    return Objective(model, (x, torch.arange(30) % 3), batch_size=12)


FORWARDS = [no_grad, through, detached, clamped, skipped, doubled, untraced, keyword]


@pytest.mark.parametrize("forward", FORWARDS, ids=lambda function: function.__name__)
def test_derivatives_are_those_of_the_model_itself(forward: Callable[..., Any]) -> None:
    objective = objective_of(forward)
    hessian = Hessian(objective)
    vectors = torch.randn(objective.size, 2, generator=generator(1, "tests", "own"), dtype=torch.float64)
    torch.testing.assert_close(hessian.gradient, objective.gradient(), rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(hessian @ vectors, objective.hvp(vectors), rtol=1e-10, atol=1e-13)


def test_a_part_without_gradients_has_no_curvature_at_all() -> None:
    """Of the whole Gauss-Newton matrix, only the block of the second layer is not 0."""
    objective = objective_of(no_grad)
    matrix = GGN(objective).dense()
    assert matrix[:35].abs().max() == 0 and matrix[35:, 35:].abs().max() > 0


@pytest.mark.parametrize(
    ("forward", "said"), [(no_grad, "derivatives of its own"), (through, "derivatives of its own")]
)
def test_forwards_with_derivatives_of_their_own_are_written_down_for_values_only(forward, said) -> None:
    model = objective_of(forward).model.eval().requires_grad_(False)
    x = torch.randn(3, 6).double()
    assert torch.equal(traced(model)(x), model(x))
    with pytest.raises(ModelError, match=said):
        traced(model, gradients=True)


def test_a_precision_of_its_own_is_not_written_down() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.b(torch.tanh(self.a(x))).double()

    with pytest.raises(ModelError, match=r"precision of its own \(torch.autocast\)"):
        traced(objective_of(forward).model.eval())


def test_backward_hooks_are_kept() -> None:
    objective = objective_of(lambda self, x: self.b(torch.tanh(self.a(x))))
    plain = objective.gradient()
    objective.model.register_full_backward_pre_hook(lambda module, out: (3 * out[0],))
    hooked = Objective(objective.model, next(objective.batches()), batch_size=12)
    assert not torch.allclose(hooked.gradient(), plain)
    torch.testing.assert_close(Hessian(hooked).gradient, hooked.gradient(), rtol=1e-10, atol=1e-13)


def test_a_layer_that_is_called_by_name_of_its_argument_is_no_stumbling_block() -> None:
    model = DifferentiableModel(objective_of(keyword))
    assert model._module is None or model.folds == 0
