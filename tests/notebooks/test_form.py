"""Each notebook has the form of the suite, and is bare; the rules that say so, seen red on a notebook of this file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from landscape.notebooks.catalog import entry_of
from landscape.notebooks.strip import bare_text, main, strip_notebook
from tests.notebooks.form import NOTEBOOKS, form_faults, load

OWN_CLASSES = ("10_your_own",)  # notebooks whose point is a module of the reader's own


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_have_the_form_of_the_suite(path):
    assert form_faults(load(path), classes=path.stem.startswith(OWN_CLASSES)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_as_the_strip_tool_writes_them(path):
    assert path.read_text() == bare_text(load(path)["cells"], path.stem)


def test_their_questions_differ_and_they_are_numbered():
    assert len({entry_of(path).question for path in NOTEBOOKS}) == len(NOTEBOOKS)
    assert all(path.stem[:2].isdigit() and path.stem[2] == "_" for path in NOTEBOOKS)


def test_the_readme_lists_them_with_their_questions():
    text = (Path(__file__).parents[2] / "README.md").read_text()
    rows = re.findall(r"^\| `(\d\d_\w+)` \| (.+?) \| .+? \|$", text, flags=re.MULTILINE)
    assert rows == [(path.stem, entry_of(path).question) for path in NOTEBOOKS]


# --------------------------------------------------------------------------------------------- the rules, seen red

PARAMETERS = """\
rho: float = 0.05  # radius [> 0]
profile: str = "quick"  # the size
seed: int = 0  # of everything
root: str = "runs"  # folder
data_root: str = ""  # folder
device: str = "auto"  # where
mode: str = "auto"  # live or static"""
BEGIN = """\
from landscape.notebooks import begin

suite = begin(rho=rho, profile=profile, seed=seed, root=root, data_root=data_root, device=device, mode=mode)
suite.plan()"""
CLOSING = "## Summary\n\nA.\n\n## What this does not show\n\nB.\n\n## Exercises\n\n1. C.\n\n## References\n\n- D."


def notebook() -> dict:
    cells = [
        {"cell_type": "markdown", "source": "# Is it so?\n\nWords."},
        {"cell_type": "code", "source": PARAMETERS, "metadata": {"tags": ["parameters"]}},
        {"cell_type": "code", "source": BEGIN},
        {"cell_type": "code", "source": "suite.show(1, picture=2)", "metadata": {"tags": ["picture"]}},
        {"cell_type": "code", "source": 'suite.check("so", True)\nsuite.finish()', "metadata": {"tags": ["check"]}},
        {"cell_type": "markdown", "source": CLOSING},
    ]
    return json.loads(bare_text(cells, "90_so"))


def replace(number: int, old: str, new: str):
    def change(made: dict) -> None:
        text = "".join(made["cells"][number]["source"])
        assert old in text
        made["cells"][number]["source"] = text.replace(old, new)

    return change


def cell(number: int, **values):
    return lambda made: made["cells"][number].update(values)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda made: made["cells"].insert(1, made["cells"][5]), "the second cell is not the parameters"),
        (lambda made: made["cells"].extend([made["cells"][4]] * 11), "15 code cells"),
        (replace(4, "suite.finish()", "suite"), "the last code cell does not end with suite.finish()"),
        (cell(3, id="so-07"), "the cells are not numbered"),
        (cell(3, id="other-03"), "the cells are not numbered"),
        (cell(3, metadata={}), "no cell is tagged picture"),
        (cell(4, metadata={}), "no cell is tagged check"),
        (cell(4, metadata={"tags": ["check", "hide"]}), "the tag hide"),
        (replace(3, "picture=2", "2"), "a cell tagged picture shows none"),
        (replace(4, "suite.check", "print"), "a cell tagged check checks nothing"),
        (replace(5, "## Summary", "# Summary"), "2 titles"),
        (replace(0, "?", "."), "the title is no question"),
        (replace(5, "## Summary", "### Summary"), "a level of headings is left out"),
        (replace(5, "## Exercises", "## More"), "the closing sections are Summary, What this does not"),
        (replace(3, "suite", "\n" * 25 + "suite"), "so-03: 26 lines"),
        (replace(3, "suite", "if True:\n    suite"), "so-03: a statement that belongs to the library (If)"),
        (replace(3, "suite", "class A:\n    a = 1\n\n\nsuite"), "library (ClassDef)"),
        (replace(3, "suite", "def f():\n" + "    a = 1\n" * 8 + "\n\nsuite"), "so-03: the function f is long"),
        (cell(1, metadata={}), "0 cells are tagged parameters"),
        (replace(1, "mode: str", "modus: str"), "mode is no parameter"),
        (replace(1, "  # where", ""), "device has no help"),
        (replace(1, "seed: int", "seed"), "seed has no type"),
        (replace(2, "seed=seed, ", ""), "begin is not given each parameter by its name: ['seed']"),
        (replace(2, "seed=seed, ", "seed=0, "), "begin is not given each parameter by its name: []"),
        (replace(2, "suite.plan()", "suite"), "the cell after the parameters does not call suite.plan"),
        (replace(2, "suite = begin(", "suite = start("), "the cell after the parameters does not call begin"),
    ],
)  # fmt: skip
def test_form_faults_sees(change, fault):
    made = notebook()
    assert form_faults(made) == []
    change(made)
    assert any(fault in found for found in form_faults(made))


def test_brackets_that_hold_no_rule_are_seen():
    made = notebook()
    replace(1, "[> 0]", "[positive]")(made)
    with pytest.raises(Exception, match="hold no rule"):
        form_faults(made)


def test_stripping_takes_what_a_run_leaves_and_keeps_the_rest(tmp_path: Path, capsys):
    clean = notebook()
    text = bare_text(clean["cells"], "90_so")
    dirty = json.loads(text)
    dirty["metadata"] |= {"papermill": {"duration": 1.0}, "widgets": {"state": {}}}
    dirty["cells"][2] |= {"execution_count": 4, "id": "abc", "outputs": [
        {"output_type": "stream", "name": "stdout", "text": ["1\n"]}]}  # fmt: skip
    dirty["cells"][3]["metadata"] |= {"papermill": {"status": "completed"}, "collapsed": True}
    path = tmp_path / "90_so.ipynb"
    path.write_text(json.dumps(dirty))
    assert main([str(path)]) == 0
    assert path.read_text() == text and "stripped" in capsys.readouterr().out
    before = path.stat().st_mtime_ns
    assert not strip_notebook(path) and path.stat().st_mtime_ns == before
    assert main([str(tmp_path / "none.ipynb")]) == 2
    assert "There is no notebook" in capsys.readouterr().err
