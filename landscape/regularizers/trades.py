"""TRADES: predictions that are the same throughout a ball around each example."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.balls import Norm
from landscape.config import require_name
from landscape.regularizers.ascent import climb
from landscape.regularizers.base import Forward, Penalty
from landscape.regularizers.checks import amount, count, units_of, whole
from landscape.regularizers.divergence import clean_logarithms, divergence
from landscape.regularizers.passes import extra_passes
from landscape.regularizers.units import PIXELS, InputUnits
from landscape.seeding import generator

_START = 0.001  # standard deviation of the noise to begin with, in pixels: at 0 the divergence has no gradient
_SIGNED = 0.007  # a step along the sign, in pixels: as published
_REACH = 2.0  # the length of all L2 steps together, in radii: as published


class Trades(Penalty):
    """``beta * mean_i max_(||d|| <= epsilon) KL(p(x_i) || p(x_i + d))``: the price of robustness.

    From normal noise of 0.001, ``steps`` steps climb the divergence within the ball; then the weights are moved for
    both p(x_i) and p(x_i + d). Labels are not used. The published code climbs in evaluation mode and moves running
    statistics by the moved inputs; here the model stays in its mode, and the statistics are those of clean inputs.

    A batch costs ``steps`` forward and backward passes by the inputs alone, and one of each by the weights. Under
    autocast they are all in the precision of the weights, and so is another of each, of the clean inputs: of moves as
    small as the first, half precision sees nothing but rounding. For the same reason weights should not be in it.

    Args:
        epsilon: Radius in pixels, at least 0; 0.031 (8/255) in the published settings for CIFAR-10.
        norm: "linf" or "l2".
        steps: Ascent steps, at least 1; 10 as published.
        step_size: Length of a step in pixels; None is, as published, 0.007 for "linf" and ``2 * epsilon / steps`` for
            "l2".
        weight: beta, at least 0; 6 in the published settings for CIFAR-10 (1/lambda there).
        units: What a pixel is, and its limits; published with those of images, 0 and 1.
        seed: Names the noise.

    Raises:
        ConfigError: An argument is out of range.

    Example:
        >>> model = torch.nn.Linear(1, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0], [0.0]]))
        >>> penalty = Trades(epsilon=0.5, step_size=0.5, weight=1.0)
        >>> value = penalty(model, torch.zeros(1, 1), torch.tensor([0]))
        >>> round(value.item(), 4)  # log(cosh(0.25)), at either end
        0.0309

    References:
        H. Zhang et al., Theoretically Principled Trade-off between Robustness and Accuracy, ICML 2019 (arXiv
        1901.08573), algorithm 1 and section 5.
    """

    def __init__(
        self,
        *,
        epsilon: float = 0.031,
        norm: Norm = "linf",
        steps: int = 10,
        step_size: float | None = None,
        weight: float = 6.0,
        units: InputUnits = PIXELS,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_name("norm", norm, ("l2", "linf"))
        self.norm: Norm = norm
        self.epsilon, self.steps = amount("epsilon", epsilon), count("steps", steps)
        published = _SIGNED if norm == "linf" else _REACH * self.epsilon / self.steps
        self.step_size = published if step_size is None else amount("step_size", step_size)
        self.weight, self.units, self.seed = amount("weight", weight), units_of(units), whole("seed", seed)

    def __call__(
        self, model: Forward, inputs: Tensor, targets: Tensor, *, outputs: Tensor | None = None, step: int | None = None
    ) -> Tensor:
        """Compute the penalty; see :class:`~landscape.regularizers.Penalty`.

        Args:
            model: From inputs to logits.
            inputs: (B, ...) as the model reads them.
            targets: (B,); without effect.
            outputs: (B, K) logits of these inputs, with their graph; used where the model draws no masks, without
                autocast.
            step: Steps done before; names the noise.

        Returns:
            0-d tensor with a graph to the weights, in nats.

        Raises:
            DataError: The batch is empty, or its inputs are no floating-point numbers.
            ModelError: The outputs are no logits.
        """
        number = self.number(step)
        with extra_passes(model, inputs) as forward, forward.exactly():
            inputs = forward.given(inputs)
            clean = clean_logarithms(forward, inputs, outputs)

            def apart(moved: Tensor, *, fixed: bool = True) -> Tensor:
                probe = forward(moved)
                return divergence(clean().detach() if fixed else clean(), probe)

            stream = generator(self.seed, "trades", number, device=inputs.device)
            noise = torch.randn(inputs.shape, generator=stream, device=inputs.device, dtype=inputs.dtype)
            change = climb(
                lambda moved: apart(moved).sum(),
                inputs,
                self.units.within(inputs, _START * noise),
                steps=self.steps,
                length=self.step_size,
                radius=self.epsilon,
                norm=self.norm,
                units=self.units,
            )
            return self.weight * apart(self.units.moved(inputs, change), fixed=False).mean()
