"""The measures as a table to read: name, formula, unit, cost, and what each one does not see."""

from __future__ import annotations

import re
from collections.abc import Iterable

from landscape.sharpness.measures import MEASURES, chosen_measures

_SHORT = {"relu_rescaling": "rescaled units", "loss_shift": "shifted loss", "logit_scale": "scaled logits"}


def measures_table(names: str | Iterable[str] | None = None) -> str:
    r"""Write what measures are as a table in Markdown, with formulas in TeX.

    ``print(MEASURES["lpf"])`` shows all that there is to know about one of them.

    Args:
        names: One or more names of :data:`MEASURES`; all by default.

    Returns:
        A row for each: its name (with a star where a larger value means flatter) and its unit, its formula and what it
        takes, and by which changes it is not moved, of :data:`landscape.sharpness.INVARIANCES`.

    Raises:
        ConfigError: A name is unknown, or none is given.

    Example:
        >>> print(measures_table(["fisher_rao", "trace"]).splitlines()[-1].partition("<small>takes ")[2])
        `probes` Hessian products</small> | shifted loss |
    """
    chosen = chosen_measures(names)
    head = ["measure", "definition", "not moved by"]
    return "\n".join([_line(head), _line(["---"] * len(head)), *map(_row, chosen)])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row(name: str) -> str:
    entry = MEASURES[name]
    bars = entry.formula.replace(r"\|", r"\Vert ").replace("|", r"\vert ")  # a bar would end the cell
    kept = ", ".join(words for change, words in _SHORT.items() if change in entry.invariances)
    takes = re.sub(rf"\b({'|'.join(entry.parameters) or '$.'})\b", r"`\1`", entry.cost)
    title = f"`{name}`{'*' * (entry.larger == 'flatter')}<br><small>{entry.unit}</small>"
    return _line([title, f"${bars}$<br><small>takes {takes}</small>", kept])
