"""The MNIST network of the LPF-SGD experiments."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from landscape.errors import ConfigError
from landscape.models.layers import check_images


def lenet(
    *, classes: int = 10, input_shape: Sequence[int] = (1, 28, 28), dropout: Sequence[float] = (0.25, 0.5)
) -> nn.Sequential:
    """Build the network of PyTorch's MNIST example, which the LPF-SGD paper calls LeNet.

    3x3 convolutions of 32 and 64 channels without padding, each with ReLU; max-pooling by 2; dropout; 128 hidden units
    with ReLU; dropout; logits (no softmax).

    Args:
        classes: K logits come out.
        input_shape: (C, H, W).
        dropout: Probabilities after the pooling and after the hidden layer; (0.25, 0.5) in the example.

    Returns:
        The network, (B, C, H, W) -> (B, K).

    Raises:
        ModelError: The inputs are no images, or smaller than 6x6.
        ConfigError: ``dropout`` is not two probabilities below 1.

    Example:
        >>> sum(p.numel() for p in lenet().parameters())  # as published
        1199882

    References:
        Bisla, Wang, Choromanska: Low-Pass Filtering SGD for Recovering Flat Optima, AISTATS 2022.
    """
    channels, height, width = check_images("lenet", input_shape, least=6)
    rates = tuple(dropout)
    if len(rates) != 2 or not all(0 <= rate < 1 for rate in rates):
        raise ConfigError("The option 'dropout' of 'lenet' cannot be used.", expected="two of [0, 1)", got=dropout)
    network = nn.Sequential(
        nn.Conv2d(channels, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(rates[0]),
        nn.Flatten(),
        nn.Linear(64 * ((height - 4) // 2) * ((width - 4) // 2), 128),
        nn.ReLU(),
        nn.Dropout(rates[1]),
        nn.Linear(128, classes),
    )
    return network
