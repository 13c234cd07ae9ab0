"""How far a logit changes within a ball around an example: a lower bound of the RKHS norm."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.regularizers.ascent import climb, stepped
from landscape.regularizers.base import Forward, Penalty
from landscape.regularizers.checks import amount, count, units_of
from landscape.regularizers.passes import Passes, differentiable, extra_passes, gradient_by, unlinked
from landscape.regularizers.units import PIXELS, InputUnits

_REACH = 1.5  # the length of all steps together, in radii: as published
_AT_ONCE = {"cpu": 128, "cuda": 1024}  # moved inputs of one pass: on a CPU more of them leave its caches


class AdversarialPenalty(Penalty):
    """``sum_k max_(i, ||d||_2 <= epsilon) (f_k(x_i + d) - f_k(x_i))^2``: a logit f_k changes little around an example.

    For each class k and each example i, ``steps`` steps go up f_k from d = 0, each along ``g / ||g||`` and then back
    into the ball; the example that changed most is taken. Then these K examples and their changes are held fixed, and
    the penalty is a function of the weights. For ``f(x) = W x + b`` it is ``epsilon^2 * sum_k ||w_k||^2``.

    There is no lambda: epsilon plays its part. A batch of n examples costs ``steps`` forward and backward passes of
    K n examples by the inputs alone (the first of these forward passes is one of n), a forward pass of K n, and two
    with their backward passes of K. Under autocast the last, of the chosen, are in the precision of the weights: half
    precision sees little of the difference between two near points.

    Args:
        epsilon: Radius in pixels, at least 0; 1 in the published settings.
        steps: Ascent steps, at least 1; 5 as published.
        step_size: Length of a step in pixels; None is ``1.5 * epsilon / steps``, as published.
        weight: A factor all the same, at least 0.
        units: What a pixel is, and its limits; published with none.

    Raises:
        ConfigError: An argument is out of range.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
        >>> penalty = AdversarialPenalty(epsilon=2.0)
        >>> round(penalty(model, torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)).item(), 3)  # 4 (25 + 1)
        104.0

    References:
        A. Bietti, G. Mialon, D. Chen, J. Mairal, A Kernel Perspective for Regularizing Deep Neural Networks, ICML 2019
        (arXiv 1810.00363), section 3.1: the penalty ``||f||_delta^2``.
    """

    differentiates_inputs = True

    def __init__(
        self,
        *,
        epsilon: float = 1.0,
        steps: int = 5,
        step_size: float | None = None,
        weight: float = 1.0,
        units: InputUnits = PIXELS,
    ) -> None:
        super().__init__()
        self.epsilon, self.steps = amount("epsilon", epsilon), count("steps", steps)
        self.step_size = _REACH * self.epsilon / self.steps if step_size is None else amount("step_size", step_size)
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
            0-d tensor with a graph to the weights, in squared logits.

        Raises:
            DataError: The batch is empty, or its inputs are no floating-point numbers.
            ModelError: The outputs are no logits.
        """
        with extra_passes(model, inputs) as forward:
            clean, change = self._farthest(forward, inputs, outputs)
            with forward.exactly():
                clean = forward.given(clean)
                before = forward(clean).diagonal()  # row k is the example that was chosen for class k
                after = forward(self.units.moved(clean, change)).diagonal()
                return self.weight * (after - before).square().sum()

    def _farthest(self, forward: Passes, inputs: Tensor, outputs: Tensor | None) -> tuple[Tensor, Tensor]:
        """For each class the example that changes most, and its change in pixels, both (K, ...)."""
        moving, logits = differentiable(outputs, inputs, forward)
        inputs, classes, n = unlinked(inputs), logits.shape[1], len(inputs)
        passes = -(-classes // max(1, _AT_ONCE.get(inputs.device.type, n) // n))
        examples, changes = [], []
        for part in torch.arange(classes).tensor_split(passes):  # on the CPU: nothing waits for the device
            first, size = int(part[0]), len(part)
            starts = [gradient_by(logits[:, first + k].sum(), moving, keep=True) for k in range(size)]
            before = logits[:, first : first + size].detach()
            change, rise = self._climb(forward, _repeated(inputs, size), before, _joined(starts), first)
            best = rise.square().argmax(0)
            examples.append(best)
            changes.append(change[best + n * torch.arange(size, device=best.device)])
        return inputs[torch.cat(examples)], torch.cat(changes)

    def _climb(
        self, forward: Passes, copies: Tensor, before: Tensor, start: Tensor, first: int
    ) -> tuple[Tensor, Tensor]:
        """Climb c logits from n examples each; return the changes (c n, ...) and how far the logits rose, (n, c)."""
        n, c = before.shape

        def own(moved: Tensor) -> Tensor:
            return forward(moved).view(c, n, -1)[:, :, first : first + c].diagonal(dim1=0, dim2=2)

        how = {"length": self.step_size, "radius": self.epsilon, "norm": "l2", "units": self.units}
        change = stepped(copies, torch.zeros_like(copies), start, **how)
        change = climb(lambda moved: own(moved).sum(), copies, change, steps=self.steps - 1, **how)
        after = own(self.units.moved(copies, change)).detach()
        if forward.drew:  # with masks that differ from row to row, so the rows before need the same ones
            before = own(copies).detach()
        return change, after - before


def _repeated(inputs: Tensor, times: int) -> Tensor:
    return inputs if times == 1 else torch.cat([inputs] * times)  # cat keeps the channels where they are


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
