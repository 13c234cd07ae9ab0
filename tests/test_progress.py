"""Progress is a bar in a terminal, plain and rare lines in logs, nothing where it is switched off."""

from __future__ import annotations

import io
import sys
import types

import pytest

from landscape import progress
from landscape.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_in_a_log_come_every_ten_seconds_and_at_the_end(capsys, clock):
    with progress_bar(4, desc="surface", unit="points") as bar:
        bar.update()
        clock[0] = 10.0
        bar.set_postfix(loss="0.5")
        bar.update(2)
        clock[0] = 12.0
        bar.update()
    assert capsys.readouterr().out.splitlines() == [
        "surface: 3/4 points, 10 s, loss=0.5",
        "surface: 4/4 points, 12 s, loss=0.5",
    ]


def test_quick_work_leaves_no_lines(capsys, clock):
    with progress_bar(2, desc="surface", unit="points") as bar:
        bar.update(2)
        clock[0] = 9.0
    assert capsys.readouterr() == ("", "")


def test_resumed_work_counts_from_where_it_was(capsys, clock):
    with progress_bar(10, desc="surface", unit="points", initial=6) as bar:
        clock[0] = 10.0
        bar.update()
    assert capsys.readouterr().out.splitlines()[0] == "surface: 7/10 points, 10 s"


def test_a_failure_prints_no_closing_line(capsys, clock):
    with pytest.raises(ZeroDivisionError), progress_bar(2, desc="a", unit="b") as bar:
        clock[0] = 10.0
        bar.update()
        raise ZeroDivisionError
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_disabled_shows_nothing(capsys, clock):
    with progress_bar(2, desc="a", unit="b", enabled=False) as bar:
        clock[0] = 100.0
        bar.update(2)
        bar.set_postfix(loss=1)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar(4, desc="train", unit="epoch", initial=1) as bar:
        bar.set_postfix(loss=0.25)
        bar.update(3)
    shown = terminal.getvalue()
    assert "train" in shown
    assert "4/4" in shown
    assert "loss=0.25" in shown


def test_postfix_does_not_draw_at_every_step(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar(2000, desc="train", unit="step") as bar:
        for step in range(2000):
            bar.set_postfix(loss=step)
            bar.update()
    # At most ten drawings a second; 2000 steps take well under two seconds. Drawing each step gives 2000 or more.
    assert terminal.getvalue().count("\r") < 200


def test_no_stderr_at_all(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    with progress_bar(1, desc="a", unit="b") as bar:
        bar.update()


def test_a_headless_kernel_gets_lines_and_never_touches_stderr(monkeypatch, capsys, clock):
    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar(1, desc="a", unit="b") as bar:
        clock[0] = 10.0
        bar.update()
    assert sys.stderr.getvalue() == ""
    assert "a: 1/1 b" in capsys.readouterr().out


def test_a_live_notebook_gets_a_widget(monkeypatch):
    shell = types.SimpleNamespace(kernel=object())
    made = []

    class Bar:
        def __init__(self, **options):
            made.append(options)

        def update(self, n):
            made.append(n)

        def close(self):
            made.append("closed")

    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "tqdm.notebook", types.SimpleNamespace(tqdm=Bar))
    monkeypatch.setenv("JPY_SESSION_NAME", "x")
    with progress_bar(3, desc="a", unit="b") as bar:
        bar.update(2)
    assert made[0]["total"] == 3
    assert made[1:] == [2, "closed"]


def test_ipython_that_is_only_imported_is_no_kernel(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    monkeypatch.setitem(sys.modules, "ipykernel", types.SimpleNamespace())
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar(1, desc="a", unit="b") as bar:
        bar.update()
    assert "1/1" in terminal.getvalue()
