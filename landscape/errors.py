"""One family of exceptions. Every message says: what is wrong, what was expected, what came, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LandscapeError(Exception):
    """Base of every error that this package raises on purpose.

    The message is one sentence about what is wrong, followed by what was expected, what was found and
    what to do, each only where given.

    Args:
        what: What is wrong, one sentence.
        expected: What would have been right.
        got: What was found instead.
        fix: What the reader can do now.

    Example:
        >>> print(LandscapeError("rho is out of range.", expected="rho >= 0", got="-1.0", fix="Use rho=0.05."))
        rho is out of range. Expected: rho >= 0. Got: -1.0. What to do: Use rho=0.05.
    """

    def __init__(self, what: str, *, expected: object = None, got: object = None, fix: str | None = None) -> None:
        parts = [what.rstrip()]
        if expected is not None:
            parts.append(f"Expected: {str(expected).rstrip('.')}.")
        if got is not None:
            parts.append(f"Got: {str(got).rstrip('.')}.")
        if fix is not None:
            parts.append(f"What to do: {fix}")
        super().__init__(" ".join(parts))


class ConfigError(LandscapeError, ValueError):
    """A setting is unknown, of the wrong type or out of range."""


class DataError(LandscapeError, ValueError):
    """A dataset is missing, damaged, or holds values that cannot be used (NaN, labels out of range)."""


class ModelError(LandscapeError, ValueError):
    """A model is unknown or cannot be used for what was asked."""


class MismatchError(LandscapeError, ValueError):
    """Two things do not belong together: a plane and a model, a vector and its length, a file and its run."""


class StorageError(LandscapeError, OSError):
    """A file could not be read or written."""


class CorruptFileError(StorageError):
    """A file's content does not match its checksum, or cannot be parsed."""


class LockedError(StorageError):
    """Another process is writing here."""


class OptimizerError(LandscapeError, RuntimeError):
    """An optimizer was called in a way that cannot give a right update."""


class NonFiniteError(LandscapeError, ArithmeticError):
    """A computation that must stay finite produced NaN or infinity."""


class NonDeterministicError(LandscapeError, RuntimeError):
    """A loss that must be a fixed function of the weights gave two values at one point."""


class NotebookError(LandscapeError, RuntimeError):
    """A notebook could not be run, or one of its cells failed."""


class ProcessError(LandscapeError, RuntimeError):
    """A process that was to help ended before its work was done."""


class StudyError(LandscapeError, RuntimeError):
    """A study of several runs could not be finished."""


class MissingDependencyError(LandscapeError, ImportError):
    """An optional package is needed for what was asked."""


_LONGEST = 80  # letters of a value that a sentence has room for


def shown(value: object) -> str:
    """Say what a value is, short enough for a sentence.

    Args:
        value: Anything.

    Returns:
        Its ``repr`` where that is short, else the beginning of a text, the name of a function, the shape of an array,
        or its type's name.

    Example:
        >>> print(shown("plain"), shown([0.5]), shown(ConfigError), shown(range(100)), shown([*range(100)]))
        'plain' [0.5] the class ConfigError itself range(0, 100) list
    """
    if isinstance(value, type):
        return f"the class {value.__name__} itself"
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape:
        return f"{type(value).__name__} of shape {tuple(shape)}, {getattr(value, 'dtype', 'no numbers')}"
    text = repr(value)
    if isinstance(value, str) and len(text) > _LONGEST:
        return f"{text[:_LONGEST]}..."
    if len(text) <= _LONGEST and "\n" not in text and " at 0x" not in text:
        return text
    name = getattr(value, "__name__", None)
    return f"the function {name}" if isinstance(name, str) else type(value).__name__


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the entry of ``valid`` that looks most like ``name``, or None where nothing comes close.

    Args:
        name: What was typed.
        valid: What would have been accepted.

    Returns:
        The closest name by difflib's ratio (at least 0.5), upper and lower case being the same, or None.

    Example:
        >>> nearest("epoch", ["epochs", "seed"])
        'epochs'
    """
    by_folded = {entry.casefold(): entry for entry in valid}
    found = difflib.get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=0.5)
    return by_folded[found[0]] if found else None


def unknown_name(
    kind: str, name: object, valid: Iterable[str], error: type[LandscapeError] = ConfigError
) -> LandscapeError:
    """Build the error for a name that is not in a registry, naming the nearest valid one.

    Args:
        kind: What the name stands for ("dataset", "model", "optimizer", "key").
        name: What was typed.
        valid: The registered names.
        error: The exception class to build; a ConfigError where nothing else fits.

    Returns:
        The exception, not yet raised.

    Example:
        >>> print(unknown_name("optimizer", "samm", ["sgd", "sam"]))
        Unknown optimizer 'samm'. Expected: one of sam, sgd. What to do: Did you mean 'sam'?
    """
    names = sorted(valid)
    if not names:
        return error(f"Unknown {kind} {shown(name)}.", expected=f"no {kind} at all", fix="Remove it.")
    close = nearest(name, names) if isinstance(name, str) else None
    parts = [part.strip() for part in name.split(",")] if isinstance(name, str) else []
    if len(parts) > 1 and all(part in names for part in parts):
        fix = f"Several names stand apart, without commas: {' '.join(parts)}, or {parts!r} in Python."
        return error(f"Unknown {kind} {shown(name)}.", expected="one of " + ", ".join(names), fix=fix)
    fix = f"Did you mean {close!r}?" if close else "Choose one of the names above."
    return error(f"Unknown {kind} {shown(name)}.", expected="one of " + ", ".join(names), fix=fix)


def first_line(error: BaseException) -> str:
    """Return an error's kind and the first line of what it says.

    Example:
        >>> first_line(KeyError("weights")), first_line(AssertionError())
        ("KeyError: 'weights'", 'AssertionError')
    """
    said = str(error).strip().splitlines()
    return (f"{type(error).__name__}: {said[0]}" if said else type(error).__name__)[:300]
