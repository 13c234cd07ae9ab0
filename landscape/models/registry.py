"""build_model: from a name and options to a module."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from landscape.errors import ConfigError, ModelError, unknown_name
from landscape.models.cnn1d import cnn1d
from landscape.models.external import TORCHVISION, build_external, torchvision_names
from landscape.models.lenet import lenet
from landscape.models.mlp import mlp
from landscape.models.preactresnet import PREACT_RESNETS, preactresnet
from landscape.models.pyramidnet import PYRAMIDNETS, pyramidnet
from landscape.models.resnet import RESNETS, THIN_RESNETS, resnet, resnet18_nobn, thin_resnet
from landscape.models.shakeshake import shakeshake26
from landscape.models.smallcnn import smallcnn
from landscape.models.vgg import VGGS, vgg, vgg5_stable
from landscape.models.wideresnet import WIDE_RESNETS, wide_resnet


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


HE = "He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016"
PREACT = "He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks, ECCV 2016"
AMP = "Zheng, Zhang, Mao: Regularizing Neural Networks via Adversarial Model Perturbation, CVPR 2021"
RKHS = "Bietti, Mialon, Chen, Mairal: A Kernel Perspective for Regularizing Deep Neural Networks, ICML 2019"
VGG = "Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015"
WRN = "Zagoruyko, Komodakis: Wide Residual Networks, BMVC 2016"
PYRAMID = "Han, Kim, Kim: Deep Pyramidal Residual Networks, CVPR 2017"

_SMALL = {
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
}

_RESIDUAL = {
    **{
        name: ModelSpec(
            build=partial(thin_resnet, name),
            description=f"ResNet-{name[6:]} for CIFAR, three stages, parameter-free shortcuts",
            reference=HE,
        )
        for name in THIN_RESNETS
    },
    **{
        name: ModelSpec(
            build=partial(resnet, name),
            description=f"ResNet-{name[6:]} with a 3x3 stem for small images, four stages",
            reference=HE,
        )
        for name in RESNETS
    },
    "resnet18_nobn": ModelSpec(
        build=resnet18_nobn,
        description="ResNet-18 with a 3x3 stem, without batch normalization and biases",
        reference=RKHS,
    ),
    **{
        name: ModelSpec(
            build=partial(preactresnet, name),
            description=f"PreActResNet-{name[12:]} with a 3x3 stem for small images, four stages",
            reference=f"{PREACT}; {AMP}",
        )
        for name in PREACT_RESNETS
    },
    **{
        name: ModelSpec(
            build=partial(wide_resnet, name),
            description=f"WRN-{depth}-{widening}, {widening} times as wide as a thin ResNet of depth {depth}",
            reference=WRN,
        )
        for name, (depth, widening) in WIDE_RESNETS.items()
    },
    **{
        name: ModelSpec(
            build=partial(pyramidnet, name),
            description=f"PyramidNet-{depth} (alpha={alpha}){' of bottlenecks' if bottleneck else ''}",
            reference=PYRAMID,
        )
        for name, (depth, alpha, bottleneck) in PYRAMIDNETS.items()
    },
    "shakeshake26-96": ModelSpec(
        build=shakeshake26,
        description="Shake-Shake 26 2x96d, mixed at random per image, forward and backward",
        reference="Gastaldi: Shake-Shake regularization, 2017",
    ),
}

MODELS: dict[str, ModelSpec] = {
    **_SMALL,
    **{
        name: ModelSpec(
            build=partial(vgg, name),
            description=f"VGG-{sum(stages) + 3} with{'' if batch_norm else 'out'} batch normalization, made for 32x32",
            reference=f"{VGG}; {AMP if batch_norm else RKHS}",
        )
        for name, (stages, batch_norm, _) in VGGS.items()
    },
    "vgg5_stable": ModelSpec(
        build=vgg5_stable,
        description="VGG-5 with average pooling and without biases, for small images",
        reference=RKHS,
    ),
    **_RESIDUAL,
}


def build_model(name: str, **options: Any) -> nn.Module:
    """Build a named model with fresh weights.

    The initial weights are drawn from torch's global generator; wrap the call in :func:`landscape.seeding.seeded` to
    decide them.

    Args:
        name: A key of :data:`MODELS`; ``torchvision:NAME`` for one of torchvision's classifiers
            (:func:`~landscape.models.external.torchvision_model`); or ``module:function`` for a function of your own,
            also from the working directory (:func:`~landscape.models.external.user_model`).
        **options: ``classes`` (K), ``input_shape`` (of one input, as in ``Dataset.input_shape``), and the model's own;
            see ``MODELS[name].options`` for all of them with their defaults.

    Returns:
        The model on the CPU, in float32, in training mode: (B, *input_shape) -> (B, K) logits. What a function of your
        own returns is returned as it is.

    Raises:
        ModelError: The model is unknown, cannot take inputs of that shape, or could not be built.
        ConfigError: An option is unknown or its value cannot be used.
        MissingDependencyError: torchvision is asked for and not installed.

    Example:
        >>> from landscape.seeding import seeded
        >>> with seeded(0, "model"):
        ...     model = build_model("mlp", classes=3, input_shape=(2,), hidden=[4])
        >>> [tuple(p.shape) for p in model.parameters()]
        [(4, 2), (4,), (3, 4), (3,)]
    """
    classes = options.get("classes", 10)
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ConfigError("The number of classes cannot be used.", expected="a positive integer", got=repr(classes))
    if ":" in name:
        return build_external(name, **options)
    if name not in MODELS:
        raise _unknown(name)
    spec = MODELS[name]
    for option in options:
        if option not in spec.options:
            raise unknown_name(f"{name} option", option, spec.options)
    for flag in ("batch_norm", "skip", "bias", "raw_identity"):
        if not isinstance(options.get(flag, True), bool):
            raise ConfigError(f"The option {flag!r} cannot be used.", expected="True or False", got=repr(options[flag]))
    return spec.build(**options)


def _unknown(name: str) -> Exception:
    """Build the error for an unknown name, with one that begins like it, torchvision's, or the most similar."""
    close = [known for known in MODELS if name and known.startswith(name)]
    with contextlib.suppress(ImportError):  # without torchvision there is nothing to add
        close += [f"{TORCHVISION}:{name}"] if name in torchvision_names() else []
    forms = [*MODELS, f"{TORCHVISION}:NAME", "module:function"]
    if not close:
        return unknown_name("model", name, forms, ModelError)
    return ModelError(
        f"Unknown model {name!r}.", expected="one of " + ", ".join(sorted(forms)), fix=f"Did you mean {close[0]!r}?"
    )
