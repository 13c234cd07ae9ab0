"""An executed notebook as one page that needs nothing from outside: no server, no kernel, no network."""

from __future__ import annotations

import json
import os
import platform
import re
from datetime import datetime
from html import escape
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from landscape.notebooks.markdown import MarkdownPage
from landscape.notebooks.parameters import read_notebook
from landscape.storage import write_text

_PLOTLY = "application/vnd.plotly.v1+json"
_WIDGET = "application/vnd.jupyter.widget-view+json"
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; worker-src blob:"
)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def export_html(notebook: str | os.PathLike[str], html: str | os.PathLike[str]) -> Path:
    """Write an executed notebook as one self-contained HTML page.

    Plotly figures stay interactive, their sliders too; there is one copy of plotly in the page. Code is folded, so
    that text and figures tell the story. The page's own policy forbids every request to outside.

    Args:
        notebook: The executed ``.ipynb`` file.
        html: Where the page goes; written in one step.

    Returns:
        The page's path.

    Raises:
        NotebookError: There is no such notebook.
        StorageError: The page cannot be written.
    """
    notebook, html = Path(notebook), Path(html)
    content = read_notebook(notebook)
    page = MarkdownPage(notebook.parent)
    parts = [_cell(cell, page) for cell in content.cells]
    title = next((text for level, _, text in page.headings if level == 1), notebook.stem)
    body = "\n".join(part for part in parts if part)
    write_text(html, _page(title, body, _contents(page.headings), _footer(notebook, content)))
    return html


def _page(title: str, body: str, contents: str, footer: str) -> str:
    style, script = _asset("page.css"), _asset("page.js")
    library = ""
    if 'class="plotly-data"' in body:
        from plotly.offline import get_plotlyjs

        library = f"<script>{get_plotlyjs()}</script>\n<script>{script}</script>"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{style}{_code_style()}</style>
</head>
<body>
{contents}
<main>
{body}
{footer}
</main>
{library}
</body>
</html>
"""


def _asset(name: str) -> str:
    return resources.files("landscape.notebooks").joinpath(name).read_text(encoding="utf-8")


def _contents(headings: list[tuple[int, str, str]]) -> str:
    items = [
        f'<li class="level{level}"><a href="#{anchor}">{escape(text)}</a></li>'
        for level, anchor, text in headings
        if level <= 3
    ]
    if len(items) < 3:
        return ""
    return f'<nav aria-label="Contents"><strong>Contents</strong><ul>{"".join(items)}</ul></nav>'


def versions() -> list[str]:
    """Return which Python and packages are at work, a few words each."""
    found = [f"Python {platform.python_version()}"]
    for package in ("landscape", "torch", "plotly"):
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def _footer(path: Path, notebook: Any) -> str:
    seconds = notebook.metadata.get("papermill", {}).get("duration")
    took = f", run in {seconds:.0f} s" if seconds else ""
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return f"<footer>Made from {escape(path.name)} on {now}{took}. {escape(', '.join(versions()))}.</footer>"


def _cell(cell: Any, page: MarkdownPage) -> str:
    if cell.cell_type == "markdown":
        return f"<section>{page.render(cell.source, cell.get('attachments'))}</section>"
    if cell.cell_type != "code":
        return ""
    outputs = "\n".join(_output(output, page) for output in _joined(cell.outputs))
    code = _code(cell) if cell.source.strip() else ""
    return f'<section class="cell">{code}{outputs}</section>' if code or outputs else ""


def _code(cell: Any) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    tags = cell.metadata.get("tags", [])
    name, state = "Code", ""
    if "injected-parameters" in tags:
        name, state = "Parameters of this run", " open"
    elif "parameters" in tags:
        name = "Parameters and their defaults"
    listing = highlight(cell.source, PythonLexer(), HtmlFormatter(cssclass="code"))
    return f"<details{state}><summary>{name}</summary>{listing}</details>"


def _code_style() -> str:
    from pygments.formatters import HtmlFormatter

    light = HtmlFormatter(style="xcode").get_style_defs(".code")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".code")
    return f"{light}\n@media (prefers-color-scheme: dark) {{{dark}}}\n.code {{background: none}}"


def _joined(outputs: list[Any]) -> list[Any]:
    """Join neighboring pieces of one stream."""
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if output.output_type == "stream" and last is not None and last.get("name") == output.name:
            last["text"] += output.text
        else:
            joined.append(dict(output))
    return joined


def _output(output: Any, page: MarkdownPage) -> str:
    kind = output["output_type"]
    if kind == "stream":
        return _pre(output["text"], "stderr" if output["name"] == "stderr" else "text")
    if kind == "error":
        return _pre("\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}", "error")
    data = output.get("data", {})
    for mime, draw in _DRAWERS.items():
        if mime in data:
            return draw(data[mime], data)
    if "text/markdown" in data:
        return f'<div class="output">{page.render(data["text/markdown"])}</div>'
    return _pre(data.get("text/plain", ""), "text")


def _pre(text: str, kind: str) -> str:
    text = _ANSI.sub("", text).rstrip()
    return f'<pre class="{kind}">{escape(text)}</pre>' if text else ""


def _plotly(figure: Any, data: dict[str, Any]) -> str:
    layout = figure.get("layout", {})
    meta = layout.get("meta")
    text = meta.get("description") if isinstance(meta, dict) else None
    label = escape(" ".join(str(text or data.get("text/plain", "figure")).split())[:2000])
    height = layout.get("height", 450)
    content = json.dumps(figure).replace("<", "\\u003c")
    return (
        f'<figure class="plotly" role="group" aria-label="{label}">'
        f'<div class="plotly-target" style="height:{float(height):.0f}px"></div>'
        f'<script type="application/json" class="plotly-data">{content}</script></figure>'
    )


def _image(kind: str, content: str, data: dict[str, Any]) -> str:
    alt = escape(" ".join(str(data.get("text/plain", "figure")).split()))
    return f'<figure class="image"><img alt="{alt}" src="data:{kind};base64,{"".join(content.split())}"></figure>'


def _widget(_: Any, data: dict[str, Any]) -> str:
    text = "These controls need a running notebook: open it in JupyterLab."
    return f'<p class="note">{text}</p>'


_DRAWERS: dict[str, Any] = {
    _PLOTLY: _plotly,
    _WIDGET: _widget,
    "text/html": lambda content, _: f'<div class="output">{content}</div>',
    "image/png": lambda content, data: _image("image/png", content, data),
    "image/jpeg": lambda content, data: _image("image/jpeg", content, data),
    "image/svg+xml": lambda content, _: f'<figure class="image">{content}</figure>',
}
