"""build_model: from a name and options to a module."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from landscape.errors import ConfigError, ModelError, unknown_name
from landscape.models.cnn1d import cnn1d
from landscape.models.lenet import lenet
from landscape.models.mlp import mlp
from landscape.models.resnet import resnet18, resnet20
from landscape.models.smallcnn import smallcnn


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model that has a name.

    Args:
        build: Builds it; every option is a keyword with a default.
        description: One line.
        reference: Where it comes from.
    """

    build: Callable[..., nn.Module]
    description: str
    reference: str

    @property
    def options(self) -> dict[str, Any]:
        """The options and their defaults."""
        return {name: value.default for name, value in inspect.signature(self.build).parameters.items()}


MODELS: dict[str, ModelSpec] = {
    "mlp": ModelSpec(
        build=mlp,
        description="fully connected, two hidden layers of 256, for inputs of any shape",
        reference="the usual multilayer perceptron",
    ),
    "smallcnn": ModelSpec(
        build=smallcnn,
        description="three 3x3 convolutions of 32, 64 and 64 channels, for small images",
        reference="made for the 8x8 digits",
    ),
    "cnn1d": ModelSpec(
        build=cnn1d,
        description="three strided convolutions of 25 channels, for signals",
        reference="Greydanus, Kobak: Scaling Down Deep Learning with MNIST-1D, ICML 2024",
    ),
    "lenet": ModelSpec(
        build=lenet,
        description="two convolutions and 128 hidden units with dropout, for MNIST",
        reference="PyTorch's MNIST example; Bisla, Wang, Choromanska: LPF-SGD, AISTATS 2022",
    ),
    "resnet20": ModelSpec(
        build=resnet20,
        description="ResNet-20 for CIFAR, 0.27 M parameters, parameter-free shortcuts",
        reference="He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016",
    ),
    "resnet18": ModelSpec(
        build=resnet18,
        description="ResNet-18 with a 3x3 stem for small images, 11 M parameters",
        reference="He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016",
    ),
}


def build_model(name: str, **options: Any) -> nn.Module:
    """Build a named model with fresh weights.

    The initial weights are drawn from torch's global generator; wrap the call in :func:`landscape.seeding.seeded` to
    decide them.

    Args:
        name: A key of :data:`MODELS`.
        **options: ``classes`` (K), ``input_shape`` (of one input, as in ``Dataset.input_shape``), and the model's own;
            see ``MODELS[name].options`` for all of them with their defaults.

    Returns:
        The model on the CPU, in float32, in training mode: (B, *input_shape) -> (B, K) logits.

    Raises:
        ModelError: The model is unknown, or cannot take inputs of that shape.
        ConfigError: An option is unknown or its value cannot be used.

    Example:
        >>> from landscape.seeding import seeded
        >>> with seeded(0, "model"):
        ...     model = build_model("mlp", classes=3, input_shape=(2,), hidden=[4])
        >>> [tuple(p.shape) for p in model.parameters()]
        [(4, 2), (4,), (3, 4), (3,)]
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS, ModelError)
    spec = MODELS[name]
    for option in options:
        if option not in spec.options:
            raise unknown_name(f"{name} option", option, spec.options)
    classes = options.get("classes", 10)
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ConfigError("The number of classes cannot be used.", expected="a positive integer", got=repr(classes))
    for flag in ("batch_norm", "skip"):
        if not isinstance(options.get(flag, True), bool):
            raise ConfigError(f"The option {flag!r} cannot be used.", expected="True or False", got=repr(options[flag]))
    return spec.build(**options)
