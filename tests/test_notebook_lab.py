"""The tour in a live JupyterLab: every cell runs, sliders show the true loss, and a reload shows the same figure."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.browser import CHROMIUM, flags

TOUR = Path(__file__).parents[1] / "notebooks" / "00_tour.ipynb"
TOKEN = "landscape"
QUICK = "limit, epochs, batch_size, seconds, model = 200, 2, 50, 0.5, 'mlp'"
OWN_FOLDERS = (
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
    "JUPYTERLAB_SETTINGS_DIR",
    "JUPYTERLAB_WORKSPACES_DIR",
    "IPYTHONDIR",
    "MPLCONFIGDIR",
)
# The drawn numbers of the live figure: the marked radius, and the loss of every curve at its last point.
LIVE = "[...document.querySelectorAll('.jp-OutputArea .js-plotly-plot')].at(-1)"
MARKED = f"() => {LIVE}._fullData.filter(t => t.mode == 'markers')[0].x[0]"
CURVES = f"() => {LIVE}._fullData.filter(t => t.mode.startsWith('lines')).map(t => Number([...t.y].at(-1)))"
STATUS = "() => [...document.querySelectorAll('[role=status]')].at(-1)?.innerText ?? ''"


@dataclass
class Seen:
    """What the page did that it should not."""

    faults: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def watch(self, tab: Any, address: str) -> None:
        tab.on("pageerror", lambda error: self.faults.append(str(error)))
        local = (address, address.replace("http", "ws"), "data:", "blob:")
        tab.on("request", lambda request: request.url.startswith(local) or self.outside.append(request.url))
        tab.on("websocket", lambda socket: socket.on("framereceived", self._message))

    def _message(self, frame: str | bytes) -> None:
        raw = frame.encode() if isinstance(frame, str) else frame
        for fault in (b'"msg_type": "error"', b'"msg_type":"error"', b"Traceback (most recent call last)"):
            if fault in raw:
                self.faults.append(raw.decode(errors="replace")[-2000:])


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab, with settings of its own, that serves a quick tour."""
    notebook = nbformat.read(TOUR, as_version=4)
    place = 1 + next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    notebook.cells.insert(place, nbformat.v4.new_code_cell(QUICK))
    (tmp_path / "work").mkdir()
    nbformat.write(notebook, tmp_path / "work" / "00_tour.ipynb")
    folders = {name: str(tmp_path / name.lower()) for name in OWN_FOLDERS}
    news = Path(folders["JUPYTERLAB_SETTINGS_DIR"]) / "@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", "--expose-app-in-browser"]
    command += [f"--ServerApp.root_dir={tmp_path / 'work'}", "--LabApp.news_url="]
    command += ["--ServerApp.websocket_ping_interval=300", "--ServerApp.websocket_ping_timeout=300"]
    log = tmp_path / "lab.log"
    with log.open("wb") as sink:
        server = subprocess.Popen(command, env={**os.environ, **folders}, stdout=sink, stderr=sink)
    try:
        _wait_for(f"{address}/api/status?token={TOKEN}", server, log)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


def _until(tab: Any, expression: str, wanted: Any, seconds: float = 30) -> None:
    """Wait until an expression of the page has a value."""
    until = time.monotonic() + seconds
    while (got := tab.evaluate(expression)) != wanted and time.monotonic() < until:
        tab.wait_for_timeout(100)
    assert got == wanted, expression


def _run_all(tab: Any) -> None:
    tab.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel")
    tab.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    executed = """() => {
      const cells = [...window.jupyterapp.shell.currentWidget.content.model.cells].filter(c => c.type == 'code');
      return cells.filter(c => c.executionCount === null).length;
    }"""
    assert tab.evaluate(executed) == 0
    errors = "() => document.querySelectorAll('[data-mime-type=\"application/vnd.jupyter.error\"]').length"
    assert tab.evaluate(errors) == 0


def _look_at_the_panel(tab: Any, seconds: int = 240) -> bool:
    """Scroll to the live panel (the page draws only what is in view) and tell whether its figure is drawn in time."""
    tab.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.content?.model?.cells?.length > 20")
    scroll = """() => {
      const notebook = window.jupyterapp.shell.currentWidget.content;
      const cells = [...notebook.model.cells];
      notebook.scrollToItem(cells.findIndex(cell => cell.sharedModel.getSource().includes('explorer.show')), 'start');
    }"""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        tab.evaluate(scroll)
        tab.wait_for_timeout(1000)
        if tab.evaluate(f"() => {LIVE}?._fullData?.length > 5"):
            return True
    return False


def _reload(tab: Any, page: str) -> bool:
    """Reload until the figure is back; three times at most.

    What goes wrong while the manager of jupyterlab_widgets 3 asks the kernel for its widgets is swallowed there (an
    empty catch), and nothing is shown until the next reload. That was seen once in some hundred runs.
    """
    for _ in range(3):
        tab.goto(page)
        if _look_at_the_panel(tab, 80):
            return True
    return False


def _words(tab: Any) -> str:
    return tab.evaluate("() => document.body.innerText.slice(-3000)")


def _press(tab: Any, key: str) -> None:
    handle = tab.locator(".widget-slider .noUi-handle").last
    handle.scroll_into_view_if_needed()
    handle.focus()
    tab.keyboard.press(key)


@pytest.mark.browser
@pytest.mark.notebook
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_tour_in_jupyterlab(lab: str, tmp_path: Path) -> None:
    sync = pytest.importorskip("playwright.sync_api")
    seen = Seen()
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags("127.0.0.1", "localhost"))
        tab = browser.new_page(viewport={"width": 1300, "height": 1000})
        tab.set_default_timeout(240_000)
        seen.watch(tab, lab)
        page = f"{lab}/doc/tree/00_tour.ipynb?token={TOKEN}"
        tab.goto(f"{page}&reset")
        _run_all(tab)
        assert _look_at_the_panel(tab), _words(tab)

        start, curves, said = tab.evaluate(MARKED), tab.evaluate(CURVES), tab.evaluate(STATUS)
        assert start == 0.3  # the middle of the radii
        assert "SGD" in said
        _press(tab, "ArrowRight")  # by keyboard: the next radius
        _until(tab, MARKED, 0.5)
        assert tab.evaluate(STATUS) != said
        _press(tab, "End")
        _until(tab, MARKED, 3)
        rail = tab.locator(".widget-slider .noUi-base").last.bounding_box()
        tab.mouse.click(rail["x"] + 2, rail["y"] + rail["height"] / 2)  # by mouse: to the start
        _until(tab, MARKED, 0)
        assert tab.evaluate(CURVES) == curves  # the radius marks a point on the curves and leaves them alone
        menus = tab.locator(".widget-dropdown select")
        menus.last.select_option(index=2)  # a random direction is another curve
        tab.wait_for_function(f"before => ({CURVES})().every((end, i) => end != before[i])", arg=curves)
        changed = tab.evaluate(CURVES)

        tab.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        tab.screenshot(path=tmp_path / "before.png")
        assert _reload(tab, page), _words(tab)
        _until(tab, CURVES, changed)
        assert tab.evaluate(MARKED) == 0
        tab.screenshot(path=tmp_path / "after.png")
        browser.close()
    assert seen.faults == []
    assert seen.outside == []
