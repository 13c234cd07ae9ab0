"""What the command says to flags that it cannot read: one sentence, as for every other error."""

from __future__ import annotations

import contextlib
import glob
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from landscape.errors import ConfigError, nearest

_RUN, _LISTED = "config.json", 10
_FRAME = "╭╮╰╯│|─ "
_RULE = re.compile("-{3,}")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_KINDS = {"INT": "a whole number", "FLOAT": "a number", "PATH": "a path", "STR": "a text", "{None}": "None"}
_CHOICE = re.compile(r"invalid choice '(?P<got>.*)' for argument '(?P<flag>.*)'\. Expected one of \((?P<all>.*)\)\.")
_VALUE = re.compile(r"Error parsing (?P<flag>[^:]+): (?P<why>.*)")
_TOO_FEW = re.compile(r"Missing value for argument '(?P<flag>.*)'\. Expected (?P<count>\d+) values?\.")


@contextlib.contextmanager
def one_sentence(words: Sequence[str]) -> Iterator[None]:
    """Say what is wrong with the words of a command in one sentence, where the block would draw a box about it.

    Args:
        words: The words after ``landscape``.

    Raises:
        ConfigError: The block ended the process with code 2, having written why to stderr.
    """
    written = io.StringIO()
    try:
        with contextlib.redirect_stderr(written):
            yield
    except SystemExit as stop:
        if stop.code == 2 and written.getvalue().strip():
            raise mistake(written.getvalue(), words) from None
        sys.stderr.write(written.getvalue())
        raise
    sys.stderr.write(written.getvalue())


def mistake(box: str, words: Sequence[str]) -> ConfigError:
    """Turn a box about a command's words into one error; what is not known is told in the box's own words.

    Args:
        box: What the parser of the words wrote.
        words: The words.

    Returns:
        The error, not yet raised.

    Example:
        >>> print(mistake("invalid choice 'b' for argument '--a'. Expected one of ('c', 'd').", ["train"]))
        --a cannot be 'b'. Expected: one of c, d. What to do: `landscape train --help` lists all flags.
    """
    first, *rest = _sections(box)
    fix = _help(words)
    named = [word for word in words[1:] if not word.startswith("-") and _is_run(Path(word))]
    if first.startswith("Unrecognized options") and len(named) > 1:
        return _several(named, f"`{_command(words)} {named[0]}`, for example.")
    left = first.partition(": ")[2].split()
    if first.startswith("Unrecognized options") and len(named) == len(left) == 1 and os.sep in left[0]:
        return ConfigError(
            f"{left[0]} is one folder too many.", expected="the folder of one run", got=f"{named[0]} and {left[0]}",
            fix=f"`{_command(words)} {named[0]}`, and then the other.",
        )  # fmt: skip
    if found := _CHOICE.search(first):
        names = re.findall(r"'([^']*)'", found["all"])
        close = nearest(found["got"], names)
        fix = f"Did you mean {close!r}? {fix}" if close else fix
        return ConfigError(
            f"{found['flag']} cannot be {found['got']!r}.", expected=f"one of {', '.join(names)}", fix=fix
        )
    if found := _VALUE.search(first):
        expected, about = _expected(rest, found["flag"])
        got = _given(words, found["flag"]) or found["why"]
        return ConfigError(f"{found['flag']} cannot be read{about}.", expected=expected, got=got, fix=fix)
    if found := _TOO_FEW.search(first):
        flag, count = found["flag"], int(found["count"])
        return ConfigError(
            f"{flag} has no value." if count == 1 else f"{flag} has too few values.",
            expected=f"{flag} and {'a value' if count == 1 else f'{count} values'} behind it",
            fix=fix,
        )
    if first.startswith("Missing from"):
        name, _, about = first.partition(":")[2].strip().partition(" ")
        what = f"{name} is missing: {about.removesuffix('(required)').strip()}"
        return ConfigError(what, expected=f"{_command(words)} {name}", fix=fix)
    if first.startswith("Expected one of {"):
        return ConfigError("No command is given.", expected=f"one of {first[17:].rstrip('}.')}", fix=fix)
    meant = next((re.search(r"-[-\w]+", text) for text in rest if text.startswith("Perhaps you meant")), None)
    fix = f"Did you mean {meant[0]}? {fix}" if meant and meant[0] not in words else fix
    return ConfigError(first.rstrip(".") + ".", fix=fix)


def one_run(folder: Path) -> Path:
    """Return a folder that is named as a run's; where it is none, but some runs' names are alike, list these.

    Args:
        folder: What was named: a run's folder; or the beginning of its name, a pattern that no shell has read, or the
            folder of several.

    Raises:
        ConfigError: It holds no run, and others come near.
    """
    if _is_run(folder):
        return folder
    pattern = re.sub(r"\*+", "*", folder.name) if "*" in folder.name else f"{glob.escape(folder.name)}*"
    alike = {*folder.parent.glob(f"{pattern}/{_RUN}"), *folder.glob(f"*/{_RUN}")}
    near = sorted(str(path.parent) for path in alike)
    if len(near) == 1:
        raise ConfigError(f"{folder} holds no run.", expected=f"a folder with {_RUN}", fix=f"Did you mean {near[0]}?")
    if near:
        raise _several(near, f"Give the whole name, for example {near[0]}.")
    return folder


def _is_run(folder: Path) -> bool:
    return os.path.isfile(folder / _RUN)


def _several(names: Sequence[str], fix: str) -> ConfigError:
    listed = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    return ConfigError(f"{len(names)} runs match; name one.", expected="the folder of one run", got=listed, fix=fix)


def _sections(box: str) -> list[str]:
    """The texts between the lines of a box, each in one line, without its title; boxes may be drawn in ASCII."""
    parts = [""]
    for line in _COLOR.sub("", box).splitlines():
        text = line.strip(_FRAME)
        if _RULE.fullmatch(text) or not text.strip("─") or line.startswith("╭"):
            parts.append("")
        else:
            parts[-1] += f" {text}"
    texts = [" ".join(part.split()) for part in parts if part.strip()]
    if "╭" not in box and len(texts) > 1:
        del texts[0]  # the title: in a frame it is part of it
    return texts or ["The command is not understood."]


def _expected(sections: Sequence[str], flag: str) -> tuple[str | None, str]:
    """What a flag takes, from its help: "a whole number", and what it is for, in parentheses."""
    text = next((text for text in sections if text.startswith("Argument helptext:")), "")
    text = text.removeprefix("Argument helptext:").strip()
    found = re.match(rf"(?:{re.escape(flag)}|\S+) (?P<kind>\S+) (?P<about>.*)", text)
    if found is None:
        return None, ""
    kinds = found["kind"].split("|")
    named = [_KINDS.get(kind, kind) for kind in kinds if kind != "{None}"]
    about = found["about"].partition(" (default:")[0].partition(" (required")[0].rstrip(".")
    return " or ".join(named) + (", or leave it out" if "{None}" in kinds else ""), f" ({about})" if about else ""


def _given(words: Sequence[str], flag: str) -> str | None:
    names = flag.split("/")
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") in names:
            return repr(value if equals else after)
    return None


def _command(words: Sequence[str]) -> str:
    return f"landscape {words[0]}" if words and not words[0].startswith("-") else "landscape"


def _help(words: Sequence[str]) -> str:
    return f"`{_command(words)} --help` lists all flags."
