"""The graphs that products need, of all batches of an objective: kept between products, or built again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from landscape.curvature.memory import held_bytes

Graph = TypeVar("Graph")
"""What is kept of one batch."""


class BatchGraphs(Generic[Graph]):
    """One graph for each batch of an objective at one point, kept where all fit into memory.

    Args:
        build: Yields the graphs, batch by batch. What they depend on must not change while graphs are kept.
        batches: How many there are.
        memory: Bytes that kept graphs may take. How many they need is measured on the first one.
    """

    def __init__(self, build: Callable[[], Iterator[Graph]], *, batches: int, memory: int) -> None:
        self._build = build
        self.bytes, self.kept = 0, False
        self._graphs: list[Graph] = []
        if memory > 0:
            graphs = build()
            self._graphs, held = held_bytes(lambda: [next(graphs)])
            self.bytes = batches * held
            self.kept = self.bytes <= memory
            if self.kept:
                self._graphs += graphs
            else:
                self.release()

    def __iter__(self) -> Iterator[Graph]:
        """Yield the graph of each batch."""
        yield from self._graphs if self.kept else self._build()

    def release(self) -> None:
        """Drop the kept graphs; they are built again for each product from now on."""
        self.kept = False
        self._graphs = []
