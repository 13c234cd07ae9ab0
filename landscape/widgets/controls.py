"""What can be changed in a panel: named lists of values, so that every setting is exact and can be precomputed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from landscape.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Control:
    """One slider, menu, row of buttons or list of check marks over explicit values.

    Attributes:
        name: The argument of the panel's ``compute`` that it sets.
        label: What a reader sees, with symbol and unit.
        options: Pairs (text, value).
        value: Where it starts; one of the values, or a tuple of them for "many".
        kind: "slider", "menu", "buttons", or "many" for any number of the values at once.
        only: (name of another control, its values) for which this one is shown; None always shows it.
        help: What it does, in a sentence: the tooltip.
    """

    name: str
    label: str
    options: tuple[tuple[str, Any], ...]
    value: Any
    kind: Literal["slider", "menu", "buttons", "many"] = "slider"
    only: tuple[str, tuple[Any, ...]] | None = None
    help: str = ""

    def __post_init__(self) -> None:
        if not self.options:
            raise ConfigError(f"The control {self.name!r} has no values.")
        self.check(self.value)

    def check(self, value: Any) -> None:
        """Refuse a value that is not in the list.

        Raises:
            ConfigError: It is not.
        """
        for one in self._each(value):
            if not any(_same(one, other) for _, other in self.options):
                raise ConfigError(
                    f"{self.label} has no value {one!r}.",
                    expected="one of " + ", ".join(text for text, _ in self.options),
                )

    def text(self, value: Any) -> str:
        """Return what a reader sees for a value."""
        shown = [next(text for text, other in self.options if _same(one, other)) for one in self._each(value)]
        return ", ".join(shown)

    def applies(self, values: Mapping[str, Any]) -> bool:
        """Tell whether it is shown beside these values of the other controls."""
        return self.only is None or values.get(self.only[0]) in self.only[1]

    def _each(self, value: Any) -> tuple[Any, ...]:
        if self.kind != "many":
            return (value,)
        if not isinstance(value, tuple):
            raise ConfigError(f"{self.label} takes several values.", expected="a tuple", got=repr(value))
        return value


def _same(a: Any, b: Any) -> bool:
    return a is b or a == b


def slider(
    name: str,
    label: str,
    values: Iterable[float],
    *,
    value: float | None = None,
    text: Callable[[Any], str] = "{:.4g}".format,
    only: tuple[str, tuple[Any, ...]] | None = None,
    help: str = "",
) -> Control:
    """Make a slider over numbers.

    Args:
        name: The argument that it sets.
        label: What a reader sees.
        values: The stops, in order.
        value: Where it starts; the first stop by default.
        text: How a stop is written. Two stops must not look the same.
        only: As in :class:`Control`.
        help: As there.

    Returns:
        The control.

    Raises:
        ConfigError: There are no values, ``value`` is not among them, or two look the same.

    Example:
        >>> slider("rho", "radius ρ", [0.0, 0.05]).options
        (('0', 0.0), ('0.05', 0.05))
    """
    stops = [stop if isinstance(stop, int) else float(stop) for stop in values]
    options = tuple((text(stop), stop) for stop in stops)
    if len({shown for shown, _ in options}) < len(options):
        raise ConfigError(
            f"Two stops of {label} look the same.", got=[shown for shown, _ in options], fix="Leave one out."
        )
    start = value if value is not None else (stops[0] if stops else 0.0)
    return Control(name=name, label=label, options=options, value=start, only=only, help=help)


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


def choice(
    name: str,
    label: str,
    options: Mapping[str, Any],
    *,
    value: Any,
    kind: Literal["menu", "buttons", "many"] = "buttons",
    help: str = "",
) -> Control:
    """Make buttons, a menu or a list of check marks over anything.

    Args:
        name: The argument that it sets.
        label: What a reader sees.
        options: Text to value.
        value: Where it starts.
        kind: As in :class:`Control`.
        help: As there.

    Returns:
        The control.

    Raises:
        ConfigError: There are no options, or ``value`` is not among them.

    Example:
        >>> choice("log", "axis", {"log": True, "linear": False}, value=True).text(False)
        'linear'
    """
    return Control(name=name, label=label, options=tuple(options.items()), value=value, kind=kind, help=help)
