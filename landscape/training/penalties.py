"""What a run's penalties do in each of its steps: move inputs, add to the loss, put weights back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from landscape.datasets import Dataset
from landscape.regularizers import Constraint, InputMove, InputUnits, Penalty, build_regularizer
from landscape.seeding import derive_seed
from landscape.training.batches import Batch
from landscape.training.penalty_settings import penalty_settings
from landscape.training.run_config import RunConfig


class Penalties:
    """The penalties of a run.

    Args:
        config: The settings.
        data: The training data: says how inputs relate to pixels.
        steps_per_epoch: Of the run.

    Attributes:
        differentiates_inputs: Whether a penalty needs a forward pass of inputs that require a gradient.
        on_loss: Whether any of them adds to the loss.
        moves_inputs: Whether the inputs are replaced.
    """

    def __init__(self, config: RunConfig, data: Dataset, steps_per_epoch: int) -> None:
        known: dict[str, Any] = {"units": InputUnits.of(data), "input_shape": data.input_shape}
        built = {
            name: build_regularizer(name, seed=derive_seed(config.seed, "penalty", name), **known, **options)
            for name, options in penalty_settings(config).items()
        }
        self._steps_per_epoch = steps_per_epoch
        self._penalties = {name: each for name, each in built.items() if isinstance(each, Penalty)}
        self._constraints = [each for each in built.values() if isinstance(each, Constraint)]
        self._move = next((each for each in built.values() if isinstance(each, InputMove)), None)
        self.differentiates_inputs = any(each.differentiates_inputs for each in self._penalties.values())
        self.on_loss, self.moves_inputs = bool(self._penalties), self._move is not None

    def moved(self, model: Any, batch: Batch, step: int) -> Batch:
        """Return the batch that is trained on: with the inputs of adversarial training, where that is set.

        Args:
            model: From inputs to logits.
            batch: The clean examples; not changed.
            step: Steps done before.
        """
        if self._move is None:
            return batch
        return replace(batch, inputs=self._move(model, batch.inputs, batch.targets, step=step))

    def penalty(self, model: Any, batch: Batch, outputs: Tensor | None, step: int) -> Tensor:
        """Return the sum of the penalties, a 0-d tensor with a graph.

        Args:
            model: From inputs to logits.
            batch: The examples.
            outputs: Their logits; None lets each penalty compute its own.
            step: Steps done before.
        """
        terms = [
            each(model, batch.inputs, batch.targets, outputs=outputs, step=step) for each in self._penalties.values()
        ]
        return sum(terms[1:], start=terms[0])

    def constrain(self, model: nn.Module, step: int) -> None:
        """Put the weights back into the sets that they are constrained to.

        Args:
            model: Whose weights.
            step: Steps done before this one.
        """
        for each in self._constraints:
            each.apply(model, epoch=step // self._steps_per_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return what the penalties remember from step to step, by their names; empty for most."""
        return {name: state for name, each in self._penalties.items() if (state := each.state_dict())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what those of a checkpoint remembered.

        Args:
            state: Of :meth:`state_dict`.
        """
        for name, one in state.items():
            self._penalties[name].load_state_dict(one)
