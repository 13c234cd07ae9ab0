"""The loss of a batch and what training adds to it: mixtures, smoothing, flooding, moved inputs, moved weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.datasets import Dataset
from landscape.optim.backup import Backup, frozen_statistics
from landscape.optim.norms import global_norm
from landscape.seeding import generator
from landscape.training.batches import Batch

_REACH = 2.5  # PGD's steps together are so many times as long as the radius


def batch_loss(outputs: Tensor, batch: Batch, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of a batch; of a mixture, that of both classes by their shares.

    Args:
        outputs: (B, K) logits.
        batch: Their targets.
        label_smoothing: 0 to 1, as in torch.

    Returns:
        0-d tensor, in nats.
    """
    loss = F.cross_entropy(outputs, batch.targets, label_smoothing=label_smoothing)
    if batch.others is None:
        return loss
    other = F.cross_entropy(outputs, batch.others, label_smoothing=label_smoothing)
    return batch.share * loss + (1.0 - batch.share) * other


def right_answers(outputs: Tensor, batch: Batch) -> Tensor:
    """Return how many answers are right; of a mixture, each class counts by its share.

    Args:
        outputs: (B, K) logits.
        batch: Their targets.

    Returns:
        0-d float64 tensor.
    """
    answers = outputs.argmax(1)
    right = (answers == batch.targets).sum().double()
    if batch.others is None:
        return right
    return batch.share * right + (1.0 - batch.share) * (answers == batch.others).sum().double()


def flooded(loss: Tensor, level: float | None) -> Tensor:
    """Return ``|loss - b| + b``: below the level b, descent turns into ascent.

    Args:
        loss: 0-d tensor, the mean over a batch.
        level: b in nats; None leaves the loss as it is.

    Example:
        >>> loss = torch.tensor(0.25, requires_grad=True)
        >>> flooded(loss, 1.0).backward()
        >>> loss.grad.item()
        -1.0

    References:
        T. Ishida et al., Do We Need Zero Training Loss After Achieving Zero Training Error?, ICML 2020, eq. 2.
    """
    return loss if level is None else (loss - level).abs() + level


class InputAttack:
    """Inputs moved against the loss within a box around each: adversarial training.

    Definition, for pixels from 0 to 1 and a radius eps: with one step, ``x + eps * sign(gradient)`` (FGSM); with more,
    PGD: from a point uniform in the box, ``steps`` times a step of ``2.5 eps / steps`` along the sign, back into the
    box after each. Images also stay within 0 and 1. The model is in training mode, its running statistics stay.

    Args:
        data: Says how its inputs were normalized; other inputs than images have no limits beside the box.
        epsilon: The radius, in units of pixels from 0 to 1 (of the raw values for other inputs).
        steps: Ascent steps.
        seed: Names the starting points.
        names: So does the process, where there are several.

    References:
        I. Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015. A. Madry et al., Towards Deep
        Learning Models Resistant to Adversarial Attacks, ICLR 2018, section 2.1.
    """

    def __init__(
        self, data: Dataset, *, epsilon: float, steps: int, seed: int, names: tuple[str | int, ...] = ()
    ) -> None:
        shape = (1, -1) + (1,) * (len(data.input_shape) - 1)
        mean, std = (torch.tensor(v, dtype=torch.float64).reshape(shape) for v in (data.mean, data.std))
        self.steps, self.seed, self.names = steps, seed, names
        self._radius = (epsilon / std).to(data.device)
        self._limits = None
        if data.inputs.dtype == torch.uint8:
            self._limits = tuple(((edge - mean) / std).to(data.device) for edge in (0.0, 1.0))

    def __call__(self, model: nn.Module, batch: Batch, loss_of: Callable[[Batch], Tensor], step: int) -> Batch:
        """Return the batch with moved inputs.

        Args:
            model: Whose running statistics must stay.
            batch: The examples; not changed.
            loss_of: The training loss of a batch, with a graph; the parameters' gradients are not touched.
            step: Steps done before; names the starting point.
        """
        clean, dtype = batch.inputs, batch.inputs.dtype
        radius = self._radius.to(dtype)
        low, high = clean - radius, clean + radius
        if self._limits is not None:
            least, most = (limit.to(dtype) for limit in self._limits)
            low, high = torch.maximum(low, least), torch.minimum(high, most)
        inputs, length = clean, radius
        if self.steps > 1:
            length = radius * (_REACH / self.steps)
            stream = generator(self.seed, "attack", step, *self.names, device=clean.device)
            start = torch.rand(clean.shape, generator=stream, device=clean.device, dtype=dtype)
            inputs = torch.clamp(clean + radius * (2.0 * start - 1.0), low, high)
        with frozen_statistics(model):
            for _ in range(self.steps):
                inputs = inputs.detach().requires_grad_()
                loss = loss_of(replace(batch, inputs=inputs))
                (gradient,) = torch.autograd.grad(loss, inputs)
                direction = gradient.sign().nan_to_num(0.0)  # an overflow in half precision moves nothing
                inputs = torch.clamp(inputs.detach() + length * direction, low, high)
        return replace(batch, inputs=inputs.detach())


class RandomMove:
    """Gradients at weights moved in a random direction: random model perturbation (RMP).

    Definition: ``w + radius * g / ||g||`` with g standard normal and the norm over all weights together. The direction
    is drawn once a step, for all its passes, so that it combines with methods that look more than once; the weights
    come back by copy, bit for bit.

    Args:
        parameters: The weights.
        radius: L2, above 0.
        seed: Names the directions.

    References:
        Y. Zheng, R. Zhang, Y. Mao, Regularizing Neural Networks via Adversarial Model Perturbation, CVPR 2021, the
        baseline of section 5 (there uniform noise; a direction of fixed length here).
    """

    def __init__(self, parameters: list[Tensor], *, radius: float, seed: int) -> None:
        self.radius, self.seed = radius, seed
        self._parameters, self._backup = parameters, Backup()

    @contextmanager
    def moved(self, step: int) -> Iterator[None]:
        """Run a block at the moved weights and come back, also after an exception.

        Args:
            step: Steps done before; names the direction.
        """
        with torch.no_grad():
            self._backup.save(self._parameters)
            stream = generator(self.seed, "random perturbation", step, device=self._parameters[0].device)
            noise = [torch.randn(p.shape, generator=stream, device=p.device, dtype=p.dtype) for p in self._parameters]
            torch._foreach_mul_(noise, self.radius / global_norm(noise))
            torch._foreach_add_(self._parameters, noise)
        try:
            yield
        finally:
            with torch.no_grad():
                self._backup.restore()
