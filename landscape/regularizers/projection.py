"""The constraint on spectral norms: after every step the singular values of every layer are cut off at a bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape.config import is_number, is_whole, require, require_name
from landscape.errors import ModelError
from landscape.regularizers import checks
from landscape.regularizers.base import Constraint
from landscape.regularizers.operator_norm import (
    OPERATORS,
    Layer,
    Operator,
    Size,
    any_device,
    circular_size,
    eigen_of_grams,
    frequencies,
    input_sizes,
    reshaped,
    reshaped_back,
    squared_norms,
    taps,
    weight_layers,
    weight_parameters,
)


class SpectralProjection(Constraint):
    """No singular value of any linear or convolutional layer above a bound that falls as training goes on.

    Definition: ``W = U S V'`` becomes ``U min(S, tau_e) V'``, the nearest matrix in the Frobenius norm whose singular
    values are all within the bound ``tau_e = tau * (1 + 4 exp(-epoch / kappa))``: 5 tau at first, tau in the end. A
    weight within the bound is left as it is, bit for bit, and so is one that is not trained (``requires_grad=False``).
    Biases and normalization layers are not looked at, nor are the weights of recurrent layers, of nn.MultiheadAttention
    (``in_proj_weight``), nn.Bilinear and nn.Embedding.

    With ``operator="convolution"`` the bound holds for the circular convolution on the padded input, which bounds the
    layer's own from above: its matrices are cut off frequency by frequency, and the result back to the taps of the
    kernel, in turn; what is above the bound after that is taken away by making the whole kernel smaller. This costs far
    more: a decomposition for every frequency of every layer.

    Args:
        tau: The bound in the end, above 0. Default 0.5; the published robust networks use 0.8.
        kappa: Epochs after which the bound's way to tau is 1 / e of the whole, above 0. Default 2; 50 for those.
        operator: "reshaped" (default, as published): the kernel as a matrix (out, in * kh * kw), from inputs to outputs
            also where the convolution is transposed (its weight is stored as (in, out, kh, kw)); or "convolution".
        input_shape: (C, H, W) of one input, for the sizes of what the convolutions read; needed for "convolution".
        rounds: How often it cuts off and back for "convolution", at least 1. Default 3: more change little.

    Raises:
        ConfigError: A setting is out of range, or the shape is missing.

    Example:
        >>> model = nn.Linear(2, 2, bias=False)
        >>> with torch.no_grad(): _ = model.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 0.25]]))
        >>> SpectralProjection(tau=0.5).apply(model, epoch=1e9)
        >>> model.weight.tolist()
        [[0.5, 0.0], [0.0, 0.25]]

    References:
        A. Bietti et al., A Kernel Perspective for Regularizing Deep Neural Networks, ICML 2019, section 3.2 and
        appendix; H. Sedghi, V. Gupta, P. Long, The Singular Values of Convolutional Layers, ICLR 2019.
    """

    def __init__(
        self,
        *,
        tau: float = 0.5,
        kappa: float = 2.0,
        operator: Operator = "reshaped",
        input_shape: Sequence[int] | None = None,
        rounds: int = 3,
    ) -> None:
        tau, kappa = checks.positive("tau", tau), checks.positive("kappa", kappa)
        require_name("operator", operator, OPERATORS)
        checks.count("rounds", rounds)
        given = isinstance(input_shape, Sequence) and all(is_whole(each) and each >= 1 for each in input_shape)
        fix = 'Give the shape of one input, such as (3, 32, 32), or use operator="reshaped".'
        fine = given or (input_shape is None and operator == "reshaped")
        require(fine, "input_shape", "the shape of one input", input_shape, fix)
        shape = None if input_shape is None else tuple(input_shape)
        self.tau, self.kappa, self.operator, self.input_shape, self.rounds = tau, kappa, operator, shape, rounds
        self._sizes: dict[str, Size] = {}
        self._of: list[int] = []

    def bound(self, epoch: float) -> float:
        """Return tau_e.

        Args:
            epoch: Epochs done, fractions counted.

        Example:
            >>> SpectralProjection(tau=0.5, kappa=2.0).bound(0.0)
            2.5
        """
        fine = is_number(epoch) and epoch >= 0
        require(fine, "epoch", "a number of at least 0", epoch, "Give the epochs done so far.")
        return self.tau * (1.0 + 4.0 * math.exp(-epoch / self.kappa))

    def apply(self, model: nn.Module, *, epoch: float) -> None:
        """Cut the singular values off, in place.

        Args:
            model: Whose weights.
            epoch: Epochs done, fractions counted.

        Raises:
            ModelError: The model has no such layer, does not read inputs of that shape, or computes a weight that is
                trained from other parameters.
        """
        layers, bound = weight_layers(model), self.bound(epoch)
        trained = {name: layer for name, layer in layers.items() if _is_trained(layer)}
        _check_own_weights(trained)
        of = [id(layer) for layer in layers.values()]
        if self.operator == "convolution" and of != self._of:
            self._of = of
            any_weight = weight_parameters(next(iter(layers.values())))[0].detach()
            self._sizes = input_sizes(model, any_weight.new_zeros((2, *(self.input_shape or ()))))
        with torch.no_grad(), torch.autocast(any_device(layers), enabled=False):
            flat = [layer for name, layer in trained.items() if name not in self._sizes]
            matrices = [reshaped(layer) for layer in flat]
            for layer, cut in zip(flat, clipped(matrices, bound), strict=True):
                layer.weight.copy_(reshaped_back(layer, cut))
            for name, size in self._sizes.items():
                if name in trained:
                    self._convolution(trained[name], size, bound)

    def _convolution(self, layer: Any, size: Size, bound: float) -> None:
        period = circular_size(layer, size)
        for _ in range(self.rounds):
            spectrum = frequencies(layer, period)
            (cut,) = clipped([spectrum], bound)
            layer.weight.add_(taps(layer, cut - spectrum, period))
        (square,) = squared_norms([frequencies(layer, period)])
        layer.weight.mul_((bound / square.sqrt()).clamp(max=1.0))


def _is_trained(layer: Layer) -> bool:
    """Whether a layer's weight, or what it is computed from, requires a gradient."""
    return any(each.requires_grad for each in weight_parameters(layer))


def _check_own_weights(layers: dict[str, Layer]) -> None:
    """Check that what is written to the weights stays in them."""
    for name, layer in layers.items():
        if "weight" not in layer._parameters:
            raise ModelError(
                f"{name} is computed from other parameters, so it cannot be projected.",
                expected="layers whose weight is a parameter of its own",
                got="a parametrization, such as weight_norm or spectral_norm",
                fix="Remove it (torch.nn.utils.parametrize.remove_parametrizations), or leave the projection out.",
            )


def clipped(matrices: Sequence[Tensor], bound: float) -> list[Tensor]:
    """Return the nearest matrices without a singular value above a bound.

    Definition: with the singular vectors ``u_j`` of the shorter side, ``M - sum_j (1 - bound / s_j)_+ u_j u_j^H M``, so
    a matrix within the bound comes back bit for bit.

    Args:
        matrices: (..., m, n) each, real or complex; not changed.
        bound: Above 0.

    Returns:
        Of the same shapes and precision.

    Example:
        >>> clipped([torch.diag(torch.tensor([2.0, 0.5]))], 1.0)[0].tolist()
        [[1.0, 0.0], [0.0, 0.5]]
    """
    found = []
    for matrix, (values, vectors, wide) in zip(matrices, eigen_of_grams(matrices), strict=True):
        excess = 1.0 - (bound / values.clamp(min=0.0).sqrt()).clamp(max=1.0)
        part = (vectors * excess.unsqueeze(-2)) @ vectors.mH
        exact = matrix.to(part.dtype)
        found.append((exact - (part @ exact if wide else exact @ part)).to(matrix.dtype))
    return found
