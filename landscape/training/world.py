"""The processes that train one run together: who this one is, what they share, what they agree on."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import ModelError

_NAMED = 5  # parameters in a message


@dataclass(frozen=True)
class World:
    """One process among those that train a run; alone by default.

    Attributes:
        rank: The number of this process, from 0.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1
    _control: Any = field(default=None, repr=False)

    @classmethod
    def join(cls, device: torch.device) -> World:
        """Join the processes that ``torchrun`` started, by its environment variables.

        Args:
            device: Where this process computes: NCCL joins CUDA devices, gloo the others.
        """
        distributed = torch.distributed
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        control = distributed.new_group(backend="gloo")  # numbers of the host: no device waits for them
        return cls(distributed.get_rank(), distributed.get_world_size(), control)

    @property
    def leads(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    @property
    def names(self) -> tuple[int, ...]:
        """What tells this process's random streams from the others'; empty where it is alone."""
        return (self.rank,) if self.size > 1 else ()

    def device(self, wanted: torch.device) -> torch.device:
        """Return this process's device of the kind wanted."""
        if wanted.type != "cuda" or self.size == 1:
            return wanted
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", self.rank)) % torch.cuda.device_count())

    def wrap(self, model: nn.Module, *, unused: bool = False) -> nn.Module:
        """Return the model that averages its gradients over the processes; the model itself where there is one.

        Running statistics stay each process's own, as in its part of the batch; the leader's are kept.

        Args:
            model: On its device.
            unused: Whether some passes leave parameters without a gradient: each one is then searched for them.
        """
        if self.size == 1:
            return model
        wrapper = nn.parallel.DistributedDataParallel
        renamed = "forward_sync_buffers" in inspect.signature(wrapper).parameters  # in newer torch
        left_alone: dict[str, Any] = {"forward_sync_buffers" if renamed else "broadcast_buffers": False}
        return wrapper(model, find_unused_parameters=unused, **left_alone)

    def share(self, part: Tensor) -> Tensor:
        """Return this process's share of a batch's examples: equal shares, up to one example."""
        return part.tensor_split(self.size)[self.rank]

    def weight(self, part: Tensor) -> float:
        """Return what this share's mean loss counts in the average over the processes: 1 where all are equal."""
        return len(self.share(part)) * self.size / len(part)

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over the processes, as a new tensor; the values themselves where there is one process."""
        if self.size == 1:
            return values
        summed = values.clone()
        torch.distributed.all_reduce(summed)
        return summed

    def largest(self, value: int) -> int:
        """Return the largest of the processes' numbers: what all of them act on."""
        if self.size == 1:
            return value
        held = torch.tensor(value)
        torch.distributed.all_reduce(held, torch.distributed.ReduceOp.MAX, group=self._control)
        return int(held)


def check_averaged(model: nn.Module) -> None:
    """Check after a pass that the processes have averaged all gradients, where they wait for all of them.

    Args:
        model: As :meth:`World.wrap` returned it, after backward with no gradients before.

    Raises:
        ModelError: A parameter has no gradient.
    """
    if not isinstance(model, nn.parallel.DistributedDataParallel) or model.find_unused_parameters:
        return
    if not model.require_backward_grad_sync:  # a pass of this process alone
        return
    missing = [name for name, p in model.module.named_parameters() if p.requires_grad and p.grad is None]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise ModelError(
            "The model skips layers so rarely that several processes cannot train it together.",
            expected="a gradient for every parameter in each pass, or parameters that are often left out",
            got=f"no gradient for {', '.join(missing[:_NAMED])}{more}",
            fix="Train it with nproc=1, or have the model multiply what it skips by zero.",
        )
