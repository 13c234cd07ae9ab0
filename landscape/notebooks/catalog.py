"""What there is to run: each notebook's question, its parameters, and what they may be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.notebooks.parameters import Parameter, parameters_of, read_notebook
from landscape.notebooks.rules import plain_help, rule_of

FORMULA = re.compile(r"\$(?!\s)([^$\n`]+?)(?<!\s)\$(?!\d)")
"""TeX within a text, between dollar signs; "$5 and $6" holds none, nor does code in backticks, `$HOME` and `$PATH`."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of a notebook before it is run.

    Attributes:
        path: The file.
        question: Its title.
        about: Its first paragraph, plain text but for formulas between dollar signs; so may the question be.
        parameters: Its parameters.
    """

    path: Path
    question: str
    about: str
    parameters: tuple[Parameter, ...]

    @property
    def name(self) -> str:
        """The file's name without suffix."""
        return self.path.stem

    def listing(self) -> str:
        """Say everything, a line for each parameter: name, type, default, help, and what is allowed."""
        rows = [_row(parameter) for parameter in self.parameters]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        lines = [
            "  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]]).rstrip()
            for row in rows
        ]
        return "\n".join([f"{self.name}: {self.question}", *(f"    {line}" for line in lines)])


def _row(parameter: Parameter) -> tuple[str, str, str, str]:
    rule = rule_of(parameter.name, parameter.help)
    told = rule is not None and (plain_help(parameter.help) != parameter.help or "str" not in parameter.kinds)
    words = f"{plain_help(parameter.help)} ({rule[0]})" if rule and told else parameter.help
    return parameter.name, " or ".join(parameter.kinds), repr(parameter.default), words


def entry_of(path: Path) -> Entry:
    """Read what is known of a notebook.

    Args:
        path: The file.

    Returns:
        The entry.

    Raises:
        NotebookError: It is no notebook, or its parameters cannot be read.
    """
    notebook = read_notebook(path)
    words = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    title = re.search(r"^# +(.+)$", words, flags=re.MULTILINE)
    rest = words[title.end() :] if title else words
    return Entry(
        path=path,
        question=plain_text(title[1]) if title else path.stem,
        about=plain_text(first_paragraph(rest)),
        parameters=tuple(parameters_of(notebook, str(path))),
    )


def first_paragraph(markdown: str) -> str:
    """Return the first paragraph of words.

    Example:
        >>> first_paragraph(chr(10).join(["## A heading", "", "Words, *and*", "more.", "", "Next."]))
        'Words, *and* more.'
    """
    blocks = [block.strip() for block in re.split(r"\n\s*\n", markdown)]
    words: Any = (block for block in blocks if block and block[0] not in "#|>-$!<")
    return " ".join(next(words, "").split())


def plain_text(markdown: str) -> str:
    """Return Markdown without its marks; formulas stay as they are.

    Example:
        >>> plain_text("**All** of `it`, see [there](x.html), where $w_{*} = 0$")
        'All of it, see there, where $w_{*} = 0$'
    """
    parts = FORMULA.split(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown))
    words = [re.sub(r"(\*\*|__|`|(?<!\w)[*_]|[*_](?!\w))", "", part) for part in parts[::2]]
    formulas = [f"${part}$" for part in parts[1::2]] + [""]
    return "".join(word + between for word, between in zip(words, formulas, strict=True)).strip()
