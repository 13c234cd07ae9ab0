"""What is known by heart, against a count by hand at each checkpoint."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from landscape.errors import StorageError
from landscape.study import Memorization, memorization
from landscape.training import Run, RunConfig, train

CONFIG = RunConfig(
    model="mlp", model_options={"hidden": [64], "batch_norm": True}, limit=120, test_limit=50, epochs=20, batch_size=20,
    label_noise=0.5, lr=0.1, weight_decay=0.0, keep_every=10, eval_every=10,
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(CONFIG, root=tmp_path_factory.mktemp("runs"), progress=False)


def test_each_checkpoints_answers_are_counted(run: Run, tmp_path) -> None:
    found = memorization(run)
    data = run.dataset("train")
    wrong = data.targets != data.clean_targets
    assert found.steps.tolist() == [step for step, _ in run.checkpoints()] and len(found.steps) >= 3
    assert found.wrong == int(wrong.sum()) > 20 and found.examples == len(data)
    for index, step in enumerate(found.steps.tolist()):
        answers = run.model(step)(data.normalized()).argmax(1)
        assert found.learned[index] == (answers == data.targets)[wrong].double().mean()
        assert found.seen_through[index] == (answers == data.clean_targets)[wrong].double().mean()
        assert found.right[index] == (answers == data.targets)[~wrong].double().mean()
    found.save(tmp_path / "memory.npz")
    again = Memorization.load(tmp_path / "memory.npz")
    for name in ("steps", "epochs", "learned", "seen_through", "right", "test_error"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert (again.wrong, again.examples, again.provenance) == (found.wrong, found.examples, found.provenance)


def test_a_network_that_is_large_enough_learns_them_by_heart(run: Run) -> None:
    found = memorization(run)
    assert found.learned[0] < 0.5 < 0.9 < found.learned[-1] and "learned" in repr(found)
    assert (found.learned + found.seen_through <= 1 + 1e-12).all()


def test_epochs_and_test_errors_are_those_of_the_metrics(run: Run) -> None:
    found, rows = memorization(run), run.metrics()
    assert found.epochs.tolist() == (found.steps / 6).tolist()  # 120 examples, 20 a step
    errors = {row["step"]: row["test_error"] for row in rows if "test_error" in row}
    assert found.test_error[-1] == errors[int(found.steps[-1])]
    assert math.isnan(found.test_error[0]) and found.test_error[found.steps == 60] == errors[60]


def test_where_no_label_is_wrong_nothing_can_be_learned_by_heart(tmp_path) -> None:
    clean = train(CONFIG.replace(label_noise=0.0, epochs=1), root=tmp_path, progress=False)
    found = memorization(clean, steps=[0])
    assert found.wrong == 0 and np.isnan(found.learned).all() and np.isnan(found.seen_through).all()
    assert 0 <= found.right[0] <= 1 and found.steps.tolist() == [0]


def test_outputs_that_are_nan_are_no_answer(run: Run, monkeypatch) -> None:
    def broken(self: Run, step: int | None = None) -> nn.Module:
        model = real(self, step)
        nn.init.constant_(next(reversed(list(model.parameters()))), math.nan)
        return model

    real = Run.model
    monkeypatch.setattr(Run, "model", broken)
    with torch.random.fork_rng():
        found = memorization(run, steps=[0])
    assert found.learned[0] == found.seen_through[0] == found.right[0] == 0


def test_a_checkpoint_that_is_not_there(run: Run) -> None:
    with pytest.raises(StorageError, match="no checkpoint of step 777"):
        memorization(run, steps=[777])
    with pytest.raises(StorageError, match="no checkpoint of step any"):
        memorization(run, steps=[])
