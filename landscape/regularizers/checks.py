"""Checks of what the constructors of regularizers are given."""

from __future__ import annotations

import math
from typing import Any

from landscape.config import is_number, is_whole, require
from landscape.errors import ConfigError, shown
from landscape.regularizers.units import InputUnits

_MOST = 1e15


def amount(field: str, value: Any) -> float:
    """Return a radius, weight or length as a float.

    Args:
        field: The argument's name.
        value: What was given.

    Raises:
        ConfigError: It is no number from 0 to 1e15.

    Example:
        >>> amount("epsilon", 1)
        1.0
    """
    fits = is_number(value) and 0 <= value <= _MOST
    require(fits, field, f"a number of at least 0 and at most {_MOST:g}, whose square is far within float32", value)
    return float(value)


def positive(field: str, value: Any) -> float:
    """Return a length as a float.

    Args:
        field: The argument's name.
        value: What was given.

    Raises:
        ConfigError: It is no finite number above 0.
    """
    require(is_number(value) and math.isfinite(value) and value > 0, field, "a finite number above 0", value)
    return float(value)


def count(field: str, value: Any) -> int:
    """Return a number of steps.

    Args:
        field: The argument's name.
        value: What was given.

    Raises:
        ConfigError: It is no whole number of at least 1.
    """
    require(is_whole(value) and value >= 1, field, "a whole number of at least 1", value)
    return int(value)


def whole(field: str, value: Any) -> int:
    """Return a seed.

    Args:
        field: The argument's name.
        value: What was given.

    Raises:
        ConfigError: It is no whole number.
    """
    require(is_whole(value), field, "a whole number", value)
    return int(value)


def units_of(value: Any) -> InputUnits:
    """Return the units.

    Args:
        value: What was given.

    Raises:
        ConfigError: It is no InputUnits.
    """
    if not isinstance(value, InputUnits):
        raise ConfigError(
            "units has the wrong type.",
            expected="InputUnits(mean=..., std=..., limits=...)",
            got=shown(value),
            fix="Use InputUnits.of(dataset), or PIXELS for inputs that are pixels.",
        )
    return value
