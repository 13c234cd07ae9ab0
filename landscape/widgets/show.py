"""Showing things in a notebook so that they also stand in a static page, with a text for whoever cannot see them."""

from __future__ import annotations

import io
import json
from html import escape
from typing import Any

from landscape.errors import ConfigError
from landscape.plotting import comparison_html, comparison_table
from landscape.plotting.comparison import Rows
from landscape.widgets.live import figure_widget, scenes_of
from landscape.widgets.mode import Mode, display_mode

PLOTLY = "application/vnd.plotly.v1+json"


def show(thing: Any, *, mode: Mode = "auto") -> None:
    """Show a figure, a panel or a job as a cell's output.

    Args:
        thing: A plotly or matplotlib figure, or what has a live form of its own: a panel, an
            explorer, a job, a training monitor.
        mode: "live", "static" or "auto"; see :func:`landscape.widgets.display_mode`. Figures are the same in all, but
            that in live mode three-dimensional panels side by side turn together.

    Raises:
        ConfigError: The thing cannot be shown, or the mode is unknown.
    """
    if callable(getattr(thing, "widget", None)) and callable(getattr(thing, "show", None)):
        thing.show(mode=mode)
        return
    data = bundle(thing)
    if display_mode(mode) == "live" and PLOTLY in data and len(scenes_of(thing)) > 1:
        data = {**figure_widget(thing)._repr_mimebundle_(), **data}
    display_bundle(data)


def show_comparison(rows: Rows, **options: Any) -> None:
    """Show a comparison as a table; the text alternative is the plain-text table.

    Args:
        rows: As in :func:`landscape.plotting.compare`.
        **options: ``columns``, ``metrics`` and ``first``; see :func:`landscape.plotting.comparison_table`.

    Raises:
        ConfigError: A column is in no row.
        DataError: There are no rows, or labels are missing or doubled.
    """
    display_bundle({"text/html": comparison_html(rows, **options), "text/plain": comparison_table(rows, **options)})


def show_words(words: str) -> None:
    """Show what a panel says of its picture, below it; in a plain script the picture's text has it already.

    Args:
        words: Lines.
    """
    from IPython.core.interactiveshell import InteractiveShell

    if InteractiveShell.initialized():
        display_bundle({"text/html": f"<div style='line-height:1.45'>{as_lines(words)}</div>", "text/plain": words})


def show_markdown(text: str) -> None:
    """Show Markdown, formulas included, as a cell's output.

    Args:
        text: Markdown, with formulas in TeX between dollar signs.
    """
    display_bundle({"text/markdown": text, "text/plain": text})


def as_lines(words: str) -> str:
    """Return lines of text as HTML."""
    return "<br>".join(escape(line) for line in words.splitlines())


def bundle(figure: Any) -> dict[str, Any]:
    """Turn a figure into what a notebook stores: plotly's JSON or a PNG, and its description as text.

    Args:
        figure: A plotly or matplotlib figure.

    Returns:
        MIME type to data.

    Raises:
        ConfigError: It is neither.
    """
    library = type(figure).__module__.partition(".")[0]
    if library == "plotly" and hasattr(figure, "to_json"):
        content = json.loads(figure.to_json())
        content["config"] = {"displaylogo": False, "responsive": True, "scrollZoom": False}
        text = (figure.layout.meta or {}).get("description") if isinstance(figure.layout.meta, dict) else None
        return {PLOTLY: content, "text/plain": text or figure.layout.title.text or "plotly figure"}
    if library == "matplotlib" and hasattr(figure, "savefig"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", facecolor="white")
        return {"image/png": buffer.getvalue(), "text/plain": figure.get_label() or "matplotlib figure"}
    raise ConfigError(
        "This cannot be shown.", expected="a plotly or matplotlib figure, a panel, a job or a monitor", got=type(figure)
    )


def display_bundle(data: dict[str, Any]) -> None:
    """Hand MIME data to the notebook; in a plain script print the text."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.display import display

    if InteractiveShell.initialized():
        encoded = {kind: _encoded(value) for kind, value in data.items()}
        display(encoded, raw=True)
    else:
        print(data["text/plain"])


def _encoded(value: Any) -> Any:
    import base64

    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
