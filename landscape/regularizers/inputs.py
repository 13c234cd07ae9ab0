"""Adversarial training: inputs moved up the loss, in place of the clean ones."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.balls import Norm, random_point
from landscape.config import require, require_name
from landscape.regularizers.ascent import climb
from landscape.regularizers.base import Forward, InputMove
from landscape.regularizers.checks import amount, count, units_of, whole
from landscape.regularizers.passes import Losses, cross_entropy, extra_passes, unlinked
from landscape.regularizers.units import PIXELS, InputUnits
from landscape.seeding import generator

_REACH = 1.5  # the length of all L2 steps together, in radii: as published
_SIGNED = 0.01  # a step along the sign, in pixels: as published


class AdversarialInputs(InputMove):
    """Projected gradient ascent (PGD): each example is moved to where its loss is larger, within a ball around it.

    Each step goes along ``g / ||g||_2`` ("l2") or ``sign(g)`` ("linf"), then back into the ball, and back into the
    limits of ``units`` where there are some. An example whose gradient is 0 stays where it is.

    Args:
        norm: "l2" or "linf".
        epsilon: Radius in pixels, at least 0.
        steps: Ascent steps, at least 1; 5 as published.
        step_size: Length of a step in pixels; None is, as published, ``1.5 * epsilon / steps`` for "l2" and 0.01 for
            "linf".
        random_start: Whether to begin at a random point of the ball; None is, as published, only for "linf".
        units: What a pixel is, and its limits; published with none, so that pixels could become negative.
        seed: Names the starting points.
        loss: From logits and targets to the loss of each example, (n,); cross-entropy by default.

    Raises:
        ConfigError: An argument is out of range.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[6.0, 8.0], [0.0, 0.0]]))
        >>> move = AdversarialInputs(epsilon=0.5)
        >>> moved = move(model, torch.zeros(1, 2), torch.tensor([0]))  # along W^T (p - e_y) = -(3, 4)
        >>> [round(x, 4) for x in moved[0].tolist()]
        [-0.3, -0.4]

    References:
        A. Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018. A. Bietti, G. Mialon,
        D. Chen, J. Mairal, A Kernel Perspective for Regularizing Deep Neural Networks, ICML 2019 (arXiv 1810.00363),
        section 3.2.
    """

    def __init__(
        self,
        *,
        norm: Norm = "l2",
        epsilon: float,
        steps: int = 5,
        step_size: float | None = None,
        random_start: bool | None = None,
        units: InputUnits = PIXELS,
        seed: int = 0,
        loss: Losses = cross_entropy,
    ) -> None:
        super().__init__()
        require_name("norm", norm, ("l2", "linf"))
        self.norm: Norm = norm
        self.epsilon, self.steps = amount("epsilon", epsilon), count("steps", steps)
        published = _REACH * self.epsilon / self.steps if norm == "l2" else _SIGNED
        self.step_size = published if step_size is None else amount("step_size", step_size)
        told = random_start is None or isinstance(random_start, bool)
        require(told, "random_start", "true or false, or none for the published", random_start)
        self.random_start = norm == "linf" if random_start is None else random_start
        self.units, self.seed, self.loss = units_of(units), whole("seed", seed), loss

    def __call__(self, model: Forward, inputs: Tensor, targets: Tensor, *, step: int | None = None) -> Tensor:
        """Return moved inputs, detached.

        Args:
            model: From inputs to logits; its mode, statistics and gradients stay as they are.
            inputs: (B, ...) as the model reads them; not changed.
            targets: (B,) class numbers.
            step: Steps done before; names the starting points.

        Returns:
            (B, ...).

        Raises:
            DataError: The batch is empty, or its inputs are no floating-point numbers.
            MismatchError: There are not as many targets as inputs.
            ModelError: The outputs are no logits.
        """
        number = self.number(step)
        with extra_passes(model, inputs, targets) as forward:
            clean = unlinked(inputs)
            change = torch.zeros_like(clean)
            if self.random_start:
                stream = generator(self.seed, "adversarial inputs", number, device=clean.device)
                change = self.units.within(clean, random_point(clean, self.epsilon, self.norm, stream))
            change = climb(
                lambda moved: self.loss(forward(moved), targets).sum(),
                clean,
                change,
                steps=self.steps,
                length=self.step_size,
                radius=self.epsilon,
                norm=self.norm,
                units=self.units,
            )
            return self.units.moved(clean, change).detach()
