"""How long it will take: the work that is counted, times what a short probe on this machine took."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from landscape.errors import LandscapeError
from landscape.notebooks.profile import Profile
from landscape.objective import Objective
from landscape.study import gradients_per_step
from landscape.study.effort import gradient_flops, loss_seconds, product_seconds
from landscape.training import RunConfig
from landscape.training.materials import build_run_model, load_run_dataset, resolve_device

_PROBE = 0.15  # seconds for each of the things that are timed
_STEP = 1.6  # a training step beside its gradient: the optimizer, the batch, the metrics; seen on small networks
_FEWEST, _COARSEST = 64, 9  # examples of a loss and points along a surface, however little time there is
_START = 0.3  # seconds of a training beside its steps: data, first checkpoint


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a notebook is going to compute.

    Attributes:
        trainings: Settings of the runs that are still to be trained.
        surfaces: How many planes, each of ``points`` x ``points`` losses.
        lines: How many lines, each of ``line_points`` losses.
        losses: Further losses.
        gradients: Gradients.
        products: Products with the Hessian, or with what costs as much.
        seconds: Time of what chooses its own sizes.
    """

    trainings: Sequence[RunConfig] = ()
    surfaces: int = 0
    lines: int = 0
    losses: int = 0
    gradients: int = 0
    products: int = 0
    seconds: float = 0.0

    def losses_of(self, profile: Profile) -> int:
        """Count all losses, those of surfaces and lines included."""
        return self.surfaces * profile.points**2 + self.lines * profile.line_points + self.losses

    def words(self, profile: Profile) -> str:
        """Say the work in words."""
        grid = f"{profile.points}x{profile.points}"
        steps = sum(config.epochs for config in self.trainings)
        parts = [
            _count(len(self.trainings), "training", f" ({steps} epochs)"),
            _count(self.surfaces, "surface", f" of {grid} points"),
            _count(self.lines, "line", f" of {profile.line_points} points"),
            _count(self.losses, "loss", "", plural="losses"),
            _count(self.gradients, "gradient", ""),
            _count(self.products, "Hessian product", ""),
            f"analyses sized to {in_words(self.seconds)}" if self.seconds else "",
        ]
        return ", ".join(filter(None, parts)) or "nothing to speak of"


def _count(number: int, name: str, rest: str, *, plural: str | None = None) -> str:
    return f"{number:,} {name if number == 1 else plural or name + 's'}{rest}" if number else ""


def estimate_seconds(work: Work, profile: Profile, config: RunConfig, *, data_root: str | None = None) -> float | None:
    """Estimate how long work takes on this machine.

    A gradient of one training batch, a loss and a Hessian-vector product are timed for some tenths of a second
    together, on some of the examples, and multiplied by the counts.

    Args:
        work: The work.
        profile: The sizes.
        config: Dataset and model of what is analyzed.
        data_root: Folder of the datasets.

    Returns:
        Seconds; None where the model or the data cannot be had (the notebook will say why).
    """
    try:
        return work.seconds + _trainings(work, data_root) + _analyses(work, profile, config, data_root)
    except (LandscapeError, RuntimeError, ValueError):
        return None


def fitted(
    profile: Profile,
    work: Callable[[Profile], Work],
    config: RunConfig,
    *,
    seconds: float,
    data_root: str | None = None,
    keep_points: bool = False,
) -> Profile:
    """Return a profile with which the analyses of a notebook take no longer than some time on two CPU cores.

    Losses are averaged over fewer examples, at least 64; where that is not enough, surfaces have fewer points, at least
    9x9. Operations are counted and nothing is timed, as in :func:`landscape.study.choose_effort`, so that the same
    notebook computes the same each time. On other devices the profile stays.

    Args:
        profile: The sizes.
        work: The work, by the sizes. Its trainings are not looked at.
        config: Dataset and model of what is analyzed.
        seconds: How long the analyses may take, about; at the floors they may take longer.
        data_root: Folder of the datasets.
        keep_points: Leave the points of surfaces as they are.

    Returns:
        The profile; as it was, too, where the model or the data cannot be had.
    """
    try:
        there, objective = _sample(config, _FEWEST, data_root)
    except (LandscapeError, RuntimeError, ValueError):
        return profile
    if objective.device.type != "cpu":
        return profile
    flops = gradient_flops(objective)

    def takes(sizes: Profile) -> float:
        asked, examples = work(sizes), min(there, sizes.examples)
        losses = asked.losses_of(sizes) + 3 * asked.gradients
        return losses * loss_seconds(flops, examples) + asked.products * product_seconds(flops, examples)

    whole, most = takes(profile), min(there, profile.examples)
    if whole > seconds:
        profile = profile.replace(examples=min(most, max(_FEWEST, int(most * seconds / whole))))
    while takes(profile) > seconds and profile.points > _COARSEST and not keep_points:
        profile = profile.replace(points=profile.points - 2)
    return profile


def in_words(seconds: float) -> str:
    """Say a time as roughly as it is known.

    Example:
        >>> in_words(0.4), in_words(17), in_words(92), in_words(5000)
        ('a second', '15 s', '90 s', '1.4 h')
    """
    if seconds < 1.5:
        return "a second"
    if seconds < 10:
        return f"{math.ceil(seconds)} s"
    if seconds < 120:
        return f"{5 * round(seconds / 5)} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _trainings(work: Work, data_root: str | None) -> float:
    total, timed, counted = 0.0, {}, {}
    for config in work.trainings:
        examples, objective = _sample(config, config.batch_size, data_root)
        kind = (config.dataset, config.model, repr(config.model_options), config.batch_size)
        if kind not in timed:
            timed[kind] = _seconds(objective.gradient)
        method = config.replace(seed=0, data_seed=0).hash
        if method not in counted:
            counted[method] = gradients_per_step(config)
        steps = config.epochs * math.ceil(examples / config.batch_size)
        total += _START + steps * timed[kind] * counted[method] * _STEP
    return total


def _analyses(work: Work, profile: Profile, config: RunConfig, data_root: str | None) -> float:
    losses = work.losses_of(profile)
    if not (losses or work.gradients or work.products):
        return 0.0
    examples, objective = _sample(config, 256, data_root)
    scale = min(examples, profile.examples) / objective.examples
    direction = torch.ones(objective.size, dtype=objective.dtype, device=objective.device)
    loss = _seconds(objective.evaluate)
    gradient = _seconds(objective.gradient) if work.gradients else 0.0
    product = _seconds(lambda: objective.hvp(direction)) if work.products else 0.0
    return scale * (losses * loss + work.gradients * gradient + work.products * product)


def _sample(config: RunConfig, size: int, data_root: str | None) -> tuple[int, Objective]:
    """Return how many examples there are, and an objective on some of them."""
    data = load_run_dataset(config, "train", data_root=data_root)
    model = build_run_model(config, data).to(resolve_device(config.device))
    few = data.subset(torch.arange(min(size, len(data))))
    return len(data), Objective(model, few, batch_size=len(few))


def _seconds(work: Callable[[], object]) -> float:
    """Time something that is quick: the least of several calls, after one that does not count."""
    work()
    best, until = math.inf, time.perf_counter() + _PROBE
    while time.perf_counter() < until:
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best
