"""The common scale of values that are compared: linear or log10, clipped or not, with ticks in their own units."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from landscape.errors import ConfigError


def spans_decade(values: np.ndarray) -> bool:
    """Tell whether all finite values are positive and the largest is more than 10 times the smallest.

    Example:
        >>> spans_decade(np.array([0.1, 2.0, np.nan])), spans_decade(np.array([0.0, 2.0]))
        (True, False)
    """
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() > 10 * finite.min())


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One scale for everything that is drawn side by side.

    ``low`` and ``high`` are drawn coordinates: log10 of the value where ``log``, else the value.
    """

    log: bool
    clip: float | None
    low: float
    high: float

    def drawn(self, values: np.ndarray) -> np.ndarray:
        """Map values to drawn coordinates; what cannot be drawn (NaN, inf, and <= 0 on a log scale) becomes NaN."""
        values = np.array(values, dtype=float)
        values[~np.isfinite(values)] = np.nan
        if self.clip is not None:
            values = np.minimum(values, self.clip)
        if not self.log:
            return values
        return np.log10(values, out=np.full_like(values, np.nan), where=values > 0)

    def ticks(self, most: int = 7) -> tuple[list[float], list[str]]:
        """Return tick positions in drawn coordinates and their texts in the values' units.

        Args:
            most: How many ticks there may be.
        """
        if not self.log:
            step = nice_step((self.high - self.low) / max(most - 1, 1))
            first = math.ceil(self.low / step - 1e-9)
            values = [step * i for i in range(first, math.floor(self.high / step + 1e-9) + 1)]
            return values, [tick_text(value) for value in values]
        for digits in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
            values = self._log_values(digits)
            if len(values) <= most:
                break
        else:
            values = values[:: math.ceil(len(values) / most)]
        return [math.log10(value) for value in values], [tick_text(value) for value in values]

    def _log_values(self, digits: tuple[float, ...]) -> list[float]:
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        values = [digit * 10.0**decade for decade in decades for digit in digits]
        return [value for value in values if self.low - 1e-9 <= math.log10(value) <= self.high + 1e-9]


_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def tick_text(value: float) -> str:
    """Write a tick's value: plain from 0.001 to 10000, else with a power of ten.

    Example:
        >>> tick_text(0.05), tick_text(3e-5), tick_text(1e6)
        ('0.05', '3·10⁻⁵', '10⁶')
    """
    if value == 0 or 0.999e-3 <= abs(value) < 2e4:
        return f"{value:.6g}".replace("-", "−")
    mantissa, exponent = f"{value:.3e}".split("e")
    power = "10" + str(int(exponent)).translate(_SUPERSCRIPTS)
    digits = f"{float(mantissa):g}".replace("-", "−")
    return power if digits == "1" else f"{digits}·{power}"


def nice_step(rough: float) -> float:
    """Round a step up to 1, 2, 2.5 or 5 times a power of ten.

    Example:
        >>> nice_step(0.13)
        0.2
    """
    if not rough > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * digit for digit in (1, 2, 2.5, 5, 10) if power * digit >= rough * (1 - 1e-9))


def common_scale(arrays: Iterable[np.ndarray], *, log: bool | None = None, clip: float | None = None) -> Scale:
    """Choose one scale for several arrays.

    Args:
        arrays: The values that are drawn, any shapes, NaN and infinities allowed.
        log: True for log10, False for linear, None for log10 where all finite values are positive and span more than
            one decade.
        clip: Larger values are drawn at this value. None draws them as they are.

    Returns:
        The scale. Where nothing can be drawn it runs from 0 to 1.

    Raises:
        ConfigError: ``clip`` is not a finite number, or not positive on a log scale.
    """
    values = np.concatenate([np.asarray(array, dtype=float).ravel() for array in arrays] or [np.zeros(0)])
    if clip is not None and not math.isfinite(clip):
        raise ConfigError("The clip value is not finite.", got=clip, fix="Use clip=None to draw all values.")
    log = spans_decade(values) if log is None else log
    if log and clip is not None and clip <= 0:
        raise ConfigError("A log scale needs a positive clip value.", got=clip, fix="Use log=False, or a clip above 0.")
    drawn = Scale(log=log, clip=clip, low=0, high=1).drawn(values)
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return Scale(log=log, clip=clip, low=0.0, high=1.0)
    low, high = float(drawn.min()), float(drawn.max())
    if high - low < 1e-12 * max(1.0, abs(high)):
        pad = 0.5 if log else 0.5 * abs(high) or 0.5
        low, high = low - pad, high + pad
    return Scale(log=log, clip=clip, low=low, high=high)


def plural(count: int, noun: str) -> str:
    """Write a count with its noun.

    Example:
        >>> plural(1, "cell"), plural(2, "cell")
        ('1 cell', '2 cells')
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
