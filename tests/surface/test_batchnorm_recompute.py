"""Running statistics computed anew: by hand, by torch's own update, and what they must not change."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import update_bn

from landscape.errors import ConfigError, DataError, MismatchError
from landscape.objective import Objective
from landscape.seeding import generator, seeded
from landscape.surface import direction_between, evaluate_line, evaluate_surface, random_plane, recompute_batch_norm


def net(dropout: float = 0.0) -> nn.Module:
    with seeded(0, "tests", "batch norm"):
        model = nn.Sequential(
            nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(dropout), nn.Linear(6, 5), nn.BatchNorm1d(5),
            nn.Linear(5, 3),
        ).double()  # fmt: skip
        for _ in range(3):
            model(torch.randn(32, 4).double())
    return model.eval()


def examples(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    stream = generator(seed, "tests", "batch norm data")
    return 2 * torch.randn(count, 4, generator=stream, dtype=torch.float64) + 1, torch.arange(count) % 3


def pieces(inputs: torch.Tensor) -> list[torch.Tensor]:
    """The fixed random order, in parts of at most 256 that differ by at most one."""
    order = torch.randperm(len(inputs), generator=generator(0, "batch norm statistics"))
    return [inputs[piece] for piece in order.tensor_split(-(-len(inputs) // 256))]


def by_hand(model: nn.Module, inputs: torch.Tensor) -> nn.Module:
    """A copy with statistics from sums and divisions: means over examples of batch means and unbiased variances."""
    twin = copy.deepcopy(model)
    sums = {1: [0.0, 0.0], 5: [0.0, 0.0]}
    for x in pieces(inputs):
        count = len(x)
        for index, layer in enumerate(twin):
            if index in sums:
                mean = x.sum(0) / count
                squares = ((x - mean) ** 2).sum(0)
                sums[index][0] += count / len(inputs) * mean
                sums[index][1] += count / len(inputs) * squares / (count - 1)
                x = (x - mean) / torch.sqrt(squares / count + layer.eps) * layer.weight + layer.bias
            else:
                x = layer(x)
    with torch.no_grad():
        for index, (mean, variance) in sums.items():
            twin[index].running_mean.copy_(mean)
            twin[index].running_var.copy_(variance)
    return twin


@pytest.mark.parametrize("count", [2, 100, 257])
def test_statistics_are_those_by_hand(count: int) -> None:
    """1e-12: other order of summation; 257 examples make parts of 129 and 128."""
    data = examples(count)
    objective = Objective(net(), data)
    found, wanted = recompute_batch_norm(objective), Objective(by_hand(objective.model, data[0]), data)
    assert found.evaluate().loss == pytest.approx(wanted.evaluate().loss, rel=1e-12)
    torch.testing.assert_close(found.outputs(), wanted.outputs(), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(found.gradient(), wanted.gradient(), rtol=1e-9, atol=1e-12)  # statistics are constants
    assert abs(found.evaluate().loss - objective.evaluate().loss) > 1e-3


def test_equal_parts_are_torchs_own_update() -> None:
    data = examples(512)
    model = net()
    theirs = copy.deepcopy(model)
    update_bn(pieces(data[0]), theirs)
    found = recompute_batch_norm(Objective(model, data)).evaluate()
    assert found.loss == pytest.approx(Objective(theirs.eval(), data).evaluate().loss, rel=1e-12)


def test_the_scale_before_a_normalization_makes_no_difference() -> None:
    """Only eps = 1e-5 beside variances of order 1 remembers the scale: 1e-4."""
    data, model = examples(300), net()
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        scaled[0].weight *= 3
        scaled[0].bias *= 3
        scaled[4].weight *= 2
    plain, other = (recompute_batch_norm(Objective(each, data)).evaluate().loss for each in (model, scaled))
    assert plain == pytest.approx(other, rel=1e-4)
    assert abs(Objective(model, data).evaluate().loss - Objective(scaled, data).evaluate().loss) > 0.01


def test_the_model_and_the_batches_make_no_difference(snapshot, assert_unchanged) -> None:
    data, model = examples(300), net(dropout=0.5).train()
    model[1].eval()
    before = snapshot(model)
    one, many = (recompute_batch_norm(Objective(model, data, batch_size=size)) for size in (300, 7))
    first = one.evaluate()
    assert first.loss == one.evaluate().loss  # dropout stays off
    assert first.loss == pytest.approx(many.evaluate().loss, rel=1e-13)
    assert_unchanged(before, model)
    with torch.no_grad():
        model[6].weight.mul_(2)
        model[1].running_mean.fill_(float("nan"))  # what is there before does not count
    assert one.evaluate().loss == pytest.approx(Objective(by_hand(model.eval(), data[0]), data).evaluate().loss)
    twin = one.snapshot()
    assert twin.evaluate() == one.evaluate()


def test_a_loop_over_points_does_not_see_the_others_statistics() -> None:
    objective = Objective(net(), examples(64))
    found, weights = recompute_batch_norm(objective), objective.weights()
    objective.refresh()
    first = objective.evaluate_at(weights)
    found.evaluate()
    assert objective.evaluate_at(weights) == first


def test_sorted_examples_make_no_difference() -> None:
    """Batches of one class only have too small a variance; a random order has not. 5 %: three batches' worth."""
    inputs, _ = examples(768)
    inputs += 5 * torch.arange(768).double()[:, None] / 768
    shuffled = torch.randperm(768, generator=generator(1, "tests", "shuffle"))
    losses = [
        recompute_batch_norm(Objective(net(), (inputs[order], torch.arange(768)[order] % 3))).evaluate().loss
        for order in (torch.arange(768), shuffled)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_statistics_of_other_data() -> None:
    train, test = examples(300), examples(50, seed=1)
    model = net()
    found = recompute_batch_norm(Objective(model, test), statistics_from=Objective(model, train))
    assert found.evaluate().loss == pytest.approx(Objective(by_hand(model, train[0]), test).evaluate().loss, rel=1e-12)
    assert found.provenance()["statistics_from"]["examples"] == 300 and found.examples == 50


def test_lines_and_surfaces_recompute_at_every_point() -> None:
    data, a = examples(64), net()
    b = copy.deepcopy(a)
    with torch.no_grad():
        for parameter in b.parameters():
            parameter += 0.5 * torch.randn(parameter.shape, generator=generator(3, "tests", "b")).double()
    objective = Objective(a, data)
    line = evaluate_line(
        objective, direction_between(a, b), extent=(0, 1), points=3, batch_norm="recompute", progress=False
    )
    for alpha, loss in zip(line.alphas, line.loss, strict=True):
        point = copy.deepcopy(a)
        with torch.no_grad():
            for mine, end in zip(point.parameters(), b.parameters(), strict=True):
                mine += alpha * (end - mine)
        assert loss == pytest.approx(F.cross_entropy(by_hand(point, data[0])(data[0]), data[1]).item(), rel=1e-12)
    surface = evaluate_surface(objective, random_plane(objective), points=3, batch_norm="recompute", progress=False)
    assert surface.center_loss == recompute_batch_norm(objective).evaluate().loss == line.loss[0]
    assert surface.provenance["batch_norm"] == "recompute"


def test_a_store_of_one_policy_is_none_of_the_other(tmp_path) -> None:
    objective = Objective(net(), examples(64))

    def run(policy: str, **options: object) -> np.ndarray:
        plane = random_plane(objective)
        found = evaluate_surface(
            objective, plane, points=3, store=tmp_path, batch_norm=policy, progress=False, **options
        )
        return found.loss

    first = run("recompute")
    assert run("recompute").tobytes() == first.tobytes()
    with pytest.raises(MismatchError, match="fixed_sha256"):
        run("running")
    with pytest.raises(MismatchError, match="fixed_sha256"):
        run("recompute", statistics_from=Objective(objective.model, examples(65)))


def test_what_has_no_statistics(objective: Objective) -> None:
    assert recompute_batch_norm(objective) is objective
    with pytest.raises(DataError, match="too few"):
        recompute_batch_norm(Objective(net(), examples(1)))
    with pytest.raises(ConfigError, match="Did you mean 'recompute'"):
        evaluate_surface(objective, random_plane(objective), batch_norm="recomputed")
    single = Objective(net().float(), examples(9))
    with pytest.raises(MismatchError, match="float32"):
        recompute_batch_norm(Objective(net(), examples(9)), statistics_from=single)


@pytest.mark.gpu
def test_devices_take_the_same_batches() -> None:
    """1e-9: float64 on both, sums in another order."""
    data, model = examples(600), net()
    losses = [recompute_batch_norm(Objective(model, data, device=device)).evaluate().loss for device in ("cpu", "cuda")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
