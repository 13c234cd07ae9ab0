"""Models that take several tensors, in order or by name, and give an object: transformers, for example."""

from __future__ import annotations

import warnings
from collections import UserDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape import Objective
from landscape.curvature import Hessian
from landscape.errors import DataError, NonDeterministicError
from landscape.study.effort import choose_effort
from landscape.surface import bezier_curve, evaluate_surface, linear_barrier, random_plane

N, T, WORDS, WIDTH = 24, 7, 20, 8


class Attention(nn.Module):
    """A small transformer encoder in the form of transformers': keyword arguments, outputs with ``.logits``."""

    def __init__(self, *, wrapped: bool = True) -> None:
        super().__init__()
        self.wrapped = wrapped
        self.embedding = nn.Embedding(WORDS, WIDTH)
        self.position = nn.Parameter(torch.randn(T, WIDTH) / 4)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 16), nn.GELU(), nn.Dropout(0.3), nn.Linear(16, WIDTH))
        self.classifier = nn.Linear(WIDTH, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> object:
        x = self.embedding(input_ids) + self.position
        q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, -1))
        allowed = attention_mask[:, None, None, :].bool()
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).flatten(2))
        x = x + self.mlp(self.norm2(x))
        weight = attention_mask.unsqueeze(-1).to(x.dtype)
        logits = self.classifier((x * weight).sum(1) / weight.sum(1))
        return SimpleNamespace(logits=logits, hidden=x) if self.wrapped else logits


@pytest.fixture
def model() -> Attention:
    torch.manual_seed(0)
    return Attention().double()


@pytest.fixture
def batch() -> dict[str, Tensor]:
    stream = torch.Generator().manual_seed(1)
    lengths = torch.randint(2, T + 1, (N, 1), generator=stream)
    return {
        "input_ids": torch.randint(WORDS, (N, T), generator=stream),
        "attention_mask": (torch.arange(T) < lengths).long(),
        "labels": torch.randint(3, (N,), generator=stream),
    }


def inputs_of(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: part for name, part in batch.items() if name != "labels"}


def reference(model: Attention, batch: dict[str, Tensor]) -> tuple[float, float]:
    with torch.no_grad():
        logits = model.eval()(**inputs_of(batch)).logits
    right = (logits.argmax(1) == batch["labels"]).double().mean()
    return float(F.cross_entropy(logits, batch["labels"])), float(right)


class Rows(torch.utils.data.Dataset):
    def __init__(self, batch: dict[str, Tensor], make) -> None:
        self.batch, self.make = batch, make

    def __len__(self) -> int:
        return N

    def __getitem__(self, k: int):
        return self.make({name: part[k] for name, part in self.batch.items()})


FORMS = {
    "a dictionary": lambda batch: batch,
    "what a tokenizer gives": lambda batch: UserDict(batch),
    "a pair with a dictionary": lambda batch: (inputs_of(batch), batch["labels"]),
    "a pair with a list": lambda batch: (list(inputs_of(batch).values()), batch["labels"]),
    "a dataset of dictionaries": lambda batch: Rows(batch, dict),
    "a dataset of pairs": lambda batch: Rows(batch, lambda row: (inputs_of(row), row["labels"])),
    "a loader": lambda batch: torch.utils.data.DataLoader(Rows(batch, dict), batch_size=5),
    "a loader of tuples": lambda batch: torch.utils.data.DataLoader(
        Rows(batch, lambda row: (tuple(inputs_of(row).values()), row["labels"])), batch_size=5
    ),
}


@pytest.mark.parametrize("batch_size", [N, 7])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_gives_the_models_loss(model, batch, form: str, batch_size: int) -> None:
    loss, accuracy = reference(model, batch)
    objective = Objective(model, FORMS[form](batch), batch_size=batch_size)
    found = objective.evaluate()
    assert found.loss == pytest.approx(loss, rel=1e-13) and found.accuracy == pytest.approx(accuracy)
    assert objective.examples == N and objective.outputs().shape == (N, 3)


def test_derivatives_are_those_of_the_model(model, batch) -> None:
    objective = Objective(model, batch, batch_size=7)
    loss = F.cross_entropy(model.eval()(**inputs_of(batch)).logits, batch["labels"])
    expected = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(model.parameters()))])
    torch.testing.assert_close(objective.gradient(), expected, rtol=1e-9, atol=1e-12)
    vector = torch.randn(objective.size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    step = 1e-5
    ahead, behind = (objective.gradient(objective.weights() + sign * step * vector) for sign in (1, -1))
    torch.testing.assert_close(Hessian(objective) @ vector, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-8)


def test_a_surface_is_that_of_the_displaced_model(model, batch) -> None:
    objective = Objective(model, batch, batch_size=10)
    plane = random_plane(objective)
    found = evaluate_surface(objective, plane, points=5, progress=False)
    assert found.center_loss == objective.evaluate().loss
    weights, names = objective.weights(), dict(model.named_parameters())
    for i, alpha in enumerate(found.alphas):
        point = weights + alpha * plane.direction1.vector + found.betas[1] * plane.direction2.vector
        moved = objective.layout.named(point)
        logits = torch.func.functional_call(model.eval(), {n: moved[n] for n in names}, (), inputs_of(batch)).logits
        assert found.loss[i, 1] == pytest.approx(float(F.cross_entropy(logits, batch["labels"])), rel=1e-10)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        auto = evaluate_surface(objective, plane, points=13, progress=False)
    assert not told and auto.provenance["engine"] == "plain"
    assert "several tensors" in auto.provenance["engine_refused"]["folded"]
    assert "performance drop" in auto.provenance["engine_refused"]["stacked"]


def test_paths_between_transformers(model, batch) -> None:
    objective, other = Objective(model, batch), Attention().double()
    assert np.isfinite(linear_barrier({"train": objective}, other, points=3, progress=False)["train"].height)
    curve = bezier_curve(objective, other, epochs=2, points=3, progress=False)
    assert curve.loss[0] == pytest.approx(objective.evaluate().loss, rel=1e-12)


def test_the_model_and_its_mode_are_left_alone(model, batch) -> None:
    model.train()
    evaluated = Objective(model, batch).evaluate().loss
    assert model.training and not model._forward_pre_hooks and not model._forward_hooks
    assert evaluated == pytest.approx(reference(model, batch)[0], rel=1e-13)


def test_a_loss_of_ones_own_gets_the_outputs_as_they_are(model, batch) -> None:
    seen = []

    def loss(outputs, targets):
        seen.append(type(outputs))
        return F.cross_entropy(outputs.logits, targets) + 0.1 * outputs.hidden.square().mean()

    found = Objective(model, batch, loss).evaluate()
    assert set(seen) == {SimpleNamespace} and np.isfinite(found.loss) and np.isnan(found.accuracy)
    plain = Objective(Attention(wrapped=False).double(), batch)
    assert np.isfinite(plain.evaluate().accuracy)


def test_effort_and_provenance(model, batch) -> None:
    objective = Objective(model, batch)
    assert choose_effort(objective, seconds=1.0).examples >= 1
    other = {**batch, "attention_mask": torch.ones_like(batch["attention_mask"])}
    sums = {Objective(model, data).provenance()["data_sha256"] for data in (batch, other)}
    assert len(sums) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: {k: v for k, v in b.items() if k != "labels"}, "Which of the named tensors are the targets"),
        (lambda b: {**b, "target": b["labels"]}, "Which of the named tensors are the targets"),
        (lambda b: {**b, "text": "words"}, "text \\(str\\)"),
        (lambda b: {**b, "attention_mask": b["attention_mask"][:-1]}, "'attention_mask'.*differ in number"),
        (lambda b: {**b, "weights": torch.full((N,), float("nan"))}, "'weights'.*NaN"),
        (lambda b: (inputs_of(b), b["labels"], b["labels"]), "tuple of 3"),
        (
            lambda b: Rows(b, lambda row: {**row, "input_ids": row["input_ids"][: 3 + int(row["labels"])]}),
            "examples do not fit together",
        ),
    ],
)
def test_bad_data_is_refused(model, batch, change, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Objective(model, change(batch))


def test_batches_of_different_lengths_say_what_to_do(model, batch) -> None:
    def cut(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        whole = torch.utils.data.default_collate(rows)
        longest = int(whole["attention_mask"].sum(1).max())
        return {name: part[:, :longest] if part.ndim == 2 else part for name, part in whole.items()}

    loader = torch.utils.data.DataLoader(Rows(batch, dict), batch_size=2, collate_fn=cut)
    with pytest.raises(DataError, match="do not fit together.*Pad all examples to one length"):
        Objective(model, loader)


def test_masks_may_hold_minus_infinity(batch) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Embedding(WORDS, 3)

        def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
            return (self.layer(ids) * mask.exp().unsqueeze(-1)).sum(1)

    mask = torch.where(batch["attention_mask"].bool(), 0.0, -torch.inf)
    data = (batch["input_ids"], mask), batch["labels"]
    assert np.isfinite(Objective(Masked(), data).evaluate().loss)


# -------------------------------------------------------------------------------------------------- random layers


class AlwaysDropout(nn.Dropout):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, training=True)


def test_a_layer_that_stays_random_is_named() -> None:
    inner = nn.Sequential(nn.Linear(8, 8), AlwaysDropout(0.5))
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), inner, nn.Linear(8, 2))
    objective = Objective(model, (torch.randn(6, 4), torch.zeros(6, dtype=torch.long)))
    with pytest.raises(NonDeterministicError, match=r"from layer '2\.1' \(AlwaysDropout\) on"):
        evaluate_surface(objective, random_plane(objective), points=3, progress=False)


def test_randomness_between_layers_has_no_name() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(self.layer(x), 0.5)

    objective = Objective(Noisy(), (torch.randn(6, 4), torch.zeros(6, dtype=torch.long)))
    with pytest.raises(NonDeterministicError, match="for one input in evaluation mode\\. Expected"):
        evaluate_surface(objective, random_plane(objective), points=3, progress=False)


def test_dropout_of_a_model_in_training_is_off(model, batch) -> None:
    """Surfaces are of the model in evaluation mode, also where nobody called eval()."""
    objective = Objective(model.train(), batch)
    found = evaluate_surface(objective, random_plane(objective), points=3, progress=False)
    assert found.center_loss == pytest.approx(reference(model, batch)[0], rel=1e-13)
