"""Products with GGN and Fisher are those with matrices written down example by example; no code is shared."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian
from torch.func import functional_call

from landscape.curvature import GGN, CurvatureOperator, Fisher, Hessian
from landscape.errors import ConfigError, MismatchError, ModelError, NonDeterministicError
from landscape.objective import Objective
from tests.curvature.nets import CLASSES, EXAMPLES, NETS, net_objective

EXACT = {"rtol": 1e-8, "atol": 1e-12}  # float64: rounding of sums over some hundred terms, far below
EACH = pytest.mark.parametrize("name", NETS)


def whole(objective: Objective) -> tuple[Tensor, Tensor]:
    inputs, targets = (torch.cat(part) for part in zip(*objective.batches(), strict=True))
    return inputs, targets


def jacobians(objective: Objective) -> tuple[Tensor, Tensor]:
    """Outputs (N, K), and their derivatives in the weights, (N, K, P)."""
    model = objective.model.eval()
    inputs, _ = whole(objective)
    named = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def outputs(flat: Tensor) -> Tensor:
        pieces = flat.split([p.numel() for p in named.values()])
        weights = {name: piece.view(p.shape) for (name, p), piece in zip(named.items(), pieces, strict=True)}
        return functional_call(model, weights, (inputs,))

    flat = torch.cat([p.flatten() for p in named.values()])
    return outputs(flat), jacobian(outputs, flat, vectorize=True)


def dense(objective: Objective, blocks: Tensor) -> Tensor:
    """(1/N) sum_n J_n^T M_n J_n, with the M_n in ``blocks``, (N, K, K)."""
    _, jacobian_ = jacobians(objective)
    return torch.einsum("nap,nab,nbq->pq", jacobian_, blocks, jacobian_) / EXAMPLES


def fisher_blocks(outputs: Tensor) -> Tensor:
    """sum_c p_c r_c r_c^T with r_c = p - e_c, for each example: the definition itself."""
    p = outputs.softmax(1)
    slopes = p.unsqueeze(1) - torch.eye(p.shape[1], dtype=p.dtype)  # (N, c, K)
    return torch.einsum("nc,nca,ncb->nab", p, slopes, slopes)


@EACH
def test_ggn(name: str) -> None:
    objective = net_objective(name)
    outputs, _ = jacobians(objective)
    _, targets = whole(objective)
    blocks = torch.stack([
        hessian(lambda z, n=n: F.cross_entropy(z[None], targets[n : n + 1]), outputs[n]) for n in range(EXAMPLES)
    ])  # fmt: skip
    operator, again, expected = GGN(objective), GGN(objective, memory=0), dense(objective, blocks)
    assert operator.keeps_graph and not again.keeps_graph
    assert operator.shape == again.shape == tuple(expected.shape)
    torch.testing.assert_close(operator.dense(), expected, **EXACT)
    torch.testing.assert_close(again.dense(), expected, **EXACT)
    vector = torch.linspace(-1, 1, operator.size, dtype=torch.float64)
    torch.testing.assert_close(operator @ vector, expected @ vector, **EXACT)
    torch.testing.assert_close(again @ vector, expected @ vector, **EXACT)
    assert torch.linalg.eigvalsh(expected).min() > -1e-12
    top = float(torch.linalg.eigvalsh(expected)[-1])
    assert float(operator.top(1, tol=1e-7).values[0]) == pytest.approx(top, rel=1e-6)
    trace = float(expected.trace())
    assert operator.trace(method="exact", progress=False).value == pytest.approx(trace, rel=1e-10)
    estimate = operator.trace(probes=50, progress=False)
    assert abs(estimate.value - trace) <= 4 * estimate.stderr


@EACH
def test_hessians_of_the_five(name: str, exact_hessian) -> None:
    objective = net_objective(name)
    torch.testing.assert_close(Hessian(objective).dense(), exact_hessian(objective), **EXACT)


@EACH
def test_the_exact_fisher_is_its_definition_and_the_ggn(name: str) -> None:
    objective = net_objective(name)
    found = Fisher(objective).dense()
    torch.testing.assert_close(found, dense(objective, fisher_blocks(jacobians(objective)[0])), **EXACT)
    torch.testing.assert_close(found, GGN(objective).dense(), **EXACT)


@EACH
def test_the_empirical_fisher_sums_squares_of_the_examples_gradients(name: str) -> None:
    objective = net_objective(name)
    inputs, targets = whole(objective)
    model = objective.model
    rows = [
        Objective(model, (inputs[n : n + 1], targets[n : n + 1])).gradient() for n in range(EXAMPLES)
    ]  # fmt: skip
    gradients = torch.stack(rows)
    found = Fisher(objective, kind="empirical").dense()
    torch.testing.assert_close(found, gradients.T @ gradients / EXAMPLES, **EXACT)


def test_the_empirical_fisher_of_another_loss() -> None:
    """Squared errors over a tensor of outputs, with the mean over examples and one value per example."""
    targets = torch.randn(EXAMPLES, CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    each = Fisher(net_objective("mlp", targets=targets, loss_fn=lambda z, y: (z - y).square().sum(1)), kind="empirical")
    mean = net_objective("mlp", targets=targets, loss_fn=lambda z, y: (z - y).square().sum(1).mean())
    outputs, jacobian_ = jacobians(mean)
    gradients = torch.einsum("nk,nkp->np", 2 * (outputs - targets), jacobian_)
    expected = gradients.T @ gradients / EXAMPLES
    torch.testing.assert_close(each.dense(), expected, **EXACT)
    torch.testing.assert_close(Fisher(mean, kind="empirical").dense(), expected, **EXACT)


def test_the_ggn_of_squared_errors() -> None:
    targets = torch.zeros(EXAMPLES, CLASSES, dtype=torch.float64)
    objective = net_objective("residual", targets=targets, loss_fn=F.mse_loss)
    blocks = (2 / CLASSES) * torch.eye(CLASSES, dtype=torch.float64).expand(EXAMPLES, -1, -1)
    torch.testing.assert_close(GGN(objective).dense(), dense(objective, blocks), **EXACT)


def test_a_loss_that_is_linear_in_the_outputs_has_no_ggn() -> None:
    objective = net_objective("mlp", loss_fn=lambda z, y: z.mean())
    assert not GGN(objective).dense().any()


def test_it_is_the_hessian_where_the_model_is_linear() -> None:
    model = nn.Linear(4, 3).double()
    data = torch.randn(10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), torch.arange(10) % 3
    objective = Objective(model, data, batch_size=4)
    torch.testing.assert_close(GGN(objective).dense(), Hessian(objective).dense(), **EXACT)


def test_the_monte_carlo_fisher() -> None:
    """Each draw: positive semi-definite. Their mean: the exact one, within 4 standard errors. Three: a third as far.

    Seen through products with eight vectors.
    """
    objective, draws = net_objective("mlp", batch_size=EXAMPLES), 80
    vectors = torch.randn(objective.size, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact, spread = Fisher(objective) @ vectors, {}
    for samples in (1, 3):
        operators = [Fisher(objective, kind="monte-carlo", samples=samples, seed=seed) for seed in range(draws)]
        found = torch.stack([operator @ vectors for operator in operators])
        off, error = (found.mean(0) - exact).abs(), found.std(0) / math.sqrt(draws)
        assert (off <= 4 * error + 1e-12).double().mean() > 0.995  # entries with few draws beyond 4 are fat-tailed
        assert torch.linalg.eigvalsh(operators[0].dense()).min() > -1e-12
        assert not torch.equal(found[0], found[1])
        spread[samples] = float((found - exact).square().sum((1, 2)).mean())
    assert spread[3] / spread[1] == pytest.approx(1 / 3, rel=0.35)  # each is known to about 15 %


def test_a_fisher_that_is_built_again_has_the_same_draws() -> None:
    kept, again = (Fisher(net_objective("mlp"), kind="monte-carlo", samples=2, memory=m) for m in (None, 0))
    assert kept.keeps_graph and not again.keeps_graph
    torch.testing.assert_close(again.dense(), kept.dense(), **EXACT)


def test_every_batch_draws_its_own_labels() -> None:
    """Of the same examples twice each half would otherwise be the matrix of one half."""
    half = net_objective("mlp")
    inputs, targets = whole(half)
    twice = Objective(half.model, (torch.cat([inputs] * 2), torch.cat([targets] * 2)), batch_size=EXAMPLES)
    once = Objective(half.model, (inputs, targets), batch_size=EXAMPLES)
    both, one = (Fisher(o, kind="monte-carlo").dense() for o in (twice, once))
    assert (both - one).abs().max() > 1e-3 * one.abs().max()


def test_a_dense_matrix_is_symmetric_in_every_bit() -> None:
    model = net_objective("residual").model.float()
    found = GGN(Objective(model, whole(net_objective("residual")))).dense()
    assert found.dtype == torch.float32 and torch.equal(found, found.T)


@pytest.mark.parametrize("batch_size", [1, 7, 20])
@pytest.mark.parametrize("make", [GGN, Fisher, lambda o: Fisher(o, kind="empirical")])
def test_batches_do_not_matter(make, batch_size: int) -> None:
    found, expected = make(net_objective("cnn", batch_size=batch_size)), make(net_objective("cnn"))
    vectors = torch.randn(found.size, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found @ vectors, expected @ vectors, **EXACT)


@pytest.mark.parametrize("make", [GGN, Fisher, lambda o: Fisher(o, kind="monte-carlo")])
def test_it_is_frozen_and_the_model_is_left_alone(make, snapshot, assert_unchanged) -> None:
    objective = net_objective("cnn")
    before = snapshot(objective.model)
    operator: CurvatureOperator = make(objective)
    vector = torch.linspace(-1, 1, operator.size, dtype=torch.float64)
    first = operator @ vector
    assert_unchanged(before, objective.model)
    with torch.no_grad():
        for parameter in objective.model.parameters():
            parameter.add_(1.0)
    objective.model.train()(torch.randn(4, 6, dtype=torch.float64))
    assert torch.equal(operator @ vector, first)
    operator.close()  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(operator @ vector, first, **EXACT)


def test_scipy_finds_the_same_eigenvalues() -> None:
    from scipy.sparse.linalg import eigsh

    operator = GGN(net_objective("mlp"))
    found = eigsh(operator.to_scipy(), k=2, return_eigenvectors=False)
    expected = torch.linalg.eigvalsh(operator.dense())[-2:]
    assert sorted(found) == pytest.approx(expected.tolist(), rel=1e-8)
    columns = torch.randn(operator.size, 3, dtype=torch.float64)
    assert operator.to_scipy() @ columns.numpy() == pytest.approx((operator @ columns).numpy())
    half = GGN(Objective(nn.Linear(2, 3).bfloat16(), (torch.randn(4, 2), torch.arange(4) % 3))).to_scipy()
    assert (half @ torch.ones(9).numpy()).dtype == "float32"


class Noisy(nn.Linear):
    """Draws random numbers in evaluation mode."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) + torch.rand(())


class Pair(nn.Linear):
    """Gives two tensors."""

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(inputs), inputs


DATA = torch.ones(4, 2), torch.arange(4) % 3


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: GGN(net_objective("mlp"), memory=-1), ConfigError, "memory"),
        (lambda: GGN(Objective(Noisy(2, 3), DATA)), NonDeterministicError, "two outputs"),
        (lambda: GGN(Objective(Pair(2, 3), DATA, lambda z, y: F.cross_entropy(z[0], y))), ModelError, "one tensor"),
        (lambda: Fisher(net_objective("mlp"), kind="exakt"), ConfigError, "Unknown kind"),  # pyright: ignore
        (lambda: Fisher(net_objective("mlp"), kind="monte-carlo", samples=0), ConfigError, "samples"),
        (
            lambda: Fisher(net_objective("mlp", loss_fn=nn.CrossEntropyLoss(label_smoothing=0.1))),
            ConfigError,
            "without",
        ),
        (
            lambda: Fisher(net_objective("mlp", loss_fn=nn.CrossEntropyLoss(weight=torch.ones(3).double()))),
            ConfigError,
            "without",
        ),
        (lambda: Fisher(Objective(nn.Linear(2, 3), (torch.ones(4, 2), torch.rand(4, 3)))), ConfigError, "classifier"),
        (lambda: GGN(net_objective("mlp")) @ torch.ones(3), MismatchError, "GGN cannot be multiplied"),
        (lambda: GGN(net_objective("mlp")).dense(limit=10), ConfigError, "too large"),
    ],
)
def test_wrong_use_is_told(make, error, said) -> None:
    with pytest.raises(error, match=said):
        make()


def test_provenance_says_which() -> None:
    objective = net_objective("mlp")
    assert GGN(objective).provenance()["operator"] == "GGN"
    drawn = Fisher(objective, kind="monte-carlo", samples=2, seed=5).provenance()
    assert {k: drawn[k] for k in ("operator", "kind", "samples", "seed")} == {
        "operator": "Fisher", "kind": "monte-carlo", "samples": 2, "seed": 5,
    }  # fmt: skip
    assert "seed" not in Fisher(objective).provenance()
