"""``landscape notebook``: list the notebooks, run some of them headless, make the gallery."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from landscape.config import require
from landscape.errors import ConfigError

if TYPE_CHECKING:
    from landscape.notebooks.batch import Outcome

_Pairs = tyro.conf.UseAppendAction[tuple[tuple[str, str], ...]]
_OUT = Path("out")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NotebookCommand:
    """Run notebooks headless, with checked parameters, and make one offline HTML page of each.

    `run NAME...` runs them (a number will do for a name), `list` shows their questions and parameters, `gallery` runs
    all of them quickly and makes an index with pictures. NAME alone runs it, and nothing at all lists the names.
    """

    words: tyro.conf.Positional[tuple[str, ...]] = ()
    """run, list or gallery, and names in notebooks/ (00_tour, or 00) or paths."""
    parameters: Annotated[_Pairs, tyro.conf.arg(aliases=["-p"], metavar="NAME VALUE")] = ()
    """A parameter's name and value; may be repeated."""
    out: Path | None = None
    """Folder for NAME.ipynb and NAME.html; out by default."""
    output: Path | None = None
    """The executed notebook, where one is run; out/NAME.ipynb by default."""
    html: Path | None = None
    """The page, where one notebook is run; beside the executed notebook by default."""
    jobs: int = 1
    """How many notebooks run at a time."""
    timeout: int | None = None
    """Seconds that one cell may take; no limit by default."""

    def run(self) -> int:
        """List, run or make the gallery, and say where the results are."""
        usable = self.timeout is None or self.timeout >= 1
        require(usable, "--timeout", "at least 1 second", self.timeout, "Leave it out for no limit.")
        action = self.words[0] if self.words[:1] and self.words[0] in ("run", "list", "gallery") else ""
        names = self.words[bool(action) :]
        if action == "list" or not self.words:
            return _list(names, whole=bool(action))
        if action != "gallery" and not names:
            raise ConfigError("There is nothing to run.", fix="`landscape notebook list` shows the notebooks.")
        from landscape.training.interrupts import sigterm_as_interrupt

        with sigterm_as_interrupt():
            if action == "gallery":
                return self._gallery(names)
            if len(names) == 1 and (self.output or self.html):
                return self._run_to(names[0])
            self._refuse_single()
            return self._run(names)

    def _refuse_single(self) -> None:
        if self.output or self.html:
            raise ConfigError("--output and --html are for one notebook.", fix="Use --out FOLDER.")

    def _run_to(self, name: str) -> int:
        """Run one notebook to places of its own."""
        from landscape.notebooks import find_notebook, run_notebook

        path = find_notebook(name)
        output = self.output or (self.out or _OUT) / path.name
        html = self.html or output.with_suffix(".html")
        print(f"running {path}", flush=True)
        result = run_notebook(path, output, parameters=dict(self.parameters), timeout=self.timeout, html=html)
        if summary := result.tagged_text("summary"):
            print(f"\n{summary}")
        print(f"\nnotebook {result.path}\npage     {html.resolve()}")
        return 0

    def _run(self, names: Sequence[str]) -> int:
        from landscape.notebooks import find_notebook
        from landscape.notebooks.batch import run_notebooks

        paths = [find_notebook(name) for name in names]
        outcomes = run_notebooks(
            paths, self.out or _OUT, parameters=dict(self.parameters), jobs=self.jobs, timeout=self.timeout
        )
        print(f"running {', '.join(path.stem for path in paths)}", flush=True)
        return _report(outcomes, summary=len(paths) == 1)

    def _gallery(self, names: Sequence[str]) -> int:
        from landscape.notebooks import find_notebook, list_notebooks
        from landscape.notebooks.gallery import make_gallery

        self._refuse_single()
        paths = [find_notebook(name) for name in names] or list_notebooks()
        out = self.out or _OUT / "gallery"
        print(f"running {', '.join(path.stem for path in paths)}", flush=True)
        outcomes = make_gallery(paths, out, parameters=dict(self.parameters), jobs=self.jobs, timeout=self.timeout)
        code = _report(outcomes, summary=False)
        print(f"gallery  {(out / 'index.html').resolve()}")
        return code


def _list(names: Sequence[str], *, whole: bool) -> int:
    from landscape.notebooks import find_notebook, list_notebooks
    from landscape.notebooks.catalog import entry_of

    paths = [find_notebook(name) for name in names] or list_notebooks()
    entries = [entry_of(path) for path in paths]
    if whole:
        print("\n\n".join(entry.listing() for entry in entries))
        return 0
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        print(f"{entry.name:{width}}  {entry.question}")
    print("`landscape notebook list NAME` shows the parameters of one, `landscape notebook run NAME` runs it.")
    return 0


def _report(outcomes: Iterable[Outcome], *, summary: bool) -> int:
    """Print a line for each notebook as it ends; errors at the end, to stderr."""
    failed = []
    for done in outcomes:
        print(f"{done.name:24} {'FAILED' if done.error else 'done':6} {done.seconds:5.0f} s  {done.html}", flush=True)
        if summary and done.summary:
            print(f"\n{done.summary}\n\nnotebook {done.notebook}\npage     {done.html.resolve()}")
        if done.stderr:
            print(f"warning: cells of {done.name} wrote to stderr: {done.stderr[:500].rstrip()}", file=sys.stderr)
        if done.error:
            failed.append(done)
    for done in failed:
        print(f"error: {done.error}", file=sys.stderr)
    return 2 if failed else 0
