"""What an attack is asked to do, checked: radii, steps, starts, data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from landscape.config import is_number, is_whole, require
from landscape.datasets import Dataset
from landscape.errors import ConfigError, DataError, shown, unknown_name
from landscape.progress import progress_bar
from landscape.robustness.attacks import ATTACKS, Attack, Stream
from landscape.robustness.pixels import LOSSES
from landscape.seeding import generator

OVERSHOOT = 0.02  # Moosavi-Dezfooli et al. 2016, section 3
BATCH = 128
LONGEST = 1e15  # of radii and steps: their squares are far within float32

Result = TypeVar("Result")


def check_data(data: Any) -> None:
    """Refuse what does not know how its inputs are normalized.

    Raises:
        DataError: It is no Dataset.
    """
    if not isinstance(data, Dataset):
        raise DataError(
            "The data is no Dataset.",
            expected="a landscape Dataset, which knows how inputs are normalized",
            got=type(data).__name__,
            fix='Use run.dataset("test") or Dataset(...).',
        )


def over_batches(
    work: Callable[[slice], Result], count: int, batch_size: int, *, name: str, progress: bool
) -> list[Result]:
    """Attack batch by batch behind a progress bar; after Ctrl-C return what was done by then.

    Args:
        work: What is done with the examples of a slice.
        count: How many examples there are.
        batch_size: How many at a time.
        name: What the bar says.
        progress: Whether it is shown.

    Returns:
        What each batch gave.

    Raises:
        KeyboardInterrupt: Nothing was done.
    """
    found: list[Result] = []
    with progress_bar(total=count, desc=name, unit="example", enabled=progress) as bar:
        try:
            for first in range(0, count, batch_size):
                part = slice(first, min(first + batch_size, count))
                found.append(work(part))
                bar.update(part.stop - part.start)
        except KeyboardInterrupt:
            if not found:
                raise
    return found


def streams(attack: str, first: int, seed: int, device: torch.device) -> Stream:
    """Return the generators of the random starts of the batch that begins with an example."""
    return lambda start: generator(seed, "robustness", attack, first, start, device=device)


def radii_of(epsilon: float | Sequence[float]) -> list[float]:
    """Return the radii in ascending order, each once.

    Raises:
        ConfigError: One is negative, above 1e15 or no number, or there is none.
    """
    given: Any = [epsilon] if is_number(epsilon) else epsilon
    several = isinstance(given, Sequence | np.ndarray) and not isinstance(given, str) and len(given) > 0
    numbers = several and all(is_number(each) or isinstance(each, np.number) for each in given)
    values = [float(each) for each in given] if numbers else [math.nan]
    if not all(0 <= each <= LONGEST for each in values):
        raise ConfigError(
            "epsilon is out of range.",
            expected=f"a radius of at least 0 and at most {LONGEST:g}, or several of them",
            got=shown(epsilon),
            fix="Pixels run from 0 to 1: L-infinity radii are a few / 255, L2 radii about 0.1 to 2.",
        )
    return sorted(set(values))


def checked(
    attack: str,
    steps: int | None,
    step_size: float | None,
    starts: int | None,
    loss: str,
    overshoot: float,
    batch_size: int,
    seed: int,
) -> Attack:
    """Check the settings and return the attack.

    Raises:
        ConfigError: The attack or loss is unknown, or a setting is out of range or not read by the attack.
    """
    if not isinstance(attack, str) or attack not in ATTACKS:
        raise unknown_name("attack", attack, ATTACKS)
    if not isinstance(loss, str) or loss not in LOSSES:
        raise unknown_name("loss", loss, LOSSES)
    for name, count in (("steps", steps), ("starts", starts), ("batch_size", batch_size)):
        require(count is None or (is_whole(count) and count >= 1), name, "a whole number of at least 1", count)
    long = is_number(step_size) and 0 < step_size <= LONGEST
    require(step_size is None or long, "step_size", f"a number above 0 and at most {LONGEST:g}", step_size)
    require(is_whole(seed), "seed", "a whole number", seed)
    far = is_number(overshoot) and 0 <= overshoot <= LONGEST
    require(far, "overshoot", f"a number of at least 0 and at most {LONGEST:g}", overshoot)
    chosen = ATTACKS[attack]
    for name, value in (("steps", steps), ("step_size", step_size), ("starts", starts)):
        fix = "Leave it out, or use pgd-l2 or pgd-linf."
        require(value is None or name in chosen.reads, name, f"nothing: {attack} does not read it", value, fix)
    return chosen
