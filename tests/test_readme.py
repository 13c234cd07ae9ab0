"""The README as a reader uses it: its Python runs as pasted, block after block, and its commands are understood."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from landscape.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
SPOKEN = re.findall(r"`(landscape \w[^`]*)`", TEXT)
LINES = [line for language, block in BLOCKS if not language for line in block.splitlines()]
COMMAND_LINES = [line for line in [*LINES, *SPOKEN] if line.startswith("landscape ") and "NAME" not in line]


def test_every_python_block_runs_as_pasted(tmp_path, monkeypatch):
    from plotly.basedatatypes import BaseFigure

    shown = []
    monkeypatch.setattr(BaseFigure, "show", lambda figure: shown.append(figure))
    monkeypatch.chdir(tmp_path)
    blocks = [block for language, block in BLOCKS if language == "python"]
    assert len(blocks) >= 2
    names: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "surface.pdf", "surface.png"}
    assert len(shown) == "".join(blocks).count(".show()") > 0


def test_there_are_commands():
    assert len(COMMAND_LINES) >= 6


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_every_command_is_understood(line, monkeypatch):
    for command in COMMANDS.values():
        monkeypatch.setattr(command, "run", lambda self: 0)
    assert main(shlex.split(line, comments=True)[1:]) == 0


def test_parameters_of_notebooks_are_those_that_it_names():
    cells = json.loads((ROOT / "notebooks" / "00_tour.ipynb").read_text())["cells"]
    known = next("".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", []))
    named = [name for line in LINES for name in re.findall(r" -p (\w+)", line)]
    assert named
    assert all(re.search(rf"^{name}: ", known, flags=re.MULTILINE) for name in named)
