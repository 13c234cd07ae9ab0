"""A small convolutional network for one-dimensional signals."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from landscape.models.layers import check_signals, check_widths


def cnn1d(
    *, classes: int = 10, input_shape: Sequence[int] = (1, 40), channels: int = 25, batch_norm: bool = False
) -> nn.Sequential:
    """Build the convolutional network of the MNIST-1D paper: three strided convolutions with ReLU, then logits.

    Kernels of 5, 3 and 3 values, stride 2, padding 1.

    Args:
        classes: K logits come out.
        input_shape: (C, L).
        channels: Of each convolution; 25 in the paper.
        batch_norm: Whether batch normalization follows each convolution.

    Returns:
        The network, (B, C, L) -> (B, K).

    Raises:
        ModelError: The inputs are no signals, or shorter than 8 values.
        ConfigError: ``channels`` is not a positive integer.

    Example:
        >>> sum(p.numel() for p in cnn1d().parameters())  # as published
        5210

    References:
        Greydanus, Kobak: Scaling Down Deep Learning with MNIST-1D, ICML 2024.
    """
    inputs, length = check_signals("cnn1d", input_shape, least=8)
    (width,) = check_widths("cnn1d", "channels", (channels,), count=1)
    layers: list[nn.Module] = []
    for kernel in (5, 3, 3):
        layers.append(nn.Conv1d(inputs, width, kernel, stride=2, padding=1, bias=not batch_norm))
        layers += [nn.BatchNorm1d(width), nn.ReLU()] if batch_norm else [nn.ReLU()]
        inputs, length = width, (length + 2 - kernel) // 2 + 1
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * length, classes))
    return network
