"""The table of measures: each one's name, formula, unit, cost, and what does not move it."""

from __future__ import annotations

import re

import pytest

from landscape.errors import ConfigError
from landscape.notebooks.formulas import formula
from landscape.sharpness import MEASURES, measures_table


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_each_measure_has_a_row_of_as_many_cells_as_the_head() -> None:
    head, rule, *rows = measures_table().splitlines()
    assert set(rule) <= set("|- ")
    titles = [cells(row)[0].partition("<br>")[0] for row in rows]
    assert titles == [f"`{name}`" + "*" * (entry.larger == "flatter") for name, entry in MEASURES.items()]
    assert {len(cells(row)) for row in rows} == {len(cells(head))}  # no bar of a formula ends a cell


@pytest.mark.parametrize("name", MEASURES)
def test_a_row_says_what_the_measure_says(name: str) -> None:
    title, written, kept = cells(measures_table([name]).splitlines()[2])
    entry = MEASURES[name]
    assert title.endswith(f"<br><small>{entry.unit}</small>")
    takes = written.partition("<br><small>takes ")[2]
    assert takes.replace("`", "") == f"{entry.cost}</small>"
    assert set(re.findall("`(.*?)`", takes)) == set(re.findall(r"\w+", entry.cost)) & set(entry.parameters)
    assert ("rescaled units" in kept) == ("relu_rescaling" in entry.invariances)
    assert ("shifted loss" in kept) == ("loss_shift" in entry.invariances)
    assert ("scaled logits" in kept) == ("logit_scale" in entry.invariances)
    found = re.match(r"\$([^$|]+)\$<br>", written)
    assert found and formula(found[1]).startswith("<svg")  # pages without a network draw it


def test_unknown_names_and_none() -> None:
    with pytest.raises(ConfigError, match="'traze'.*Did you mean 'trace'"):
        measures_table(["traze"])
    with pytest.raises(ConfigError, match="No measure is named"):
        measures_table([])


def test_one_name_is_one_row_as_for_measure():
    assert measures_table("trace") == measures_table(["trace"]) == measures_table(["trace", "trace"])
    with pytest.raises(ConfigError, match="Unknown measure 'traze'"):
        measures_table("traze")
    with pytest.raises(ConfigError, match="Unknown measure 3"):
        measures_table([3])  # type: ignore[list-item]
