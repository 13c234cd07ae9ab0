"""Work in a thread or in the foreground: progress, cancel, errors."""

from __future__ import annotations

import threading

import pytest

from landscape.errors import ConfigError
from landscape.widgets import Job


def _count(progress, cancelled):
    for done in range(1, 101):
        if cancelled():
            return done
        progress(done, 100, "counting")
    return 100


def test_foreground_prints_at_most_four_lines_and_returns(capsys):
    job = Job(_count, name="counting")
    job.show("static")
    lines = capsys.readouterr().out.splitlines()
    assert 1 < len(lines) <= 4
    assert lines[-1].startswith("counting: done after")
    assert (job.state, job.result) == ("done", 100)


def test_foreground_raises_what_the_body_raised():
    with pytest.raises(ZeroDivisionError):
        Job(lambda progress, cancelled: 1 / 0).run(quiet=True)


def test_live_job_can_be_cancelled_at_once():
    reached, go_on = threading.Event(), threading.Event()

    def body(progress, cancelled):
        progress(1, 2)
        reached.set()
        go_on.wait(10)
        return cancelled()

    job = Job(body, name="long")
    box = job.widget()
    start, cancel, bar, line = box.children
    start.click()
    assert reached.wait(10)
    assert job.state == "running" and start.disabled and not cancel.disabled
    assert bar.value == 0.5 and "long: 1/2" in line.value
    with pytest.raises(ConfigError, match="already running"):
        job.start()
    cancel.click()
    go_on.set()
    assert job.wait(10)
    assert (job.state, job.result) == ("cancelled", True)
    assert not start.disabled and cancel.disabled


def test_live_job_says_its_error_and_can_start_again():
    attempts = []

    def body(progress, cancelled):
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("<bad>")
        return "fine"

    job = Job(body, name="try")
    line = job.widget().children[3]
    job.start()
    job.wait(10)
    assert job.state == "failed" and "role='alert'" in line.value and "&lt;bad&gt;" in line.value
    job.start()
    job.wait(10)
    assert (job.state, job.result, job.error) == ("done", "fine", None)
