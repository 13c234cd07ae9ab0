"""What can be changed in a panel: named lists of values, so that every setting is exact and can be precomputed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from landscape.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Control:
    """One slider, menu or row of buttons over an explicit list of values.

    Attributes:
        name: The argument of the panel's ``compute`` that it sets.
        label: What a reader sees, with symbol and unit.
        options: Pairs (text, value).
        value: Where it starts; one of the values.
        kind: "slider", "menu" or "buttons".
    """

    name: str
    label: str
    options: tuple[tuple[str, Any], ...]
    value: Any
    kind: Literal["slider", "menu", "buttons"] = "slider"

    def __post_init__(self) -> None:
        if not self.options:
            raise ConfigError(f"The control {self.name!r} has no values.")
        self.check(self.value)

    def check(self, value: Any) -> None:
        """Refuse a value that is not in the list.

        Raises:
            ConfigError: It is not.
        """
        if not any(value is other or value == other for _, other in self.options):
            raise ConfigError(
                f"{self.label} has no value {value!r}.",
                expected="one of " + ", ".join(text for text, _ in self.options),
            )

    def text(self, value: Any) -> str:
        """Return what a reader sees for a value."""
        return next(text for text, other in self.options if value is other or value == other)


def slider(
    name: str,
    label: str,
    values: Iterable[float],
    *,
    value: float | None = None,
    text: Callable[[Any], str] = "{:.4g}".format,
) -> Control:
    """Make a slider over numbers.

    Args:
        name: The argument that it sets.
        label: What a reader sees.
        values: The stops, in order.
        value: Where it starts; the first stop by default.
        text: How a stop is written. Two stops must not look the same.

    Returns:
        The control.

    Raises:
        ConfigError: There are no values, ``value`` is not among them, or two look the same.

    Example:
        >>> slider("rho", "radius ρ", [0.0, 0.05]).options
        (('0', 0.0), ('0.05', 0.05))
    """
    stops = [float(stop) for stop in values]
    options = tuple((text(stop), stop) for stop in stops)
    if len({shown for shown, _ in options}) < len(options):
        raise ConfigError(
            f"Two stops of {label} look the same.", got=[shown for shown, _ in options], fix="Leave one out."
        )
    start = value if value is not None else (stops[0] if stops else 0.0)
    return Control(name=name, label=label, options=options, value=start)


def menu(name: str, label: str, names: Iterable[str], *, value: str | None = None) -> Control:
    """Make a menu over names.

    Args:
        name: The argument that it sets.
        label: What a reader sees.
        names: The choices.
        value: Where it starts; the first choice by default.

    Returns:
        The control.

    Raises:
        ConfigError: There are no names, or ``value`` is not among them.
    """
    options = tuple((str(choice), str(choice)) for choice in names)
    start = value if value is not None else (options[0][1] if options else "")
    return Control(name=name, label=label, options=options, value=start, kind="menu")
