"""Curvature that comes through the outputs: the generalized Gauss-Newton matrix and the Fisher information."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.arguments import check_objective
from landscape.config import is_whole
from landscape.curvature.frozen import FrozenOperator
from landscape.errors import ConfigError, ModelError, NonFiniteError
from landscape.loss_checks import is_classification
from landscape.objective import Objective
from landscape.seeding import generator

Kind = Literal["exact", "monte-carlo", "empirical"]
Through = Callable[[Tensor], Tensor]
"""Multiplies with a symmetric matrix over one batch's outputs, (B, ...) to (B, ...)."""


@dataclass(frozen=True)
class OutputGraph:
    """One batch: its part of ``J^T M J``, with J the Jacobian of the outputs and M the curvature over them."""

    outputs: Tensor
    dual: Tensor  # u, (B, ...)
    pulled: Tensor  # J^T u, (P,), which is linear in u: its derivative is J
    through: Through


class OutputCurvature(FrozenOperator[OutputGraph]):
    """``J^T M J``, with J the Jacobian of all outputs and M symmetric, one block for each batch.

    Products are exact: forward by differentiating ``J^T u`` in u, back by the chain rule. All arguments are those of
    :class:`landscape.curvature.frozen.FrozenOperator`.

    Raises:
        ModelError: The model's output is no tensor, or does not depend on its weights.
    """

    def _build(self) -> Iterator[OutputGraph]:
        numbers = count()  # enumerate would hold what it gave last
        for outputs, targets in self._model.output_terms(self._flat):
            if isinstance(outputs, Tensor) and self.objective.is_part:
                outputs = self.objective.followed(outputs, self._flat)
            if not isinstance(outputs, Tensor) or not outputs.requires_grad:
                raise ModelError(
                    "The model's output cannot be linearized.",
                    expected="one tensor that depends on the weights",
                    got=type(outputs).__name__ if not isinstance(outputs, Tensor) else "one that does not",
                    fix="Use Hessian, which needs the loss alone, or wrap the model so that it returns its scores.",
                )
            dual = torch.zeros_like(outputs, requires_grad=True)
            pulled = torch.autograd.grad(outputs, self._flat, dual, create_graph=True)[0]
            self._check_twice(pulled)
            yield OutputGraph(outputs, dual, pulled, self._curvature(next(numbers), outputs.detach(), targets))
            del outputs, dual, pulled  # and with them the batch's graph, before the next one is built

    def _multiply(self, graph: OutputGraph, row: Tensor) -> Tensor:
        pushed = torch.autograd.grad(graph.pulled, graph.dual, row, retain_graph=True)[0]
        return torch.autograd.grad(graph.outputs, self._flat, graph.through(pushed), retain_graph=True)[0]

    @abstractmethod
    def _curvature(self, number: int, outputs: Tensor, targets: Tensor) -> Through:
        """Return what multiplies with M over a batch's outputs."""


class GGN(OutputCurvature):
    """The generalized Gauss-Newton matrix: the Hessian without the second derivatives of the model.

    Definition: ``G = (1/N) sum_n J_n^T H_n J_n`` with J_n the Jacobian of the outputs for example n, and H_n the second
    derivative of its loss in them. Positive semi-definite where the loss is convex in the outputs, as cross-entropy
    and squared errors are; equal to the Hessian where the model is linear in its weights. A product costs about as
    much as one with the Hessian.

    Args:
        objective: Whose loss. Its model is not changed.
        parameters: Which weights the matrix is over; see :class:`Hessian`, as for the next three.
        weights: Where, if not at the model's present weights.
        memory: Bytes that kept graphs may take.
        memory_limit: Bytes that a product may take in all.

    Raises:
        NonDeterministicError: The model draws random numbers in evaluation mode.
        ModelError: Its output is no tensor.
        ConfigError: ``memory`` or ``memory_limit`` is out of range, or ``parameters`` fit no weight.
        MismatchError: ``weights`` do not fit the model.

    Example:
        The output w^2 has the derivative 2 w, and the loss (w^2)^2 the curvature 2 in it: G = 2 (2 w)^2 = 8 at w = 1.
        The Hessian is 12 w^2 = 12.

        >>> class Square(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.w = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        ...     def forward(self, x):
        ...         return x * self.w**2
        >>> data = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
        >>> (GGN(Objective(Square(), data, torch.nn.functional.mse_loss)) @ torch.ones(1)).tolist()
        [8.0]

    References:
        N. Schraudolph, Fast Curvature Matrix-Vector Products for Second-Order Gradient Descent, Neural Computation
        2002. J. Martens, New Insights and Perspectives on the Natural Gradient Method, JMLR 2020, section 8.
    """

    def _curvature(self, number: int, outputs: Tensor, targets: Tensor) -> Through:
        leaf = outputs.requires_grad_(True)
        loss = self.objective.batch_sum(leaf.clone(), targets) / self.objective.examples  # it may write into its copy
        slope = torch.autograd.grad(loss, leaf, create_graph=True)[0]

        def through(pushed: Tensor) -> Tensor:
            found = None
            if slope.requires_grad:
                found = torch.autograd.grad(slope, leaf, pushed, retain_graph=True, allow_unused=True)[0]
            return 0 * slope.detach() * pushed if found is None else found  # linear in the outputs; or NaN

        return through

    def provenance(self) -> dict[str, Any]:
        """Say what this is the matrix of; plain JSON values."""
        return self._about()


class Fisher(OutputCurvature):
    """The Fisher information of a classifier's predictions, or what is computed in its place.

    Definition, with p the model's probabilities for x_n, and g(n, c) the gradient of ``-log p_c(x_n)``::

        "exact"        F = (1/N) sum_n sum_c p_c g(n, c) g(n, c)^T
        "monte-carlo"  F = (1/(N S)) sum_n sum_s g(n, c_s) g(n, c_s)^T,  with c_1 ... c_S drawn from p
        "empirical"    F = (1/N) sum_n g_n g_n^T,  g_n the gradient of example n's own loss: its labels, not p

    "exact" equals the GGN of cross-entropy; "monte-carlo" is an unbiased estimate of it, whose draws are fixed when
    this is built; "empirical" is neither, but takes any loss that is a mean over examples. All are positive
    semi-definite.

    Args:
        objective: Whose model and data. Its model is not changed.
        kind: One of the three.
        samples: S of "monte-carlo". Default 1, as in K-FAC.
        seed: Names the draws of "monte-carlo".
        parameters: Which weights the matrix is over; see :class:`Hessian`, as for the next three.
        weights: Where, if not at the model's present weights.
        memory: Bytes that kept graphs may take.
        memory_limit: Bytes that a product may take in all.

    Raises:
        NonDeterministicError: The model draws random numbers in evaluation mode.
        ModelError: Its output is no tensor.
        ConfigError: ``kind`` is unknown; ``samples`` is below 1; ``memory`` or ``memory_limit`` is out of range;
            ``parameters`` fit no weight; the loss is no mean over examples, as with labels that are ignored; or the
            objective is no classifier with a plain cross-entropy, where its predictions are asked for.
        NonFiniteError: The predictions that "monte-carlo" draws from are NaN.
        MismatchError: ``weights`` do not fit the model.

    Example:
        One weight, the score of class 0 against a score of 0: p = 1/2 at w = 0, and F = p (1 - p).

        >>> class Score(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.w = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        ...     def forward(self, x):
        ...         return torch.cat([x * self.w, torch.zeros_like(x)], dim=1)
        >>> data = torch.ones(1, 1, dtype=torch.float64), torch.tensor([0])
        >>> (Fisher(Objective(Score(), data)) @ torch.ones(1)).tolist()
        [0.25]

    References:
        J. Martens, New Insights and Perspectives on the Natural Gradient Method, JMLR 2020. F. Kunstner, L. Balles,
        P. Hennig, Limitations of the Empirical Fisher Approximation for Natural Gradient Descent, NeurIPS 2019.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        kind: Kind = "exact",
        samples: int = 1,
        seed: int = 0,
        parameters: str | Sequence[str] | None = None,
        weights: Tensor | None = None,
        memory: int | None = None,
        memory_limit: int | None = None,
    ) -> None:
        if kind not in ("exact", "monte-carlo", "empirical"):
            raise ConfigError("Unknown kind of Fisher.", expected="'exact', 'monte-carlo' or 'empirical'", got=kind)
        if not is_whole(samples) or samples < 1:
            raise ConfigError("samples is out of range.", expected="a whole number of at least 1", got=repr(samples))
        check_objective(objective, "Fisher")
        if kind != "empirical" and not _is_plain_cross_entropy(objective.loss_fn):
            raise ConfigError(
                f"The {kind} Fisher needs predicted probabilities.",
                expected="the loss cross_entropy, without weights or label smoothing",
                got=objective.loss_name,
                fix="Use GGN, or kind='empirical'.",
            )
        if objective.examples > 1:
            objective.in_batches_of(1)  # says where the loss is no mean over examples
        self.kind, self.samples, self.seed = kind, int(samples), seed
        super().__init__(objective, parameters=parameters, weights=weights, memory=memory, memory_limit=memory_limit)
        self._options |= {"kind": kind, "samples": samples, "seed": seed}

    def _curvature(self, number: int, outputs: Tensor, targets: Tensor) -> Through:
        examples = self.objective.examples
        if self.kind == "empirical":
            leaf = outputs.requires_grad_(True)
            slopes = torch.autograd.grad(self.objective.batch_sum(leaf.clone(), targets), leaf)[0]
            return _outer(slopes.unsqueeze(0), examples)
        if not is_classification(outputs, targets):
            raise ConfigError(
                f"The {self.kind} Fisher needs a classifier.",
                expected="scores (N, K) and class numbers (N,)",
                got=f"outputs {tuple(outputs.shape)}, targets {tuple(targets.shape)}",
                fix="Use GGN, or kind='empirical'.",
            )
        p = outputs.softmax(dim=1)
        if self.kind == "exact":
            return lambda pushed: (p * pushed - p * (p * pushed).sum(dim=1, keepdim=True)) / examples
        if not bool(torch.isfinite(p).all()):
            raise NonFiniteError(
                "There is nothing to draw labels from.",
                expected="finite predictions",
                got="NaN",
                fix="Load an earlier checkpoint, or lower the learning rate.",
            )
        stream = generator(self.seed, "fisher", number, device=outputs.device)
        drawn = torch.multinomial(p, self.samples, replacement=True, generator=stream)  # (B, S)
        return _outer(p - F.one_hot(drawn.T, p.shape[1]).to(p.dtype), examples * self.samples)

    def provenance(self) -> dict[str, Any]:
        """Say what this is the matrix of; plain JSON values."""
        drawn = {"samples": self.samples, "seed": self.seed} if self.kind == "monte-carlo" else {}
        return self._about(kind=self.kind, **drawn)


def _outer(slopes: Tensor, count: int) -> Through:
    """Multiply with ``sum_s r_s r_s^T / count`` for each example's r_s: (S, B, ...)."""

    def through(pushed: Tensor) -> Tensor:
        along = (slopes * pushed).flatten(2).sum(dim=2)  # (S, B)
        return (slopes * along.reshape(*along.shape, *([1] * (pushed.ndim - 1)))).sum(dim=0) / count

    return through


def _is_plain_cross_entropy(loss_fn: Any) -> bool:
    if isinstance(loss_fn, nn.CrossEntropyLoss):
        return loss_fn.weight is None and loss_fn.label_smoothing == 0
    return loss_fn is F.cross_entropy
