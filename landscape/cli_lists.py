"""Flags that take several values: behind one flag, or with the flag repeated; both mean the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from landscape.errors import nearest

_NUMBER = re.compile(r"[-+]?(\.?\d|inf|nan)", re.IGNORECASE)


def _is_pair(word: str) -> bool:
    return "=" in word


def _is_number(word: str) -> bool:
    return _NUMBER.match(word) is not None


def _is_file(word: str) -> bool:
    return Path(word).suffix in (".csv", ".vtp", ".h5")


def _is_attack(word: str) -> bool:
    from landscape.robustness import ATTACKS

    return nearest(word, ATTACKS) is not None


def _is_measure(word: str) -> bool:
    from landscape.sharpness import MEASURES

    return nearest(word, MEASURES) is not None


_OPTIONS: dict[str, Callable[[str], bool]] = dict.fromkeys(
    ("--model-option", "--optimizer-option", "--penalty-option"), _is_pair
)
_REPEATED: Mapping[str, Mapping[str, Callable[[str], bool]]] = {
    "train": _OPTIONS,
    "study": {**_OPTIONS, "--against": _is_pair},
    "robustness": {"--attack": _is_attack, "--epsilon": _is_number},
    "sharpness": {"--measure": _is_measure},
    "surface": {"--export": _is_file},
}
"""Flags whose values the parser takes one at a time, and what looks like another value of theirs."""
_GATHERED = {"train": ("--penalty", "--milestones"), "study": ("--penalty", "--penalties", "--milestones")}
"""Flags whose values the parser takes all together, and of which it forgets all but the last."""


def in_one_form(words: Sequence[str]) -> list[str]:
    """Write the lists among the words of a command in the form that the parser takes.

    A word behind a list is one more of its values where it looks like one, and anything but a folder where the command
    begins with a word that is no flag: that is its run then, or its question.

    Args:
        words: The words after ``landscape``.

    Example:
        >>> in_one_form(["robustness", "runs/a", "--attack", "fgsm", "bim", "--epsilon", "0.5", "8/255"])
        ['robustness', 'runs/a', '--attack', 'fgsm', '--attack', 'bim', '--epsilon', '0.5', '--epsilon', '8/255']
        >>> in_one_form(["train", "--penalty", "gradient", "--lr", "0.1", "--penalty", "spectral"])
        ['train', '--penalty', 'gradient', 'spectral', '--lr', '0.1']
    """
    command = words[0] if words else ""
    return _repeated(_gathered(words, _GATHERED.get(command, ())), _REPEATED.get(command, {}))


def _repeated(words: Sequence[str], lists: Mapping[str, Callable[[str], bool]]) -> list[str]:
    placed = len(words) > 1 and not words[1].startswith("-")
    found: list[str] = []
    flag, values = "", 0
    for word in words:
        if _is_flag(word):
            name, equals, _ = word.partition("=")
            flag, values = name.replace("_", "-"), int(bool(equals))
        elif flag in lists and values:
            if not Path(word).is_dir() if placed else lists[flag](word) and not _is_run(word):
                found.append(flag)
            else:
                flag = ""
        else:
            values += 1
        found.append(word)
    return found


def _gathered(words: Sequence[str], lists: Iterable[str]) -> list[str]:
    values: dict[str, list[str]] = {}
    found: list[str] = []
    flag = None
    for word in words:
        if _is_flag(word):
            name, equals, value = word.partition("=")
            flag = name.replace("_", "-") if name.replace("_", "-") in lists else None
            if flag is not None and flag not in values:
                found.append(flag)
                values[flag] = []
            if flag is not None and equals:
                values[flag].append(value)
            if flag is None:
                found.append(word)
        elif flag is not None:
            values[flag].append(word)
        else:
            found.append(word)
    return [word for each in found for word in (each, *values.get(each, ()))]


def _is_run(word: str) -> bool:
    return (Path(word) / "config.json").is_file()


def _is_flag(word: str) -> bool:
    return word.startswith("-") and not _is_number(word)
