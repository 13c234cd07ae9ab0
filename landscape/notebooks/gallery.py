"""All notebooks as pages, with an index that shows a picture of each; nothing in it asks for anything outside."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from landscape.notebooks.batch import Outcome, run_notebooks
from landscape.notebooks.catalog import FORMULA, Entry, entry_of
from landscape.notebooks.formulas import formula
from landscape.notebooks.page import versions
from landscape.notebooks.parameters import read_notebook
from landscape.storage import write_text

PICTURE = "picture"
"""The tag of the cells whose figures stand for their notebook."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure of a notebook as an image.

    Attributes:
        png: The file's bytes.
        text: What it shows, in words.
    """

    png: bytes
    text: str


def make_gallery(
    paths: Sequence[Path],
    out: str | os.PathLike[str],
    *,
    parameters: Mapping[str, Any] | None = None,
    jobs: int = 1,
    timeout: float | None = None,
) -> Iterator[Outcome]:
    """Run notebooks and write a page of each, and an index of them.

    Args:
        paths: The notebooks.
        out: The folder: ``NAME.html`` and ``NAME.ipynb`` of each, and ``index.html``.
        parameters: Name to value, for each of them; the quick profile and static mode by default.
        jobs: How many run at a time.
        timeout: Seconds that one cell may take.

    Yields:
        How each ended; the index is written after the last.

    Raises:
        NotebookError: A parameter cannot be used; nothing has run.
        StorageError: The index cannot be written.
    """
    entries = [entry_of(path) for path in paths]
    values = {"profile": "quick", "mode": "static", **(parameters or {})}
    ended: dict[str, Outcome] = {}
    for outcome in run_notebooks(paths, out, parameters=values, jobs=jobs, timeout=timeout):
        ended[outcome.name] = outcome
        yield outcome
    write_text(Path(out) / "index.html", index_page(entries, ended, str(values["profile"])))


def index_page(entries: Sequence[Entry], ended: Mapping[str, Outcome], profile: str) -> str:
    """Return the index as one HTML page.

    Args:
        entries: The notebooks, in their order.
        ended: Name to how its run ended.
        profile: With which sizes they were run.

    Returns:
        The page; it holds all that it shows.
    """
    style = resources.files("landscape.notebooks").joinpath("gallery.css").read_text(encoding="utf-8")
    cards = "\n".join(_card(entry, ended[entry.name]) for entry in entries if entry.name in ended)
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>Loss landscapes: the notebooks</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>Loss landscapes: the notebooks</h1>
<p>Each notebook answers one question. These pages were made by running all of them with the profile
{escape(profile)}; figures turn and sliders move without a server.</p>
<ul class="cards">
{cards}
</ul>
<footer>Made on {now}. {escape(", ".join(versions()))}.</footer>
</main>
</body>
</html>
"""


def _card(entry: Entry, outcome: Outcome) -> str:
    pictures = pictures_of(outcome.notebook)
    number = entry.name.partition("_")[0]
    shown = f'<div class="picture none" aria-hidden="true">{escape(number)}</div>'
    if pictures:
        data = base64.b64encode(pictures[0].png).decode()
        shown = (
            f'<div class="picture"><img alt="{escape(pictures[0].text)}" src="data:image/png;base64,{data}" '
            'loading="lazy"></div>'
        )
    failed = f'<p class="failed">Failed: {escape(outcome.error.splitlines()[0][:300])}</p>' if outcome.error else ""
    title = with_formulas(entry.question)
    there = outcome.html.is_file()
    head = f'<a href="{escape(outcome.html.name)}">{title}</a>' if there else title
    about = f'<p class="about">{with_formulas(entry.about)}</p>'
    return (
        f'<li class="card">{shown}<div class="text"><h2>{head}</h2>{about}{failed}'
        f'<p class="facts">{escape(entry.name)}, run in {outcome.seconds:.0f} s</p></div></li>'
    )


def with_formulas(text: str) -> str:
    """Return plain text as HTML, the formulas in it as pictures.

    Args:
        text: Words, and TeX between dollar signs.

    Example:
        >>> with_formulas("a < b"), with_formulas("$c > 0$, it holds").startswith("<svg ")
        ('a &lt; b', True)
    """
    parts = FORMULA.split(text)
    return "".join(formula(part) if number % 2 else escape(part) for number, part in enumerate(parts))


def pictures_of(path: Path) -> list[Picture]:
    """Return the figures of an executed notebook as images: those of cells tagged ``picture``, else all there are.

    Args:
        path: The executed notebook; where there is none, there are no figures.

    Returns:
        The PNG images in its outputs, in their order.
    """
    if not path.is_file():
        return []
    cells = [cell for cell in read_notebook(path).cells if cell.cell_type == "code"]
    tagged = [cell for cell in cells if PICTURE in cell.metadata.get("tags", [])]
    return _pictures(tagged) or _pictures(cells)


def _pictures(cells: Sequence[Any]) -> list[Picture]:
    bundles = [output.get("data", {}) for cell in cells for output in cell.outputs]
    return [
        Picture(
            png=base64.b64decode("".join(bundle["image/png"])), text=" ".join(str(bundle.get("text/plain", "")).split())
        )
        for bundle in bundles
        if "image/png" in bundle
    ]
