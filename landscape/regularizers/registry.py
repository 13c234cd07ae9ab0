"""Regularizers by name, with the options that each one reads."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from landscape.errors import ConfigError, LandscapeError, shown, unknown_name
from landscape.regularizers.adversarial import AdversarialPenalty
from landscape.regularizers.base import Constraint, InputMove, Penalty
from landscape.regularizers.deformations import Deformations
from landscape.regularizers.gradient import GradientPenalty
from landscape.regularizers.inputs import AdversarialInputs
from landscape.regularizers.loss_gradient import LossGradient
from landscape.regularizers.projection import SpectralProjection
from landscape.regularizers.spectral import SpectralPenalty
from landscape.regularizers.stability import DeformationStability
from landscape.regularizers.tangent import TangentPenalty
from landscape.regularizers.trades import Trades
from landscape.regularizers.units import PIXELS, InputUnits
from landscape.regularizers.vat import VirtualAdversarial

Regularizer = Penalty | InputMove | Constraint
_GIVEN = ("units", "seed", "input_shape")  # by whoever trains, not by the settings


@dataclass(frozen=True, kw_only=True)
class RegularizerSpec:
    """A regularizer that a configuration can name.

    Attributes:
        build: Makes it from its options.
        kind: "penalty" is added to the loss, "inputs" replaces the inputs, "constraint" moves the weights after a step.
        description: In a line, with the formula.
        reads_labels: Whether it means something only where each input has one label: not with mixtures of inputs.
        preset: Options that the name stands for.
        deforms: Whether it takes deformations, whose settings are then options too.
    """

    build: Callable[..., Regularizer]
    kind: Literal["penalty", "inputs", "constraint"]
    description: str
    reads_labels: bool = False
    preset: Mapping[str, Any] = field(default_factory=dict)
    deforms: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The options and their defaults; an option without a default is needed and has the value ``...``."""
        taken = inspect.signature(self.build).parameters.values()
        free = [each for each in taken if each.name not in (*_GIVEN, *self.preset, "loss", "deformations")]
        own = {each.name: ... if each.default is each.empty else each.default for each in free}
        return {**own, **(asdict(Deformations()) if self.deforms else {})}


REGULARIZERS: dict[str, RegularizerSpec] = {
    "adversarial": RegularizerSpec(
        build=AdversarialPenalty,
        kind="penalty",
        description="sum_k max_(i, ||d|| <= epsilon) (f_k(x_i + d) - f_k(x_i))^2: how far a logit can be moved.",
    ),
    "gradient": RegularizerSpec(
        build=GradientPenalty, kind="penalty", description="weight sum_k max_i ||grad f_k(x_i)||^2, by the inputs."
    ),
    "grad-l2": RegularizerSpec(
        build=LossGradient,
        kind="penalty",
        description="weight mean_i ||grad loss(x_i, y_i)||_2^2, by the inputs.",
        reads_labels=True,
        preset={"norm": "l2"},
    ),
    "grad-l1": RegularizerSpec(
        build=LossGradient,
        kind="penalty",
        description="weight mean_i ||grad loss(x_i, y_i)||_1, by the inputs.",
        reads_labels=True,
        preset={"norm": "l1"},
    ),
    "vat": RegularizerSpec(
        build=VirtualAdversarial,
        kind="penalty",
        description="weight mean_i KL(p(x_i) || p(x_i + r)), r the change of length epsilon that raises it most.",
    ),
    "trades": RegularizerSpec(
        build=Trades,
        kind="penalty",
        description="weight mean_i KL(p(x_i) || p(x')), x' the worst point of a ball around x_i.",
    ),
    "pgd-l2": RegularizerSpec(
        build=AdversarialInputs,
        kind="inputs",
        description="Training on inputs moved up the loss within an L2 ball.",
        reads_labels=True,
        preset={"norm": "l2"},
    ),
    "pgd-linf": RegularizerSpec(
        build=AdversarialInputs,
        kind="inputs",
        description="Training on inputs moved up the loss within a box.",
        reads_labels=True,
        preset={"norm": "linf"},
    ),
    "spectral": RegularizerSpec(
        build=SpectralPenalty,
        kind="penalty",
        description="weight sum_W ||W||^2, spectral norms by power iterations that go on from step to step.",
        preset={"method": "power"},
    ),
    "spectral-svd": RegularizerSpec(
        build=SpectralPenalty,
        kind="penalty",
        description="The same, by a decomposition of every layer in every pass.",
        preset={"method": "svd"},
    ),
    "spectral-projection": RegularizerSpec(
        build=SpectralProjection,
        kind="constraint",
        description="Singular values cut at tau (1 + 4 exp(-epoch / kappa)) after every step.",
    ),
    "deformation": RegularizerSpec(
        build=DeformationStability,
        kind="penalty",
        description="weight sum_k max_i (f_k(x~_i) - f_k(x_i))^2, x~_i deformed elastically.",
        deforms=True,
    ),
    "tangent": RegularizerSpec(
        build=TangentPenalty,
        kind="penalty",
        description="weight sum_k max_i ||d f_k along deformations of x_i||^2.",
        deforms=True,
    ),
}
"""Every regularizer by its name."""


def build_regularizer(
    name: str,
    *,
    units: InputUnits = PIXELS,
    seed: int = 0,
    input_shape: Sequence[int] | None = None,
    **options: Any,
) -> Regularizer:
    """Build a regularizer by name.

    Args:
        name: One of REGULARIZERS.
        units: How the model's inputs relate to pixels; radii and gradients are in units of pixels.
        seed: Names what it draws.
        input_shape: Of one input, as (C, H, W), for those that look at what a convolution does to it.
        **options: See ``REGULARIZERS[name].options``.

    Returns:
        The regularizer.

    Raises:
        ConfigError: The name or an option is unknown, an option is missing, or its value cannot be used.
    """
    if name not in REGULARIZERS:
        raise unknown_name("penalty", name, REGULARIZERS)
    spec = REGULARIZERS[name]
    known = spec.options
    for option in options:
        if option not in known:
            raise unknown_name(f"option of {name}", option, known)
    for option, default in known.items():
        if default is ... and option not in options:
            raise ConfigError(
                f"The penalty {name!r} needs {option}.",
                fix=f"Set its option {option} (--penalty-option {name}.{option}=0.5, for example).",
            )
    taken = inspect.signature(spec.build).parameters
    given = {"units": units, "seed": seed, "input_shape": input_shape}
    context = {key: value for key, value in given.items() if key in taken}
    try:
        if spec.deforms:
            theirs = asdict(Deformations())
            context["deformations"] = Deformations(**{key: value for key, value in options.items() if key in theirs})
            options = {key: value for key, value in options.items() if key not in theirs}
        return spec.build(**spec.preset, **context, **options)
    except LandscapeError:
        raise
    except (TypeError, ValueError) as error:  # of a value of another type
        raise ConfigError(
            f"An option of the penalty {name!r} cannot be used.", got=f"{shown(options)}: {error}"
        ) from error
