"""Small notebooks for tests of what runs them."""

from __future__ import annotations

from pathlib import Path

from landscape.notebooks.strip import bare_text

PARAMETERS = """\
rho: float = 0.05  # the radius
word: str = "a"  # what is printed [a | b]
profile: str = "quick"  # the size
mode: str = "auto"  # live or static"""
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def markdown(text: str) -> dict:
    return {"cell_type": "markdown", "source": text}


def code(text: str, *tags: str) -> dict:
    return {"cell_type": "code", "source": text, "metadata": {"tags": list(tags)}}


def write(
    path: Path,
    *cells: str | dict,
    title: str = "Is it so?",
    about: str = "The **first** paragraph.",
    parameters: str = PARAMETERS,
) -> Path:
    """Write a notebook: a title, what it is about, the parameters, and cells."""
    made = [cell if isinstance(cell, dict) else code(cell) for cell in cells]
    text = f"# {title}\n\n{about}\n\nAnother one."
    path.write_text(bare_text([markdown(text), code(parameters, "parameters"), *made], path.stem))
    return path


def picture(data: str = PNG) -> str:
    """The source of a cell that shows an image."""
    return f'from IPython.display import display\n\ndisplay({{"image/png": "{data}", "text/plain": "a dot"}}, raw=True)'
