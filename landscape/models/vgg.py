"""VGG networks: plain stacks of 3x3 convolutions, with batch normalization or without."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from landscape.models.layers import check_images, check_rate, check_widths, conv, initialize_fan_out

# convolutions of each stage; batch normalization; width of the two hidden layers of the head
VGGS: dict[str, tuple[tuple[int, ...], bool, int]] = {
    "vgg11_bn": ((1, 1, 2, 2, 2), True, 4096),
    "vgg13_bn": ((2, 2, 2, 2, 2), True, 4096),
    "vgg16_bn": ((2, 2, 3, 3, 3), True, 4096),
    "vgg19_bn": ((2, 2, 4, 4, 4), True, 4096),
    "vgg11": ((1, 1, 2, 2, 2), False, 512),
}


def vgg(
    name: str,
    /,
    *,
    classes: int = 10,
    input_shape: Sequence[int] = (3, 32, 32),
    width: int = 64,
    hidden: int | None = None,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Build a VGG network: five stages of 3x3 convolutions, max-pooling by 2 after each; two hidden layers; logits.

    The stages have ``width`` times 1, 2, 4, 8, 8 channels; convolutions have biases, also before batch normalization,
    as in the paper and in AMP's experiments. Without batch normalization it is the network of the experiments with
    RKHS-norm penalties, whose head is smaller.

    Initial weights (:func:`~landscape.models.layers.initialize_fan_out`): convolutions ``N(0, 2 / fan_out)``; biases of
    linear layers 0 (with batch normalization) or of convolutions 0 (without); the rest as torch draws it.

    Args:
        name: A key of VGGS.
        classes: K logits come out.
        input_shape: (C, H, W); 32x32 pixels leave one per channel, 224x224 (ImageNet) leave 7x7.
        width: Channels of the first stage; 64 in the paper.
        hidden: Width of the two hidden layers; None is the published one: 4096 with batch normalization, 512 without.
        dropout: Probability after every ReLU, as in AMP's experiments (0.1 in their table's row "Dropout").

    Returns:
        The network, (B, C, H, W) -> (B, K).

    Raises:
        ModelError: The inputs are no images, or smaller than 32x32.
        ConfigError: ``width`` or ``hidden`` is not a positive integer, or ``dropout`` no probability below 1.

    Example:
        >>> sum(p.numel() for p in vgg("vgg11").parameters())  # 9220480 in convolutions, 530442 in the head
        9750922

    References:
        Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015.
        Zheng, Zhang, Mao: Regularizing Neural Networks via Adversarial Model Perturbation, CVPR 2021.
        Bietti, Mialon, Chen, Mairal: A Kernel Perspective for Regularizing Deep Neural Networks, ICML 2019.
    """
    inputs, height, breadth = check_images(name, input_shape, least=32)
    stages, batch_norm, published = VGGS[name]
    head = published if hidden is None else hidden
    check_widths(name, "width", (width,), count=1)
    check_widths(name, "hidden", (head,), count=1)
    rate = check_rate(name, "dropout", dropout)
    layers: list[nn.Module] = []
    for stage, count in enumerate(stages):
        outputs = width * min(2**stage, 8)
        for _ in range(count):
            layers += [*conv(inputs, outputs, batch_norm=batch_norm, bias=True), nn.ReLU(), nn.Dropout(rate)]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    layers.append(nn.Flatten())
    for sizes in ((inputs * (height // 32) * (breadth // 32), head), (head, head)):
        layers += [nn.Linear(*sizes), nn.ReLU(), nn.Dropout(rate)]
    network = nn.Sequential(*layers, nn.Linear(head, classes))
    initialize_fan_out(network, zero_biases=nn.Linear if batch_norm else nn.Conv2d)
    return network


def vgg5_stable(*, classes: int = 10, input_shape: Sequence[int] = (1, 28, 28), width: int = 64) -> nn.Sequential:
    """Build a VGG network that changes little under small deformations: averages in place of maxima, no biases.

    Four 3x3 convolutions with ``width`` times 1, 2, 4, 8 channels and ReLU, average-pooling by 2 after each, logits.
    MNIST's 28x28 pixels leave one for each channel, and 32x32 leave 2x2. A pool that would leave less than one pixel is
    left out: of the 8x8 digits the last.

    Initial weights (:func:`~landscape.models.layers.initialize_fan_out`): convolutions ``N(0, 2 / fan_out)``; logits as
    torch draws them.

    Args:
        classes: K logits come out.
        input_shape: (C, H, W).
        width: Channels of the first convolution; 64 in the paper.

    Returns:
        The network, (B, C, H, W) -> (B, K).

    Raises:
        ModelError: The inputs are no images.
        ConfigError: ``width`` is not a positive integer.

    Example:
        >>> sum(p.numel() for p in vgg5_stable().parameters())  # 9 (64 + 64 128 + 128 256 + 256 512) + 512 10
        1553984

    References:
        Bietti, Mialon, Chen, Mairal: A Kernel Perspective for Regularizing Deep Neural Networks, ICML 2019.
    """
    inputs, height, breadth = check_images("vgg5_stable", input_shape, least=1)
    check_widths("vgg5_stable", "width", (width,), count=1)
    layers: list[nn.Module] = []
    for stage in range(4):
        outputs = width * 2**stage
        layers += [*conv(inputs, outputs, batch_norm=False, bias=False), nn.ReLU()]
        inputs = outputs
        if min(height, breadth) >= 2:
            layers.append(nn.AvgPool2d(2))
            height, breadth = height // 2, breadth // 2
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * height * breadth, classes, bias=False))
    initialize_fan_out(network)
    return network
