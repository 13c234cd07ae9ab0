"""Fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from landscape.errors import ModelError
from landscape.models.layers import check_widths


def mlp(
    *,
    classes: int = 10,
    input_shape: Sequence[int] = (1, 8, 8),
    hidden: Sequence[int] = (256, 256),
    batch_norm: bool = False,
) -> nn.Sequential:
    """Build a fully connected network with ReLU: flatten, hidden layers, logits.

    Args:
        classes: K logits come out.
        input_shape: The shape of one input, any number of dimensions.
        hidden: Width of each hidden layer; empty gives a linear classifier. Default (256, 256): enough to fit the
            digits exactly, also with random labels.
        batch_norm: Whether batch normalization follows each hidden linear layer.

    Returns:
        The network, (B, *input_shape) -> (B, K).

    Raises:
        ModelError: The input shape is none.
        ConfigError: A width is not a positive integer.

    Example:
        >>> sum(p.numel() for p in mlp().parameters())  # 64*256 + 256*256 + 256*10 weights, 522 biases
        85002
    """
    shape = tuple(input_shape)
    if not shape or not all(isinstance(size, int) and size >= 1 for size in shape):
        raise ModelError("The model 'mlp' needs the shape of one input.", expected="such as (1, 8, 8)", got=shape)
    sizes = (math.prod(shape), *check_widths("mlp", "hidden", hidden))
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(sizes):
        layers.append(nn.Linear(inputs, outputs, bias=not batch_norm))
        layers += [nn.BatchNorm1d(outputs), nn.ReLU()] if batch_norm else [nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(sizes[-1], classes))
    return network
