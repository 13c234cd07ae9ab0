"""The rewritten model computes what the model computes, with all first and second derivatives, or is not used."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from landscape.differentiable import DifferentiableModel
from landscape.models import build_model
from landscape.objective import Objective
from landscape.seeding import generator, seeded
from landscape.surface import recompute_batch_norm


class Norms(nn.Module):
    """Normalization everywhere: after a convolution, before one, alone, and after one that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.second, self.norm2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4, affine=False)
        self.before = nn.BatchNorm2d(4)
        self.head, self.norm3 = nn.Linear(4, 3), nn.BatchNorm1d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm1(self.first(x)))
        y = self.second(x)
        x = self.before(x + self.norm2(y) + y)
        return self.norm3(self.head(x.mean((2, 3))))


class Branching(nn.Module):
    """A forward that cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        x = torch.tanh(x) if float(x.detach().sum()) < 1e9 else x
        return self.head(x.mean((2, 3)))


class Viewing(nn.Module):
    """Sees images as contiguous, which they are not with their channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(108, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).view(len(x), -1))


def objective_of(model: nn.Module, *, dtype: torch.dtype = torch.float64, shape=(2, 6, 6), **options) -> Objective:
    stream = generator(0, "tests", "differentiable")
    x, y = torch.randn(10, *shape, generator=stream), torch.randint(3, (10,), generator=stream)
    with seeded(0, "tests", "differentiable"):
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()
    model.train()(x)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) and norm.affine:
            norm.weight.data.uniform_(-1, 2, generator=stream)
            norm.bias.data.normal_(generator=stream)
    return Objective(model.to(dtype).eval(), (x.to(dtype), y), batch_size=6, **options)


def derivatives(terms, flat: torch.Tensor) -> list[torch.Tensor]:
    loss = sum(terms)
    assert isinstance(loss, torch.Tensor)
    gradient = torch.autograd.grad(loss, flat, create_graph=True)[0]
    product = torch.autograd.grad(gradient @ torch.linspace(-1, 1, len(flat), dtype=flat.dtype), flat)[0]
    return [loss.detach(), gradient.detach(), product]


@pytest.mark.parametrize(("kind", "folds"), [(Norms, 1), (Branching, 0), (Viewing, 0)])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_values_and_derivatives_are_the_objectives(kind, folds, dtype, close):
    """Rounding, relative to the largest entry: the order of operations is another one."""
    objective = objective_of(kind(), dtype=dtype)
    model = DifferentiableModel(objective)
    assert model.folds == folds and model._module is not None
    flat = objective.weights().requires_grad_()
    found, expected = derivatives(model.loss_terms(flat), flat), derivatives(objective.loss_terms(flat), flat)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= close * other.abs().max()


@pytest.mark.parametrize("name", ["resnet20", "preactresnet18", "vgg11_bn", "densenet40", "smallcnn"])
def test_the_models_of_the_registry(name):
    shape = (1, 8, 8) if name == "smallcnn" else (3, 32, 32)
    try:
        built = build_model(name, classes=3, input_shape=shape)
    except Exception:
        pytest.skip(f"{name} is not in the registry")
    objective = objective_of(built, dtype=torch.float64, shape=shape)
    model = DifferentiableModel(objective)
    assert model._module is not None
    flat = objective.weights().requires_grad_()
    with torch.no_grad():
        for (found, _), (expected, _) in zip(model.output_terms(flat), objective.output_terms(flat), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_another_point_than_the_models():
    objective = objective_of(Norms())
    flat = (1.1 * objective.weights() + 0.01).requires_grad_()
    found = derivatives(DifferentiableModel(objective).loss_terms(flat), flat)
    for one, other in zip(found, derivatives(objective.loss_terms(flat), flat), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_statistics_that_are_not_fixed_are_left_to_the_objective():
    objective = recompute_batch_norm(objective_of(Norms()))
    model = DifferentiableModel(objective)
    assert model._module is None
    flat = objective.weights()
    assert [float(t) for t in model.loss_terms(flat)] == [float(t) for t in objective.loss_terms(flat)]


def test_a_rewritten_model_that_computes_something_else_is_not_used(monkeypatch):
    objective = objective_of(Norms())
    monkeypatch.setattr("landscape.differentiable._fixed_norm", lambda norm, x: 1.01 * x)
    model = DifferentiableModel(objective)
    assert model._module is None and model.folds == 0


def test_images_of_one_channel_lie_with_their_channels_last_too():
    objective = objective_of(
        build_model("smallcnn", classes=3, input_shape=(1, 8, 8)), dtype=torch.float32, shape=(1, 8, 8)
    )
    model = DifferentiableModel(objective)
    inputs = next(objective.batches())[0]
    laid_out = model._laid_out(inputs)
    assert torch.equal(laid_out, inputs) and laid_out.stride()[1] == 1
