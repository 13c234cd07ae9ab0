"""The penalty on what small deformations of an image change in the outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.config import require
from landscape.regularizers import checks
from landscape.regularizers.base import Forward, Penalty
from landscape.regularizers.deformations import Deformations
from landscape.regularizers.passes import extra_passes, unlinked
from landscape.seeding import generator


class DeformationStability(Penalty):
    """A penalty on the largest change of each output under small deformations: a lower bound of the RKHS norm.

    Definition: ``weight * sum_k max over (i, j) of (f_k(x_ij) - f_k(x_i))^2``, over the first ``examples`` images of
    the batch and ``count`` deformations ``x_ij`` of each, every one compared with its own image. A pass without a graph
    finds the pair of each class; only those pairs are differentiated, in one pass of 2 K images, or where passes draw
    masks, as dropout does, in two with the same masks; without autocast, since half precision sees little of a small
    difference. All leave the statistics of batch normalization alone.

    Args:
        weight: At least 0. Default 0.1, that of the published experiments.
        examples: Images of each batch, at least 1. Default 32, as published; all where there are fewer.
        count: Deformations of each, at least 1. Default 8, so that the search costs about two forward passes of a batch
            of 128; 32 are published, from images that had been deformed before.
        deformations: What is drawn; by default ``Deformations()``.
        seed: Names the draws, new in every step and the same in all passes of one.

    Raises:
        ConfigError: A setting is out of range.
        DataError: On a call: the inputs are no images.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> DeformationStability()(model, torch.zeros(3, 1, 4, 4), torch.zeros(3, dtype=torch.long)).item()
        0.0

    References:
        A. Bietti, G. Mialon, D. Chen, J. Mairal, A Kernel Perspective for Regularizing Deep Neural Networks, ICML 2019,
        section 3.1.
    """

    def __init__(
        self,
        *,
        weight: float = 0.1,
        examples: int = 32,
        count: int = 8,
        deformations: Deformations | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.weight, self.seed = checks.amount("weight", weight), checks.whole("seed", seed)
        self.examples, self.count = checks.count("examples", examples), checks.count("count", count)
        self.deformations = deformations_of(deformations)

    def __call__(
        self, model: Forward, inputs: Tensor, targets: Tensor, *, outputs: Tensor | None = None, step: int | None = None
    ) -> Tensor:
        """Compute the penalty.

        Args:
            model: From inputs to logits.
            inputs: (B, C, H, W) as the model reads them.
            targets: Not read.
            outputs: Not read.
            step: Steps done before; names the draws.

        Returns:
            0-d tensor with a graph to the weights.
        """
        stream = generator(self.seed, "deformation stability", self.number(step), device=inputs.device)
        with extra_passes(model, inputs) as forward:
            clean = unlinked(inputs)[: self.examples]
            moved = self.deformations(clean.repeat_interleave(self.count, dim=0), stream)
            with torch.no_grad():
                reference, other = forward(torch.cat((clean, moved))).split((len(clean), len(moved)))
                change = (other - reference.repeat_interleave(self.count, dim=0)).square()
                chosen = change.argmax(dim=0)  # (K,)
            drew = forward.drew
            with forward.exactly():
                pair = (forward.given(clean[chosen // self.count]), forward.given(moved[chosen]))
                if drew:  # masks, as dropout does: passes of their own have the same ones
                    reference, other = (forward(images) for images in pair)
                else:
                    reference, other = forward(torch.cat(pair)).chunk(2)
                return self.weight * (other - reference).diagonal().square().sum()


def deformations_of(value: Deformations | None) -> Deformations:
    """Return the deformations, the default ones where none are given.

    Raises:
        ConfigError: They are something else.
    """
    chosen = Deformations() if value is None else value
    require(isinstance(chosen, Deformations), "deformations", "Deformations(...)", value)
    return chosen
