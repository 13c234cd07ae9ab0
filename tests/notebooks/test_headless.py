"""Every notebook, headless: its claim holds, its page works offline, and what is finished is never computed again.

Notebooks of one test run share a folder of runs, as they do for a person. Each is run once with the quick profile, and
its page is looked at; 00 to 02 then once more in live mode, which must compute nothing anew. The slow tests run each
again, restart it in the middle, and give it two other sets of parameters.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from landscape.notebooks import run_notebook
from landscape.notebooks.catalog import entry_of
from landscape.notebooks.run import NotebookResult
from landscape.notebooks.strip import bare_text
from tests.browser import CHROMIUM
from tests.notebooks.form import NOTEBOOKS, load, tags
from tests.notebooks.look import look_at_page

pytestmark = pytest.mark.notebook

LIVE = [path for path in NOTEBOOKS if path.stem[:2] in ("00", "01", "02")]
OTHERS: tuple[dict[str, Any], ...] = (
    {"dataset": "mnist1d", "model": "mlp", "seed": 3, "label_noise": 0.0, "epochs": 4},
    {"label_noise": 0.4, "rho": 0.05, "epsilon": 0.5, "std": 0.01, "lr": 0.1, "seed": 1, "epochs": 6},
)
OWN: dict[str, tuple[dict[str, Any], ...]] = {
    "01": (
        {"dataset": "mnist1d", "model": "cnn1d", "optimizers": ["asam"], "seed": 3, "limit": 500, "epochs": 2},
        {"optimizers": ["looksam", "entropysgd"], "rho": 0.05, "lr": 0.1, "batch_size": 100, "seed": 1, "epochs": 3},
    ),
    "10": (
        {"words": 5, "places": 6, "width": 16, "sequences": 40, "batch_size": 7, "label_noise": 0.0, "epochs": 2},
        {"rho": 0.3, "epsilon": 0.0, "lr": 0.001, "extent": 0.5, "sequences": 100, "seed": 2, "epochs": 4},
    ),
    "11": (
        {"dataset": "mnist1d", "model": "cnn1d", "radius": 0.3, "steps": 6, "test_limit": 100, "seed": 3, "epochs": 3},
        {
            "model": "smallcnn",
            "label_noise": 0.2,
            "radius": 1.0,
            "gradient_weight": 0.001,
            "steps": 5,
            "shown": 3,
            "limit": 300,
            "test_limit": 100,
            "seed": 1,
            "epochs": 5,
        },
    ),
}
"""Other parameters, where those above would say nothing: the notebook's number to two sets."""

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
Run = Callable[..., NotebookResult]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("suite")


@pytest.fixture(scope="module")
def run(folder) -> Run:
    """Run a notebook with the quick profile; the same run twice only if it is called differently."""
    done: dict[str, NotebookResult] = {}

    def one(path: Path, name: str = "first", **parameters: Any) -> NotebookResult:
        values = {"profile": "quick", "mode": "static", "root": str(folder / "runs"), **parameters}
        key = f"{path.stem}-{name}"
        if key not in done:
            out = folder / "out" / f"{key}.ipynb"
            html = out.with_suffix(".html")
            done[key] = run_notebook(path, out, parameters=values, html=html, progress=False, timeout=300)
        return done[key]

    return one


def said(result: NotebookResult) -> str:
    """All that the cells printed."""
    outputs = [output for cell in result.notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.text for output in outputs if output.output_type == "stream")


def counts(result: NotebookResult) -> tuple[int, int]:
    """How many results were computed, and how many read: what ``suite.finish`` says."""
    (found,) = re.findall(r"^(\d+) results computed.*, (\d+) read from ", said(result), flags=re.MULTILINE)
    return int(found[0]), int(found[1])


def kept(root: Path) -> dict[str, tuple[str, int]]:
    """Every file below a folder but locks: its content and when it was written."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.name != "lock"]
    return {
        str(path.relative_to(root)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in files
    }


def recomputed_nothing(result: NotebookResult, root: Path, before: dict[str, tuple[str, int]]) -> None:
    assert counts(result)[0] == 0, said(result)
    assert counts(result)[1] > 0
    assert "trained in" not in said(result)
    after = kept(root)
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == set()


def its_claims_hold(result: NotebookResult) -> None:
    assert result.stderr == ()
    checked = [cell for cell in result.notebook.cells if "check" in cell.metadata.get("tags", [])]
    assert checked and all(cell.execution_count for cell in checked)
    size = len(json.dumps(result.notebook))
    assert size < 12_000_000, f"{size / 1e6:.1f} MB of outputs"


@each
def test_with_the_quick_profile(path, run):
    result = run(path)
    its_claims_hold(result)
    assert any("image/png" in output.get("data", {}) for cell in result.notebook.cells for output in _outputs(cell))
    assert "on this machine" in said(result) or "Computed before" in said(result)


def _outputs(cell: Any) -> list[Any]:
    return cell.get("outputs", []) if "picture" in cell.metadata.get("tags", []) else []


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@each
def test_its_page_works_offline(path, run):
    look_at_page(run(path).html, entry_of(path).question)


@pytest.mark.parametrize("path", LIVE, ids=lambda path: path.stem)
def test_live_mode_computes_nothing_anew(path, run, folder):
    run(path)
    before = kept(folder / "runs")
    result = run(path, "live", mode="live")
    its_claims_hold(result)
    assert "live mode" in said(result)
    recomputed_nothing(result, folder / "runs", before)


@pytest.mark.slow
@each
def test_a_second_run_computes_nothing_anew(path, run, folder):
    run(path)
    before = kept(folder / "runs")
    recomputed_nothing(run(path, "again"), folder / "runs", before)


def half(path: Path, target: Path) -> Path:
    """Write the first half of a notebook, cut after a code cell."""
    cells = load(path)["cells"]
    code = [number for number, cell in enumerate(cells) if cell["cell_type"] == "code"]
    target.write_text(bare_text(cells[: code[len(code) // 2] + 1], path.stem))
    assert any("parameters" in tags(cell) for cell in load(target)["cells"])
    return target


@each
@pytest.mark.slow
def test_after_a_restart_in_the_middle_only_the_rest_is_computed(path, run, tmp_path):
    """A kernel that is restarted in the middle, and all cells run again: what was finished is read."""
    root = tmp_path / "runs"
    first = run(half(path, tmp_path / f"{path.stem}-half.ipynb"), root=str(root))
    middle = kept(root)
    whole = run(path, "after", root=str(root))
    its_claims_hold(whole)
    after = kept(root)
    assert {name for name in middle if after.get(name) != middle[name]} == set()
    assert len(middle) > 0 and (counts(whole)[1] > 0 or "read" in said(whole)), said(first)
    finished = re.findall(r"trained in .*runs/(\S+)", said(first))
    assert not set(finished) & set(re.findall(r"trained in .*runs/(\S+)", said(whole)))


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
@each
def test_with_other_parameters(path, number, run):
    names = {parameter.name for parameter in entry_of(path).parameters}
    wanted = OWN.get(path.stem[:2], OTHERS)[number]
    values = {name: value for name, value in wanted.items() if name in names}
    assert values
    its_claims_hold(run(path, f"other-{number}", **values))
