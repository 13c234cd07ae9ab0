"""What an explorer of robustness says: radii in their units, answers with a probability, attacks with their effort."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.plotting.robustness import radius_factor
from landscape.plotting.scale import plural

if TYPE_CHECKING:
    from landscape.robustness import PerturbedInputs, RobustAccuracy

_LOSSES = {"margin": "the margin", "cross_entropy": "the cross-entropy"}


def unit_factor(images: bool, norm: str) -> float:
    """Return by what a radius is multiplied where it is drawn: L-infinity radii of images are in 1/255."""
    return radius_factor(norm, images)


def written(images: bool, norm: str) -> Callable[[Any], str]:
    """Return what writes a radius.

    Example:
        >>> written(True, "linf")(8 / 255), written(True, "l2")(0.5)
        ('8/255', '0.5')
    """
    if unit_factor(images, norm) == 1.0:
        return lambda value: f"{float(value):.3g}"
    return lambda value: f"{255 * float(value):.3g}/255"


def radius_name(images: bool, norm: str, symbol: str) -> str:
    """Name a radius with its norm and unit.

    Example:
        >>> radius_name(True, "l2", "ε")
        'ε (L2 norm, pixels from 0 to 1)'
    """
    if norm == "l2":
        return f"{symbol} (L2 norm{', pixels from 0 to 1' * images})"
    return f"{symbol} (L∞ norm{', in 1/255' * images})"


def percent(share: float) -> str:
    """Write a probability so that 100 % means 1.

    Example:
        >>> percent(0.9999), percent(0.5), percent(1e-5)
        ('> 99.9 %', '50.0 %', '< 0.1 %')
    """
    if 0.999 < share < 1:
        return "> 99.9 %"
    return "< 0.1 %" if 0 < share < 0.001 else f"{100 * share:.1f} %"


def class_name(found: PerturbedInputs, number: Any) -> str:
    """Return what a class is called."""
    return found.class_names[int(number)]


def answer(found: PerturbedInputs, row: int | None, example: int) -> str:
    """Say what a network makes of an example, with its probability.

    Args:
        found: The changed inputs.
        row: At which radius; None for the example as it is.
        example: Which one.
    """
    shares = found.probabilities(row)[example]
    if not np.isfinite(shares).all():
        return "says nothing: its outputs are not finite"
    best = int(np.argmax(shares))
    verdict = "right" if best == found.labels[example] else "wrong"
    return f"says {class_name(found, best)} ({percent(float(shares[best]))}): {verdict}"


def change_said(found: PerturbedInputs, row: int, example: int) -> str:
    """Say what the attack did to an example, in a sentence."""
    if int(np.argmax(found.clean_logits[example])) != found.labels[example]:
        return "It is wrong as it is, so no change is looked for."
    write = written(found.images, found.norm)
    own = percent(float(found.probabilities(row)[example][found.labels[example]]))
    size = write(found.sizes[row, example])
    said = f"Within ε = {write(found.epsilons[row])} it {answer(found, row, example)}"
    return f"{said}, and gives the label {own}; the change has norm {size}."


def accuracy_said(over: RobustAccuracy, row: int, radius: str) -> str:
    """Say how many examples hold within a radius, with the interval, and by which attack that is known."""
    share, (low, high) = 100 * over.accuracy[row], 100 * over.interval[row]
    said = f"Within ε = {radius} it keeps {share:.1f} % of {over.examples:,} examples"
    said += f" (Wilson's 95 % interval {low:.1f} to {high:.1f})"
    if over.epsilons[0] == 0:
        said += f"; as they are, {100 * over.accuracy[0]:.1f} %"
    return f"{said}. {effort_said(over)}."


def effort_said(over: RobustAccuracy) -> str:
    """Say which attack a number is by, and how hard it tried."""
    told = []
    for one in over.settings.get("together", [over.settings]):
        tried = [plural(one["steps"], "step")] if one.get("steps") else []
        tried += [plural(one["starts"], "start")] if one.get("starts") else []
        tried += [f"up {_LOSSES[one['loss']]}"] if one.get("loss") in _LOSSES else []
        told.append(f"{one.get('attack', over.attack)} ({', '.join(tried)})" if tried else over.attack)
    return f"Attack: {' and '.join(dict.fromkeys(told))}"


def drawable(values: np.ndarray) -> np.ndarray:
    """Return an example as a picture knows it: (H, W) or (3, H, W) for an image, else (K,)."""
    if values.ndim == 3 and values.shape[0] in (1, 3):
        return values[0] if values.shape[0] == 1 else values
    if values.ndim == 2 and values.shape[0] > 1:
        return values
    return values.reshape(-1)
