"""Arguments of the wrong kind: told at once, by what was called, and with what to pass instead."""

from __future__ import annotations

from types import UnionType
from typing import Any

from torch import nn

from landscape.errors import ConfigError, LandscapeError, shown
from landscape.objective import Objective


def check_kind(
    value: object,
    kind: type | UnionType,
    what: str,
    *,
    expected: str | None = None,
    fix: str,
    error: type[LandscapeError] = ConfigError,
) -> Any:
    """Return a value of the right kind, or raise the error about it.

    Args:
        value: What was passed.
        kind: What it must be an instance of.
        what: One sentence about what is wrong where it is not.
        expected: What would have been right; by default the kind's name.
        fix: What to pass instead.
        error: The class of the error.

    Raises:
        ConfigError: It is of another kind; or the error that was asked for.
    """
    if not isinstance(value, kind):
        raise error(what, expected=expected or f"a {getattr(kind, '__name__', kind)}", got=shown(value), fix=fix)
    return value


def check_objective(value: object, asked: str, *, name: str = "objective") -> Objective:
    """Return an objective, or say how what came instead becomes one.

    Args:
        value: What was passed.
        asked: The function that it was passed to.
        name: What the argument is called.

    Raises:
        ConfigError: It is no objective.
    """
    fix = "Make one first: Objective(model, data), or run.objective()."
    if isinstance(value, nn.Module):
        fix = "Wrap the model first: Objective(model, data)."
    elif not isinstance(value, type) and callable(getattr(value, "objective", None)):
        fix = "Pass its loss: run.objective()."
    return check_kind(
        value, Objective, f"The {name} of {asked} is no objective.", expected="an Objective: model, data, loss", fix=fix
    )
