"""The whole training step as a CUDA graph: all passes, the perturbation and the base optimizer in one launch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from landscape.cuda_graph import available, capture
from landscape.errors import LandscapeError, ModelError, first_line
from landscape.parameters import preserved
from landscape.seeding import RNGState
from landscape.training.batches import Batch
from landscape.training.precision import fused_base
from landscape.training.run_config import RunConfig
from landscape.training.world import World

# Of the others each draws numbers on the host, remembers what began with the first step, or takes steps of two kinds.
_METHODS = ("sgd", "adam", "adamw", "sam", "asam", "amp", "gsam", "gnp")
_CLOSE = 1e-3  # of the step's length: far above rounding in float32, far below a step that misses a part
Compute = Callable[[Batch, Tensor | float], Tensor]


def why_not(config: RunConfig, device: torch.device, world: World) -> str | None:
    """Say why a run's steps cannot be recorded, as far as its settings tell; None where they may be.

    Args:
        config: The settings.
        device: Where.
        world: Which process this is.
    """
    reasons = {
        f"{device.type} has no CUDA graphs": not available(device),
        "several processes": world.size > 1,
        f"optimizer {config.optimizer}": config.optimizer not in _METHODS,
        f"steps of two kinds (when={config.when})": config.when not in (None, "always"),
        "the base optimizer is not fused": not fused_base(config, device),
        "a gradient scaler (precision float16)": config.precision == "float16",
        "mixup": bool(config.mixup),
        "adversarial inputs": bool(config.adversarial_epsilon),
        "penalties": bool(config.penalty),
        "random moves of the weights": bool(config.random_perturbation),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


class GraphedStep:
    """A step that was recorded once, for batches of one shape, and is played again for each of them.

    Batch and learning rate are copied to where the record reads them. What Python counts is counted here.

    Args:
        compute: The step as it is without a graph, from a batch and a learning rate; seeds no generator.
        batch: The first one; nothing else of it matters than its shape.
        model: What is trained.
        optimizer: What trains it.
        rate: A learning rate to try the record with.

    Raises:
        ModelError: It draws random numbers, or the record does not do what the step does.
        RuntimeError: It cannot be recorded. Model and optimizer are, as always, as they were.
    """

    def __init__(
        self, compute: Compute, batch: Batch, model: nn.Module, optimizer: torch.optim.Optimizer, rate: float
    ) -> None:
        self.optimizer, self._batch = optimizer, Batch(batch.inputs.clone(), batch.targets.clone())
        device = batch.inputs.device
        self._rate = torch.tensor(rate, dtype=torch.float32, device=device)
        rate = self._rate.item()  # as float32 has it
        before = [p.detach().clone() for p in model.parameters()]
        with _unchanged(model, optimizer):
            drawn = RNGState.capture()
            compute(self._batch, rate)
            expected = [p.detach().clone() for p in model.parameters()]
            if drawn.drew_since():
                raise ModelError("The model draws random numbers, such as dropout's.")
        with _unchanged(model, optimizer):
            for group in optimizer.param_groups:
                if "capturable" in group:  # Adam's: it counts its steps on the device, as the fused one always does
                    group["capturable"] = True
            self._sums, self._replay = capture(lambda: compute(self._batch, self._rate), device)
            self._stats = dict(getattr(optimizer, "stats", {}))
        with _unchanged(model, optimizer):
            self._replay()
            _check(before, expected, [p.detach() for p in model.parameters()])

    def takes(self, batch: Batch) -> bool:
        """Whether a batch has the recorded shape; the last one of an epoch may have fewer examples."""
        return batch.inputs.shape == self._batch.inputs.shape

    def step(self, batch: Batch, rate: float) -> Tensor:
        """Take one step; returns what the step returns, in memory that the next one overwrites."""
        self._batch.inputs.copy_(batch.inputs)
        self._batch.targets.copy_(batch.targets)
        self._rate.fill_(rate)
        done = self.optimizer.param_groups[0].get("perturbation_step")
        self._replay()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if done is not None:
            self.optimizer.param_groups[0]["perturbation_step"] = done + 1
        if self._stats:
            getattr(self.optimizer, "stats").update(self._stats)  # noqa: B009  (only some optimizers have it)
        return self._sums


def _check(before: list[Tensor], expected: list[Tensor], found: list[Tensor]) -> None:
    """Raise unless two steps from the same weights agree."""
    length = torch.stack([(e - b).double().norm() for e, b in zip(expected, before, strict=True)]).norm().item()
    apart = torch.stack([(f - e).double().norm() for f, e in zip(found, expected, strict=True)]).norm().item()
    if not apart <= _CLOSE * length:
        raise ModelError(f"The recorded step is {apart / max(length, 1e-30):.1e} of its length off.")


@contextmanager
def _unchanged(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Put model and optimizer back after a block, in the memory where they are; state that is new becomes zeros."""
    saved = [
        {name: value.clone() for name, value in optimizer.state.get(p, {}).items() if isinstance(value, Tensor)}
        for p in model.parameters()
    ]
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    try:
        with preserved(model):
            yield
    finally:
        for parameter, known in zip(model.parameters(), saved, strict=True):
            for name, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    value.copy_(known[name]) if name in known else value.zero_()
        for group, values in zip(optimizer.param_groups, groups, strict=True):
            group.update(values)


def graphed(
    compute: Compute,
    config: RunConfig,
    first: Callable[[], Batch],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    world: World,
) -> tuple[GraphedStep | None, str]:
    """Record a run's step where the settings ask for it and it works; say what was chosen and why.

    Args:
        compute: The step, as in :class:`GraphedStep`.
        config: The settings.
        first: Makes a batch to record with.
        model: On its device.
        optimizer: Over its parameters.
        world: Which process this is.

    Returns:
        The recorded step or None, and a few words for the log.
    """
    if not config.cuda_graphs:
        return None, "no CUDA graph"
    batch = first()
    reason = why_not(config, batch.inputs.device, world)
    if reason is None:
        try:
            return GraphedStep(compute, batch, model, optimizer, config.lr), "each step a CUDA graph"
        except Exception as error:  # whatever cannot be recorded: an operation, a wait for the device, memory
            reason = str(error) if isinstance(error, LandscapeError) else first_line(error)
    return None, f"no CUDA graph: {reason}"
