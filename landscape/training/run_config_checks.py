"""What the settings of a run may be: ranges, and that what was set is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.config import is_number, is_whole, require
from landscape.errors import ConfigError, unknown_name
from landscape.optim.options import LARGEST
from landscape.optim.registry import OPTIMIZERS
from landscape.optim.when import parse_when
from landscape.regularizers import REGULARIZERS

if TYPE_CHECKING:
    from landscape.training.run_config import RunConfig

METHOD_FIELDS = ("rho", "adaptive", "epsilon", "inner_lr", "inner_iter", "ball", "std", "M", "inc")
"""Settings of a run that are options of its optimizer's own method."""
LARGEST_IMAGE = 4096
"""Pixels on a side to which images are resized at most: one of three channels takes 201 MB in float32."""
_COUNTS = 2**31  # below it every count fits all number formats on the way
_MULTIPLIERS = ("lr", "weight_decay", "gamma", "random_perturbation", "rho", "epsilon", "inner_lr", "std", "inc")
NAME_LENGTH = 100
"""Characters of a run's name at most; file systems take 255 bytes."""


def check_ranges(config: RunConfig) -> None:
    """Check each number on its own.

    Args:
        config: The settings.

    Raises:
        ConfigError: One is out of range, or asks for nothing that is done.
    """
    counts = ("epochs", "batch_size", "eval_every", "save_every", "adversarial_steps")
    sizes = ("crop_padding", "cutout", "keep_every", "patience", "validation_examples")
    for name in (*counts, *sizes):
        require(getattr(config, name) < _COUNTS, name, f"below {_COUNTS}", getattr(config, name))
    _check_multipliers(config)
    for name in counts:
        require(getattr(config, name) >= 1, name, "at least 1", getattr(config, name))
    for name in (*sizes, "lr", "weight_decay", "gamma", "warmup_epochs", "mixup", "random_perturbation"):
        require(getattr(config, name) >= 0, name, "at least 0", getattr(config, name))
    for name in ("label_noise", "label_smoothing", "adversarial_epsilon", "crop_fill", "cutout_probability"):
        require(0 <= getattr(config, name) <= 1, name, "from 0 to 1", getattr(config, name))
    for name in ("stop_at_loss", "clip_norm", "flooding"):
        value = getattr(config, name)
        require(value is None or value > 0, name, "above 0, or none", value, f"Leave {name} unset to do without.")
    for name in ("limit", "test_limit"):
        value = getattr(config, name)
        require(value is None or 1 <= value < _COUNTS, name, f"from 1 to below {_COUNTS}, or none for all", value)
    _check_image_size(config.image_size)
    require(
        1 <= config.nproc <= config.batch_size // 2 or config.nproc == 1,
        "nproc",
        "1 to half of batch_size",
        config.nproc,
    )
    require(0 <= config.validation < 1, "validation", "from 0 to below 1", config.validation)
    require(
        not config.validation or config.test_limit is None,
        "test_limit",
        "nothing beside validation, which replaces the test split",
        config.test_limit,
    )
    _check_validation_examples(config)
    require(0 <= config.momentum < 1, "momentum", "from 0 to below 1", config.momentum)
    require(not config.nesterov or config.momentum > 0, "nesterov", "momentum above 0", config.momentum)
    for name, off, reader in (("crop_fill", 0.0, "crop_padding"), ("cutout_probability", 1.0, "cutout")):
        unread = f"nothing: without {reader} it is not read"
        require(getattr(config, name) == off or getattr(config, reader) > 0, name, unread, getattr(config, name))
    require(
        config.adversarial_steps == 1 or config.adversarial_epsilon > 0,
        "adversarial_steps",
        "nothing: without adversarial_epsilon it is not read",
        config.adversarial_steps,
        "Leave adversarial_steps unset, or set adversarial_epsilon.",
    )


def _check_validation_examples(config: RunConfig) -> None:
    for name in ("validation", "test_limit"):
        require(
            not config.validation_examples or not getattr(config, name),
            name,
            "nothing beside validation_examples, which replace the test split",
            getattr(config, name),
        )
    require(
        not config.validation_examples or config.limit is not None,
        "validation_examples",
        "0 without limit, which leaves examples over",
        config.validation_examples,
        "Set limit, or hold out a part of all with validation.",
    )


def _check_image_size(side: int | None) -> None:
    require(
        side is None or 1 <= side <= LARGEST_IMAGE,
        "image_size",
        f"1 to {LARGEST_IMAGE} pixels, as one image of {LARGEST_IMAGE} takes 201 MB in float32; or none",
        side,
    )


def _check_multipliers(config: RunConfig) -> None:
    """Check that weights and gradients can be multiplied by what they are multiplied by."""
    for name in _MULTIPLIERS:
        value = getattr(config, name)
        require(value is None or value <= LARGEST, name, f"at most {LARGEST:g}, far within float32", value)
    decay = config.lr * config.weight_decay
    require(
        decay <= LARGEST,
        "weight_decay",
        f"lr times weight_decay of at most {LARGEST:g}, far within float32",
        decay,
        "Lower weight_decay or lr.",
    )


def check_schedule(config: RunConfig) -> None:
    """Check that the schedule has what it needs, and reads what was set.

    Args:
        config: The settings.

    Raises:
        ConfigError: Something is missing, or not read.
    """
    name = config.schedule
    require(name != "multistep" or bool(config.milestones), "milestones", "one epoch or more", config.milestones)
    for field, unset, readers in (
        ("milestones", (), ("multistep",)),
        ("patience", type(config).patience, ("plateau",)),
        ("warmup_epochs", 0.0, ("cosine", "constant", "multistep", "plateau")),
    ):
        value = getattr(config, field)
        require(
            name in readers or value == unset,
            field,
            f"nothing: the schedule {name!r} does not read it",
            value,
            f"Leave {field} unset, or set schedule to {' or '.join(repr(reader) for reader in readers)}.",
        )
    require(
        config.warmup_epochs <= config.epochs, "warmup_epochs", f"at most epochs, {config.epochs}", config.warmup_epochs
    )


def check_optimizer(config: RunConfig) -> None:
    """Check that the optimizer exists and reads what was set for it.

    Args:
        config: The settings.

    Raises:
        ConfigError: An option is out of range or not read.
    """
    if config.optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", config.optimizer, OPTIMIZERS)
    spec = OPTIMIZERS[config.optimizer]
    for name in METHOD_FIELDS:
        value = getattr(config, name)
        if value is None:
            continue
        if name not in spec.options and not (name == "epsilon" and _epsilon_of_penalties(config)):
            raise _not_read(config, name, _readers(name))
        if isinstance(value, int | float) and not isinstance(value, bool):
            least = 1 if name in ("inner_iter", "M") else 0
            require(value >= least, name, f"at least {least}", value)
            require(isinstance(value, float) or value < _COUNTS, name, f"below {_COUNTS}", value)
    for name, value in config.optimizer_options.items():
        if name in METHOD_FIELDS:
            require(False, "optimizer_options", f"options without a setting of their own, not {name!r}", name)
        if name not in spec.options:
            known = [key for key in spec.options if key not in METHOD_FIELDS]
            raise unknown_name(f"option of {config.optimizer}", name, known)
        if is_whole(value):
            require(abs(value) < _COUNTS, name, f"below {_COUNTS}", value)
        elif is_number(value):
            require(abs(value) <= LARGEST, name, f"a number of at most {LARGEST:g}, far within float32", value)
    wraps = bool(spec.options)
    wrapping = [name for name, its in OPTIMIZERS.items() if its.options]
    for name in ("when", "base"):
        if not wraps and getattr(config, name) is not None:
            raise _not_read(config, name, wrapping)
    base = config.base or ("sgd" if wraps else config.optimizer)
    if config.nesterov and base != "sgd":
        raise _not_read(config, "nesterov", ["sgd, or base sgd"])
    parse_when(config.when or "always", config.epochs, 0)


def _readers(name: str) -> list[str]:
    """What reads a setting of the methods."""
    penalties = " (or a penalty that reads one)" if name == "epsilon" else ""
    return [other + penalties for other, its in OPTIMIZERS.items() if name in its.options]


def _epsilon_of_penalties(config: RunConfig) -> bool:
    known = [REGULARIZERS[name].options for name in config.penalty if name in REGULARIZERS]
    return any("epsilon" in options for options in known)


def _not_read(config: RunConfig, name: str, readers: list[str]) -> ConfigError:
    return ConfigError(
        f"{config.optimizer} does not read {name}.",
        got=f"{name}={getattr(config, name)!r}",
        fix=f"Leave {name} unset, or choose one of: {', '.join(readers)}.",
    )


def check_names(config: RunConfig) -> None:
    """Check the run's name and the device's.

    Args:
        config: The settings.

    Raises:
        ConfigError: One is not well formed.
    """
    name = config.name
    if name is not None:
        good = 0 < len(name) <= NAME_LENGTH and all(c.isalnum() or c in "-_." for c in name) and name[0].isalnum()
        require(good, "name", f"up to {NAME_LENGTH} letters, digits, '-', '_' and '.', a letter or digit first", name)
    kind, _, index = config.device.partition(":")
    fine = config.device in ("auto", "cpu") or (kind == "cuda" and (index == "" or index.isdigit()))
    require(fine, "device", "'auto', 'cpu', 'cuda' or 'cuda:N'", config.device)
    require(
        config.nproc == 1 or ":" not in config.device,
        "device",
        "'auto', 'cpu' or 'cuda': each of several processes takes its own",
        config.device,
    )
