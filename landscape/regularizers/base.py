"""The three kinds of regularizer, each a small object that goes with any optimizer and with the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from landscape.config import is_whole, require

Forward = Callable[[Tensor], Tensor]
"""A model: inputs (B, ...) as it reads them, normalized or not, to logits (B, K), or to outputs with ``.logits``."""


class Stepped:
    """Counts training steps, so that all passes of one step see the same random numbers.

    An optimizer such as SAM or AMP evaluates the loss several times within a step. Whoever trains with one of these
    passes the number of the step; without it, every call counts as a step of its own.
    """

    def __init__(self) -> None:
        self._next = 0

    def number(self, step: int | None) -> int:
        """Return the number of this step, and remember it.

        Args:
            step: Steps done before; None takes the number after the last.

        Raises:
            ConfigError: It is no whole number.
        """
        fix = "Give the number of optimizer steps done so far, or leave it out."
        require(step is None or is_whole(step), "step", "a whole number", step, fix)
        now = self._next if step is None else int(step)
        self._next = now + 1
        return now


class Penalty(ABC, Stepped):
    """A term that is added to the training loss: ``loss + penalty(model, inputs, targets)``.

    Attributes:
        differentiates_inputs: Whether it needs derivatives by the inputs. Outputs that are handed over must then have
            been computed from inputs that require a gradient; they save one forward pass.
    """

    differentiates_inputs: bool = False

    @abstractmethod
    def __call__(
        self, model: Forward, inputs: Tensor, targets: Tensor, *, outputs: Tensor | None = None, step: int | None = None
    ) -> Tensor:
        """Compute the penalty, with its graph also where gradients are switched off (torch.no_grad).

        Args:
            model: From inputs to logits.
            inputs: (B, ...) as the model reads them.
            targets: (B,) class numbers.
            outputs: (B, K) logits of this model and of these very inputs, with their graph: whoever hands them over
                answers for the inputs. Computed where they are not given, or where no graph leads from them to the
                model's weights, as from those of another model.
            step: Steps done before; see :class:`Stepped`.

        Returns:
            0-d tensor with a graph to the weights.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what it remembers from step to step: tensors by name; nothing for most."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what another one remembered.

        Args:
            state: Of :meth:`state_dict`.
        """


class InputMove(ABC, Stepped):
    """Inputs that are trained on in place of the clean ones: adversarial training."""

    @abstractmethod
    def __call__(self, model: Forward, inputs: Tensor, targets: Tensor, *, step: int | None = None) -> Tensor:
        """Return moved inputs, detached.

        Args:
            model: From inputs to logits; no gradient of a weight is touched.
            inputs: (B, ...) as the model reads them; not changed.
            targets: (B,) class numbers.
            step: Steps done before; see :class:`Stepped`.
        """


class Constraint(ABC):
    """A set that the weights are put back into after every optimizer step."""

    @abstractmethod
    def apply(self, model: nn.Module, *, epoch: float) -> None:
        """Move the weights to the nearest ones that are allowed, in place.

        Args:
            model: Whose weights.
            epoch: Epochs done, fractions counted.
        """
