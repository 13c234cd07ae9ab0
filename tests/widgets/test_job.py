"""Work in a thread or in the foreground: progress, pause, cancel, errors."""

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
    job = Job(_count, name="counting", said=lambda result: f"It is {result}.")
    job.show("static")
    lines = capsys.readouterr().out.splitlines()
    assert 1 < len(lines) <= 4
    assert lines[-1].startswith("counting: done after") and lines[-1].endswith("It is 100.")
    assert (job.state, job.result) == ("done", 100)


def test_foreground_raises_what_the_body_raised():
    with pytest.raises(ZeroDivisionError):
        Job(lambda progress, cancelled: 1 / 0).run(quiet=True)


def test_live_job_can_be_cancelled_at_once_and_taken_up_again():
    reached, go_on = threading.Event(), threading.Event()

    def body(progress, cancelled):
        progress(1, 2)
        reached.set()
        go_on.wait(10)
        return cancelled()

    job = Job(body, name="long", goes_on=True)
    start, pause, cancel, bar, line = job.widget().children
    assert (start.disabled, pause.disabled, cancel.disabled) == (False, True, True)
    start.click()
    assert reached.wait(10)
    assert job.state == "running" and start.disabled and not cancel.disabled and not pause.disabled
    assert bar.value == 0.5 and "long: 1 of 2" in line.value
    with pytest.raises(ConfigError, match="already running"):
        job.start()
    cancel.click()
    go_on.set()
    assert job.wait(10)
    assert (job.state, job.result) == ("cancelled", True)
    assert not start.disabled and cancel.disabled and start.description == "Resume"
    start.click()
    assert job.wait(10)
    assert (job.state, start.description, bar.value) == ("done", "Start", 1.0)


def test_a_paused_job_stands_still_until_it_is_resumed():
    steps, reached = [], threading.Semaphore(0)

    def body(progress, cancelled):
        while not cancelled() and len(steps) < 3:
            steps.append(len(steps))
            progress(len(steps), 3)
            reached.release()
            if len(steps) == 1:
                job.pause()

    job = Job(body, name="steps")
    _, pause, _, _, line = job.widget().children
    job.start()
    assert reached.acquire(timeout=10)
    while job.state != "paused":
        pass
    assert not job.wait(0.05)
    assert steps == [0] and pause.description == "Resume" and "(paused)" in line.value
    pause.click()
    assert job.wait(10)
    assert steps == [0, 1, 2] and job.state == "done"


def test_a_paused_job_can_be_cancelled():
    seen = threading.Event()

    def body(progress, cancelled):
        job.pause()
        seen.set()
        return cancelled()

    job = Job(body, name="x")
    job.start()
    assert seen.wait(10)
    job.cancel()
    assert job.wait(10) and (job.state, job.result) == ("cancelled", True)


def test_the_time_left_counts_from_the_first_step(monkeypatch):
    clock = iter([0.0, *(float(t) for t in range(10, 200))])
    monkeypatch.setattr("landscape.widgets.job.time.perf_counter", lambda: next(clock))
    said = []

    def body(progress, cancelled):
        for done in (0, 0, 1):
            progress(done, 10)
            said.append(job.message)

    job = Job(body, name="x")
    job.run(quiet=True)
    assert "left" not in said[1]
    assert "left" in said[2]


def test_live_job_says_its_error_and_can_start_again():
    attempts = []

    def body(progress, cancelled):
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("<bad>")
        return "fine"

    job = Job(body, name="try")
    line = job.widget().children[4]
    job.start()
    job.wait(10)
    assert job.state == "failed" and "role='alert'" in line.value and "&lt;bad&gt;" in line.value
    job.start()
    job.wait(10)
    assert (job.state, job.result, job.error) == ("done", "fine", None)
