"""What a notebook of the suite must be as git keeps it; see ``test_form.py``, where each rule is seen red."""

from __future__ import annotations

import ast
import itertools
import json
import re
from pathlib import Path
from typing import Any

from landscape.notebooks.parameters import parse_parameters
from landscape.notebooks.rules import rule_of

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
SHARED = {"profile", "seed", "root", "data_root", "device", "mode"}
CODE_CELLS, CELL_LINES, FUNCTION_LINES = 14, 25, 8
CLOSING = ("Summary", "What this does not show", "Exercises", "References")
FORBIDDEN = (ast.If, ast.While, ast.ClassDef, ast.AsyncFunctionDef)


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def source(cell: dict[str, Any]) -> str:
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def tags(cell: dict[str, Any]) -> list[str]:
    return cell.get("metadata", {}).get("tags", [])


def form_faults(notebook: dict[str, Any], *, classes: bool = False) -> list[str]:
    """Everything in which a notebook differs from the form of the suite; ``classes`` allows classes in its cells."""
    cells = notebook["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return [
        *_order_faults(cells, code),
        *_tag_faults(code),
        *_heading_faults(cells),
        *(fault for cell in code for fault in _cell_faults(cell, classes)),
        *_parameter_faults(code),
    ]


def _order_faults(cells: list[dict[str, Any]], code: list[dict[str, Any]]) -> list[str]:
    faults = []
    if cells[0]["cell_type"] != "markdown" or len(cells) < 2 or "parameters" not in tags(cells[1]):
        faults.append("the second cell is not the parameters")
    if len(code) > CODE_CELLS:
        faults.append(f"{len(code)} code cells")
    if not source(code[-1]).rstrip().endswith("suite.finish()"):
        faults.append("the last code cell does not end with suite.finish()")
    stems = [re.fullmatch(r"([a-zA-Z0-9-]+)-(\d\d)", cell.get("id", "")) for cell in cells]
    if (
        not all(stems)
        or [int(m[2]) for m in stems if m] != list(range(len(cells)))
        or len({m[1] for m in stems if m}) > 1
    ):
        faults.append("the cells are not numbered")
    return faults


def _tag_faults(code: list[dict[str, Any]]) -> list[str]:
    faults, known = [], {"parameters", "check", "summary", "picture"}
    for tag in ("check", "picture"):
        if not any(tag in tags(cell) for cell in code):
            faults.append(f"no cell is tagged {tag}")
    faults += [f"the tag {tag}" for cell in code for tag in tags(cell) if tag not in known]
    for cell in code:
        if "picture" in tags(cell) and "picture=" not in source(cell):
            faults.append("a cell tagged picture shows none")
        if "check" in tags(cell) and not re.search(r"suite\.check\(|\bassert\b", source(cell)):
            faults.append("a cell tagged check checks nothing")
    return faults


def _heading_faults(cells: list[dict[str, Any]]) -> list[str]:
    words = "\n".join(source(cell) for cell in cells if cell["cell_type"] == "markdown")
    headings = [(len(m[1]), m[2].strip()) for m in re.finditer(r"^(#+) +(.+)$", words, flags=re.MULTILINE)]
    faults, levels = [], [level for level, _ in headings]
    if levels.count(1) != 1 or levels[:1] != [1]:
        faults.append(f"{levels.count(1)} titles")
    elif not headings[0][1].endswith("?"):
        faults.append("the title is no question")
    if any(after > before + 1 for before, after in itertools.pairwise(levels)):
        faults.append("a level of headings is left out")
    closing = [text for level, text in headings if level == 2 and text in CLOSING]
    if closing != list(CLOSING):
        faults.append(f"the closing sections are {', '.join(closing) or 'missing'}")
    return faults


def _cell_faults(cell: dict[str, Any], classes: bool) -> list[str]:
    text, name = source(cell), cell.get("id", "a cell")
    faults = [f"{name}: {len(text.splitlines())} lines"] if len(text.splitlines()) > CELL_LINES else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, FORBIDDEN) and not (classes and isinstance(node, ast.ClassDef)):
            faults.append(f"{name}: a statement that belongs to the library ({type(node).__name__})")
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= FUNCTION_LINES:
            faults.append(f"{name}: the function {node.name} is long")
    return faults


def _parameter_faults(code: list[dict[str, Any]]) -> list[str]:
    tagged = [cell for cell in code if "parameters" in tags(cell)]
    if len(tagged) != 1:
        return [f"{len(tagged)} cells are tagged parameters"]
    parameters = parse_parameters(source(tagged[0]))
    names = [parameter.name for parameter in parameters]
    faults = [f"{name} is no parameter" for name in sorted(SHARED - set(names))]
    for parameter in parameters:
        rule_of(parameter.name, parameter.help)
        if not parameter.help:
            faults.append(f"{parameter.name} has no help")
    typed = re.findall(r"^(\w+): ", source(tagged[0]), flags=re.MULTILINE)
    faults += [f"{name} has no type" for name in names if name not in typed]
    after = next((source(cell) for cell in code if "begin(" in source(cell)), "")
    if not after or after != source(code[1]):
        return [*faults, "the cell after the parameters does not call begin"]
    (call,) = [node for node in ast.walk(ast.parse(after)) if isinstance(node, ast.Call) and _called(node) == "begin"]
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if given != {name: name for name in names}:
        faults.append(f"begin is not given each parameter by its name: {sorted(set(names) ^ set(given))}")
    return faults if "suite.plan(" in after else [*faults, "the cell after the parameters does not call suite.plan"]


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""
