"""The graphs that products need, of all batches of an objective: kept between products, or built again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

Graph = TypeVar("Graph")
"""What is kept of one batch."""


class BatchGraphs(Generic[Graph]):
    """One graph for each batch of an objective at one point, kept where all fit into memory.

    Args:
        build: Yields the graphs, batch by batch. What they depend on must not change while graphs are kept.
        batches: How many there are.
        memory: Bytes that kept graphs may take. How many they need is measured on the first one.
        known: Tensors that are there anyway: weights and data.
    """

    def __init__(self, build: Callable[[], Iterator[Graph]], *, batches: int, memory: int, known: list[Tensor]) -> None:
        self._build = build
        self.bytes = batches * graph_bytes(build, known) if memory > 0 else 0
        self.kept = memory > 0 and self.bytes <= memory
        self._graphs: list[Graph] = list(build()) if self.kept else []

    def __iter__(self) -> Iterator[Graph]:
        """Yield the graph of each batch."""
        yield from self._graphs if self.kept else self._build()

    def release(self) -> None:
        """Drop the kept graphs; they are built again for each product from now on."""
        self.kept = False
        self._graphs = []


def graph_bytes(build: Callable[[], Iterator[Any]], known: list[Tensor]) -> int:
    """Build the first batch's graph once and count the bytes it holds beside what is there anyway.

    Args:
        build: Yields what has the graphs, batch by batch.
        known: What is there anyway.
    """
    held: dict[int, Tensor] = {}

    def count(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ours = {tensor.untyped_storage().data_ptr() for tensor in known}
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        _ = next(build())
        return sum(tensor.untyped_storage().nbytes() for key, tensor in held.items() if key not in ours)
