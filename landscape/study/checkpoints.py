"""Which checkpoints of a run are looked at."""

from __future__ import annotations

from collections.abc import Iterable

from landscape.errors import StorageError
from landscape.training.run import Run


def choose_steps(run: Run, steps: Iterable[int] | None) -> list[int]:
    """Return the steps whose checkpoints are looked at.

    Args:
        run: Whose checkpoints.
        steps: The chosen ones; None for all.

    Returns:
        At least one step, in the order given.

    Raises:
        StorageError: The run has no checkpoint of a step.
    """
    there = [step for step, _ in run.checkpoints()]
    chosen = there if steps is None else [int(step) for step in steps]
    if not chosen or (missing := sorted(set(chosen) - set(there))):
        named = ", ".join(map(str, missing)) if chosen else "any"
        raise StorageError(
            f"There is no checkpoint of step {named}.",
            expected=f"some of {', '.join(map(str, there)) or 'none'}",
            fix="Choose among these, or train with keep_every=1, which keeps one of every epoch.",
        )
    return chosen
