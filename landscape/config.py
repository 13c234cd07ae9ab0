"""Frozen settings that travel: strict types, JSON in and out, and one hash that is the same everywhere."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypeGuard, Union, get_args, get_origin, get_type_hints

import numpy as np

from landscape.errors import ConfigError, shown, unknown_name


def is_whole(value: object) -> TypeGuard[int]:
    """Tell whether a value is a whole number, Python's or NumPy's; true and false are none.

    Example:
        >>> is_whole(np.int64(3)), is_whole(3.0), is_whole(True)
        (True, False, False)
    """
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a whole or floating-point number, Python's or NumPy's; true and false are none.

    Example:
        >>> is_number(np.float32(0.5)), is_number("0.5")
        (True, False)
    """
    return is_whole(value) or isinstance(value, float | np.floating)


def require(condition: bool, field: str, expected: str, got: object, fix: str | None = None) -> None:
    """Raise a ConfigError about one field unless a condition holds.

    Args:
        condition: What must be true.
        field: The setting's name.
        expected: What would be right.
        got: The value found.
        fix: What to do; by default, to set the field.

    Raises:
        ConfigError: The condition does not hold.
    """
    if not condition:
        raise ConfigError(
            f"{field} is out of range.", expected=expected, got=shown(got), fix=fix or f"Set {field} accordingly."
        )


def require_name(kind: str, value: object, valid: Iterable[str]) -> None:
    """Raise the error for an unknown name unless a value is one of some names.

    Args:
        kind: What the name stands for ("norm", "engine").
        value: The value found, of any type.
        valid: The names that there are.

    Raises:
        ConfigError: It is none of them.
    """
    names = tuple(valid)
    if not (isinstance(value, str) and value in names):
        raise unknown_name(kind, value, names)


def _convert(field: str, kind: Any, value: Any) -> Any:
    """Check a value against an annotation; only int to float and list to tuple are converted."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _convert_union(field, kind, value)
    if origin is Literal:
        if value in get_args(kind) and type(value) in {type(option) for option in get_args(kind)}:
            return value
        raise unknown_name(f"value for {field}", value, [str(option) for option in get_args(kind)])
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _type_error(field, kind, value)
        item = get_args(kind)[0]
        return tuple(_convert(f"{field}[{k}]", item, entry) for k, entry in enumerate(value))
    if origin is dict or kind is dict:
        if not (isinstance(value, Mapping) and all(isinstance(key, str) for key in value)):
            raise _type_error(field, kind, value)
        return dict(value)
    if isinstance(value, np.integer | np.floating | np.bool_):
        value = value.item()
    if kind is float and type(value) in (int, float):
        if not _finite(value):
            raise ConfigError(
                f"{field} must be finite.", expected="a finite number", got=value, fix=f"Set {field} to a number."
            )
        return float(value)
    if type(value) is kind:
        return value
    raise _type_error(field, kind, value)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of some hundred digits
        return False


def _convert_union(field: str, kind: Any, value: Any) -> Any:
    options = get_args(kind)
    if value is None and type(None) in options:
        return None
    errors: list[ConfigError] = []
    for option in options:
        if option is type(None):
            continue
        try:
            return _convert(field, option, value)
        except ConfigError as error:
            errors.append(error)
    raise errors[0] if len(errors) == 1 else _type_error(field, kind, value)


def _type_error(field: str, kind: Any, value: Any) -> ConfigError:
    wanted = kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind).replace("typing.", "")
    return ConfigError(
        f"{field} has the wrong type.",
        expected=wanted,
        got=f"{value!r} ({type(value).__name__})",
        fix=f"Give {field} as {wanted}.",
    )


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of all settings: subclasses are frozen keyword-only dataclasses with JSON-able fields.

    Types are strict on construction: nothing is guessed, only whole numbers become floats where floats are wanted.

    Attributes:
        LATER: Fields that came after runs were made; see :attr:`hash`.

    Raises:
        ConfigError: A field is unknown, has the wrong type or is out of range.
    """

    LATER: ClassVar[frozenset[str]] = frozenset()

    def __new__(cls, *values: object, **named: object) -> Self:
        """Refuse what is no field, naming the nearest one."""
        if values:
            raise ConfigError(
                f"The settings of {cls.__name__} are given by name.", got=values[0], fix=f"{cls.__name__}(name=value)."
            )
        names = [field.name for field in dataclasses.fields(cls)]
        for name in named:
            if name not in names:
                raise unknown_name("key", name, names)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = _convert(field.name, hints[field.name], getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        self.validate()

    def validate(self) -> None:
        """Check what a single field's type cannot say; subclasses raise ConfigError here."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values, in the order of their definition."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build the settings from a mapping; missing keys take their defaults.

        Args:
            values: Field name to value.

        Returns:
            The settings.

        Raises:
            ConfigError: A key is unknown (the message names the nearest valid one), or a value is wrong.
        """
        if not isinstance(values, Mapping):
            raise ConfigError("A configuration is no JSON object.", expected="an object", got=type(values).__name__)
        return cls(**dict(values))

    def to_json(self) -> str:
        """Return the settings as indented JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the settings from JSON text.

        Args:
            text: A JSON object.

        Returns:
            The settings.

        Raises:
            ConfigError: The text is not JSON, a key is unknown, or a value is wrong.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ConfigError("The configuration is not valid JSON.", got=str(error), fix="Mend the text.") from error
        return cls.from_dict(values)

    @property
    def hash(self) -> str:
        """64 hexadecimal digits: the SHA-256 of the canonical JSON (sorted keys, no spaces, all defaults filled in).

        Fields of ``LATER`` are left out where they have their default, so that older settings keep their hash.
        """
        values = self.to_dict()
        plain = type(self)().to_dict() if self.LATER else {}
        kept = {name: value for name, value in values.items() if name not in self.LATER or value != plain[name]}
        text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(f"{type(self).__name__}:{text}".encode()).hexdigest()

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed.

        Args:
            **changes: Field name to new value.

        Returns:
            The new settings.

        Raises:
            ConfigError: A name is unknown or a value is wrong.
        """
        present = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return type(self)(**{**present, **changes})


def field_help(cls: type[Config]) -> dict[str, str]:
    """Return the description of each field, from the ``Attributes`` section of the class's docstring.

    Args:
        cls: A settings class.

    Returns:
        Field name to its description, one line.
    """
    found: dict[str, str] = {}
    name = None
    section = (cls.__doc__ or "").partition("Attributes:")[2].partition("Raises:")[0]
    for line in section.splitlines():
        text = line.strip()
        head, colon, rest = text.partition(": ")
        if colon and head.isidentifier() and line.startswith(" " * 8) and not line.startswith(" " * 9):
            name, found[head] = head, rest
        elif name and text and line.startswith(" " * 12):
            found[name] += " " + text
        else:
            name = None
    return found


def field_type(cls: type[Config], name: str) -> Any:
    """Return the resolved annotation of a field."""
    return typing.get_type_hints(cls)[name]
