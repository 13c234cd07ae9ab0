"""Run a notebook headless, with checked parameters, and believe it only if every cell ran."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.errors import NotebookError, unknown_name
from landscape.notebooks.page import export_html
from landscape.notebooks.parameters import check_parameters, parameters_of, read_notebook
from landscape.notebooks.places import bundled_folder
from landscape.notebooks.rules import check_values
from landscape.progress import Progress, progress_bar
from landscape.storage import write_text

_ENVIRONMENT = {"LANDSCAPE_MODE": "static", "PLOTLY_RENDERER": "plotly_mimetype", "MPLBACKEND": "agg"}
_LIVE = ("JPY_SESSION_NAME", "VSCODE_PID")


@dataclass(frozen=True, kw_only=True, eq=False)
class NotebookResult:
    """A notebook that ran to its end.

    Attributes:
        path: The executed notebook.
        html: The page made of it, or None.
        seconds: Wall time.
        parameters: The values that were set.
        stderr: What cells wrote to stderr, one text a cell; empty where nothing did.
        notebook: The executed notebook, an nbformat node.
    """

    path: Path
    html: Path | None
    seconds: float
    parameters: dict[str, Any]
    stderr: tuple[str, ...]
    notebook: Any

    def tagged_text(self, tag: str) -> str:
        """Return what the cells with a tag printed or displayed as text.

        Args:
            tag: A cell tag, for example "summary".

        Returns:
            Their stdout and text outputs, joined; "" where no cell has the tag.
        """
        cells = [cell for cell in _code_cells(self.notebook) if tag in cell.metadata.get("tags", [])]
        return "\n".join(filter(None, (_text_of(output) for cell in cells for output in cell.outputs)))


def list_notebooks(folder: str | os.PathLike[str] | None = None) -> list[Path]:
    """List notebooks.

    Args:
        folder: Where to look; the notebooks that come with this repository by default.

    Returns:
        The ``.ipynb`` files of the folder, sorted by name.
    """
    return sorted(Path(folder if folder is not None else bundled_folder()).glob("*.ipynb"))


def find_notebook(name: str | os.PathLike[str]) -> Path:
    """Find a notebook by its path, or a bundled one by its name.

    Args:
        name: A path, or "00_tour", "00_tour.ipynb", "tour", "00", "0".

    Returns:
        The path.

    Raises:
        NotebookError: There is none, or the name fits several.
    """
    if Path(name).is_file():
        return Path(name)
    known = {path.stem: path for path in list_notebooks()}
    wanted = str(name).removesuffix(".ipynb")
    found = [path for stem, path in known.items() if wanted in _names(stem)]
    if len(found) == 1:
        return found[0]
    raise unknown_name("notebook", str(name), known or ["(no notebooks here)"], NotebookError)


def _names(stem: str) -> set[str]:
    """What a notebook may be called: its name, with or without its number, and its number alone."""
    number, _, rest = stem.partition("_")
    return {stem, rest, number, str(int(number))} if number.isdigit() and rest else {stem}


def prepare_run(path: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Check what a notebook is to be run with, before anything starts.

    Args:
        path: The notebook.
        parameters: Name to value; texts are converted to the type of the default.

    Returns:
        Name to value, of the right types.

    Raises:
        NotebookError: A name is unknown, or a value is of another type or out of range.
    """
    known = parameters_of(read_notebook(path), str(path))
    values = check_parameters(parameters, known)
    check_values({**{parameter.name: parameter.default for parameter in known}, **values}, known)
    return values


def run_notebook(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    parameters: Mapping[str, Any] | None = None,
    kernel: str = "python3",
    timeout: float | None = None,
    progress: bool = True,
    html: str | os.PathLike[str] | None = None,
    strict: bool = False,
) -> NotebookResult:
    """Run a notebook from top to bottom in a kernel of its own.

    Names, types and values of the parameters are checked before the kernel starts. Panels show themselves in static
    mode. The output is written in one step when the run has ended; where a cell failed it holds what ran until then.

    Args:
        path: The notebook, with one cell tagged ``parameters``.
        output: Where the executed notebook goes.
        parameters: Name to value; texts are converted to the type of the default.
        kernel: Name of the Jupyter kernel; "python3" is this interpreter.
        timeout: Seconds that one cell may take; None sets no limit.
        progress: Whether a bar over the cells is shown.
        html: Where a self-contained page of the run goes, also of one that failed; None makes none.
        strict: Whether text on stderr is an error.

    Returns:
        Where things are, and what was written to stderr.

    Raises:
        NotebookError: A parameter is unknown, of another type or out of range, a cell failed, took too long or left
            early (``sys.exit``), the kernel is unknown or died, or ``strict`` and something was written to stderr.
        StorageError: The output cannot be written.
    """
    path, output = Path(path), Path(output)
    notebook, values = read_notebook(path), prepare_run(path, parameters or {})
    _check_places(path, output, None if html is None else Path(html))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="landscape-notebook-") as folder:
        scratch = Path(folder) / "notebook.ipynb"
        try:
            problem = _execute(
                path, scratch, values, kernel, timeout, progress, len(_code_cells(notebook)) + bool(values)
            )
        finally:  # after Ctrl-C too
            done = _keep(scratch, output, path)
    problem = problem or _unfinished(done)
    page = export_html(output, html) if html is not None and done is not None else None
    if problem is not None:
        raise NotebookError(f"{path.name}: {problem}", fix=f"Open {output}: it holds everything until then.")
    written = tuple(_stderr(done))
    if strict and written:
        raise NotebookError(f"{path.name}: cells wrote to stderr.", expected="nothing", got=written[0][:500])
    return NotebookResult(
        path=output, html=page, seconds=time.perf_counter() - started, parameters=values, stderr=written, notebook=done
    )


def _check_places(path: Path, output: Path, html: Path | None) -> None:
    """Refuse to write one file over another."""
    places = [("The output", output, "the notebook", path)]
    if html is not None:
        places += [("The page", html, "the notebook", path), ("The page", html, "the output", output)]
    for what, new, which, old in places:
        if new.resolve() == old.resolve() or (new.exists() and old.exists() and new.samefile(old)):
            raise NotebookError(f"{what} would replace {which}.", got=str(new), fix="Give another place.")


def _execute(
    path: Path, scratch: Path, values: dict[str, Any], kernel: str, timeout: float | None, progress: bool, cells: int
) -> str | None:
    """Run with papermill; return what went wrong, in words, or None."""
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    logging.getLogger("papermill").setLevel(logging.ERROR)  # its warnings are about what is checked here
    try:
        with _environment(), progress_bar(cells, desc=path.stem, unit="cell", enabled=progress) as bar:
            papermill.execute_notebook(
                str(path),
                str(scratch),
                parameters=values,
                kernel_name=kernel,
                progress_bar=False,
                store_widget_state=False,
                execution_timeout=timeout,
                on_cell_executed=lambda cell, **_: _seen(cell, bar, said=progress),
                extra_arguments=["--log-level=ERROR"],
            )
    except PapermillExecutionError as error:
        return _failed(error)
    except CellTimeoutError:
        return f"a cell took longer than {timeout:g} s."
    except DeadKernelError:
        return "the kernel died (out of memory, or killed)."
    except NoSuchKernel:
        return f"there is no kernel {kernel!r}; use 'python3'."
    return None


def _seen(cell: Any, bar: Progress, *, said: bool) -> None:
    """Count a cell, and say what it estimated of the time that the others will take."""
    texts = (output.text for output in cell.get("outputs", []) if output.output_type == "stream")
    for line in "".join(texts).splitlines() if said else []:
        if " on this machine" in line and line.startswith(("About ", "An unknown time")):
            print(line, flush=True)
    bar.update()


@contextmanager
def _environment() -> Iterator[None]:
    """Set what the kernel inherits, and put it back."""
    before = {name: os.environ.get(name) for name in (*_ENVIRONMENT, *_LIVE)}
    os.environ.update(_ENVIRONMENT)
    for name in _LIVE:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _failed(error: Any) -> str:
    what = f"cell In [{error.exec_count}] failed with {error.ename}: {error.evalue}"
    if error.ename == "SystemExit":
        what = f"cell In [{error.exec_count}] left the notebook early ({error.ename}: {error.evalue})"
    return f"{what}\n{_excerpt(error.source, _failing_line(error.traceback))}\n"


def _failing_line(traceback: list[str]) -> int | None:
    """Find the cell's line that a traceback points at first."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(traceback))
    found = re.search(r"^-+> (\d+)", text, flags=re.MULTILINE)
    return int(found.group(1)) if found else None


def _excerpt(source: str, line: int | None) -> str:
    lines = source.splitlines()
    middle = line if line is not None and line <= len(lines) else len(lines)
    first = max(0, middle - 4)
    shown = lines[first : middle + 2]
    return "\n".join(
        f"{'>' if first + i + 1 == line else ' '} {first + i + 1:3d} | {text}" for i, text in enumerate(shown)
    )


def _keep(scratch: Path, output: Path, source: Path) -> Any:
    """Move what ran to the output, in one step; return it, or None where nothing was written."""
    import nbformat

    if not scratch.is_file():
        return None
    done = nbformat.read(scratch, as_version=4)
    facts = done.metadata.get("papermill", {})
    facts["input_path"], facts["output_path"] = str(source), str(output)
    write_text(output, nbformat.writes(done))
    return done


def _unfinished(done: Any) -> str | None:
    """Find the first cell that did not run to its end: papermill says nothing of ``sys.exit(0)``."""
    if done is None:
        return "nothing ran."
    for number, cell in enumerate(_code_cells(done), start=1):
        if cell.metadata.get("papermill", {}).get("status") != "completed":
            excerpt = _excerpt(cell.source, None)
            return (
                f"code cell {number} did not run to its end (was sys.exit called?), nor any cell after it.\n{excerpt}\n"
            )
    return None


def _code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _stderr(done: Any) -> Iterator[str]:
    for cell in _code_cells(done):
        text = "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stderr")
        if text.strip():
            yield text


def _text_of(output: Any) -> str:
    if output.output_type == "stream":
        return output.text if output.name == "stdout" else ""
    return output.get("data", {}).get("text/plain", "")
