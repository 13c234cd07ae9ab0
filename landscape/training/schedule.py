"""The learning rate as a function of the step: nothing to save, nothing to resume."""

from __future__ import annotations

import math

from landscape.training.run_config import RunConfig


def learning_rate(config: RunConfig, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step.

    Definition, with t = step / (epochs * steps_per_epoch)::

        constant    lr
        cosine      lr * (1 + cos(pi t)) / 2
        multistep   lr * gamma^(number of milestones reached by the epoch)

    Args:
        config: The run's settings.
        step: Number of steps done before this one, from 0.
        steps_per_epoch: Steps in an epoch.

    Returns:
        The rate.

    Example:
        >>> config = RunConfig(lr=1.0, epochs=2)
        >>> [round(learning_rate(config, step, 2), 6) for step in range(4)]
        [1.0, 0.853553, 0.5, 0.146447]

    References:
        I. Loshchilov and F. Hutter, SGDR, ICLR 2017, eq. 5 (one period, minimum 0).
    """
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "multistep":
        epoch = step // steps_per_epoch
        return config.lr * config.gamma ** sum(epoch >= milestone for milestone in config.milestones)
    return config.lr * (1.0 + math.cos(math.pi * step / (config.epochs * steps_per_epoch))) / 2.0
