"""Products with the Hessian are those with the dense one, whatever is kept, and of the weights it was built at."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.parametrizations import weight_norm

from landscape.curvature import Hessian, SymmetryWarning
from landscape.errors import ConfigError, MismatchError, NonDeterministicError, NonFiniteError
from landscape.objective import Objective
from landscape.seeding import seeded

EXACT = {"rtol": 1e-8, "atol": 1e-12}  # float64: rounding of sums over some hundred terms, far below


@pytest.mark.parametrize("memory", [None, 0])
def test_products_equal_the_dense_hessian(any_objective: Objective, memory: int | None, exact_hessian) -> None:
    expected = exact_hessian(any_objective)
    operator = Hessian(any_objective, memory=memory)
    assert operator.keeps_graph == (memory is None)
    assert operator.shape == tuple(expected.shape) and operator.dtype == torch.float64
    identity = torch.eye(operator.size, dtype=torch.float64)
    found = operator @ identity
    torch.testing.assert_close(found, expected, **EXACT)
    torch.testing.assert_close(found, found.T, **EXACT)
    torch.testing.assert_close(operator @ identity[:, 3], expected[:, 3], **EXACT)  # the graph is still there


def test_the_gradient_and_the_objective_agree(any_objective: Objective) -> None:
    operator = Hessian(any_objective)
    torch.testing.assert_close(operator.gradient, any_objective.gradient(), **EXACT)
    vector = torch.linspace(-1, 1, operator.size, dtype=torch.float64)
    torch.testing.assert_close(operator @ vector, any_objective.hvp(vector), **EXACT)


def test_ragged_batches(tiny_problem, dense: torch.Tensor) -> None:
    vectors = torch.randn(119, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for batch_size in (40, 16, 7, 1):
        operator = Hessian(Objective(tiny_problem.model, tiny_problem.data, batch_size=batch_size))
        torch.testing.assert_close(operator @ vectors, dense @ vectors, **EXACT)


@pytest.mark.parametrize("memory", [None, 0])
def test_it_is_frozen_when_it_is_built(conv_objective: Objective, memory: int | None) -> None:
    """Training on, other evaluations and new running statistics pass it by."""
    operator = Hessian(conv_objective, memory=memory)
    vector = torch.linspace(-1, 1, operator.size, dtype=torch.float64)
    before = operator @ vector
    conv_objective.evaluate(2 * conv_objective.weights())
    with torch.no_grad():
        for parameter in conv_objective.model.parameters():
            parameter.add_(1.0)
        conv_objective.model[1].running_var.add_(1.0)
    conv_objective.evaluate()
    assert torch.equal(operator @ vector, before)
    assert not torch.allclose(Hessian(conv_objective) @ vector, before)


def test_after_close_products_still_work_and_the_memory_is_free(objective: Objective, dense: torch.Tensor) -> None:
    vector = torch.ones(119, dtype=torch.float64)
    with Hessian(objective) as operator:
        graph = weakref.ref(operator._graphs._graphs[0].gradient)
        assert operator.keeps_graph
    gc.collect()
    assert not operator.keeps_graph and graph() is None
    torch.testing.assert_close(operator @ vector, dense @ vector, **EXACT)


def test_an_operator_that_is_dropped_frees_its_graphs(objective: Objective) -> None:
    operator = Hessian(objective)
    graph = weakref.ref(operator._graphs._graphs[0].gradient)
    del operator
    gc.collect()
    assert graph() is None


def test_the_memory_of_graphs_is_measured(tiny_problem) -> None:
    """More examples need more memory, in proportion; the budget decides."""
    sizes = {}
    for count in (10, 20, 40):
        data = (tiny_problem.inputs[:count], tiny_problem.targets[:count])
        sizes[count] = Hessian(Objective(tiny_problem.model, data, batch_size=10))._graphs.bytes
    assert sizes[10] > 10 * (8 + 5 + 3) * 8  # at least the activations, in float64
    assert (sizes[20], sizes[40]) == (2 * sizes[10], 4 * sizes[10])
    objective = Objective(tiny_problem.model, tiny_problem.data, batch_size=10)
    assert Hessian(objective, memory=sizes[40]).keeps_graph
    assert not Hessian(objective, memory=sizes[40] - 1).keeps_graph


def test_a_loss_without_curvature(tiny_problem) -> None:
    linear = nn.Linear(6, 1).double()
    objective = Objective(linear, (tiny_problem.inputs, tiny_problem.targets), lambda outputs, _: outputs.mean())
    operator = Hessian(objective)
    assert (operator @ torch.ones(7, dtype=torch.float64) == 0).all()
    assert operator.trace(probes=3, progress=False).value == 0
    assert operator.top(2).values.tolist() == [0, 0]
    assert operator.density(probes=2, steps=3, progress=False).sigma > 0


def test_single_precision(tiny_problem, dense: torch.Tensor) -> None:
    """1e-5 of the norm: float32 has 7 digits, and sums lose one or two."""
    model = copy.deepcopy(tiny_problem.model).float()
    operator = Hessian(Objective(model, tiny_problem.data, batch_size=16))
    vector = torch.linspace(-1, 1, 119, dtype=torch.float64)
    found, expected = operator @ vector, dense @ vector
    assert found.dtype == torch.float32
    assert float((found.double() - expected).norm() / expected.norm()) < 1e-5


def test_products_inside_no_grad(objective: Objective, dense: torch.Tensor) -> None:
    with torch.no_grad():
        operator = Hessian(objective)
        vector = torch.ones(119, dtype=torch.float64)
        torch.testing.assert_close(operator @ vector, dense @ vector, **EXACT)


def test_what_cannot_be_multiplied(objective: Objective) -> None:
    operator = Hessian(objective)
    for wrong in (torch.ones(3), torch.ones(119, 2, 2), [1.0] * 119):
        with pytest.raises(MismatchError, match=r"\(119,\) or \(119, K\)"):
            operator @ wrong
    assert (operator @ torch.ones(119, 0)).shape == (119, 0)


def test_where_there_is_no_hessian(tiny_problem) -> None:
    with torch.no_grad():
        tiny_problem.model[0].weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="earlier checkpoint"):
        Hessian(Objective(tiny_problem.model, tiny_problem.data))


def test_a_finite_loss_with_an_infinite_gradient(tiny_problem) -> None:
    model = nn.Linear(6, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    objective = Objective(model, (tiny_problem.inputs, torch.zeros(40)), lambda outputs, _: outputs.abs().sqrt().mean())
    assert objective.evaluate().loss == 0
    with pytest.raises(NonFiniteError, match="entries of the gradient"):
        Hessian(objective)


class Attention(nn.Module):
    """Reads six inputs as three steps of two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(2, 1, 4, batch_first=True, dtype=torch.float64)
        self.head = nn.Linear(2, 3, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(x.view(-1, 3, 2)).mean(1))


@pytest.mark.parametrize("memory", [None, 0])
def test_attention_has_second_derivatives(tiny_problem, exact_hessian, memory: int | None) -> None:
    """Its fused kernels have none."""
    with seeded(0, "tests", "attention"):
        objective = Objective(Attention(), tiny_problem.data, batch_size=16)
    with sdpa_kernel(SDPBackend.MATH):
        expected = exact_hessian(objective)
    vectors = torch.eye(objective.size, dtype=torch.float64)[:, ::7]
    torch.testing.assert_close(Hessian(objective, memory=memory) @ vectors, expected @ vectors, **EXACT)
    torch.testing.assert_close(objective.hvp(vectors), expected @ vectors, **EXACT)


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 3).double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(self.inner(x))  # on in evaluation mode too


def test_other_refusals(tiny_problem, objective: Objective) -> None:
    with pytest.raises(NonDeterministicError, match="Dropout"):
        Hessian(Objective(Noisy(), tiny_problem.data))
    with pytest.raises(ConfigError, match="memory is out of range"):
        Hessian(objective, memory=-1)


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu(tiny_problem, dense: torch.Tensor) -> None:
    operator = Hessian(Objective(tiny_problem.model, tiny_problem.data, device="cuda", batch_size=16))
    vector = torch.linspace(-1, 1, 119, dtype=torch.float64)
    assert operator.keeps_graph
    torch.testing.assert_close((operator @ vector).cpu(), dense @ vector, **EXACT)
    pairs = operator.top(3, tol=1e-8)
    expected = torch.linalg.eigvalsh(dense).flip(0)[:3]
    torch.testing.assert_close(torch.tensor(pairs.values), expected, rtol=1e-8, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "layer", [nn.Linear(6, 8), nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 2, 3), nn.Flatten())]
)
def test_wrong_second_derivatives_are_noticed_once(tiny_problem, layer: nn.Module, dtype: torch.dtype) -> None:
    """torch's own double backward of weight_norm is not symmetric."""
    layer = copy.deepcopy(layer)
    weight_norm(layer if isinstance(layer, nn.Linear) else layer[1])
    model = nn.Sequential(layer, nn.Tanh(), nn.Linear(8, 3)).to(dtype)
    operator = Hessian(Objective(model, tiny_problem.data))
    vector = torch.ones(operator.size, dtype=dtype)
    with pytest.warns(SymmetryWarning, match=r"not symmetric: u\.Hv = .*weight_norm"):
        operator @ vector
    operator @ vector  # warnings are errors: none a second time
