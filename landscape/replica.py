"""A private replica of a model, whose weights are views of one vector: what moves instead of the model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from landscape.description import checksum_tensors
from landscape.errors import ModelError, first_line
from landscape.fixed_data import FixedData
from landscape.inputs import adapt
from landscape.parameters import Layout
from landscape.seeding import preserved_rng
from landscape.structure import Structure
from landscape.substitution import Substitution


def copied(model: nn.Module) -> nn.Module:
    """Return a copy of a model, the global generators being left as they are.

    Raises:
        ModelError: It cannot be copied.
    """
    try:
        with preserved_rng():
            return copy.deepcopy(model)
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied.",
            got=first_line(error),
            fix="Keep tensors with a history (results of a forward pass) out of the model's attributes.",
        ) from error


class Replicated:
    """What an objective knows of its model, and the replica that it computes with.

    Copies and what another process is sent have a replica of their own.
    """

    model: nn.Module
    layout: Layout
    device: torch.device
    dtype: torch.dtype
    _data: FixedData
    _moving: frozenset[str]
    _flat: Tensor
    _replica: nn.Module
    _structure: Structure
    _logits: bool = False
    _every: Layout | None = None  # the weights that moved before some were chosen

    @torch.inference_mode(False)
    def _make_replica(self, model: nn.Module) -> tuple[Tensor, nn.Module]:
        replica = copied(model)
        replica.to(self.device).eval()
        for parameter in replica.parameters():
            parameter.grad = None
        flat = self.layout.flatten(replica).to(self.dtype)
        for parameter, view in zip(self.layout.parameters_of(replica), self.layout.named(flat).values(), strict=True):
            parameter.data = view
        replica.requires_grad_(False)
        adapt(replica, self._data.inputs, logits=self._logits)
        return flat, replica

    def weights(self) -> Tensor:
        """Return a copy of the model's present weights, (P,), in ``named_parameters`` order, on its device.

        Raises:
            ModelError: The model has other parts than when this objective was made.
        """
        self._structure.check(self.model)
        return self.layout.flatten(self.model).to(device=self.device, dtype=self.dtype)

    def check_vector(self, vector: Tensor) -> Tensor:
        """Bring a vector to the objective's device and dtype, or say why it does not fit.

        Args:
            vector: (P,).

        Returns:
            The vector on the objective's device, in its dtype.

        Raises:
            MismatchError: Not a tensor of shape (P,), or of complex numbers.
        """
        self.layout.check(vector)
        return vector.to(device=self.device, dtype=self.dtype)

    def _leaf(self, weights: Tensor | None) -> Tensor:
        with torch.inference_mode(False):
            return (self.weights() if weights is None else self.check_vector(weights).detach().clone()).requires_grad_()

    def _fixed_checksum(self) -> str:
        """Checksum what else the loss depends on: buffers (running statistics) and parameters that do not move."""
        tensors = [*self.model.named_parameters(), *self.model.named_buffers()]
        return checksum_tensors({name: tensor for name, tensor in tensors if name not in self._moving})

    def restricted(self, patterns: str | Sequence[str]) -> Self:
        """Return the same loss as a function of some of the weights; the others are, like buffers, the model's present.

        Args:
            patterns: Parameters, modules or patterns; see :meth:`Layout.subset`.

        Returns:
            An objective of the same model and data, with fewer weights that move.

        Raises:
            ConfigError: A pattern fits no weight that moves.
        """
        part = self._of_weights(self.layout.subset(patterns))
        part._every = self._every or self.layout
        return part

    def unrestricted(self) -> Self:
        """Return the same loss as a function of all weights that moved before some were chosen."""
        whole = self._of_weights(self._every or self.layout)
        whole._every = None
        return whole

    def _of_weights(self, layout: Layout) -> Self:
        other = self._copied()
        other.layout, other._moving = layout, frozenset(layout.names)
        other._flat, other._replica = other.replica()
        return other

    def snapshot(self, weights: Tensor | None = None) -> Self:
        """Return the same objective of a copy of the model as it is now: what happens to the model passes it by.

        Args:
            weights: (P,), where the copy's weights are to be; None for where the model's are.

        Raises:
            MismatchError: ``weights`` does not fit the model.
        """
        if weights is not None:
            self.layout.check(weights)
        twin = self._copied()
        point, twin.model = self.replica()
        twin._structure = Structure(twin.model)
        if weights is not None:
            point.copy_(weights)
        twin._flat, twin._replica = self._make_replica(twin.model)
        return twin

    def replica(self) -> tuple[Tensor, nn.Module]:
        """Return a replica of the model in evaluation mode, and its weights that move: writing to (P,) moves it.

        Raises:
            ModelError: The model has other parts than when this objective was made.
        """
        self._structure.check(self.model)
        return self._make_replica(self.model)

    def substitution(self, replica: nn.Module, module: nn.Module | None = None) -> Substitution:
        """Return a call of a replica with other tensors in the place of the weights that move.

        Args:
            replica: Of :meth:`replica`.
            module: What is called, where it is another module of the replica's parameters.
        """
        named = dict(zip(self.layout.names, self.layout.parameters_of(replica), strict=True))
        return Substitution(module or replica, named)

    @property
    def is_part(self) -> bool:
        """Whether some of the weights that moved were chosen."""
        return self._every is not None

    def twin(self) -> Self:
        """Return the same objective with a replica of its own, so that two threads can evaluate at once."""
        other = self._copied()
        other._flat, other._replica = self.replica()
        return other

    def few(self, examples: int) -> Self:
        """Return the same objective on a few examples from all over the data, or on all where there are no more.

        Args:
            examples: How many, at least 1.
        """
        other = self.twin()
        other._data = self._data.few(examples)
        return other

    def refresh(self) -> None:
        """Copy the model's present buffers and frozen parameters into the replica; the weights that move stay.

        Raises:
            ModelError: The model has other parts than when this objective was made.
        """
        self._structure.check(self.model)
        with torch.no_grad():
            mine = dict(self._replica.named_parameters())
            for name, parameter in self.model.named_parameters():
                if name not in self._moving:
                    mine[name].data.copy_(parameter.detach())
            for own, theirs in zip(self._replica.buffers(), self.model.buffers(), strict=True):
                own.copy_(theirs)

    def _load(self, weights: Tensor | None) -> None:
        """Bring the replica to a point: the given or the model's present weights, and the model's present buffers."""
        self.refresh()
        self._flat.copy_(self.weights() if weights is None else weights)

    def _copied(self) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the replica, whose views would come apart on the way."""
        return {name: value for name, value in vars(self).items() if name not in ("_flat", "_replica", "_structure")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take it, and make a replica of the model."""
        vars(self).update(state)
        self._structure = Structure(self.model)
        self._flat, self._replica = self._make_replica(self.model)
