"""The gradients of all batches with the graphs that a second derivative needs: kept, or built again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from landscape.inputs import named_tensors
from landscape.objective import Objective

_CPU_LIMIT = 4 * 2**30


def free_memory(device: torch.device) -> int:
    """Return how many bytes kept graphs may take where the user does not say.

    Half of what is free on a CUDA device; a quarter of what is free on a CPU, and at most 4 GiB (containers often have
    less than the machine says); 1 GiB where nothing is known.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 2
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**30
    return min(free // 4, _CPU_LIMIT)


class GradientGraphs:
    """The gradients of an objective's batches at one point, each with its graph; their sum is the gradient.

    Args:
        objective: Nobody else's: its weights and buffers must not change while graphs are kept.
        flat: (P,) leaf that requires grad.
        memory: Bytes that kept graphs may take.
    """

    def __init__(self, objective: Objective, flat: Tensor, memory: int) -> None:
        self.objective, self.flat = objective, flat
        self.loss = torch.zeros((), dtype=torch.float64, device=flat.device)
        self.gradient = torch.zeros_like(flat)
        batches = -(-objective.examples // objective.batch_size)
        self.bytes = batches * graph_bytes(self._build, objective, flat)
        self.kept = self.bytes <= memory
        self._gradients: list[Tensor] = []
        for term, gradient in self._build():
            self.loss += term.detach().double()
            self.gradient += gradient.detach()
            if self.kept:
                self._gradients.append(gradient)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the gradient of each batch, (P,), with its graph."""
        if self.kept:
            yield from self._gradients
        else:
            yield from (gradient for _, gradient in self._build())

    def release(self) -> None:
        """Drop the kept graphs; they are built again for each product from now on."""
        self.kept = False
        self._gradients.clear()

    def _build(self) -> Iterator[tuple[Tensor, Tensor]]:
        for term in self.objective.loss_terms(self.flat):
            yield term, torch.autograd.grad(term, self.flat, create_graph=True)[0]


def graph_bytes(build: Callable[[], Iterator[Any]], objective: Objective, flat: Tensor) -> int:
    """Build the first batch's graph once and count the bytes it holds beside weights and data.

    Args:
        build: Yields what has the graphs, batch by batch.
        objective: Whose data.
        flat: (P,), the weights.
    """
    held: dict[int, Tensor] = {}

    def count(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    known = {flat.untyped_storage().data_ptr()}
    inputs, targets = next(objective.batches())
    known |= {tensor.untyped_storage().data_ptr() for tensor in (*named_tensors(inputs).values(), targets)}
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        _ = next(build())
        return sum(tensor.untyped_storage().nbytes() for key, tensor in held.items() if key not in known)
