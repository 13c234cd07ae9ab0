"""Nets with weights that nothing uses, and operations without second derivatives: zeros, or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from landscape.curvature import GGN, Fisher, Hessian
from landscape.errors import ConfigError, ModelError
from landscape.objective import Objective
from landscape.seeding import generator, seeded


class Unused(nn.Module):
    """One layer is never called, and one parameter holds no numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.unused, self.last = nn.Linear(4, 5), nn.Linear(2, 2), nn.Linear(5, 3)
        self.nothing = nn.Parameter(torch.zeros(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x)))


class TiedUnused(nn.Module):
    """The weights of a layer that is not called are those of one that is."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4, bias=False), nn.Linear(4, 4), nn.Linear(4, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.second(x)))


class Cube(torch.autograd.Function):
    """x**3, which may be differentiated once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        return 3 * grads[0] * ctx.saved_tensors[0] ** 2


class Body(nn.Module):
    """A forward of one's own."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.bag, self.first, self.last = nn.EmbeddingBag(4, 4), nn.Linear(4, 5), nn.Linear(5, 3)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


def objective_of(model: Callable[[], nn.Module], **options: Any) -> Objective:
    with seeded(0, "tests", "unusual"):
        built = model().double()
    x = torch.randn(13, 4, generator=generator(0, "tests", "unusual"), dtype=torch.float64)
    return Objective(built, (x, torch.arange(13) % 3), batch_size=5, **options)


@pytest.mark.parametrize("operator", [Hessian, GGN, Fisher])
def test_weights_that_nothing_uses_have_no_curvature(operator: type[Any]) -> None:
    objective = objective_of(Unused)
    whole = operator(objective).dense()
    start = objective.layout.offsets[objective.layout.names.index("unused.weight")]
    assert whole[start : start + 6].abs().max() == 0 and whole.abs().max() > 0
    traces = operator(objective).layerwise("trace", method="exact", progress=False)
    assert list(traces) == ["first", "unused", "last"] and traces["unused"].value == 0
    assert sum(trace.value for trace in traces.values()) == pytest.approx(float(whole.trace()), rel=1e-12)
    assert operator(objective, parameters="unused").top(2).values.tolist() == [0, 0]


def test_tied_weights_of_a_layer_that_is_not_called() -> None:
    objective = objective_of(TiedUnused)
    hessian = Hessian(objective)
    vectors = torch.randn(objective.size, 3, generator=generator(1, "tests", "unusual"), dtype=torch.float64)
    torch.testing.assert_close(hessian @ vectors, objective.hvp(vectors), rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(hessian.gradient, objective.gradient(), rtol=1e-10, atol=1e-13)
    assert hessian.gradient[:16].abs().min() > 0


def test_a_loss_that_leads_nowhere_is_refused_by_all_and_by_parts() -> None:
    objective = objective_of(lambda: Body(lambda self, x: self.last(self.first(x)).argmax(1).double()), loss_fn=_mean)
    for ask in (Hessian, lambda objective: Hessian(objective, parameters="last")):
        with pytest.raises(ConfigError, match="The loss has no gradient"):
            ask(objective)


def _mean(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.mean()


ONCE: dict[str, Callable[..., Any]] = {
    "marked": lambda self, x: self.last(Cube.apply(self.first(x))),
    "marked beside others": lambda self, x: self.last(Cube.apply(self.first(x)) + torch.tanh(self.first(x))),
    "EmbeddingBag": lambda self, x: self.last(self.first(self.bag((x > 0).long()))),
}


def checkpointed(self: Any, x: Tensor) -> Tensor:
    return self.last(checkpoint(lambda z: torch.tanh(self.first(z)), x, use_reentrant=False))


@pytest.mark.parametrize("how", ONCE)
def test_what_cannot_be_differentiated_twice_is_refused(how: str) -> None:
    """torch itself leaves out what comes through an operation marked as once differentiable."""
    objective = objective_of(lambda: Body(ONCE[how]))
    for ask in (Hessian, GGN, Fisher, lambda objective: objective.hvp(objective.weights())):
        with pytest.raises(ModelError, match="cannot be differentiated"):
            operator = ask(objective)
            _ = operator @ objective.weights()


def test_gradient_checkpointing_is_seen_through_or_named() -> None:
    """It computes the layers once more in the backward pass, when the weights asked for are no longer in place."""
    plain = objective_of(lambda: Body(lambda self, x: self.last(torch.tanh(self.first(x)))))
    objective = objective_of(lambda: Body(checkpointed))
    torch.testing.assert_close(Hessian(objective).dense(), Hessian(plain).dense(), rtol=1e-10, atol=1e-13)
    with pytest.raises(ModelError, match="cannot be differentiated.*no gradient checkpointing"):
        objective.gradient()
