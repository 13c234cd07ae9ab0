"""Residual networks for small images: ResNet-20 as in the paper, and ResNet-18 with a 3x3 stem."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from landscape.models.layers import check_images, check_widths, conv3x3, initialize


class PaddedShortcut(nn.Module):
    """The parameter-free shortcut (option A): every other pixel, and channels of zeros on both sides.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        stride: In pixels.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.before = stride, (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride))."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def _projection(inputs: int, outputs: int, stride: int, *, batch_norm: bool) -> nn.Sequential:
    """Build the shortcut by a 1x1 convolution (option B)."""
    convolution = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=not batch_norm)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs)) if batch_norm else nn.Sequential(convolution)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: ``relu(branch(x) + shortcut(x))``.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        stride: Of the first convolution, in pixels.
        batch_norm: Whether batch normalization follows each convolution.
        skip: Whether there is a shortcut at all.
        padded: Whether a shortcut between different shapes pads (option A) or projects (option B).
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, *, batch_norm: bool, skip: bool = True, padded: bool = False
    ) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *conv3x3(inputs, outputs, batch_norm=batch_norm, stride=stride),
            nn.ReLU(),
            *conv3x3(outputs, outputs, batch_norm=batch_norm),
        )
        self.shortcut: nn.Module | None = nn.Identity() if skip else None
        if skip and (stride != 1 or inputs != outputs):
            self.shortcut = (
                PaddedShortcut(inputs, outputs, stride)
                if padded
                else _projection(inputs, outputs, stride, batch_norm=batch_norm)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride))."""
        out = self.branch(x)
        return F.relu(out if self.shortcut is None else out + self.shortcut(x))


class ResNet(nn.Module):
    """A 3x3 convolution, stages of basic blocks that double the channels and halve the image, average, logits.

    Args:
        channels: Of the input images.
        classes: K logits come out.
        width: Channels of the first stage.
        stages: Number of blocks of each stage.
        batch_norm: Whether batch normalization follows each convolution.
        skip: Whether blocks have shortcuts.
        padded: Whether shortcuts between different shapes pad (option A) or project (option B).
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        width: int,
        stages: Sequence[int],
        batch_norm: bool = True,
        skip: bool = True,
        padded: bool = False,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv3x3(channels, width, batch_norm=batch_norm), nn.ReLU())
        blocks: list[nn.Module] = []
        inputs = width
        for stage, count in enumerate(stages):
            outputs = width * 2**stage
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(BasicBlock(inputs, outputs, stride, batch_norm=batch_norm, skip=skip, padded=padded))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(inputs, classes)
        initialize(self)
        if skip and not batch_norm:
            self._tame_branches()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to (B, K)."""
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))

    @torch.no_grad()
    def _tame_branches(self) -> None:
        """Scale the branches by 1/sqrt(blocks), so that without normalization the signal does not double per block."""
        for block in self.blocks:
            block.branch[-1].weight.mul_(len(self.blocks) ** -0.5)  # type: ignore[union-attr]


def resnet20(
    *,
    classes: int = 10,
    input_shape: Sequence[int] = (3, 32, 32),
    width: int = 16,
    batch_norm: bool = True,
    skip: bool = True,
) -> ResNet:
    """Build ResNet-20 in its form for CIFAR: three stages of three blocks, parameter-free shortcuts (option A).

    Args:
        classes: K logits come out.
        input_shape: (C, H, W).
        width: Channels of the first stage; 16 in the paper.
        batch_norm: Whether batch normalization follows each convolution. Without it, convolutions have biases and the
            residual branches start smaller by ``1 / sqrt(blocks)``.
        skip: Whether blocks have shortcuts.

    Returns:
        The network, (B, C, H, W) -> (B, K).

    Raises:
        ModelError: The inputs are no images, or smaller than 4x4.
        ConfigError: ``width`` is not a positive integer.

    Example:
        >>> sum(p.numel() for p in resnet20().parameters())  # 0.27 M in the paper
        269722

    References:
        He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2.
    """
    shape = check_images("resnet20", input_shape, least=4)
    check_widths("resnet20", "width", (width,), count=1)
    return ResNet(shape[0], classes, width=width, stages=(3, 3, 3), batch_norm=batch_norm, skip=skip, padded=True)


def resnet18(
    *,
    classes: int = 10,
    input_shape: Sequence[int] = (3, 32, 32),
    width: int = 64,
    batch_norm: bool = True,
    skip: bool = True,
) -> ResNet:
    """Build ResNet-18 for small images: a 3x3 stem without pooling, four stages of two blocks, projections (option B).

    Args:
        classes: K logits come out.
        input_shape: (C, H, W).
        width: Channels of the first stage; 64 is the usual one. LPF-SGD's grid has 32, 48 and 64.
        batch_norm: Whether batch normalization follows each convolution. Without it, convolutions have biases and the
            residual branches start smaller by ``1 / sqrt(blocks)``.
        skip: Whether blocks have shortcuts.

    Returns:
        The network, (B, C, H, W) -> (B, K).

    Raises:
        ModelError: The inputs are no images, or smaller than 8x8.
        ConfigError: ``width`` is not a positive integer.

    Example:
        >>> sum(p.numel() for p in resnet18().parameters())  # as commonly published
        11173962

    References:
        He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016.
    """
    shape = check_images("resnet18", input_shape, least=8)
    check_widths("resnet18", "width", (width,), count=1)
    return ResNet(shape[0], classes, width=width, stages=(2, 2, 2, 2), batch_norm=batch_norm, skip=skip)
