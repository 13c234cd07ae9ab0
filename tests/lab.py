"""A JupyterLab for the browser tests, with settings of its own, and what a person does in it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.browser import CHROMIUM, flags

ROOT = Path(__file__).parents[1]
TOKEN = "landscape"
OWN_FOLDERS = (
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
    "JUPYTERLAB_SETTINGS_DIR",
    "JUPYTERLAB_WORKSPACES_DIR",
    "IPYTHONDIR",
    "MPLCONFIGDIR",
)
BODY = "window.jupyterapp.shell.currentWidget"


# JupyterLab says so of each widget that it draws before its kernel has told of it, after a reload on a slow machine; it
# draws them again then. Tests look at what is drawn in the end.
EARLY = "widget model not found"


def _is_fault(said: Any) -> bool:
    return said.type == "error" and EARLY not in said.text


@dataclass
class Seen:
    """What the page did that it should not."""

    faults: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def watch(self, tab: Any, address: str) -> None:
        """Look at every message, request and error of a tab."""
        tab.on("pageerror", lambda error: self.faults.append(str(error)))
        tab.on("console", lambda said: _is_fault(said) and self.faults.append(f"console: {said.text}"))
        local = (address, address.replace("http", "ws"), "data:", "blob:")
        tab.on("request", lambda request: request.url.startswith(local) or self.outside.append(request.url))
        tab.on("websocket", lambda socket: socket.on("framereceived", self._message))

    def _message(self, frame: str | bytes) -> None:
        raw = frame.encode() if isinstance(frame, str) else frame
        for fault in (b'"msg_type": "error"', b'"msg_type":"error"', b"Traceback (most recent call last)"):
            if fault in raw:
                self.faults.append(raw.decode(errors="replace")[-2000:])


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Start a JupyterLab over ``folder / "work"`` and give its address."""
    folders = {name: str(folder / name.lower()) for name in OWN_FOLDERS}
    news = Path(folders["JUPYTERLAB_SETTINGS_DIR"]) / "@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", "--expose-app-in-browser"]
    command += [f"--ServerApp.root_dir={folder / 'work'}", "--LabApp.news_url="]
    command += ["--ServerApp.websocket_ping_interval=300", "--ServerApp.websocket_ping_timeout=300"]
    own = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))  # the kernel runs this code
    log = folder / "lab.log"
    with log.open("wb") as sink:
        server = subprocess.Popen(command, env={**os.environ, **folders, "PYTHONPATH": own}, stdout=sink, stderr=sink)
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
    until = time.monotonic() + 90
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


def place(notebook: Path, folder: Path, parameters: str) -> str:
    """Copy a notebook to where the Lab serves it, with a cell of other parameters; return its name."""
    (folder / "work").mkdir(exist_ok=True)
    content = nbformat.read(notebook, as_version=4)
    after = 1 + next(i for i, cell in enumerate(content.cells) if "parameters" in cell.metadata.get("tags", []))
    content.cells.insert(after, nbformat.v4.new_code_cell(parameters))
    nbformat.write(content, folder / "work" / notebook.name)
    return notebook.name


class Tab:
    """A notebook in JupyterLab, as a person sees it."""

    def __init__(self, page: Any, address: str, name: str) -> None:
        self.page, self.seen = page, Seen()
        self.url = f"{address}/doc/tree/{name}?token={TOKEN}"
        page.set_default_timeout(240_000)
        self.seen.watch(page, address)

    def run_all(self) -> None:
        """Open the notebook and run it; no cell may fail or be left out."""
        self.page.goto(f"{self.url}&reset")
        self.page.wait_for_function(f"() => window.jupyterapp && {BODY}?.sessionContext?.session?.kernel")
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        failed = "() => [...document.querySelectorAll('[data-mime-type=\"application/vnd.jupyter.error\"]')]"
        assert self.page.evaluate(f"{failed}.map(e => e.innerText)") == []
        left_out = f"""() => [...{BODY}.content.model.cells]
            .filter(c => c.type == 'code' && c.executionCount === null).map(c => c.sharedModel.getSource())"""
        assert self.page.evaluate(left_out) == [], (self.seen.faults, self.words())

    def ask(self, expression: str) -> Any:
        """Let the kernel evaluate an expression, and return its value (plain JSON)."""
        call = f"""async code => {{
            const kernel = {BODY}.sessionContext.session.kernel;
            const reply = await kernel.requestExecute({{
              code: 'import json', silent: true, user_expressions: {{value: `json.dumps(${{code}})`}},
            }}).done;
            const found = reply.content.user_expressions.value;
            return found.status == 'ok' ? found.data['text/plain'] : 'failed: ' + found.ename + ' ' + found.evalue;
        }}"""
        found = self.page.evaluate(call, expression)
        assert not found.startswith("failed"), found
        return json.loads(found[1:-1].replace('\\"', '"').replace("\\'", "'"))

    def scroll_to(self, text: str) -> None:
        """Bring the cell whose source holds a text to the top: the page draws only what is in view."""
        self.page.evaluate(
            f"""text => {{
              const notebook = {BODY}.content;
              const cells = [...notebook.model.cells];
              notebook.scrollToItem(cells.findIndex(c => c.sharedModel.getSource().includes(text)), 'start');
            }}""",
            text,
        )

    def until(self, expression: str, wanted: Any = True, seconds: float = 60) -> Any:
        """Wait until an expression of the page has a value."""
        limit = time.monotonic() + seconds
        while (got := self.page.evaluate(expression)) != wanted and time.monotonic() < limit:
            self.page.wait_for_timeout(100)
        assert got == wanted, f"{expression} is {got!r}\n{self.words()}"
        return got

    def look_at(self, text: str, drawn: str, seconds: float = 120) -> bool:
        """Scroll to a cell and tell whether an expression of the page becomes true in time."""
        self.page.wait_for_function(f"() => window.jupyterapp && {BODY}?.content?.model?.cells?.length > 5")
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            self.scroll_to(text)
            self.page.wait_for_timeout(700)
            if self.page.evaluate(drawn):
                return True
        return False

    def reload(self, text: str, drawn: str) -> bool:
        """Reload until something is drawn again; three times at most.

        What goes wrong while the manager of jupyterlab_widgets 3 asks the kernel for its widgets is swallowed there (an
        empty catch), and nothing is shown until the next reload. That was seen once in some hundred runs.
        """
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        for _ in range(3):
            self.page.goto(self.url)
            if self.look_at(text, drawn, 80):
                return True
        return False

    def words(self) -> str:
        """The last words on the page."""
        return self.page.evaluate("() => document.body.innerText.slice(-3000)")


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Chromium, which finds no host but this machine."""
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags("127.0.0.1", "localhost"))
        yield browser
        browser.close()
