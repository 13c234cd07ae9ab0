"""What happens to a run when the machine fails it: a clear error, nothing lost, and the same bits in the end."""

from __future__ import annotations

import errno
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from landscape.errors import CorruptFileError, DataError, NonFiniteError, StorageError
from landscape.training import Run, RunConfig, train

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
