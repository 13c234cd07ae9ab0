"""Work in another thread: the newest request only, and nobody's random numbers."""

from __future__ import annotations

import threading
import time

import torch

from landscape.seeding import preserved_rng, seeded
from landscape.widgets.background import Background


def test_the_newest_request_supersedes_the_others():
    begun, go_on, seen = threading.Event(), threading.Event(), []

    def work(request, superseded):
        begun.set()
        go_on.wait(10)
        seen.append((request, superseded()))

    background = Background(work, delay=0.0)
    background.ask("first")
    assert begun.wait(10)
    background.ask("second")
    background.ask("third")
    assert not background.wait(0.01)
    go_on.set()
    assert background.wait(10)
    assert seen == [("first", True), ("third", False)]


def test_nothing_begins_while_requests_come():
    seen = []
    background = Background(lambda request, superseded: seen.append(request), delay=0.2)
    for request in range(5):
        background.ask(request)
        time.sleep(0.02)
    assert seen == []
    assert background.wait(10)
    assert seen == [4]


def test_a_cancelled_request_is_dropped():
    seen = []
    background = Background(lambda request, superseded: seen.append(request), delay=0.05)
    background.ask(1)
    background.cancel()
    assert background.wait(10)
    assert seen == []
    background.ask(2)
    assert background.wait(10)
    assert seen == [2]


def test_numbers_drawn_meanwhile_are_not_drawn_again():
    """preserved_rng in a background thread must not take back what the main thread drew."""
    inside, drawn = threading.Event(), threading.Event()

    def work(request, superseded):
        with preserved_rng():
            inside.set()
            drawn.wait(10)

    background = Background(work, delay=0.0)
    torch.manual_seed(0)
    background.ask(None)
    assert inside.wait(10)
    first = torch.rand(1)
    drawn.set()
    assert background.wait(10)
    assert not torch.equal(torch.rand(1), first)


def test_seeded_puts_the_generators_back_in_a_background_thread_too():
    before = torch.get_rng_state()

    def work(request, superseded):
        with seeded(0, "a"):
            torch.rand(3)

    background = Background(work, delay=0.0)
    background.ask(None)
    assert background.wait(10)
    assert torch.equal(before, torch.get_rng_state())
