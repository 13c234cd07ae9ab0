"""Progress is a bar in a terminal, plain and rare lines in logs, nothing where it is switched off."""

from __future__ import annotations

import importlib
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


def test_ipython_that_is_only_imported_is_no_kernel(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    monkeypatch.setitem(sys.modules, "ipykernel", types.SimpleNamespace())
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar(1, desc="a", unit="b") as bar:
        bar.update()
    assert "1/1" in terminal.getvalue()


@pytest.fixture
def page(monkeypatch, clock):
    """A live notebook: the places that bars are shown in, each with what was last in it."""
    import IPython

    importlib.import_module("IPython.display")
    shown: list[list[str]] = []

    class Place:
        def __init__(self, first):
            self.texts = [first.data]
            shown.append(self.texts)

        def update(self, html):
            self.texts.append(html.data)

    monkeypatch.setattr(IPython, "get_ipython", lambda: types.SimpleNamespace(kernel=object()))
    monkeypatch.setattr(sys.modules["IPython.display"], "display", lambda html, display_id: Place(html))
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    return shown


def test_a_live_notebook_gets_html_that_stays(page, clock):
    with progress_bar(4, desc="train <sam>", unit="epoch", initial=1) as bar:
        clock[0] = 2.0
        bar.update()
        bar.set_postfix(loss="0.5")
    (texts,) = page
    assert "train &lt;sam&gt;: 2/4 epoch, 2 s, about 4 s left" in texts[1] and "value='2' max='4'" in texts[1]
    assert "loss=0.5" in texts[-1]


def test_bars_within_a_bar_share_its_place(page, clock):
    with progress_bar(2, desc="train", unit="epoch") as outer:
        for _ in range(2):
            with progress_bar(8, desc="epoch", unit="step", leave=False) as inner:
                clock[0] += 1.0
                inner.update(4)
            outer.update()
    (texts,) = page
    assert any("train: 1/2 epoch" in text and "epoch: 4/8 step" in text for text in texts)
    assert "step" not in texts[-1] and "train: 2/2 epoch" in texts[-1]


def test_a_bar_that_does_not_stay_leaves_nothing_and_draws_rarely(page, clock):
    with progress_bar(1000, desc="points", unit="point", leave=False) as bar:
        for _ in range(1000):
            clock[0] += 0.001
            bar.update()
    (texts,) = page
    assert texts[-1] == "" and len(texts) < 10


def test_after_an_error_the_next_bar_has_a_place_of_its_own(page):
    with pytest.raises(ZeroDivisionError), progress_bar(2, desc="a", unit="b"), progress_bar(2, desc="c", unit="d"):
        raise ZeroDivisionError
    with progress_bar(2, desc="e", unit="f"):
        pass
    assert len(page) == 2
