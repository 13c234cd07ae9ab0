"""What each step trains on: order, augmentation and mixtures, all named by seed, epoch and step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.datasets import AlternatingFlips, Augmentation, AutoAugment, Dataset
from landscape.seeding import derive_seed, generator
from landscape.training.run_config import RunConfig
from landscape.training.world import World

_CHUNK = 4096  # images that are cropped at once; an epoch's offsets together would take gigabytes


@dataclass(frozen=True)
class Batch:
    """The examples of a step, the same in every pass.

    Attributes:
        inputs: (B, ...), normalized.
        targets: (B,) class numbers.
        others: (B,) class numbers of the second examples of a mixture; None where there is none.
        share: Of the first example in a mixture, 0 to 1.
        weight: What its mean loss counts in the average over several processes.
    """

    inputs: Tensor
    targets: Tensor
    others: Tensor | None = None
    share: float = 1.0
    weight: float = 1.0

    def __len__(self) -> int:
        """The number of examples B."""
        return len(self.targets)

    def chunk(self, parts: int) -> list[Batch]:
        """Cut it into so many batches, as ``torch.chunk`` cuts; fewer where there are too few examples."""
        inputs, targets = self.inputs.chunk(parts), self.targets.chunk(parts)
        others = [None] * len(targets) if self.others is None else self.others.chunk(parts)
        return [Batch(x, y, z, self.share, self.weight) for x, y, z in zip(inputs, targets, others, strict=True)]


class Batches:
    """The batches of a run. The position alone says what comes next: there is no state to save.

    Args:
        config: The settings.
        data: The training data, on the device where the batches are wanted.
        dtype: Of the inputs.
        memory_format: Of inputs that are images.
        world: The process that wants its share of each batch; alone by default.
    """

    def __init__(
        self,
        config: RunConfig,
        data: Dataset,
        dtype: torch.dtype,
        memory_format: torch.memory_format = torch.contiguous_format,
        world: World | None = None,
    ) -> None:
        self.config, self.data, self.dtype, self.memory_format = config, data, dtype, memory_format
        self.world = world or World()
        self.count = batch_count(len(data), config.batch_size, least=2 * self.world.size)
        moves: dict[str, Any] = {
            "crop_padding": config.crop_padding,
            "crop_fill": config.crop_fill,
            "flip": config.flip,
        }
        cut: dict[str, Any] = {
            "cutout": config.cutout,
            "cutout_fill": data.mean,
            "cutout_probability": config.cutout_probability,
        }
        self._whole: tuple[Augmentation, AutoAugment] | None = None
        if config.autoaugment == "none":  # all of it batch by batch
            self._augment = Augmentation(**moves, **cut)
        else:  # an epoch is cropped, mirrored and augmented as a whole; squares are cut batch by batch
            policy = AutoAugment(policy=config.autoaugment)
            self._whole, self._augment = (Augmentation(**moves), policy), Augmentation(**cut)
        self._flips = None
        if config.flip == "alternating":
            self._flips = AlternatingFlips(config.seed, len(data), data.device)
        self._plain = None  # all inputs, normalized once, where nothing changes them
        if self._whole is None and self._augment.identity:
            self._plain = self._arranged(data.normalized(dtype=dtype))
        self._epoch: tuple[int, Tensor] | None = None

    def order(self, epoch: int) -> list[Tensor]:
        """Return the numbers of the examples in each batch of an epoch, on the device."""
        order = epoch_order(self.config.seed, epoch, len(self.data)).to(self.data.device)
        return list(order.split(self.config.batch_size)[: self.count])

    def get(self, part: Tensor, *, epoch: int, step: int) -> Batch:
        """Return a batch, or this process's share of it.

        Args:
            part: (B,) numbers of the batch's examples.
            epoch: From 0.
            step: Steps done before, from 0.
        """
        weight, part = self.world.weight(part), self.world.share(part)
        batch = Batch(self._inputs(part, epoch, step), self.data.targets[part], weight=weight)
        return self._mixed(batch, step) if self.config.mixup else batch

    def _inputs(self, part: Tensor, epoch: int, step: int) -> Tensor:
        if self._plain is not None:
            return self._plain[part]
        stream = generator(self.config.seed, "augment", step, *self.world.names, device=self.data.device)
        if self._whole is None:
            images = self._augment(self.data.inputs[part], stream, self._mirrored(part, epoch))
        else:
            images = self._augment(self._whole_epoch(epoch, *self._whole)[part], stream)
        return self._arranged(self.data.normalize(images, self.dtype))

    def _mirrored(self, part: Tensor, epoch: int) -> Tensor | None:
        return None if self._flips is None else self._flips.chosen(part, epoch)

    def _arranged(self, inputs: Tensor) -> Tensor:
        return inputs.contiguous(memory_format=self.memory_format) if inputs.ndim == 4 else inputs

    def _whole_epoch(self, epoch: int, move: Augmentation, policy: AutoAugment) -> Tensor:
        """Return all images as the epoch has them before squares are cut; made once an epoch."""
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = None  # not two of them at once
            moved = []
            for number, part in enumerate(torch.arange(len(self.data), device=self.data.device).split(_CHUNK)):
                stream = generator(self.config.seed, "augment epoch", epoch, number, device=self.data.device)
                moved.append(move(self.data.inputs[part], stream, self._mirrored(part, epoch)))
            self._epoch = epoch, policy(torch.cat(moved), generator(self.config.seed, "autoaugment", epoch))
        return self._epoch[1]

    def _mixed(self, batch: Batch, step: int) -> Batch:
        share = mixing_share(self.config.seed, step, self.config.mixup)
        device = self.data.device
        stream = generator(self.config.seed, "mixup partners", step, *self.world.names, device=device)
        partners = torch.randperm(len(batch), generator=stream, device=device)
        return mixture(batch, partners, share)


def mixing_share(seed: int, step: int, alpha: float) -> float:
    """Return the share of the first examples in a step's mixtures, drawn from Beta(alpha, alpha), 0 to 1.

    Args:
        seed: The run's.
        step: Steps done before.
        alpha: Above 0.
    """
    return float(np.random.default_rng(derive_seed(seed, "mixup", step)).beta(alpha, alpha))


def mixture(batch: Batch, partners: Tensor, share: float) -> Batch:
    """Mix each example with a partner from the same batch.

    Definition: ``x = share * x_i + (1 - share) * x_j``; the loss is
    ``share * loss(x, y_i) + (1 - share) * loss(x, y_j)``, with one share for the whole batch, as in the authors' code.

    Args:
        batch: Examples that are no mixtures.
        partners: (B,) numbers j within the batch.
        share: 0 to 1.

    Returns:
        The mixtures, in the order of the batch.

    Example:
        >>> batch = Batch(torch.tensor([[0.0], [4.0]]), torch.tensor([7, 8]))
        >>> found = mixture(batch, torch.tensor([1, 0]), 0.75)
        >>> found.inputs.flatten().tolist(), found.others.tolist(), found.share
        ([1.0, 3.0], [8, 7], 0.75)

    References:
        H. Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018.
    """
    inputs = share * batch.inputs + (1.0 - share) * batch.inputs[partners]
    return Batch(inputs, batch.targets, batch.targets[partners], share, batch.weight)


def epoch_order(seed: int, epoch: int, examples: int) -> Tensor:
    """Return the order of the examples in an epoch, (N,), drawn on the CPU so that every device trains alike."""
    return torch.randperm(examples, generator=generator(seed, "order", epoch))


def batch_count(examples: int, batch_size: int, least: int = 2) -> int:
    """Return the number of steps in an epoch; a last batch of one example is left out, as it has no variance.

    Args:
        examples: N.
        batch_size: Examples per step.
        least: How many examples a last batch has at least; two for each of several processes.

    Returns:
        Steps, at least 1.

    Example:
        >>> batch_count(130, 64), batch_count(129, 64)
        (3, 2)
    """
    full, rest = divmod(examples, batch_size)
    return max(1, full + (1 if rest >= least else 0))
