"""Where a notebook keeps things: in one place, whether JupyterLab or the command runs it."""

from __future__ import annotations

from pathlib import Path


def bundled_folder() -> Path:
    """Return the folder of the notebooks that come with this repository."""
    return Path(__file__).resolve().parents[2] / "notebooks"


def place_of(folder: str) -> Path:
    """Return the absolute path of a folder that a notebook names.

    Kernels of JupyterLab start in the notebook's folder, headless ones where the command was typed. A relative name
    means the same for both: it starts in the folder that holds ``notebooks``.

    Args:
        folder: A path, absolute or relative.

    Example:
        >>> place_of("/somewhere/runs").as_posix()
        '/somewhere/runs'
    """
    here = Path.cwd()
    if here == bundled_folder():
        here = here.parent
    return here / Path(folder).expanduser()


def shown(path: Path) -> str:
    """Return a path as short as it can be said: relative where it lies below the working directory."""
    for base in (Path.cwd(), bundled_folder().parent):
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix() or "."
    return str(path)
