"""Surfaces of the models that people have: every point is the loss of a copy whose weights were moved by hand."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape import Objective
from landscape.seeding import generator, seeded
from landscape.surface import evaluate_surface, random_plane


class Tied(nn.Module):
    """A language model whose output weights are its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.mix = nn.Embedding(12, 6), nn.Linear(6, 6)
        self.scores = nn.Linear(6, 12, bias=False)
        self.scores.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.scores(torch.tanh(self.mix(self.embedding(tokens).mean(1))))


class Encoder(nn.Module):
    """torch's own transformer encoder, padded batches by name."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True, norm_first=True)
        self.words, self.encoder = nn.Embedding(20, 8), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.scores = nn.Linear(8, 3)

    def forward(self, input_ids: Tensor, padding: Tensor) -> Tensor:
        return self.scores(self.encoder(self.words(input_ids), src_key_padding_mask=padding)[:, 0])


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3),
    )  # fmt: skip


def frozen() -> nn.Module:
    model = convolutional()
    for parameter in model[:3].parameters():
        parameter.requires_grad_(False)
    return model


def data_of(name: str) -> tuple:
    stream = generator(0, "tests", name)
    tokens = torch.randint(12, (30, 5), generator=stream)
    if name == "tied":
        return tokens, tokens[:, 0]
    targets = torch.randint(3, (30,), generator=stream)
    if name == "transformer":
        padding = torch.arange(5) >= torch.randint(2, 6, (30, 1), generator=stream)
        return {"input_ids": tokens, "padding": padding}, targets
    return torch.randn(30, 1, 8, 8, generator=stream).double(), targets


MODELS = {"tied": Tied, "transformer": Encoder, "batch norm": convolutional, "frozen": frozen}


def make(name: str) -> tuple[nn.Module, tuple]:
    with seeded(0, "tests", name):
        model, data = MODELS[name]().double(), data_of(name)
        if isinstance(data[0], Tensor) and data[0].is_floating_point():
            model.train()(data[0])  # statistics that are not the first ones
    return model, data


def moved(model: nn.Module, data: tuple, step: dict[str, Tensor]) -> float:
    """The loss of a copy with its weights moved one by one."""
    other = copy.deepcopy(model).eval()
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if name in step:
                parameter += step[name]
        inputs, targets = data
        return float(F.cross_entropy(other(**inputs) if isinstance(inputs, dict) else other(inputs), targets))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("engine", ["plain", "auto"])
@pytest.mark.parametrize("name", MODELS)
def test_every_point_is_the_loss_of_the_moved_model(name: str, engine: str, training: bool) -> None:
    model, data = make(name)
    model.train(training)
    objective = Objective(model, data, batch_size=16)
    plane = random_plane(objective, seed=3)
    points = 5 if engine == "plain" else 9
    found = evaluate_surface(objective, plane, points=points, extent=0.6, engine=engine, progress=False)
    first, second = (objective.layout.named(direction.vector) for direction in plane.directions)
    for i, j in ((0, 0), (1, 3), (points // 2, points // 2), (points - 1, 2)):
        step = {name: float(found.alphas[i]) * first[name] + float(found.betas[j]) * second[name] for name in first}
        assert found.loss[i, j] == pytest.approx(moved(model, data, step), rel=1e-9)
    assert model.training is training


def test_tied_weights_move_once_and_frozen_ones_do_not() -> None:
    tied, data = make("tied")
    assert Objective(tied, data).size == 12 * 6 + 6 * 6 + 6
    still, data = make("frozen")
    objective = Objective(still, data)
    assert not [name for name in objective.layout.names if name.startswith(("0.", "1."))]
    before = {name: value.clone() for name, value in still.state_dict().items()}
    evaluate_surface(objective, random_plane(objective), points=3, progress=False)
    assert all(torch.equal(before[name], value) for name, value in still.state_dict().items())
