"""A page of a notebook in a real browser without a network: everything draws, turns and answers the mouse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser import CHROMIUM, flags

FIGURES = """() => [...document.querySelectorAll('.plotly-target')].map(target => ({
    three: Boolean(target._fullLayout && target._fullLayout.scene),
    flat: Boolean(target._fullLayout && target._fullLayout._has('cartesian')),
    text: target.textContent.slice(0, 80),
}))"""


def look_at_page(page: Path, title: str) -> None:
    """Open a page and fail where something is not drawn, not reachable, or dead.

    Args:
        page: The HTML file.
        title: Its heading.
    """
    sync = pytest.importorskip("playwright.sync_api")
    faults: list[str] = []
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags())
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        tab.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("requestfailed", lambda request: faults.append(f"failed: {request.url[:100]}"))
        local = ("file:", "data:", "blob:")
        tab.on("request", lambda request: request.url.startswith(local) or faults.append(f"asked: {request.url}"))
        tab.goto(page.as_uri())
        assert tab.locator("h1").inner_text() == title
        expected = tab.locator("script.plotly-data").count()
        if expected:
            tab.wait_for_selector("html[data-figures]", state="attached", timeout=120_000)
            assert tab.evaluate("document.documentElement.dataset.figures") == str(expected)
            figures = tab.evaluate(FIGURES)
            first = {kind: next((n for n, figure in enumerate(figures) if figure[kind]), None) for kind in figures[0]}
            if first["flat"] is not None:
                _hover(tab, first["flat"])
            if first["three"] is not None:
                _turn(tab, first["three"])
        images = "[...document.images].filter(image => !image.naturalWidth).map(image => image.alt)"
        assert tab.evaluate(images) == []
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        browser.close()
    assert faults == []


def _hover(tab: Any, number: int) -> None:
    """Move over a flat figure until it says what is there."""
    target = tab.locator(".plotly-target").nth(number)
    target.scroll_into_view_if_needed()
    box = target.locator(".nsewdrag").first.bounding_box()
    for step in range(1, 40):
        across, down = (step * 7 % 20 + 0.5) / 20, (step * 3 % 20 + 0.5) / 20
        tab.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
        tab.wait_for_timeout(60)
        if target.locator(".hoverlayer .hovertext").count():
            return
    raise AssertionError("a figure says nothing under the mouse")


def _turn(tab: Any, number: int) -> None:
    """Drag a 3-D figure and see that its camera moved."""
    target = tab.locator(".plotly-target").nth(number)
    target.scroll_into_view_if_needed()
    eye = f"() => document.querySelectorAll('.plotly-target')[{number}]._fullLayout.scene.camera.eye"
    before = tab.evaluate(eye)
    box = target.locator("canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 6, box["y"] + box["height"] / 4
    tab.mouse.move(x, y)
    tab.mouse.down()
    for step in range(1, 8):
        tab.mouse.move(x + 10 * step, y + 4 * step)
        tab.wait_for_timeout(30)
    tab.mouse.up()
    for _ in range(50):
        if tab.evaluate(eye) != before:
            return
        tab.wait_for_timeout(100)
    raise AssertionError("a figure in three dimensions does not turn")
