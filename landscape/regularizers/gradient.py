"""The largest gradient of each logit by the inputs: a lower bound of the RKHS norm."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.regularizers.base import Forward, Penalty
from landscape.regularizers.checks import amount, units_of
from landscape.regularizers.passes import Passes, differentiable, extra_passes, gradient_by, leaf, unlinked
from landscape.regularizers.units import PIXELS, InputUnits


class GradientPenalty(Penalty):
    """``lambda * sum_k max_i ||grad_x f_k(x_i)||_2^2``: a logit f_k may change by little from pixel to pixel.

    For each class k the example i of the batch is looked for whose gradient is longest (K gradients by the inputs, of
    one pass), and then the gradients of these K examples are differentiated once more. The choice itself has no
    derivative. For ``f(x) = W x + b`` it is ``lambda * sum_k ||w_k||^2``.

    Args:
        weight: lambda, at least 0; 0.1 in the published settings.
        units: What a pixel is.

    Raises:
        ConfigError: An argument is out of range.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
        >>> penalty = GradientPenalty(weight=0.5)
        >>> penalty(model, torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)).item()  # (25 + 1) / 2
        13.0

    References:
        A. Bietti, G. Mialon, D. Chen, J. Mairal, A Kernel Perspective for Regularizing Deep Neural Networks, ICML 2019
        (arXiv 1810.00363), section 3.1: the penalty ``||grad f||^2``.
    """

    differentiates_inputs = True

    def __init__(self, *, weight: float = 0.1, units: InputUnits = PIXELS) -> None:
        super().__init__()
        self.weight, self.units = amount("weight", weight), units_of(units)

    def __call__(
        self, model: Forward, inputs: Tensor, targets: Tensor, *, outputs: Tensor | None = None, step: int | None = None
    ) -> Tensor:
        """Compute the penalty; see :class:`~landscape.regularizers.Penalty`.

        Args:
            model: From inputs to logits.
            inputs: (B, ...) as the model reads them.
            targets: (B,); without effect.
            outputs: (B, K) logits of these inputs, with their graph; used where inputs require a gradient.
            step: Without effect: nothing is drawn.

        Returns:
            0-d tensor with a graph to the weights, in squared logits for a pixel's change.

        Raises:
            DataError: The batch is empty, or its inputs are no floating-point numbers.
            ModelError: The outputs are no logits.
        """
        with extra_passes(model, inputs) as forward:
            steepest = self._steepest(forward, inputs, outputs)
            chosen = leaf(unlinked(inputs)[steepest])
            logits = forward(chosen).diagonal()  # row k is the example that was chosen for class k
            gradient = self.units.by_pixels(gradient_by(logits.sum(), chosen, graph=True))
            return self.weight * gradient.square().sum()

    def _steepest(self, forward: Passes, inputs: Tensor, outputs: Tensor | None) -> Tensor:
        """For each class the number of the example with the longest gradient, (K,)."""
        moving, logits = differentiable(outputs, inputs, forward)
        lengths = []
        for logit in logits.unbind(1):  # one pass for all: with K copies of the batch it takes two times as long
            gradient = self.units.by_pixels(gradient_by(logit.sum(), moving, keep=True))
            lengths.append(gradient.flatten(1).square().sum(1))
        return torch.stack(lengths).argmax(1)
