"""What is said of a training whose numbers are no longer finite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from landscape.errors import NonFiniteError
from landscape.optim.registry import OPTIMIZERS
from landscape.regularizers import REGULARIZERS
from landscape.training.penalty_settings import penalty_settings
from landscape.training.run_config import RunConfig

_RADII = ("rho", "epsilon", "std")
_TESTED = ("test_error", "test_nll", "test_ece")


def what_to_lower(config: RunConfig) -> str:
    """Name the settings of a run that make its steps large: learning rate, radius, weights of penalties.

    Args:
        config: The settings.

    Example:
        >>> what_to_lower(RunConfig(optimizer="sam", lr=30.0, penalty=("gradient",), penalty_options={"weight": 1e9}))
        'Lower lr (30), rho or the weight of gradient (1e+09)'
    """
    values: dict[str, Any] = {"lr": config.lr}
    values |= {name: getattr(config, name) for name in _RADII if name in OPTIMIZERS[config.optimizer].options}
    for name, options in penalty_settings(config).items():
        known = {**REGULARIZERS[name].options, **options}
        if "epsilon" in known:
            values[f"the epsilon of {name}"] = known["epsilon"]
        if "weight" in (options if "epsilon" in known else known):  # a radius plays its part
            values[f"the weight of {name}"] = known["weight"]
    names = [name if value is None else f"{name} ({value:g})" for name, value in values.items()]
    return f"Lower {_together(names, 'or')}"


def _together(names: Sequence[str], word: str) -> str:
    """Join names as in a sentence."""
    return f" {word} ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])


def diverged_while_training(
    config: RunConfig, *, what: Sequence[str], step: int, epoch: int, rate: float, checkpoint: object
) -> NonFiniteError:
    """Build the error for a training that cannot go on.

    Args:
        config: The settings.
        what: What is not finite, as "the loss" and "the weights".
        step: Steps done; it was so by then.
        epoch: The epoch that they are in, from 1.
        rate: The learning rate of the last of them.
        checkpoint: The newest one, all of whose weights are finite; None without any.

    Returns:
        The error, not yet raised.
    """
    return NonFiniteError(
        f"Training diverged: {_together(what, 'and')} became NaN or infinite by step {step} (epoch {epoch}).",
        expected="finite numbers",
        got=f"learning rate {rate:.4g}",
        fix=f"{what_to_lower(config)}. The last good checkpoint is {checkpoint or 'none'}.",
    )


def diverged_at_the_end(rows: Sequence[Mapping[str, Any]], config: RunConfig) -> NonFiniteError | None:
    """Find a training that ended with weights whose answers on the test set are no numbers.

    The weights and the training losses of such a run are finite, but its last steps were so long that the network's
    outputs overflow. Its record is kept as it is: NaN is data.

    Args:
        rows: Of :meth:`landscape.Run.metrics`.
        config: The run's settings.

    Returns:
        The error, not yet raised; None where the last epoch that was tested has finite numbers.
    """
    tested = [row for row in rows if "test_error" in row]
    first = None
    for row in reversed(tested):
        if all(math.isfinite(row[name]) for name in _TESTED):
            break
        first = row
    if first is None:
        return None
    return NonFiniteError(
        f"Training diverged by step {first['step']} (epoch {first['epoch']}): the network's outputs for the test set "
        "are NaN or infinite from there on.",
        expected="finite outputs",
        got=f"test NLL {first['test_nll']:g}, learning rate {first['lr']:.4g}",
        fix=f"{what_to_lower(config)}. The run is kept as it is.",
    )
