"""The gradient of each example's loss by its inputs: what an attack would climb."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from landscape.config import require_name
from landscape.regularizers.base import Forward, Penalty
from landscape.regularizers.checks import amount, units_of
from landscape.regularizers.passes import Losses, cross_entropy, differentiable, extra_passes, gradient_by
from landscape.regularizers.units import PIXELS, InputUnits


class LossGradient(Penalty):
    """``(lambda / n) * sum_i ||grad_x loss(x_i, y_i)||``, squared for the 2-norm, as it is for the 1-norm.

    To first order, ``epsilon * ||g||_1`` is how much the loss rises where each pixel may change by epsilon, and
    ``epsilon * ||g||_2`` where all together may. For ``f(x) = W x + b`` and cross-entropy, ``g = W^T (p - e_y)``.

    Args:
        norm: "l2" (its square) or "l1".
        weight: lambda, at least 0; 0.1 in the published settings.
        units: What a pixel is.
        loss: From logits and targets to the loss of each example, (n,); cross-entropy by default.

    Raises:
        ConfigError: An argument is out of range.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[6.0, 8.0], [0.0, 0.0]]))
        >>> inputs, targets = torch.zeros(1, 2), torch.tensor([0])  # p = (1/2, 1/2), so g = -(3, 4)
        >>> squared, absolute = LossGradient(weight=1.0), LossGradient(norm="l1", weight=1.0)
        >>> squared(model, inputs, targets).item(), absolute(model, inputs, targets).item()
        (25.0, 7.0)

    References:
        H. Drucker, Y. Le Cun, Improving Generalization Performance Using Double Backpropagation, IEEE Transactions on
        Neural Networks 3(6), 1992. A. Bietti, G. Mialon, D. Chen, J. Mairal, A Kernel Perspective for Regularizing Deep
        Neural Networks, ICML 2019 (arXiv 1810.00363), section 3.2.
    """

    differentiates_inputs = True

    def __init__(
        self,
        *,
        norm: Literal["l2", "l1"] = "l2",
        weight: float = 0.1,
        units: InputUnits = PIXELS,
        loss: Losses = cross_entropy,
    ) -> None:
        super().__init__()
        require_name("norm", norm, ("l2", "l1"))
        self.norm, self.weight, self.units, self.loss = norm, amount("weight", weight), units_of(units), loss

    def __call__(
        self, model: Forward, inputs: Tensor, targets: Tensor, *, outputs: Tensor | None = None, step: int | None = None
    ) -> Tensor:
        """Compute the penalty; see :class:`~landscape.regularizers.Penalty`.

        Args:
            model: From inputs to logits.
            inputs: (B, ...) as the model reads them.
            targets: (B,) class numbers.
            outputs: (B, K) logits of these inputs, with their graph; used where inputs require a gradient.
            step: Without effect: nothing is drawn.

        Returns:
            0-d tensor with a graph to the weights: (nats per pixel)^2, or nats per pixel.

        Raises:
            DataError: The batch is empty, or its inputs are no floating-point numbers.
            MismatchError: There are not as many targets as inputs.
            ModelError: The outputs are no logits.
        """
        with extra_passes(model, inputs, targets) as forward:
            moving, logits = differentiable(outputs, inputs, forward)
            gradient = self.units.by_pixels(gradient_by(self.loss(logits, targets).sum(), moving, graph=True))
            size = gradient.square() if self.norm == "l2" else gradient.abs()
            return (self.weight / len(inputs)) * size.sum()
