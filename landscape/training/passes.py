"""One training step: the passes over a batch that an optimizer asks for, and the step with what they found."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from landscape.datasets import Dataset
from landscape.optim.engine import PerturbedOptimizer
from landscape.optim.lpfsgd import LPFSGD
from landscape.seeding import derive_seed, seed_torch
from landscape.training.batches import Batch, batch_count
from landscape.training.graphed_step import GraphedStep, graphed
from landscape.training.penalties import Penalties
from landscape.training.precision import autocast, compiled, gradient_scaler
from landscape.training.regularization import InputAttack, RandomMove, batch_loss, flooded, right_answers
from landscape.training.run_config import RunConfig
from landscape.training.swallowed import fidelity_note
from landscape.training.world import World, check_averaged


class Passes:
    """Runs a model forward and backward as the settings say, as often as the optimizer asks.

    All passes of a step see the same thing: inputs, mixture, adversarial moves (made once, at the clean weights),
    dropout masks, what the penalties draw, and the direction of a random move of the weights.

    Args:
        config: The settings.
        model: On the device, in training mode.
        optimizer: Over its parameters.
        data: The training data, on the device.
        device: Where.
        world: Which process this is; alone by default.

    Attributes:
        scaler: The gradient scaler of float16; its state belongs into checkpoints.
        penalties: The run's; their state belongs into checkpoints.
    """

    def __init__(
        self,
        config: RunConfig,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        data: Dataset,
        device: torch.device,
        world: World | None = None,
    ) -> None:
        self.config, self.model, self.optimizer, self.device = config, model, optimizer, device
        self.world = world or World()
        self.scaler = gradient_scaler(config.precision, device)
        self._forward: Callable[[Tensor], Tensor] = model
        self._attack = self._move = None
        count = batch_count(len(data), config.batch_size, least=2 * self.world.size)
        self.penalties = Penalties(config, data, count)
        self._graph: GraphedStep | None = None
        self._recording = False
        if config.adversarial_epsilon:
            radius, steps = config.adversarial_epsilon, config.adversarial_steps
            self._attack = InputAttack(data, epsilon=radius, steps=steps, seed=config.seed, names=self.world.names)
        if config.random_perturbation:
            weights: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
            self._move = RandomMove(weights, radius=config.random_perturbation, seed=config.seed)

    def compile(self, first: Callable[[], Batch]) -> str:
        """Compile the model where the settings ask for it and it works; return what was chosen, in words.

        Args:
            first: Makes a batch to try it with.
        """

        def attempt(module: nn.Module) -> Tensor:
            batch = first()
            with autocast(self.config.precision, self.device):
                loss = self._loss(module(batch.inputs), batch)
            loss.backward()
            return loss

        self._forward, choice = compiled(self.model, self.config, attempt)
        return choice

    def record(self, first: Callable[[], Batch]) -> str:
        """Record the step as a CUDA graph where the settings ask for it and it works; return what was chosen, in words.

        Args:
            first: Makes a batch to try it with.
        """

        def compute(batch: Batch, rate: Tensor | float) -> Tensor:
            self._recording = True
            try:
                return self._eager(batch, 0, rate)
            finally:
                self._recording = False

        self._graph, choice = graphed(compute, self.config, first, self.model, self.optimizer, self.world)
        return choice

    def fidelity(self, batch: Batch, step: int) -> str | None:
        """Say what the precision leaves of the next perturbation; see :func:`fidelity_note`. Nothing is changed.

        Args:
            batch: A step's.
            step: Steps done before.
        """
        closure = self._closure(batch, step, 0, None, scaled=False)
        return fidelity_note(self.optimizer, self.config.precision, closure)

    def step(self, batch: Batch, step: int, rate: float) -> Tensor:
        """Take one step.

        Args:
            batch: Its examples.
            step: Steps done before.
            rate: The learning rate.

        Returns:
            (4,) float64 on the device: loss times examples, right answers, examples, and penalty times examples, in the
            first pass over each one; the loss is that before flooding and penalties. The next step may overwrite it.
        """
        if self._graph is not None and self._graph.takes(batch):
            return self._graph.step(batch, rate)
        return self._eager(batch, step, rate)

    def _eager(self, batch: Batch, step: int, rate: float | Tensor) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = self._moved_inputs(batch, step)
        parts = self.config.M if isinstance(self.optimizer, LPFSGD) and self.config.M else 1
        chunks = batch.chunk(parts) if parts > 1 else [batch]
        sums = torch.zeros(4, dtype=torch.float64, device=self.device)
        self._step([self._closure(chunk, step, number, sums) for number, chunk in enumerate(chunks)], chunks)
        self.penalties.constrain(self._network, step)
        return sums

    def _moved_inputs(self, batch: Batch, step: int) -> Batch:
        """Make the inputs that are trained on, once for all passes."""
        if self._attack is not None:
            self._seed(step, 0)
            batch = self._attack(self.model, batch, self._attacked_loss, step)
        if self.penalties.moves_inputs:
            self._seed(step, 0)
            with autocast(self.config.precision, self.device):
                batch = self.penalties.moved(self._network, batch, step)
        return batch

    def _step(self, closures: list[Callable[[], Tensor]], chunks: list[Batch]) -> None:
        clip, scaler, optimizer = self.config.clip_norm, self.scaler, self.optimizer
        if isinstance(optimizer, PerturbedOptimizer):
            several = len(closures) > 1
            given = closures if several else closures[0]
            weights = [float(len(chunk)) for chunk in chunks] if several else None
            optimizer.step(given, weights=weights, scaler=scaler, max_grad_norm=clip)
        else:
            closures[0]()
            if clip is not None:
                if scaler is not None:
                    scaler.unscale_(optimizer)
                weighed = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
                torch.nn.utils.clip_grad_norm_(weighed, clip)
            optimizer.step() if scaler is None else scaler.step(optimizer)
        if scaler is not None:
            scaler.update()

    def _closure(
        self, batch: Batch, step: int, number: int, sums: Tensor | None, *, scaled: bool = True
    ) -> Callable[[], Tensor]:
        """Make a closure; its first call adds to the sums, later (perturbed) ones do not."""
        counted = sums is None

        def closure() -> Tensor:
            nonlocal counted
            self._seed(step, number)
            self.optimizer.zero_grad()
            with self._moved(step):
                with autocast(self.config.precision, self.device):
                    seen = self._seen(batch)
                    outputs = self._forward(seen.inputs)
                    loss = self._loss(outputs, seen)
                    penalty = self._penalty(seen, outputs, step)
                final = flooded(loss, self.config.flooding)
                final = final if penalty is None else final + penalty
                final = final if batch.weight == 1.0 else final * batch.weight
                (final if self.scaler is None or not scaled else self.scaler.scale(final)).backward()
            check_averaged(self.model)
            if not counted and sums is not None:
                counted = True
                with torch.no_grad():
                    n = len(batch)
                    right = right_answers(outputs, batch)
                    added = torch.zeros_like(right) if penalty is None else penalty.double() * n
                    sums.add_(torch.stack([loss.double() * n, right, torch.full_like(right, n), added]))
            return final

        return closure

    def _loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return batch_loss(outputs, batch, label_smoothing=self.config.label_smoothing)

    def _seen(self, batch: Batch) -> Batch:
        """The batch, its inputs with a gradient where a penalty takes derivatives by them."""
        if not self.penalties.differentiates_inputs:
            return batch
        return replace(batch, inputs=batch.inputs.detach().requires_grad_())

    def _penalty(self, batch: Batch, outputs: Tensor, step: int) -> Tensor | None:
        """The penalties; compiled and averaging models cannot be differentiated twice, so theirs is a pass more."""
        if not self.penalties.on_loss:
            return None
        plain = self._forward is self._network
        return self.penalties.penalty(self._network, batch, outputs if plain else None, step)

    @property
    def _network(self) -> nn.Module:
        found: Any = self.model
        return found.module if isinstance(found, DistributedDataParallel) else found  # it is for weights' gradients

    def _attacked_loss(self, batch: Batch) -> Tensor:
        with autocast(self.config.precision, self.device):
            averaging = isinstance(self.model, DistributedDataParallel)
            forward: Any = self._network if averaging else self._forward
            loss: Any = self._loss(forward(batch.inputs), batch)
        return loss if self.scaler is None else self.scaler.scale(loss)

    def _seed(self, step: int, number: int) -> None:
        """Begin the stream of dropout masks: the same for all passes of a step over one part of its batch."""
        if not self._recording:  # which cannot hold seeds: a recorded step draws nothing
            seed_torch(derive_seed(self.config.seed, "step", step, number, *self.world.names))

    def _moved(self, step: int) -> AbstractContextManager[None]:
        return nullcontext() if self._move is None else self._move.moved(step)
