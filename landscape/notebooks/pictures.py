"""Pictures for a README: the figures of an executed notebook's cells tagged ``picture``, as files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from landscape.errors import LandscapeError, NotebookError
from landscape.notebooks.gallery import pictures_of
from landscape.storage import write_bytes


def write_pictures(notebook: Path, folder: Path) -> list[Path]:
    """Write the pictures of an executed notebook as ``NAME-1.png`` and so on.

    Args:
        notebook: The executed notebook.
        folder: Where they go.

    Returns:
        The files.

    Raises:
        NotebookError: It holds no picture.
        StorageError: One cannot be written.
    """
    pictures = pictures_of(notebook)
    if not pictures:
        raise NotebookError(f"{notebook} holds no picture.", fix="Run it first: `landscape notebook run NAME`.")
    files = [folder / f"{notebook.stem}-{number}.png" for number in range(1, len(pictures) + 1)]
    for file, picture in zip(files, pictures, strict=True):
        write_bytes(file, picture.png)
    return files


def main(arguments: Sequence[str]) -> int:
    """Write the pictures of executed notebooks into a folder, which is named last.

    Args:
        arguments: Executed notebooks, and the folder.

    Returns:
        0; 2 where a notebook has no picture or a file cannot be written.
    """
    *notebooks, folder = arguments or [""]
    try:
        if not notebooks:
            raise NotebookError("There is nothing to write.", expected="executed notebooks, and a folder", got="less")
        for notebook in notebooks:
            for file in write_pictures(Path(notebook), Path(folder)):
                print(file)
    except LandscapeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
