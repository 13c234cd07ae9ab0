"""Whether settings, data and model go together, found out before anything is written."""

from __future__ import annotations

import copy

import torch
from torch import nn

from landscape.datasets import Dataset
from landscape.errors import ConfigError, ModelError, first_line
from landscape.regularizers import REGULARIZERS
from landscape.seeding import preserved_rng, seed_torch
from landscape.training.model_checks import check_passes, check_weights
from landscape.training.run_config import RunConfig

_PASSES = 4  # tried to see which parameters they use


def check_feasible(config: RunConfig, model: nn.Module, data: Dataset, device: torch.device | None = None) -> None:
    """Check that a model takes the data, has a score for each class, and can train on the smallest part of a batch.

    Args:
        config: The settings.
        model: The run's model; not changed.
        data: The training data.
        device: Where the run computes; None is where the model is.

    Raises:
        ConfigError: Augmentation is larger than the images, a penalty deforms what are no images, or a part of a batch
            has a single example, whose variance a normalization layer needs.
        ModelError: The model has no weights that can be trained in the run's precision, cannot be copied, cannot take
            the data, has another number of outputs than there are classes, changes its inputs, or gives its weights
            no gradient.
    """
    _check_augmentation(config, data)
    _check_deformed(config, data)
    check_weights(config, model)
    check_passes(config, model, data, part=smallest_part(config, len(data)), device=device)


def _check_deformed(config: RunConfig, data: Dataset) -> None:
    for name in config.penalty:
        if REGULARIZERS[name].deforms and len(data.input_shape) != 3:
            raise ConfigError(
                f"The penalty {name!r} deforms images, and {config.dataset!r} has none.",
                expected="inputs of shape (C, H, W)",
                got=data.input_shape,
                fix="Choose another penalty.",
            )


def _check_augmentation(config: RunConfig, data: Dataset) -> None:
    colors = data.input_shape[0] if len(data.input_shape) == 3 else 0
    if config.autoaugment != "none" and (colors not in (1, 3) or data.inputs.dtype != torch.uint8):
        raise ConfigError(
            f"AutoAugment does not take the inputs of {config.dataset!r}.",
            expected="uint8 images of 1 or 3 channels",
            got=f"{data.inputs.dtype} of shape {data.input_shape}",
            fix="Leave autoaugment unset.",
        )
    if len(data.input_shape) != 3:
        return  # signals: what cannot be augmented says so itself
    side = min(data.input_shape[-2:])
    for name in ("crop_padding", "cutout"):
        if getattr(config, name) > side:
            raise ConfigError(
                f"{name} is larger than the images.",
                expected=f"at most {side} pixels",
                got=getattr(config, name),
                fix=f"Lower {name}; 4 and 16 are usual for images of 32 pixels.",
            )


def smallest_part(config: RunConfig, examples: int) -> int:
    """Return how many examples the smallest forward pass of training has.

    Args:
        config: The settings.
        examples: N.

    Example:
        >>> smallest_part(RunConfig(batch_size=64), 130), smallest_part(RunConfig(optimizer="lpfsgd", M=3), 64)
        (2, 20)
        >>> smallest_part(RunConfig(batch_size=17, optimizer="lpfsgd", M=5, nproc=2), 17)  # 8 = 4 x 2, 9 = 4 x 2 + 1
        1
    """
    full, rest = divmod(examples, config.batch_size)
    batches = [config.batch_size] * bool(full) + [rest] * (rest >= 2 * config.nproc or not full)
    shares = {share for size in batches for share in (size // config.nproc, -(-size // config.nproc))}
    return min(_last_chunk(share, config.M or 1) for share in shares)


def _last_chunk(size: int, parts: int) -> int:
    whole = -(-size // parts)
    return size % whole or whole


def unused_parameters(model: nn.Module, data: Dataset) -> tuple[str, ...]:
    """Name the parameters that some passes leave without a gradient: unused ones, and those of layers that are skipped.

    Several processes average each gradient when all of them have it. Waiting for one that never comes is what they must
    be told not to do, and asking at each step what a pass will use costs time; so a few passes are tried beforehand.

    Args:
        model: On its device; not changed.
        data: The training data; its first examples are used, two for each pass.

    Returns:
        Their names; those that only rare passes leave out may be missing. All names where a pass cannot be tried.

    Example:
        >>> from landscape.datasets import load_dataset
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> _ = model.register_parameter("spare", nn.Parameter(torch.zeros(3)))
        >>> unused_parameters(model, load_dataset("digits", limit=20))
        ('spare',)
    """
    twin = copy.deepcopy(model).train()
    trained = {name: p for name, p in twin.named_parameters() if p.requires_grad}
    device, dtype = next((p.device, p.dtype) for p in trained.values())
    found: set[str] = set()
    with preserved_rng():
        for number in range(_PASSES):
            seed_torch(number)
            chosen = torch.arange(2 * number, 2 * number + 2) % len(data)
            twin.zero_grad(set_to_none=True)
            try:
                twin(data.normalized(chosen, dtype=dtype).to(device)).sum().backward()
            except (RuntimeError, ValueError):  # with so few examples; training says what is wrong, if something is
                return tuple(trained)
            found |= {name for name, parameter in trained.items() if parameter.grad is None}
    return tuple(name for name in trained if name in found)


def not_built(config: RunConfig, error: Exception) -> ModelError:
    """Return the error of a model that could not be built: its options ask for too much, or for nonsense."""
    return ModelError(
        f"The model {config.model!r} cannot be built.",
        got=first_line(error),
        fix="Check model_options (--model-option), their types and sizes.",
    )
