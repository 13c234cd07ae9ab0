"""Trainings that are watched: in the foreground, in a process of their own, stopped and taken up again."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from landscape.errors import DataError, ProcessError
from landscape.training import RunConfig, train
from landscape.widgets import TrainingMonitor
from landscape.widgets.trainer import serve, train_beside

CONFIG = RunConfig(dataset="digits", model="mlp", limit=60, test_limit=20, epochs=3, batch_size=20)


def configs(**changes):
    return {"SGD": CONFIG.replace(**changes), "SAM": CONFIG.replace(optimizer="sam", rho=0.1, **changes)}


def test_in_the_foreground_it_trains_and_shows_the_curves(tmp_path, capsys):
    monitor = TrainingMonitor(configs(), root=tmp_path)
    monitor.show("static")
    said = capsys.readouterr().out
    assert "training SGD, SAM: done after" in said and "SGD 3 of 3 epochs, test error" in said
    assert {label: run.status for label, run in monitor.runs.items()} == {"SGD": "finished", "SAM": "finished"}
    lines = [trace for trace in monitor.figure().data if trace.name == "SAM"]
    assert [list(trace.x) for trace in lines] == [[1, 2, 3], [1, 2, 3]]
    assert list(lines[0].y) == [row["train_loss"] for row in monitor.runs["SAM"].metrics()]


@pytest.mark.parametrize("live", ["figure", "image"])
def test_finished_runs_are_shown_at_once(tmp_path, live):
    train(CONFIG, root=tmp_path, progress=False)
    monitor = TrainingMonitor(CONFIG, root=tmp_path, live=live)
    box = monitor.widget()
    assert "SGD 3 of 3 epochs" in box.children[0].children[4].value
    assert monitor.job.state == "idle"
    if live == "image":
        assert monitor.live_figure.value[:4] == b"\x89PNG" and len(monitor.live_figure.value) > 5000
    else:
        assert len(monitor.live_figure.data[0].x) == 3


def test_live_it_draws_what_the_process_writes(tmp_path, monkeypatch):
    """With a stand-in for the process: the same training, in this one."""

    def beside(config, *, root, data_root, watch, wanted):
        watch(1)
        train(config, root=root, progress=False)
        return True

    monkeypatch.setattr("landscape.widgets.monitor.train_beside", beside)
    monitor = TrainingMonitor(configs(), root=tmp_path)
    start, *_ = monitor.widget().children[0].children
    start.click()
    assert monitor.job.wait(60)
    assert monitor.job.state == "done", monitor.job.message
    assert [len(trace.x) for trace in monitor.live_figure.data] == [3, 3, 3, 3]


def _stand_in(monkeypatch, calls, act=lambda: None):
    """Trains in this process, in place of the one beside; ``act`` is called before."""

    def beside(config, *, root, data_root, watch, wanted):
        calls.append(config.optimizer)
        watch(1)
        act()
        if wanted() != "cancel":
            train(config, root=root, progress=False)
        return wanted() != "cancel"

    monkeypatch.setattr("landscape.widgets.monitor.train_beside", beside)


def test_whoever_needs_the_weights_waits_for_them(tmp_path, monkeypatch):
    calls = []
    _stand_in(monkeypatch, calls, act=lambda: time.sleep(0.3))
    monitor = TrainingMonitor(configs(), root=tmp_path)
    monitor.widget()
    monitor.job.start()
    assert {label: run.status for label, run in monitor.finish().items()} == {"SGD": "finished", "SAM": "finished"}
    assert calls == ["sgd", "sam"] and [len(trace.x) for trace in monitor.live_figure.data] == [3, 3, 3, 3]
    assert monitor.finish() == monitor.runs and calls == ["sgd", "sam"]


def test_what_nobody_began_is_begun_and_what_is_paused_goes_on(tmp_path, monkeypatch):
    calls = []
    monitor = TrainingMonitor(configs(), root=tmp_path)
    _stand_in(monkeypatch, calls, act=lambda: len(calls) == 1 and monitor.job.pause())
    monitor.widget()
    assert set(monitor.finish()) == {"SGD", "SAM"} and calls == ["sgd", "sam"]
    alone = TrainingMonitor(CONFIG, root=tmp_path / "alone")
    assert alone.finish()["SGD"].status == "finished"


def test_a_cancelled_or_failed_training_is_told_to_whoever_waits(tmp_path, monkeypatch):
    monitor = TrainingMonitor(configs(), root=tmp_path)
    _stand_in(monkeypatch, [], act=lambda: monitor.job.cancel())
    monitor.widget()
    with pytest.raises(ProcessError, match="cancelled.*Press Resume"):
        monitor.finish()

    def broken():
        raise DataError("gone")

    _stand_in(monkeypatch, [], act=broken)
    with pytest.raises(DataError, match="gone"):
        monitor.finish()
    _stand_in(monkeypatch, [])
    assert monitor.finish()["SAM"].status == "finished"


class _Pipe:
    """A process's ends, in this process: lines go in, reports come out."""

    def __init__(self, **task):
        self._read, write = os.pipe()
        self.orders, self.reports = os.fdopen(write, "w"), io.StringIO()
        self.tell(json.dumps(task))
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self):
        serve(self._read, self.reports)

    def tell(self, line):
        self.orders.write(line + "\n")
        self.orders.flush()

    def said(self):
        return [json.loads(line) for line in self.reports.getvalue().splitlines()]


def test_the_process_pauses_resumes_and_cancels_with_its_position_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    config = CONFIG.replace(epochs=4000)
    task = {"config": config.to_dict(), "root": str(tmp_path), "data_root": None, "threads": 1}
    pipe = _Pipe(**task)
    pipe.thread.start()
    folder = tmp_path / config.folder_name

    def step():
        return max((found.get("step", 0) for found in pipe.said()), default=0)

    _until(lambda: step() > 0)
    pipe.tell("pause")
    _until(lambda: '"interrupted"' in (folder / "status.json").read_text())
    time.sleep(0.3)
    paused = step()
    time.sleep(0.3)
    assert step() == paused
    pipe.tell("resume")
    _until(lambda: step() > paused)
    pipe.orders.close()  # the kernel is gone: that is a cancel
    pipe.thread.join(20)
    assert pipe.said()[-1] == {"end": "cancelled"}
    run = TrainingMonitor(config, root=tmp_path).runs["SGD"]
    assert run.status == "interrupted" and run.checkpoint().step >= paused


def test_the_process_reports_what_went_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    config = CONFIG.replace(dataset="folder:/nowhere")
    pipe = _Pipe(config=config.to_dict(), root=str(tmp_path), data_root=None, threads=1)
    pipe.thread.start()
    pipe.thread.join(20)
    assert pipe.said()[-1]["end"] == "failed" and "DataError" in pipe.said()[-1]["error"]
    pipe.orders.close()


def test_a_failed_process_is_one_sentence(tmp_path, monkeypatch):
    """A stand-in that says so at once; and one that dies without a word."""
    for code, message in (
        ('print(\'{"end": "failed", "error": "DataError: gone"}\')', "DataError: gone"),
        ("import sys; sys.exit('no memory')", "no memory"),
    ):
        start = subprocess.Popen
        monkeypatch.setattr(
            "landscape.widgets.trainer.subprocess.Popen",
            lambda command, code=code, start=start, **how: start([sys.executable, "-c", code], **how),
        )
        with pytest.raises(ProcessError, match=message):
            train_beside(CONFIG, root=tmp_path, data_root=None, watch=lambda step: None, wanted=lambda: "run")
        monkeypatch.undo()


def _until(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_a_real_process_is_cancelled_and_resumed_to_the_same_bits(tmp_path):
    config = CONFIG.replace(epochs=60)
    steps = []

    def wanted():
        return "cancel" if steps and steps[-1] > 5 else "run"

    done = train_beside(config, root=tmp_path / "a", data_root=None, watch=steps.append, wanted=wanted)
    monitor = TrainingMonitor(config, root=tmp_path / "a")
    assert not done and monitor.runs["SGD"].status == "interrupted"
    start, *_ = monitor.widget().children[0].children
    assert start.description == "Resume"
    assert train_beside(config, root=tmp_path / "a", data_root=None, watch=steps.append, wanted=lambda: "run")
    whole = train(config, root=tmp_path / "b", progress=False)
    assert monitor.runs["SGD"].weights_checksum() == whole.weights_checksum()


def test_there_must_be_something_to_train():
    with pytest.raises(DataError, match="nothing to train"):
        TrainingMonitor({})
