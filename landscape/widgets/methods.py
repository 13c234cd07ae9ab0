"""The methods whose perturbations can be looked at, each with its own option in its own unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from landscape.errors import ConfigError, unknown_name
from landscape.widgets.controls import Control, slider

_RADII = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


@dataclass(frozen=True, kw_only=True)
class Knob:
    """An option of a method that a control sets.

    Attributes:
        name: The control's name.
        option: The optimizer's option.
        symbol: Its sign in formulas.
        label: What a reader sees, with unit.
        stops: The values.
        value: Where it starts.
        help: What it does.
    """

    name: str
    option: str
    symbol: str
    label: str
    stops: tuple[float, ...]
    value: float
    help: str = ""

    def control(self, method: str) -> Control:
        """Return its slider, which is shown for this method."""
        return slider(self.name, self.label, self.stops, value=self.value, only=("method", (method,)), help=self.help)

    def starting(self, value: float) -> Knob:
        """Return the same knob with another start, which becomes a stop.

        Raises:
            ConfigError: The value is negative or no finite number.
        """
        if not (isinstance(value, int | float) and 0 <= value < float("inf")):
            raise ConfigError(f"{self.name} is out of range.", expected="a number of at least 0", got=repr(value))
        return replace(self, stops=tuple(sorted({*self.stops, value})), value=value)


@dataclass(frozen=True, kw_only=True)
class Method:
    """A training method that perturbs the weights.

    Attributes:
        name: Its name in :data:`landscape.optim.OPTIMIZERS`.
        title: What it is called.
        knob: The size of its perturbation.
        others: Its other options.
        straight: Whether the size changes the length of the perturbation only, and not its direction.
    """

    name: str
    title: str
    knob: Knob
    others: tuple[Knob, ...] = ()
    straight: bool = False


METHODS = {
    "amp": Method(
        name="amp",
        title="AMP",
        knob=Knob(
            name="epsilon", option="epsilon", symbol="ε", label="ε, AMP's radius (L2 norm of each tensor)",
            stops=_RADII, value=0.1, help="The most that each tensor may move. The authors recommend 0.05 to 0.5.",
        ),
        others=(
            Knob(
                name="inner_iter", option="inner_iter", symbol="N", label="N, inner ascent steps",
                stops=(1, 2, 3, 5, 10), value=1, help="How many gradients AMP follows before it looks.",
            ),
            Knob(
                name="inner_lr", option="inner_lr", symbol="ζ", label="ζ, size of an inner step",
                stops=(0.1, 1.0, 10.0, 100.0), value=1.0,
                help="The gradient is multiplied by it. The authors use 1.",
            ),
        ),
    ),
    "sam": Method(
        name="sam",
        title="SAM",
        knob=Knob(
            name="rho", option="rho", symbol="ρ", label="ρ, SAM's radius (L2 norm of all weights)",
            stops=(*_RADII, 0.7, 1.0), value=0.1, help="How far SAM moves. 0.05 is the authors' for CIFAR-10.",
        ),
        straight=True,
    ),
    "asam": Method(
        name="asam",
        title="ASAM",
        knob=Knob(
            name="rho_asam", option="rho", symbol="ρ", label="ρ, ASAM's radius (relative to each weight)",
            stops=(0.0, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0), value=0.5,
            help="How far ASAM moves, each weight measured by its own size. 0.5 is the authors' for CIFAR-10.",
        ),
        straight=True,
    ),
    "lpfsgd": Method(
        name="lpfsgd",
        title="LPF-SGD",
        knob=Knob(
            name="std", option="std", symbol="σ", label="σ, LPF-SGD's noise (share of each filter's norm)",
            stops=(0.0, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1), value=0.02,
            help="The standard deviation of the noise on each weight. The authors use 0.0005 to 0.002.",
        ),
        others=(
            Knob(
                name="draws", option="M", symbol="M", label="M, draws of noise",
                stops=(1, 2, 4, 8, 16), value=4, help="The loss is the mean over so many draws. The authors use 8.",
            ),
        ),
        straight=True,
    ),
}  # fmt: skip
"""Name to method. The ranges hold what the methods' papers use: Zheng et al. 2021, Foret et al. 2021, Kwon et al. 2021,
Bisla et al. 2022."""


@dataclass(frozen=True)
class Setting:
    """A method with a value for each of its options.

    Attributes:
        method: A key of :data:`METHODS`.
        value: The size of the perturbation.
        others: (option, value) of the rest.
    """

    method: str
    value: float
    others: tuple[tuple[str, float], ...] = ()

    @property
    def family(self) -> tuple[str, tuple[tuple[str, float], ...]]:
        """What is the same for every size."""
        return self.method, self.others

    @property
    def options(self) -> dict[str, Any]:
        """The optimizer's options."""
        return {METHODS[self.method].knob.option: self.value, **dict(self.others)}

    def at(self, value: float) -> Setting:
        """Return the same setting with another size."""
        return replace(self, value=float(value))

    @property
    def words(self) -> str:
        """The setting as it is written, for example "AMP with ε = 0.1, N = 1, ζ = 1"."""
        method = METHODS[self.method]
        rest = [f"{knob.symbol} = {value:g}" for knob, (_, value) in zip(method.others, self.others, strict=True)]
        return f"{method.title} with " + ", ".join([f"{method.knob.symbol} = {self.value:g}", *rest])


def chosen_methods(names: Iterable[str], starts: Mapping[str, float | None]) -> dict[str, Method]:
    """Pick methods and set where their controls start.

    Args:
        names: Keys of :data:`METHODS`.
        starts: Control name to its start; None keeps the usual one.

    Returns:
        Name to method.

    Raises:
        ConfigError: A name is unknown, there is none, or a start is out of range.
    """
    found = {}
    for name in names:
        if name not in METHODS:
            raise unknown_name("method", name, METHODS)
        method = METHODS[name]
        start = starts.get(method.knob.name)
        found[name] = method if start is None else replace(method, knob=method.knob.starting(start))
    if not found:
        raise ConfigError("No method is given.", expected="one or more of " + ", ".join(METHODS))
    return found
