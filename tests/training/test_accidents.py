"""What happens to a run when the machine fails it: a clear error, nothing lost, and the same bits in the end."""

from __future__ import annotations

import errno
import os
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from landscape.cli import main
from landscape.errors import CorruptFileError, DataError, NonFiniteError, StorageError
from landscape.regularizers import GradientPenalty
from landscape.storage import Ledger
from landscape.training import Run, RunConfig, list_runs, train
from landscape.training.divergence import diverged_at_the_end, what_to_lower

TINY = RunConfig(model="mlp", limit=60, test_limit=30, epochs=5, batch_size=20, device="cpu", optimizer="sam")


def test_a_full_disk_costs_nothing_but_time(tmp_path, monkeypatch):
    whole = train(TINY, root=tmp_path / "whole", progress=False)
    calls, true_fsync = [0], os.fsync

    def fsync(descriptor):
        calls[0] += 1
        if calls[0] > 15:  # some epochs later
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        true_fsync(descriptor)

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fsync)
        with pytest.raises(StorageError, match="(?i)space"):
            train(TINY, root=tmp_path / "full", progress=False)
    (folder,) = (tmp_path / "full").iterdir()
    steps = [step for step, _ in Run.load(folder).checkpoints()]
    assert len(steps) > 0 and max(steps) < 15  # it was in the middle
    assert not list(folder.rglob("*.tmp*"))
    assert train(TINY, root=tmp_path / "full", progress=False).weights_checksum() == whole.weights_checksum()


def test_a_data_folder_that_is_gone_is_named_and_can_come_back(tmp_path):
    stream = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for kind in ("cats", "dogs"):
            (tmp_path / "images" / split / kind).mkdir(parents=True)
            for k in range(count):
                picture = stream.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(picture).save(tmp_path / "images" / split / kind / f"{k}.png")
    config = TINY.replace(dataset=f"folder:{tmp_path / 'images'}", limit=None, test_limit=None, batch_size=8)
    whole = train(config, root=tmp_path / "whole", data_root=tmp_path / "cache", progress=False)
    seen = [0]

    def stop():
        seen[0] += 1
        return seen[0] == 7

    with pytest.raises(KeyboardInterrupt):
        train(config, root=tmp_path / "cut", data_root=tmp_path / "cache", progress=False, stop=stop)
    shutil.move(tmp_path / "images", tmp_path / "elsewhere")
    (folder,) = (tmp_path / "cut").iterdir()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}
    with pytest.raises(DataError, match="images"):
        train(config, root=tmp_path / "cut", data_root=tmp_path / "cache", progress=False)
    assert {path: path.read_bytes() for path in before} == before
    shutil.move(tmp_path / "elsewhere", tmp_path / "images")
    again = train(config, root=tmp_path / "cut", data_root=tmp_path / "cache", progress=False)
    assert again.weights_checksum() == whole.weights_checksum()


def test_a_loss_that_is_not_finite_names_step_rate_and_the_last_good_checkpoint(tmp_path):
    config = TINY.replace(optimizer="sgd", lr=1e12, schedule="constant")
    with pytest.raises(NonFiniteError, match=r"by step \d+ \(epoch \d+\).*learning rate 1e\+12.*step_\d{8}") as caught:
        train(config, root=tmp_path, progress=False)
    (folder,) = tmp_path.iterdir()
    run = Run.load(folder)
    assert run.status == "failed"
    assert str(run.checkpoints()[-1][1]) in str(caught.value)
    assert all(np.isfinite(tensor.numpy()).all() for tensor in run.checkpoint().model.values())


LONG = TINY.replace(optimizer="sgd", batch_size=60, epochs=1, lr=1e20, schedule="constant")  # one step to far away


def test_outputs_that_overflow_after_the_last_step_are_kept_and_told(tmp_path, capsys):
    words = ["train", "--limit", "60", "--test-limit", "30", "--model", "mlp", "--epochs", "1", "--device", "cpu"]
    words += ["--batch-size", "60", "--lr", "1e20", "--schedule", "constant", "--quiet", "--root", str(tmp_path)]
    for _ in range(2):  # trained, and found finished
        assert main(words) == 2
        out, err = capsys.readouterr()
        assert "test NLL       nan" in out
        assert re.search(r"^error: Training diverged by step 1 \(epoch 1\).*What to do: Lower lr \(1e\+20\)\.", err)
    run = Run.load(tmp_path / LONG.folder_name)
    assert run.status == "finished" and np.isnan(run.metrics()[-1]["test_nll"])
    assert run.log_text().count("Training diverged by step 1 (epoch 1)") == 1
    assert list_runs(tmp_path)[0].problem.startswith("Training diverged by step 1 (epoch 1)")


def test_a_penalty_alone_that_is_not_finite_is_named(tmp_path, monkeypatch):
    def overflowing(self, *given, **named):
        return torch.tensor(torch.inf)  # without a graph: loss and weights stay as they are

    monkeypatch.setattr(GradientPenalty, "__call__", overflowing)
    config = TINY.replace(penalty=("gradient",), penalty_options={"weight": 2.0})
    words = r"the penalty became NaN.*by step 3 \(epoch 1\).*Lower lr \(0.05\), rho or the weight of gradient \(2\)\."
    with pytest.raises(NonFiniteError, match=words):
        train(config, root=tmp_path, progress=False)
    run = Run.load(tmp_path / config.folder_name)
    assert run.status == "failed" and [step for step, _ in run.checkpoints()] == [0]


def test_where_outputs_became_numbers_again_nothing_is_said():
    nan = {"step": 1, "epoch": 1, "lr": 0.1, "test_error": np.nan, "test_nll": np.nan, "test_ece": np.nan}
    fine = {"step": 2, "epoch": 2, "lr": 0.1, "test_error": 0.5, "test_nll": 1.0, "test_ece": 0.1}
    assert diverged_at_the_end([nan, fine, {"step": 3, "epoch": 3, "lr": 0.1}], LONG) is None
    assert "by step 3 (epoch 3)" in str(diverged_at_the_end([fine, {**nan, "step": 3, "epoch": 3}], LONG))


def test_the_best_epoch_is_one_with_a_number(tmp_path):
    run = train(LONG.replace(lr=0.1), root=tmp_path, progress=False)
    ledger = Ledger(run.path / "metrics.jsonl")
    row = ledger.rows()[0]
    ledger.keep(lambda row: False)
    run = Run(run.path, LONG.replace(lr=0.1, epochs=2))
    for epoch, error in ((1, np.nan), (2, 0.25)):
        ledger.append({**row, "epoch": epoch, "test_error": error})
    best = run.best()
    assert best is not None and best["epoch"] == 2


@pytest.mark.parametrize("lost", ["middle", "last", "all", "file", "twice"])
def test_lost_metrics_are_noticed_before_training_goes_on(tmp_path, lost):
    whole = train(TINY, root=tmp_path / "whole", progress=False)
    seen = []
    with pytest.raises(KeyboardInterrupt):
        train(
            TINY, root=tmp_path, progress=False, stop=lambda: seen.append(0) or len(seen) == 10
        )  # 3 epochs and 1 step
    path = tmp_path / TINY.folder_name / "metrics.jsonl"
    rows = path.read_bytes().splitlines(keepends=True)
    kept = {"middle": rows[:1] + rows[2:], "last": rows[:2], "all": [], "file": [], "twice": rows + rows[2:]}[lost]
    path.unlink() if lost == "file" else path.write_bytes(b"".join(kept))
    before = {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file() and file.name != "lock"}
    steps = []
    what = {"middle": "first of epoch 2", "last": "first of epoch 3", "all": "3 are missing", "file": "no file"}
    with pytest.raises(CorruptFileError, match=f"metrics.jsonl.*step 10.*{what.get(lost, '4 rows')}.*resume never"):
        train(TINY, root=tmp_path, progress=False, stop=lambda: bool(steps.append(0)))
    assert steps == []
    assert {file: file.read_bytes() for file in before} == before
    path.write_bytes(b"".join(rows))
    assert train(TINY, root=tmp_path, progress=False).weights_checksum() == whole.weights_checksum()


def test_rows_behind_the_checkpoint_are_trained_again(tmp_path):
    """A power cut between a row and its checkpoint: the row is there, its weights are not."""
    whole = train(TINY, root=tmp_path / "whole", progress=False)
    seen = []
    with pytest.raises(KeyboardInterrupt):
        train(TINY, root=tmp_path, progress=False, stop=lambda: seen.append(0) or len(seen) == 10)
    run = Run.load(tmp_path / TINY.folder_name)
    for _, path in run.checkpoints()[1:]:
        path.unlink()
    assert len(run.metrics()) == 3
    again = train(TINY, root=tmp_path, progress=False)
    assert again.weights_checksum() == whole.weights_checksum()
    assert [row["epoch"] for row in again.metrics()] == [1, 2, 3, 4, 5]


def test_a_finished_run_without_some_of_its_metrics_is_noticed_at_once(tmp_path):
    path = train(TINY, root=tmp_path, progress=False).path / "metrics.jsonl"
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(rows[:2] + rows[3:]))
    with pytest.raises(CorruptFileError, match="does not hold the epochs"):
        train(TINY, root=tmp_path, progress=False)


@pytest.mark.parametrize(
    ("penalty", "options", "words"),
    [
        ("adversarial", {"epsilon": 5.0}, "Lower lr (0.05) or the epsilon of adversarial (5)"),
        ("pgd-l2", {"epsilon": 1.0}, "Lower lr (0.05) or the epsilon of pgd-l2 (1)"),
        ("gradient", {}, "Lower lr (0.05) or the weight of gradient (0.1)"),
        ("trades", {"weight": 6.0}, "Lower lr (0.05), the epsilon of trades (0.031) or the weight of trades (6)"),
        ("spectral-projection", {}, "Lower lr (0.05)"),
    ],
)
def test_what_makes_steps_large_is_named_with_its_number(penalty, options, words):
    assert what_to_lower(RunConfig(penalty=(penalty,), penalty_options=options)) == words
