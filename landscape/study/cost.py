"""What a training costs: the gradients that its optimizer takes, counted, and the time that they took."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landscape.optim.registry import OPTIMIZERS
from landscape.seeding import preserved_rng
from landscape.study.minima import LABELS
from landscape.training import Run, RunConfig
from landscape.training.loop import Trainer
from landscape.training.materials import build_run_model, load_run_dataset
from landscape.training.run_config_checks import METHOD_FIELDS

_STEPS = 60  # counted; a multiple of the periods in use
_DECIDES = (
    "optimizer", "optimizer_options", "when", "base", *METHOD_FIELDS, "adversarial_epsilon", "adversarial_steps",
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
        train, test = (load_run_dataset(small, split) for split in ("train", "test"))
        trainer = Trainer(Run(Path(), small), build_run_model(small, train), train, test, torch.device("cpu"))
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
    rows, each, time = [], gradients_per_step(run.config), 0.0
    for row in run.metrics():
        time += row["seconds"]
        rows.append({**row, "gradients": each * row["epoch"], "time": time})
    return rows


def price(run: Run) -> dict[str, float]:
    """Return what a step of a run costs.

    Args:
        run: A run that has finished an epoch.

    Returns:
        ``gradients_per_step``, see :func:`gradients_per_step`; ``step_ms``, the milliseconds of a step, the mean over
        the epochs (without the first one where there are more: it holds what is done once), and ``step_ms_stderr``,
        its standard error, NaN for one epoch; and ``gradients``, of the whole run, in passes over the training data.
    """
    rows, each = run.metrics(), gradients_per_step(run.config)
    steps = np.diff([0, *(row["step"] for row in rows)])
    took = 1e3 * np.array([row["seconds"] for row in rows]) / np.maximum(steps, 1)
    took = took[1:] if len(took) > 1 else took
    error = float(took.std(ddof=1)) / math.sqrt(len(took)) if len(took) > 1 else math.nan
    return {
        "gradients_per_step": each, "step_ms": float(took.mean()), "step_ms_stderr": error,
        "gradients": each * rows[-1]["epoch"],
    }  # fmt: skip


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
    configs = {_label(base.optimizer): base}
    for name in optimizers:
        own = OPTIMIZERS[name].options if name in OPTIMIZERS else {}
        values: dict[str, Any] = dict.fromkeys(METHOD_FIELDS)
        given = {**radii, "rho": radii.get("rho_asam" if name == "asam" else "rho")}
        values |= {key: given.get(key) for key in ("rho", "epsilon", "std") if key in own}
        kept = {"base": base.base, "when": base.when} if own else {"base": None, "when": None}
        configs.setdefault(_label(name), base.replace(optimizer=name, optimizer_options={}, **values, **kept))
    return configs


def _label(name: str) -> str:
    return LABELS.get(name, name.upper())


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
