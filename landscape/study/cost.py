"""What a training costs: the gradients that its optimizer takes, counted, and the time that its steps take."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landscape.config import is_number, is_whole, require
from landscape.optim.registry import OPTIMIZERS
from landscape.seeding import preserved_rng
from landscape.study.labels import method_label
from landscape.training import Run, RunConfig
from landscape.training.environment import single_precision
from landscape.training.loop import Trainer
from landscape.training.materials import build_run_model, load_run_dataset, resolve_device
from landscape.training.precision import matrix_precision
from landscape.training.run_config_checks import METHOD_FIELDS

_STEPS = 60  # counted; a multiple of the periods in use
_DECIDES = (
    "optimizer", "optimizer_options", "when", "base", *METHOD_FIELDS, "adversarial_epsilon", "adversarial_steps",
    "penalty", "penalty_options",
)  # fmt: skip


def gradients_per_step(config: RunConfig) -> float:
    """Count the gradients that one step of a training takes, in gradients of a whole batch.

    The loop of :func:`landscape.train` takes 60 steps with the settings' optimizer on a tiny network, and the examples
    are counted that go through it: twice those of the batch for SAM, N + 1 times for AMP with N inner steps, once for
    LPF-SGD, which splits its batch. The network does not matter; what ``when`` and ``k`` leave out is left out.

    Args:
        config: The settings of a run.

    Returns:
        The mean over the steps.

    Example:
        >>> gradients_per_step(RunConfig(optimizer="sam")), gradients_per_step(RunConfig(optimizer="amp", inner_iter=3))
        (2.0, 4.0)
        >>> gradients_per_step(RunConfig(optimizer="sam", when="every:4"))
        1.25
    """
    batch = 2 * (config.M or 1)
    small = RunConfig(
        dataset="synthetic:1x2x2:2", limit=_STEPS * batch, test_limit=2, model="mlp", model_options={"hidden": [2]},
        epochs=1, batch_size=batch, device="cpu", **{name: getattr(config, name) for name in _DECIDES},
    )  # fmt: skip
    with preserved_rng():
        trainer = _trainer(small, torch.device("cpu"))
        seen: list[int] = []
        trainer.model.register_forward_hook(lambda module, inputs, outputs: seen.append(len(inputs[0])))
        for step, part in enumerate(trainer.batches.order(0)):
            trainer.passes.step(trainer.batches.get(part, epoch=0, step=step), step, small.lr)
    return sum(seen) / (_STEPS * batch)


def with_cost(run: Run) -> list[dict[str, Any]]:
    """Return the metrics of a run with what each epoch had cost until then.

    Args:
        run: A run.

    Returns:
        The rows of ``run.metrics()``, each with ``gradients``, in passes over the training data forward and backward,
        and ``time``, in seconds of training, tests left out.
    """
    rows, each, took = [], gradients_per_step(run.config), 0.0
    for row in run.metrics():
        took += row["seconds"]
        rows.append({**row, "gradients": each * row["epoch"], "time": took})
    return rows


def step_times(
    configs: Mapping[str, RunConfig],
    *,
    rounds: int = 8,
    steps: int = 8,
    seconds: float = 5.0,
    data_root: str | os.PathLike[str] | None = None,
) -> dict[str, dict[str, float]]:
    """Time the steps of several trainings, in turn, so that whatever else this machine does slows all of them alike.

    Args:
        configs: Label to settings, of the same data.
        rounds: How often each is timed, at least 2. Default 8: a standard error of about a third of the spread.
        steps: How many steps at a time, at least 1. Default 8.
        seconds: About how long all of it may take: fewer steps are taken at a time where they are slow, one at least.
        data_root: Folder of the datasets; None is ``data``.

    Returns:
        Label to ``step_ms``, the milliseconds of a step, and ``step_ratio``, its ratio to the first label's within each
        round: means over the rounds, with ``step_ms_stderr`` and ``step_ratio_stderr``, their standard errors.

    Raises:
        ConfigError: There are no settings, or ``rounds``, ``steps`` or ``seconds`` is too small.
        DataError: The data is missing or damaged.
    """
    require(bool(configs), "configs", "at least one run's settings", dict(configs))
    require(is_whole(rounds) and rounds >= 2, "rounds", "a whole number of at least 2", rounds)
    require(is_whole(steps) and steps >= 1, "steps", "a whole number of at least 1", steps)
    require(is_number(seconds) and seconds > 0, "seconds", "a number above 0", seconds)
    took = np.empty((rounds, len(configs)))
    with preserved_rng(), single_precision(), ExitStack() as precision:
        timers = []
        for config in configs.values():
            precision.enter_context(matrix_precision(config.precision))
            timers.append(_Timer(config, data_root))
            timers[-1].take(1)  # what is done once
        steps = max(1, min(steps, int(seconds / rounds / sum(timer.take(1) for timer in timers))))
        for number, timer in itertools.product(range(rounds), enumerate(timers)):
            took[number, timer[0]] = 1e3 * timer[1].take(steps)
    found: dict[str, dict[str, float]] = {}
    for label, times, ratios in zip(configs, took.T, (took / took[:, :1]).T, strict=True):
        found[label] = {}
        for name, values in (("step_ms", times), ("step_ratio", ratios)):
            found[label] |= {name: float(values.mean()), f"{name}_stderr": float(values.std(ddof=1) / rounds**0.5)}
    return found


class _Timer:
    """The steps of a training, with nothing written."""

    def __init__(self, config: RunConfig, data_root: str | os.PathLike[str] | None) -> None:
        self.device = resolve_device(config.device)
        self.trainer = _trainer(config, self.device, data_root)
        self.step = 0

    def take(self, steps: int) -> float:
        """Take some steps and return the seconds of one."""
        trainer, parts = self.trainer, self.trainer.batches.order(0)
        self._wait()
        start = time.perf_counter()
        for _ in range(steps):
            number = self.step % len(parts)
            trainer.passes.step(trainer.batches.get(parts[number], epoch=0, step=number), number, trainer.config.lr)
            self.step += 1
        self._wait()
        return (time.perf_counter() - start) / steps

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _trainer(config: RunConfig, device: torch.device, data_root: str | os.PathLike[str] | None = None) -> Trainer:
    train, test = (load_run_dataset(config, split, data_root=data_root) for split in ("train", "test"))
    return Trainer(Run(Path(), config), build_run_model(config, train), train, test, device)


def method_configs(base: RunConfig, optimizers: Iterable[str], **radii: float) -> dict[str, RunConfig]:
    """Return one run per optimizer that differ in the optimizer only: same data, same noise, same initial weights.

    Args:
        base: All other settings. Its own optimizer comes first, with its own options, wherever the others name it.
        optimizers: Names of optimizers.
        **radii: ``rho``, ``rho_asam``, ``epsilon``, ``std``: for those that read them; their default otherwise.

    Returns:
        Label to settings.

    Raises:
        ConfigError: An optimizer is unknown, or a radius is out of range.

    Example:
        >>> configs = method_configs(RunConfig(), ["sam", "asam"], rho=0.1, rho_asam=2.0)
        >>> {label: config.rho for label, config in configs.items()}
        {'SGD': None, 'SAM': 0.1, 'ASAM': 2.0}
    """
    configs = {method_label(base.optimizer): base}
    for name in optimizers:
        own = OPTIMIZERS[name].options if name in OPTIMIZERS else {}
        values: dict[str, Any] = dict.fromkeys(METHOD_FIELDS)
        given = {**radii, "rho": radii.get("rho_asam" if name == "asam" else "rho")}
        values |= {key: given.get(key) for key in ("rho", "epsilon", "std") if key in own}
        kept = {"base": base.base, "when": base.when} if own else {"base": None, "when": None}
        configs.setdefault(method_label(name), base.replace(optimizer=name, optimizer_options={}, **values, **kept))
    return configs


def longer(config: RunConfig, times: float) -> RunConfig:
    """Return the settings of a run that is so many times as long, its schedule stretched with it.

    Args:
        config: The settings.
        times: How many times as many epochs, above 0; rounded to whole epochs.

    Returns:
        The settings.

    Example:
        >>> run = longer(RunConfig(epochs=10, schedule="multistep", milestones=(5, 8)), 2)
        >>> run.epochs, run.milestones
        (20, (10, 16))
    """
    epochs = max(1, round(times * config.epochs))
    stretched: Mapping[str, Any] = {
        "milestones": tuple(round(times * epoch) for epoch in config.milestones),
        "warmup_epochs": min(times * config.warmup_epochs, epochs),
        "patience": max(1, round(times * config.patience)) if config.schedule == "plateau" else config.patience,
    }
    return config.replace(epochs=epochs, **stretched)
