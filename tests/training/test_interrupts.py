"""SIGTERM keeps what Ctrl-C keeps, and says by its exit status which of them it was."""

from __future__ import annotations

import signal
import threading

import pytest

from landscape.training.interrupts import sigterm_as_interrupt


def test_sigterm_lets_the_block_keep_what_it_has_and_a_second_one_does_not_stop_that():
    before, kept = signal.getsignal(signal.SIGTERM), []
    with pytest.raises(SystemExit) as ended, sigterm_as_interrupt():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGTERM)
            kept.append("all")
            raise
    assert ended.value.code == 143 and kept == ["all"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_ctrl_c_and_errors_stay_what_they_are():
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), sigterm_as_interrupt():
            raise error


def test_in_another_thread_nothing_is_installed():
    found = []

    def work() -> None:
        with sigterm_as_interrupt():
            found.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]
