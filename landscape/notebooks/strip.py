"""Notebooks as git keeps them: sources only, in one form, so that a diff shows what a person changed."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from landscape.errors import LandscapeError
from landscape.notebooks.parameters import read_notebook
from landscape.notebooks.places import bundled_folder
from landscape.storage import write_text

_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def strip_notebook(path: str | os.PathLike[str]) -> bool:
    """Bring a notebook to the form that git keeps, in place.

    Outputs, execution counts, widgets and all metadata but tags go; cells are numbered from the notebook's name on.

    Args:
        path: The ``.ipynb`` file.

    Returns:
        Whether it was in another form.

    Raises:
        NotebookError: There is no such notebook.
        StorageError: It cannot be written.
    """
    path = Path(path)
    text = bare_text(read_notebook(path).cells, path.stem)
    if text == path.read_text(encoding="utf-8"):
        return False
    write_text(path, text)
    return True


def bare_text(cells: Iterable[Any], name: str) -> str:
    """Return the text of a notebook file with these cells' sources.

    Args:
        cells: Mappings with ``cell_type``, ``source`` (a text or lines), and perhaps ``metadata`` with tags.
        name: The notebook's name, ``00_tour``; cells are called ``tour-00`` and so on.

    Example:
        >>> cell = json.loads(bare_text([{"cell_type": "code", "source": "a = 1"}], "07_flat"))["cells"][0]
        >>> cell["id"], cell["source"]
        ('flat-00', ['a = 1'])
    """
    stem = re.sub(r"[^A-Za-z0-9]+", "-", re.sub(r"^\d+_", "", name)).strip("-")[:40] or "cell"
    made = [_bare_cell(cell, f"{stem}-{number:02d}") for number, cell in enumerate(cells)]
    notebook = {"cells": made, "metadata": _METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _bare_cell(cell: Any, name: str) -> dict[str, Any]:
    source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
    tags = list((cell.get("metadata") or {}).get("tags", []))
    bare = {"cell_type": cell["cell_type"], "id": name, "metadata": {"tags": tags} if tags else {}}
    if cell["cell_type"] == "code":
        bare |= {"execution_count": None, "outputs": []}
    if attachments := cell.get("attachments"):
        bare["attachments"] = attachments
    return {**bare, "source": source.rstrip().splitlines(keepends=True)}


def main(arguments: Sequence[str]) -> int:
    """Strip the notebooks named, or all that come with this repository.

    Args:
        arguments: Paths.

    Returns:
        0; 2 where one could not be read or written.
    """
    try:
        for path in arguments or sorted(bundled_folder().glob("*.ipynb")):
            if strip_notebook(path):
                print(f"stripped {path}")
    except LandscapeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
