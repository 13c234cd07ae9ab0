"""Label noise and pixel noise, drawn once per example from named generators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from landscape.errors import ConfigError, unknown_name
from landscape.seeding import generator

NOISE_KINDS = {
    "uniform": "the new label is uniform over all K classes, the true one included",
    "uniform-other": "the new label is uniform over the K - 1 other classes, never the true one",
}


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How much noise a training split gets, checked.

    Args:
        labels: Probability in [0, 1] of a random label.
        kind: A key of :data:`NOISE_KINDS`.
        pixels: Standard deviation of the noise on inputs, at least 0.

    Raises:
        ConfigError: A value is out of range, or the kind is unknown.
    """

    labels: float = 0.0
    kind: str = "uniform"
    pixels: float = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0 <= self.labels <= 1:
            raise ConfigError("The label noise is out of range.", expected="a probability in [0, 1]", got=self.labels)
        if self.kind not in NOISE_KINDS:
            raise unknown_name("kind of label noise", self.kind, NOISE_KINDS)
        if not 0 <= self.pixels < float("inf"):
            raise ConfigError(
                "The pixel noise is out of range.", expected="a standard deviation of 0 or more", got=self.pixels
            )


def noisy_labels(
    labels: torch.Tensor, classes: int, probability: float, *, kind: str = "uniform", seed: int = 0
) -> torch.Tensor:
    """Replace each label, with the given probability, by a random one.

    Definition: with probability ``p``, independently for every example, ``y`` becomes uniform over all K classes
    (kind "uniform", so a share ``p (K - 1) / K`` is really wrong), or uniform over the K - 1 others (kind
    "uniform-other", so a share ``p`` is wrong). What is drawn for an example depends on the seed and its position
    alone: a larger ``p`` changes the same labels in the same way, and more.

    Args:
        labels: (N,) int64 labels in [0, K).
        classes: K; "uniform-other" needs at least 2.
        probability: p in [0, 1].
        kind: "uniform" (default: what the published noise sweeps of LPF-SGD used) or "uniform-other".
        seed: Of the draws.

    Returns:
        (N,) int64 labels, a new tensor.

    Raises:
        ConfigError: The probability is outside [0, 1], the kind is unknown, or there is no other class.

    Example:
        >>> noisy_labels(torch.zeros(3, dtype=torch.int64), 2, 1.0, kind="uniform-other").tolist()
        [1, 1, 1]

    References:
        Bisla, Wang, Choromanska: Low-Pass Filtering SGD for Recovering Flat Optima, AISTATS 2022 (noise sweeps).
    """
    Noise(labels=probability, kind=kind)
    if kind == "uniform-other" and classes < 2:
        raise ConfigError("There is no other class to flip to.", expected="2 classes or more", got=classes)
    source = generator(seed, "label-noise")
    chosen = torch.rand(len(labels), generator=source, dtype=torch.float64) < probability
    if kind == "uniform":
        drawn = torch.randint(classes, labels.shape, generator=source)
    else:
        drawn = (labels + torch.randint(1, classes, labels.shape, generator=source)) % classes
    return torch.where(chosen, drawn, labels)


def noisy_inputs(inputs: torch.Tensor, std: float, *, positions: Sequence[int], seed: int = 0) -> torch.Tensor:
    """Add Gaussian noise to each input: one fixed draw per example.

    Definition: ``x + std * n`` with ``n ~ N(0, 1)`` per value, before normalization and not clipped; uint8 images are
    taken as ``x / 255`` in [0, 1]. The draw depends on the seed and on the example's position in the whole split, so it
    is the same whatever else is loaded.

    Args:
        inputs: (N, C, H, W) uint8 or (N, C, ...) floating point, on the CPU.
        std: Standard deviation in units of [0, 1] pixels (or of the signal); at least 0. 0 changes nothing. The
            published sweep of LPF-SGD went from 0 to 3.8.
        positions: N positions in the whole split.
        seed: Of the draws.

    Returns:
        (N, C, ...) floating point (float32 for images), a new tensor; ``inputs`` itself where ``std`` is 0.

    Raises:
        ConfigError: ``std`` is negative or not finite.

    Example:
        >>> noisy_inputs(torch.zeros(1, 1, 2), 0.5, positions=[7]).shape
        torch.Size([1, 1, 2])
    """
    if Noise(pixels=std).pixels == 0:
        return inputs
    noisy = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs.clone()
    for row, position in zip(noisy, positions, strict=True):
        row += std * torch.randn(row.shape, dtype=row.dtype, generator=generator(seed, "pixel-noise", int(position)))
    return noisy
