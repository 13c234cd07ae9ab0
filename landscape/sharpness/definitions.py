"""What a measure is: its words and formula, its parameters, what it costs, what it needs and what leaves it alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from landscape.config import is_number, is_whole
from landscape.curvature import Estimate
from landscape.errors import ConfigError, unknown_name

INVARIANCES: dict[str, str] = {
    "relu_rescaling": "A unit before a ReLU, weights and bias, is multiplied by c > 0, and the weights that read it "
    "are divided by c. Another c for each unit. The network computes the same function.",
    "loss_shift": "A constant is added to the loss.",
    "logit_scale": "The last layer, weights and bias, is multiplied by c > 0, so all outputs are.",
}
"""What may leave a measure's value as it was: name to what is done."""

NEEDS: dict[str, str] = {
    "initial_weights": "The weights that training began from, as the argument initial_weights.",
    "classifier": "Scores (N, K) of two or more classes, and class numbers (N,).",
    "cross_entropy": "A classifier with the loss cross_entropy, without weights or label smoothing.",
    "linear_layer": "A torch.nn.Linear in the model.",
}
"""What a measure may need beside an objective: name to what it is."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A number or name that a measure depends on.

    Attributes:
        default: Its value unless another one is given; a whole number, a number, a name or None.
        meaning: What it is, with its unit.
        source: Where the default comes from.
        least: The smallest value of a whole number.
        zero: Whether a number may be 0; it is positive otherwise.
        below: What a number must be below.
    """

    default: float | str | None
    meaning: str
    source: str
    least: int = 1
    zero: bool = False
    below: float = math.inf

    def checked(self, name: str, value: Any) -> Any:
        """Return a value that may stand for the default.

        Args:
            name: What the parameter is called, for the message.
            value: Any.

        Raises:
            ConfigError: It is of another kind, or out of range.

        Example:
            >>> Parameter(default=0.05, meaning="Radius.", source="the paper").checked("rho", 1)
            1.0
        """
        if self.default is None or isinstance(self.default, str):
            if value is None or isinstance(value, str):
                return value
            expected = "a name, or None"
        elif is_whole(self.default):
            if is_whole(value) and value >= self.least:
                return int(value)
            expected = f"a whole number of at least {self.least}"
        else:
            if is_number(value) and (value > 0 or (self.zero and value == 0)) and value < self.below:
                return float(value)
            limit = f" and below {self.below:g}" if self.below < math.inf else ""
            expected = f"a number {'of at least' if self.zero else 'above'} 0{limit}"
        raise ConfigError(f"The parameter {name} is out of range.", expected=expected, got=repr(value))


@dataclass(frozen=True, kw_only=True)
class Published:
    """What the code behind published tables computes under a measure's name, where that is something else.

    Attributes:
        differs: What it computes, and what is different, in a sentence.
        compute: Its computation.
        parameters: Name to parameter.
        needs: Names of :data:`NEEDS`.
    """

    differs: str
    compute: Callable[..., Estimate]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a measure is.

    ``print(MEASURES["lpf"])`` shows all of it.

    Attributes:
        name: Its name in :data:`MEASURES`.
        definition: What it is, in words that name its parameters.
        formula: What it is, in LaTeX.
        unit: The unit of its value.
        source: Where it comes from.
        cost: What it takes, in passes over all data. A gradient takes as long as about two forward passes, a Hessian
            product as about two gradients.
        larger: What a larger value means.
        invariances: What leaves it as it was: names of :data:`INVARIANCES`.
        needs: What it needs beside an objective: names of :data:`NEEDS`.
        parameters: Name to parameter, with its default and where that comes from.
        published: What published tables hold under its name, where that is something else; else None.
        compute: Its computation, called with what the measures of one call share and its parameters.
    """

    name: str
    definition: str
    formula: str
    unit: str
    source: str
    cost: str
    larger: Literal["sharper", "flatter"]
    invariances: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    published: Published | None = None
    compute: Callable[..., Estimate]

    def version(self, *, as_published: bool) -> Measure | Published:
        """Return what is to be computed: the measure itself, or its published form where there is one and it is wanted.

        Args:
            as_published: Whether it is wanted.
        """
        return self.published if as_published and self.published is not None else self

    def __str__(self) -> str:
        """Everything there is to know about it, a line each."""
        lines = [f"{self.name} [{self.unit}], larger is {self.larger}", self.definition, f"formula      {self.formula}"]
        for name, entry in self.parameters.items():
            lines.append(f"{name:<12} {entry.default}: {entry.meaning} Default: {entry.source}.")
        lines.append(f"cost         {self.cost}")
        lines.append(f"needs        {', '.join(self.needs) or 'nothing else'}")
        lines.append(f"invariant    {', '.join(sorted(self.invariances)) or 'under none of ' + ', '.join(INVARIANCES)}")
        if self.published is not None:
            lines.append(f"published    {self.published.differs}")
        return "\n".join([*lines, f"source       {self.source}"])


def chosen_parameters(name: str, version: Measure | Published, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a measure's parameters: the given ones, and the defaults of the others.

    Args:
        name: The measure's name, for the message.
        version: The measure, or its published form.
        given: Name to value.

    Raises:
        ConfigError: A name is unknown, or a value out of range.
    """
    for parameter in given:
        if parameter not in version.parameters:
            raise unknown_name(f"parameter of {name}", parameter, version.parameters)
    return {
        parameter: entry.checked(f"{parameter} of {name}", given.get(parameter, entry.default))
        for parameter, entry in version.parameters.items()
    }
