"""The objective against autograd on the whole data in float64, and what it must never do to the model."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from landscape.datasets import load_dataset
from landscape.errors import ConfigError, DataError, MismatchError, ModelError, NonDeterministicError
from landscape.models import build_model
from landscape.objective import Objective
from landscape.optim import SAM
from landscape.seeding import generator, seeded
from landscape.surface.batchnorm import recompute_batch_norm


def problem(examples: int = 23):
    with seeded(1, "objective"):
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    stream = generator(2, "objective")
    inputs = torch.randn(examples, 4, generator=stream, dtype=torch.float64)
    targets = torch.randint(3, (examples,), generator=stream)
    model(inputs)  # running statistics that are not the initial ones
    return model, inputs, targets


def dense(model, inputs, targets):
    """Loss, gradient and Hessian of the whole set at once, by autograd alone."""
    model.eval()
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]

    def loss(flat):
        pieces = flat.split([s.numel() for s in shapes])
        named = {n: piece.view(s) for n, s, piece in zip(names, shapes, pieces, strict=True)}
        return F.cross_entropy(torch.func.functional_call(model, named, (inputs,)), targets)

    flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    hessian = torch.autograd.functional.hessian(loss, flat)
    gradient = torch.autograd.functional.jacobian(loss, flat)
    value = loss(flat).item()
    model.train()
    return value, gradient, hessian, loss


@pytest.mark.parametrize("batch_size", [None, 23, 10, 1])
def test_loss_gradient_and_products_are_exact(batch_size):
    model, inputs, targets = problem()
    value, gradient, hessian, _ = dense(model, inputs, targets)
    objective = Objective(model, (inputs, targets), batch_size=batch_size)
    assert objective.evaluate().loss == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(objective.gradient(), gradient, rtol=1e-9, atol=1e-13)
    vectors = torch.randn(objective.size, 3, generator=generator(3, "v"), dtype=torch.float64)
    torch.testing.assert_close(objective.hvp(vectors), hessian @ vectors, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(objective.hvp(vectors[:, 0]), hessian @ vectors[:, 0], rtol=1e-8, atol=1e-12)
    total = sum(term.item() for term in objective.loss_terms(objective.weights()))
    assert total == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("reduction", ["sum"])
def test_a_loss_that_does_not_average_is_refused(reduction):
    model, inputs, targets = problem()
    with pytest.raises(ConfigError, match=f'CrossEntropyLoss.*reduction="mean".*{reduction}.*What to do') as caught:
        Objective(model, (inputs, targets), nn.CrossEntropyLoss(reduction=reduction))
    assert 'Pass CrossEntropyLoss(reduction="mean")' in str(caught.value)
    mean = Objective(model, (inputs, targets), nn.CrossEntropyLoss()).evaluate()
    assert mean == Objective(model, (inputs, targets)).evaluate()


def test_swapped_arguments_and_a_named_loss_are_refused_with_the_fix():
    model, inputs, targets = problem()
    data = DataLoader(TensorDataset(inputs, targets), batch_size=4)
    with pytest.raises(ModelError, match=r"no model.*Got: DataLoader.*Swap the two: Objective\(model, data\)"):
        Objective(data, model)
    with pytest.raises(ConfigError, match=r"no function.*Got: 'mse'.*for example torch\.nn\.functional\.mse_loss"):
        Objective(model, data, "mse")
    with pytest.raises(ConfigError, match=r"no function.*torch\.nn\.functional\.cross_entropy"):
        Objective(model, data, None)


def test_other_weights_are_evaluated_and_the_model_stays():
    model, inputs, targets = problem()
    objective = Objective(model, (inputs, targets))
    elsewhere = objective.weights() + 0.1
    _, _, _, loss = dense(model, inputs, targets)
    model.eval()
    expected = loss(elsewhere).item()
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert objective.evaluate(elsewhere).loss == pytest.approx(expected, rel=1e-12)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_it_follows_training_and_perturbations():
    model, inputs, targets = problem()
    objective = Objective(model, (inputs, targets))
    first = objective.evaluate().loss
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.5, lr=0.1)
    model.eval()
    F.cross_entropy(model(inputs), targets).backward()
    with optimizer.perturbed():
        assert objective.evaluate().loss > first
    assert objective.evaluate().loss == first
    with torch.no_grad():
        model[4].bias.add_(1.0)
        model[1].running_mean.add_(1.0)
    changed = objective.evaluate().loss
    assert changed != first
    assert changed == pytest.approx(F.cross_entropy(model(inputs), targets).item(), rel=1e-12)


def test_accuracy_and_losses_per_example():
    model, inputs, targets = problem()
    objective = Objective(model, (inputs, targets), batch_size=7)
    model.eval()
    expected = (model(inputs).argmax(1) == targets).double().mean().item()
    assert objective.evaluate().accuracy == pytest.approx(expected, abs=1e-12)
    each = Objective(model, (inputs, targets), lambda o, t: F.cross_entropy(o, t, reduction="none"), batch_size=7)
    assert each.evaluate().loss == pytest.approx(objective.evaluate().loss, rel=1e-12)
    regression = Objective(nn.Linear(4, 1).double(), (inputs, inputs[:, :1]), F.mse_loss)
    assert regression.evaluate().accuracy != regression.evaluate().accuracy  # NaN: it has no meaning there


def test_loaders_and_datasets_are_read_once():
    model, inputs, targets = problem()
    expected = Objective(model, (inputs, targets)).evaluate().loss
    dataset = TensorDataset(inputs, targets)
    assert Objective(model, dataset).evaluate().loss == expected
    loader = DataLoader(dataset, batch_size=5, shuffle=True, generator=generator(1, "loader"))
    objective = Objective(model, loader)
    assert objective.evaluate().loss == pytest.approx(expected, rel=1e-12)
    assert objective.evaluate() == objective.evaluate()


def test_frozen_weights_do_not_move_and_are_still_followed():
    model, inputs, targets = problem()
    model[0].requires_grad_(False)
    objective = Objective(model, (inputs, targets))
    assert objective.size == sum(p.numel() for p in model.parameters() if p.requires_grad)
    first = objective.evaluate().loss
    with torch.no_grad():
        model[0].weight.mul_(2)
    assert objective.evaluate().loss != first


def test_shared_weights_count_once_in_gradients_too():
    with seeded(5, "tied"):
        layer = nn.Linear(4, 4).double()
    model = nn.Sequential(layer, nn.Tanh(), layer)
    _, inputs, _ = problem()
    objective = Objective(model, (inputs, inputs), F.mse_loss)
    F.mse_loss(model(inputs), inputs).backward()
    expected = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    torch.testing.assert_close(objective.gradient(), expected, rtol=1e-9, atol=1e-14)


def test_nan_losses_are_data_and_nan_inputs_are_refused():
    model, inputs, targets = problem()
    objective = Objective(model, (inputs, targets))
    assert objective.evaluate(torch.full((objective.size,), float("nan"))).loss != 0.0
    assert torch.isnan(torch.tensor(objective.evaluate(torch.full((objective.size,), float("nan"))).loss))
    inputs[3, 1] = float("nan")
    with pytest.raises(DataError, match=r"NaN or infinity in 1 of 23 examples.*example 3"):
        Objective(model, (inputs, targets))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda x, y: (x[:5], y[:4]), "differ in number"),
        (lambda x, y: (x[:0], y[:0]), "no examples"),
        (lambda x, y: [x, y, x], "cannot be used as data"),
        (lambda x, y: DataLoader(TensorDataset(x)), "pairs of tensors"),
    ],
)
def test_bad_data_is_refused(data, message):
    model, inputs, targets = problem()
    with pytest.raises(DataError, match=message):
        Objective(model, data(inputs, targets))


def test_bad_vectors_and_models_are_refused():
    model, inputs, targets = problem()
    objective = Objective(model, (inputs, targets))
    for wrong in (torch.zeros(3), torch.zeros(objective.size, 1), [1.0]):
        with pytest.raises(MismatchError):
            objective.evaluate(wrong)
    with pytest.raises(MismatchError):
        objective.hvp(torch.zeros(3))
    model.history = (model[0].weight * 2).sum()
    with pytest.raises(ModelError, match="cannot be copied"):
        Objective(model, (inputs, targets))


def test_random_layers_in_evaluation_mode_are_noticed():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            return self.layer(F.dropout(x, 0.5))

    _, inputs, targets = problem()
    objective = Objective(Noisy(), (inputs, targets))
    state = torch.get_rng_state()
    with pytest.raises(NonDeterministicError, match="two outputs for one input"):
        objective.check_deterministic()
    assert torch.equal(torch.get_rng_state(), state)


def test_provenance_names_weights_and_data():
    model, inputs, targets = problem()
    a, b = Objective(model, (inputs, targets)), Objective(model, (inputs + 1, targets))
    assert a.provenance()["data_sha256"] != b.provenance()["data_sha256"]
    assert a.provenance()["weights_sha256"] == b.provenance()["weights_sha256"]
    assert a.provenance()["parameters"] == a.size


# ---------------------------------------------------------------------------------------- a metric beside the loss


def margin(outputs, targets):
    """The score of the right class less the best of the others, per example."""
    right = outputs.gather(1, targets[:, None]).squeeze(1)
    return right - outputs.scatter(1, targets[:, None], -torch.inf).amax(1)


def mean_margin(outputs, targets):
    return margin(outputs, targets).mean()


@pytest.mark.parametrize("metric", [margin, mean_margin])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_a_metric_of_ones_own_is_averaged_over_examples(metric, batch_size):
    model, inputs, targets = problem()
    objective = Objective(model, (inputs, targets), metric=metric, batch_size=batch_size)
    with torch.no_grad():
        expected = float(margin(model.eval()(inputs), targets).double().mean())
    assert objective.evaluate().accuracy == pytest.approx(expected, rel=1e-12)
    assert objective.evaluate().loss == Objective(model, (inputs, targets), batch_size=batch_size).evaluate().loss
    assert objective.provenance()["metric"] == metric.__name__
    assert "metric" not in Objective(model, (inputs, targets)).provenance()


def test_metrics_that_cannot_be_averaged_are_refused():
    model, inputs, targets = problem()
    with pytest.raises(ConfigError, match="metric is no function"):
        Objective(model, (inputs, targets), metric="f1")
    with pytest.raises(ConfigError, match="The metric has a shape"):
        Objective(model, (inputs, targets), metric=lambda outputs, targets: outputs).evaluate()


# ------------------------------------------------------------------------------------- another model, the same data


def test_another_model_meets_the_same_data_loss_and_metric():
    model, inputs, targets = problem()
    objective = Objective(model, (inputs, targets), F.multi_margin_loss, metric=margin, batch_size=7)
    with seeded(4, "another"):
        other = nn.Linear(4, 3).double()
    found = objective.with_model(other)
    alone = Objective(other, (inputs, targets), F.multi_margin_loss, metric=margin, batch_size=7)
    assert found.evaluate() == alone.evaluate() and found.size == alone.size
    same = ("data", "data_sha256", "normalization", "examples", "loss", "metric", "batch_size")
    before, after = objective.provenance(), found.provenance()
    assert {key: before[key] for key in same} == {key: after[key] for key in same}
    half = objective.with_model(nn.Linear(4, 3))
    assert half.dtype == torch.float32 and half.evaluate().examples == 23


def test_another_model_meets_the_dataset_by_its_name():
    data = load_dataset("digits", limit=20)
    objective = Objective(build_model("mlp", input_shape=data.input_shape, classes=10), data)
    found = objective.with_model(build_model("mlp", input_shape=data.input_shape, classes=10, hidden=[4]))
    assert found.provenance()["data"] == "digits/train"
    assert found.provenance()["data_sha256"] == data.checksum


def test_another_model_has_its_statistics_computed_anew_too():
    model, inputs, targets = problem()
    objective = recompute_batch_norm(Objective(model, (inputs, targets)))
    with seeded(5, "another"):
        other = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).double()
    expected = recompute_batch_norm(Objective(other, (inputs, targets))).evaluate()
    assert objective.with_model(other).evaluate() == expected != Objective(other, (inputs, targets)).evaluate()
