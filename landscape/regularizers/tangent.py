"""The penalty on the derivatives of the outputs along small deformations of an image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from landscape.regularizers import checks
from landscape.regularizers.base import Forward, Penalty
from landscape.regularizers.deformations import Deformations
from landscape.regularizers.passes import extra_passes, unlinked
from landscape.regularizers.stability import deformations_of
from landscape.seeding import generator


class TangentPenalty(Penalty):
    """A penalty on the largest gradient of each output by the amounts of small deformations.

    Definition: ``weight * sum_k max_i || d/da f_k(x_i + sum_j a_j t_ij) ||^2`` at ``a = 0``, which is
    ``weight * sum_k max_i sum_j (grad f_k(x_i) . t_ij)^2``, over the first ``examples`` images of the batch and the
    tangents ``t_ij``, the derivatives of the image along ``count`` deformations
    (:meth:`~landscape.regularizers.deformations.Deformations.tangents`).

    The image of each class is found by reverse mode: K backward passes of 32 images, whatever the number of tangents.
    Forward mode would take 30 passes, each as long as about three backward passes: less only from about 90 classes on.
    Only the K images found are differentiated twice. All passes leave the statistics of batch normalization alone.

    Args:
        weight: At least 0. Default 0.1, that of the published experiments.
        examples: Images of each batch, at least 1. Default 32, as published; all where there are fewer.
        count: Tangents of each, at least 1. Default 30, as published.
        deformations: Along what; by default ``Deformations()``. A tangent is as long as its deformation is strong.
        seed: Names the draws, new in every step and the same in all passes of one.

    Raises:
        ConfigError: A setting is out of range.
        DataError: On a call: the inputs are no images.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> TangentPenalty()(model, torch.ones(3, 1, 4, 4), torch.zeros(3, dtype=torch.long)).item()
        0.0

    References:
        A. Bietti, G. Mialon, D. Chen, J. Mairal, A Kernel Perspective for Regularizing Deep Neural Networks, ICML 2019,
        section 3.1; P. Simard et al., Transformation Invariance in Pattern Recognition: Tangent Distance and Tangent
        Propagation, 1998.
    """

    def __init__(
        self,
        *,
        weight: float = 0.1,
        examples: int = 32,
        count: int = 30,
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
        stream = generator(self.seed, "tangents", self.number(step), device=inputs.device)
        with extra_passes(model, inputs) as forward:
            clean = unlinked(inputs)[: self.examples]
            tangents = self.deformations.tangents(clean, stream, self.count)  # (I, T, C, H, W)
            chosen = torch.stack([_along(each, tangents).square().sum(1) for each in _gradients(forward, clean)])
            chosen = chosen.argmax(dim=1)  # (K,) images
            images = clean[chosen].requires_grad_()
            own = forward(images).diagonal().sum()
            (gradient,) = torch.autograd.grad(own, images, create_graph=True, allow_unused=True, materialize_grads=True)
            return self.weight * _along(gradient, tangents[chosen]).square().sum()


def _gradients(model: Forward, images: Tensor) -> list[Tensor]:
    """The gradient of every output by its image: K of (I, C, H, W), without a graph."""
    images = images.detach().requires_grad_()
    sums = model(images).sum(0).unbind()
    options: dict[str, Any] = {"allow_unused": True, "materialize_grads": True}
    last = len(sums) - 1
    return [torch.autograd.grad(each, images, retain_graph=k < last, **options)[0] for k, each in enumerate(sums)]


def _along(gradients: Tensor, tangents: Tensor) -> Tensor:
    """Products of (I, C, H, W) and (I, T, C, H, W): (I, T)."""
    with torch.autocast(gradients.device.type, enabled=False):  # half precision would overflow
        return torch.einsum("id,itd->it", gradients.flatten(1), tangents.flatten(2))
