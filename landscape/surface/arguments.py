"""Arguments of surfaces that are of the wrong kind: told at once, and with what to pass instead."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

from landscape.arguments import check_objective
from landscape.config import is_number, is_whole
from landscape.errors import ConfigError, MismatchError, shown


def check_statistics(value: object) -> None:
    """Raise a ConfigError unless ``statistics_from`` is an objective or None."""
    if value is not None:
        check_objective(value, "a point's statistics", name="source (statistics_from)")


def check_callback(on_update: object) -> None:
    """Raise a ConfigError unless ``on_update`` is None or can be called."""
    if on_update is not None and (not callable(on_update) or isinstance(on_update, nn.Module)):
        raise ConfigError(
            "on_update is no function.",
            expected="a function of the result so far, or None",
            got=shown(on_update),
            fix="For example on_update=lambda result: print(result).",
        )


def check_axis_vector(vector: object) -> None:
    """Raise a MismatchError unless something can be the vector of a direction: (P,), real and floating-point."""
    if isinstance(vector, Tensor) and vector.ndim == 1 and vector.is_floating_point():
        return
    fix = "Pass a vector (P,) in the order of named_parameters, for example torch.randn(objective.size)."
    if isinstance(vector, np.ndarray):
        fix = "Pass torch.from_numpy(vector)."
    elif isinstance(vector, Tensor) and vector.is_complex():
        fix = "Pass its real or its imaginary part: vector.real, vector.imag."
    elif isinstance(vector, Tensor):
        fix = "Pass vector.float().flatten()."
    raise MismatchError(
        "A direction's vector is no vector of weights.",
        expected="a floating-point tensor of shape (P,)",
        got=shown(vector) if not isinstance(vector, Tensor) else f"shape {tuple(vector.shape)}, {vector.dtype}",
        fix=fix,
    )


def check_record(texts: Mapping[str, object], maybe_texts: Mapping[str, object], seed: object, details: object) -> None:
    """Check that what is known of a direction can be written down beside its results, as JSON.

    Args:
        texts: Name to what must be text.
        maybe_texts: Name to what must be text or None.
        seed: A whole number, or None.
        details: Plain JSON values by name.

    Raises:
        ConfigError: One of them is something else.
    """
    faults = [(name, "a text", value) for name, value in texts.items() if not isinstance(value, str)]
    faults += [
        (name, "a text, or None", value)
        for name, value in maybe_texts.items()
        if not (value is None or isinstance(value, str))
    ]
    if not (seed is None or is_whole(seed)):
        faults.append(("seed", "a whole number, or None", seed))
    try:
        plain = isinstance(details, Mapping) and bool(json.dumps(dict(details)))
    except (TypeError, ValueError):
        plain = False
    if not plain:
        faults.append(("details", "plain JSON values by name", details))
    for name, expected, value in faults:
        raise ConfigError(
            f"A direction's {name} cannot be written down.",
            expected=expected,
            got=shown(value),
            fix="Every result saves it as JSON: convert it, or keep it elsewhere.",
        )


def is_place(place: object) -> bool:
    """Tell whether something is a point of a plane: two finite numbers.

    Example:
        >>> is_place((0.0, 1)), is_place((0.0, "1")), is_place(0.0)
        (True, False, False)
    """
    numbers = isinstance(place, tuple | list) and len(place) == 2 and all(map(is_number, place))
    return numbers and all(map(math.isfinite, place))  # type: ignore[arg-type]


def check_marks(marks: object) -> None:
    """Raise a ConfigError unless marks are names and their places: (alpha, beta)."""
    named = isinstance(marks, Mapping) and all(isinstance(name, str) for name in marks)
    if not (named and all(map(is_place, marks.values()))):  # type: ignore[union-attr]
        raise ConfigError(
            "The plane's marks are no places by name.",
            expected="name to (alpha, beta), finite numbers",
            got=shown(marks),
            fix='For example marks={"start": (0.0, 0.0)}.',
        )
