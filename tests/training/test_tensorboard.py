"""The event files hold what the ledger holds, whatever happened in between."""

from __future__ import annotations

import sys

import pytest

from landscape.errors import MissingDependencyError, StorageError
from landscape.training import RunConfig, train

TINY = RunConfig(model="mlp", limit=60, test_limit=30, epochs=4, batch_size=20, device="cpu", eval_every=2)


def _events(folder):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = folder.iterdir()
    found = EventAccumulator(str(file))
    found.Reload()
    return {name: [(e.step, e.value) for e in found.Scalars(name)] for name in found.Tags()["scalars"]}


def _expected(run):
    tags = {
        "train_loss": "train/loss",
        "train_accuracy": "train/accuracy",
        "test_error": "test/error",
        "test_nll": "test/nll",
        "test_ece": "test/ece",
        "lr": "lr",
        "seconds": "seconds",
        "images_per_second": "images_per_second",
    }
    rows = run.metrics()
    return {
        tag: [(row["step"], pytest.approx(row[name], rel=1e-6)) for row in rows if name in row]
        for name, tag in tags.items()
    }


def test_every_number_of_every_epoch_once(tmp_path):
    run = train(TINY, root=tmp_path, progress=False, tensorboard=True)
    found = _events(run.path / "tensorboard")
    assert found == _expected(run)
    assert len(found["train/loss"]) == 4 and len(found["test/error"]) == 2


def test_a_run_that_went_on_shows_no_epoch_twice(tmp_path):
    steps = [0]

    def stop():
        steps[0] += 1
        return steps[0] == 8  # in the middle of the third epoch

    with pytest.raises(KeyboardInterrupt):
        train(TINY, root=tmp_path, progress=False, tensorboard=True, stop=stop)
    run = train(TINY, root=tmp_path, progress=False, tensorboard=True)
    assert _events(run.path / "tensorboard") == _expected(run)


def test_a_finished_run_can_be_shown_later(tmp_path):
    run = train(TINY, root=tmp_path, progress=False)
    assert not (run.path / "tensorboard").exists()
    train(TINY, root=tmp_path, progress=False, tensorboard=True)
    assert _events(run.path / "tensorboard") == _expected(run)


def test_without_the_package_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match="pip install tensorboard"):
        train(TINY, root=tmp_path, progress=False, tensorboard=True)
    assert not any(tmp_path.iterdir())


def test_a_file_in_the_way_is_our_own_error_and_costs_nothing(tmp_path):
    pytest.importorskip("tensorboard")
    run = train(TINY, root=tmp_path, progress=False)
    (run.path / "tensorboard").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot be written.*without --tensorboard"):
        train(TINY, root=tmp_path, progress=False, tensorboard=True)
    assert run.status == "finished" and (run.path / "tensorboard").read_text() == "in the way"
