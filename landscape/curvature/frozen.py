"""What all operators over an objective share: they are frozen at some weights and keep graphs between products."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, Self

import torch
from torch import Tensor

from landscape.arguments import check_objective
from landscape.config import is_whole
from landscape.curvature.graph import BatchGraphs, Graph
from landscape.curvature.layers import ask_each
from landscape.curvature.memory import free_memory, peak_bytes
from landscape.curvature.operator import CurvatureOperator
from landscape.differentiable import DifferentiableModel
from landscape.double_backward import require_second_derivatives, twice_differentiable
from landscape.errors import ConfigError
from landscape.objective import Objective

_FEW = 2  # examples
_MARGIN = 4  # kernels take memory of their own, and the allocator keeps what was freed: 3.1 times was seen


class FrozenOperator(CurvatureOperator, Generic[Graph]):
    """A matrix over weights of an objective's model, as they are when this is built; later changes pass it by.

    The graphs of all batches are kept between products where they fit into memory, and built again for each product
    where not; both give the same matrix.

    Args:
        objective: Whose. Its model is not changed.
        parameters: Which weights the matrix is over, for example "layer1", "head.weight" or ["*.weight"]; see
            :meth:`landscape.parameters.Layout.subset`. Default: all that are trainable. The others are constants.
        weights: (P,), all trainable weights, for the matrix at another point than the model's present weights.
        memory: Bytes that kept graphs may take; 0 keeps none. By default half of what is free on a CUDA device; on a
            CPU a quarter of what is free, at most 4 GiB. What they need is measured on the first batch.
        memory_limit: Bytes that a product may take in all, kept graphs included, beside weights and data. Batches are
            made as small as it needs; what they take is measured on two small ones. By default, batches are the
            objective's.

    Raises:
        NonDeterministicError: The model draws random numbers in evaluation mode.
        ConfigError: It is no objective; ``memory`` is negative; ``memory_limit`` is too small for one example; or
            ``parameters`` fit no weight.
        MismatchError: ``weights`` do not fit the model.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        parameters: str | Sequence[str] | None = None,
        weights: Tensor | None = None,
        memory: int | None = None,
        memory_limit: int | None = None,
    ) -> None:
        check_objective(objective, type(self).__name__)
        for name, value in (("memory", memory), ("memory_limit", memory_limit)):
            if value is not None and (not is_whole(value) or value < 0):
                raise ConfigError(f"{name} is out of range.", expected="bytes, not negative", got=value)
        self._twice = False
        self._options: dict[str, Any] = {"memory": memory, "memory_limit": memory_limit}
        (objective if memory_limit is None else objective.in_batches_of(_FEW)).check_deterministic()
        whole = objective.snapshot(None if weights is None else objective.check_vector(weights))
        self.objective = whole if parameters is None else whole.restricted(parameters)
        budget = free_memory(objective.device) if memory is None else memory
        with twice_differentiable():
            self._flat = self.objective.weights().requires_grad_(True)
            if memory_limit is not None:
                self._shrink_batches(memory_limit)
                budget = min(budget, memory_limit - self._needs(self.objective.batch_size))
            self._model = DifferentiableModel(self.objective)
            self._graphs = BatchGraphs(
                self._build,
                batches=-(-objective.examples // self.objective.batch_size),
                memory=budget,
            )

    def _shrink_batches(self, limit: int) -> None:
        """Take batches whose graph and product stay within a limit."""
        most = min(self.objective.batch_size, self.objective.examples)
        few, more = (min(count, most) for count in (_FEW, 8))
        at_few, at_more = self._needs(few), self._needs(more)
        each = max((at_more - at_few) / max(more - few, 1), 1.0)
        count = few + int((limit - at_few) // each) if most > few else most
        if count < 1 or (count <= few and self._needs(max(count, 1)) > limit):
            raise ConfigError(
                "memory_limit is too small.",
                expected=f"at least {self._needs(1):,} bytes, for one example",
                got=f"{limit:,}",
                fix="Raise it, or use a smaller model.",
            )
        self.objective = self.objective.in_batches_of(max(1, min(count, most)))

    def _needs(self, examples: int) -> int:
        """Measure what a product with so many examples in a batch takes, its graph included."""
        whole = self.objective
        self.objective = whole.in_batches_of(examples)
        self._model = DifferentiableModel(self.objective)
        try:
            vectors = 4 * self._flat.nbytes  # the one that comes in, its copy, the sum and a part of it
            return vectors + _MARGIN * peak_bytes(lambda: self._multiply(next(self._build()), self._flat.detach()))
        finally:
            self.objective = whole

    def _check_twice(self, gradient: Tensor) -> None:
        """See once that a gradient can be differentiated again: all batches go the same way."""
        if not self._twice:
            require_second_derivatives(gradient)
            self._twice = True

    @abstractmethod
    def _build(self) -> Iterator[Graph]:
        """Build the graphs at ``self._flat``, batch by batch."""

    @abstractmethod
    def _multiply(self, graph: Graph, row: Tensor) -> Tensor:
        """Return one batch's part of the product with a vector, (P,)."""

    def __repr__(self) -> str:
        """One line: of which objective."""
        return f"{type(self).__name__}({self.size} x {self.size} of {self.objective!r})"

    @property
    def size(self) -> int:
        """P, the number of weights that the matrix is over."""
        return self.objective.size

    @property
    def dtype(self) -> torch.dtype:
        """The objective's dtype, in which products are computed."""
        return self.objective.dtype

    @property
    def device(self) -> torch.device:
        """The objective's device."""
        return self.objective.device

    @property
    def keeps_graph(self) -> bool:
        """Whether the graphs are kept between products."""
        return self._graphs.kept

    def __matmul__(self, vector: Tensor) -> Tensor:
        """Multiply with a vector (P,), or with K vectors (P, K).

        Args:
            vector: (P,) or (P, K); it is brought to the operator's device and dtype.

        Returns:
            The product, in the shape of ``vector``, on the operator's device and in its dtype.

        Raises:
            MismatchError: The shape is another one.
        """
        with twice_differentiable():
            rows = self.rows_of(vector)
            total = torch.zeros_like(rows)
            for graph in self._graphs:
                for row, product in zip(rows, total, strict=True):
                    product += self._multiply(graph, row)
                del graph  # before the next one is built
        return total.T.reshape(vector.shape)

    def block(self, parameters: str | Sequence[str]) -> Self:
        """Return the block of the matrix that belongs to some of its weights, as an operator of its own.

        Args:
            parameters: Which; see :meth:`landscape.parameters.Layout.subset`.

        Raises:
            ConfigError: They fit no weight of this matrix.
        """
        return type(self)(self.objective, parameters=parameters, **self._options)

    def layerwise(self, question: str | Callable[[Self], Any], **options: Any) -> dict[str, Any]:
        """Ask the same of the block of each layer: a module with weights of its own, or a weight of the model itself.

        The blocks on the diagonal leave out how layers act on each other. Their traces add up to the whole trace; the
        largest of their eigenvalues is at most that of a whole matrix without negative eigenvalues.

        Args:
            question: "top", "trace", "diagonal", "frobenius_norm", "density" or "dense", with its options; or a
                function of an operator.
            options: What the question takes, as ``k=3`` or ``probes=50``; and ``progress``.

        Returns:
            Layer to answer, in the model's order. After Ctrl-C, of the layers asked by then, the last perhaps in part;
            its attribute ``complete`` is then False.

        Raises:
            ConfigError: The question or an option is unknown.
            KeyboardInterrupt: Ctrl-C came before there was an answer.

        Warns:
            InterruptedWarning: Ctrl-C came later.

        Example:
            The loss (a b)**2 has the second derivatives 2 b**2 and 2 a**2.

            >>> from landscape.curvature import Hessian
            >>> layers = [torch.nn.Linear(1, 1, bias=False).double() for _ in range(2)]
            >>> for layer, value in zip(layers, (2.0, 3.0)):
            ...     _ = layer.weight.data.fill_(value)
            >>> model, data = torch.nn.Sequential(*layers), (torch.ones(1, 1).double(), torch.zeros(1, 1).double())
            >>> found = Hessian(Objective(model, data, torch.nn.functional.mse_loss)).layerwise("trace", method="exact")
            >>> {name: estimate.value for name, estimate in found.items()}
            {'0': 18.0, '1': 8.0}
        """
        layers = self.objective.layout.layers
        blocks = ((name, self.block(list(inside))) for name, inside in layers.items())
        return ask_each(blocks, len(layers), question, options)

    def _about(self, **more: Any) -> dict[str, Any]:
        return {"operator": type(self).__name__, **more, **self.objective.provenance()}

    def close(self) -> None:
        """Give the memory of kept graphs back. Products still work; each builds its graphs again."""
        self._graphs.release()

    def __enter__(self) -> Self:
        """Return the operator itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the memory of kept graphs back."""
        self.close()
