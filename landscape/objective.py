"""A loss as a function of the weights: a model, fixed data and a loss, with everything else held still."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.description import checksum_callable, checksum_structure, checksum_tensors
from landscape.double_backward import (
    derivatives_told,
    hessian_product,
    require_second_derivatives,
    twice_differentiable,
)
from landscape.fixed_data import FixedData, fix_data
from landscape.inputs import holds_logits, map_inputs
from landscape.loss_checks import check_deterministic, check_mean, followed, sum_over_batch
from landscape.loss_function import LossFunction, check_loss, check_metric, loss_name
from landscape.objective_checks import check_batch_size, check_device, check_model, check_vectors
from landscape.parameters import Layout, unwrapped
from landscape.precision import frozen_precision_told, one_precision
from landscape.replica import Replicated
from landscape.scores import Evaluation, mean_scores
from landscape.seeding import preserved_rng
from landscape.structure import Structure, check_settings


class Objective(Replicated):
    """The mean loss of a model over fixed data, as a function of its trainable weights.

    Definition: ``L(w) = (1/N) * sum_n loss(f_w(x_n), y_n)`` with f in evaluation mode (running statistics of
    normalization layers, no dropout). The sum is weighted by examples, so a ragged last batch counts rightly.

    The model is read, never written: everything runs on a private replica. With ``weights=None`` the model's present
    weights are used, so an objective follows training, and shows ``with optimizer.perturbed():`` the perturbed loss.
    Buffers always are the model's present ones.

    Args:
        model: Any module (of torch.compile or DataParallel, what is inside); its trainable floating-point parameters
            are the weights that move, P of them.
        data: A :class:`landscape.datasets.Dataset`, a pair of tensors ``(inputs (N, ...), targets (N, ...))``, a torch
            ``Dataset`` or ``DataLoader`` of such pairs (read once, then fixed). Inputs may be a tuple of tensors, for
            ``model(*inputs)``, or a dictionary, for ``model(**inputs)``; so may a batch, with its targets in it under
            "labels", "label", "targets", "target" or "y".
        loss_fn: ``loss_fn(outputs, targets)``: the mean over the batch as a 0-d tensor, or one loss per example (B,).
            One of torch's gets ``outputs.logits`` where the model gives an object that has them, as transformers do.
        metric: ``metric(outputs, targets)``, one value per example (B,) or their mean, reported beside the loss, as
            ``accuracy``, instead of the fraction of right predictions.
        batch_size: Examples per forward pass. It changes the result in the last bits only. Default 256 on a CPU (from
            256 on, bigger batches only miss the cache) and 2048 elsewhere.
        device: Where to compute; the model's own device by default.

    Raises:
        ConfigError: ``loss_fn`` or ``metric`` is no function of outputs and targets; or the loss is not a mean over
            examples and there is more than one batch, or no tensor of a right shape; or there is no such device, or no
            such batch size.
        ModelError: ``model`` is no module, has no trainable weights, weights of several dtypes or no values (meta
            device), is compiled by torch.jit, or cannot be copied.
        DataError: The data is empty, holds NaN, inputs and targets differ in number, or a label is none of the classes.

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False).double()
        >>> data = (torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [0.0]]))
        >>> objective = Objective(model, data, torch.nn.functional.mse_loss)
        >>> objective.evaluate(torch.tensor([2.0], dtype=torch.float64)).loss  # (2**2 + 4**2) / 2
        10.0
        >>> objective.gradient(torch.tensor([2.0], dtype=torch.float64)).tolist()  # 5 w
        [10.0]
    """

    fixed_statistics: bool = True
    """Whether running statistics are the model's at every point, so that its forward may be rewritten."""

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        loss_fn: LossFunction = F.cross_entropy,
        *,
        metric: LossFunction | None = None,
        batch_size: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        check_model(model, data)
        self.model = model = unwrapped(model)
        self._structure = Structure(model)
        self.layout = Layout.of(model)
        self.loss_fn, self.metric = check_loss(loss_fn), check_metric(metric)
        first = self.layout.parameters_of(model)[0]
        self.device = check_device(device) if device is not None else first.device
        self.dtype = one_precision(model, self.layout)
        self._moving = frozenset(self.layout.names)
        with torch.inference_mode(False), torch.no_grad(), preserved_rng():
            self._data: FixedData = fix_data(data, device=self.device, dtype=self.dtype, batch_size=batch_size)
            self._flat, self._replica = self._make_replica(model)
            with frozen_precision_told(model, self.dtype):
                few = map_inputs(Tensor.clone, self._data.select(slice(2))[0])
                self._logits = holds_logits(self._replica, few, loss_fn)
            if self._logits:
                self._flat, self._replica = self._make_replica(model)
            self._data = replace(self._data, copies=check_mean(self._replica, loss_fn, self._data))

    def __repr__(self) -> str:
        """One line: which model, its size, the data, and where it is computed."""
        dtype = str(self.dtype).removeprefix("torch.")
        what = f"{type(self.model).__name__}, P = {self.size}, {self.examples} examples of {self._data.name}"
        return f"Objective({what}, {self.loss_name}, {dtype}, {self.device})"

    @property
    def size(self) -> int:
        """P, the number of weights that move."""
        return self.layout.size

    @property
    def examples(self) -> int:
        """N, the number of examples."""
        return self._data.examples

    @property
    def batch_size(self) -> int:
        """Examples per forward pass."""
        return self._data.batch_size

    def in_batches_of(self, examples: int) -> Objective:
        """Return the same objective, of the same model and data, with another batch size.

        Args:
            examples: The batch size, at least 1.

        Raises:
            ConfigError: It is no batch size; or the loss is not a mean over examples, so there can be one batch only.
        """
        data = replace(self._data, batch_size=check_batch_size(examples))
        other = self.twin()
        other._data = data
        with preserved_rng():
            check_mean(other._replica, self.loss_fn, other._data)
        return other

    def with_model(self, model: nn.Module) -> Objective:
        """Return the loss of another model over the same data, with the same loss, metric, batch size and device.

        Args:
            model: Any module, for example a copy with other weights, or what :func:`landscape.sharpness.balance` gives.

        Returns:
            An objective as a function of all of the model's trainable weights; the data is shared, not copied, where
            its dtype fits the model's.

        Raises:
            ConfigError: The loss is not a mean over examples of this model's outputs, and there are several batches.
            ModelError: As of a new objective.

        Example:
            >>> one = Objective(nn.Linear(1, 2), (torch.ones(3, 1), torch.zeros(3, dtype=torch.int64)), batch_size=2)
            >>> other = one.with_model(nn.Linear(1, 5))
            >>> other.size, other.examples, other.batch_size
            (10, 3, 2)
        """
        return Objective(model, self._data, self.loss_fn, metric=self.metric, device=self.device)

    @property
    def targets(self) -> Tensor:
        """The targets, (N, ...)."""
        return self._data.targets

    @property
    def writes_inputs(self) -> bool:
        """Whether the model works in place on its inputs, so that it is handed copies."""
        return self._data.copies

    @property
    def loss_name(self) -> str:
        """What the loss function calls itself, for example "cross_entropy"."""
        return loss_name(self.loss_fn)

    def batches(self) -> Iterator[tuple[Any, Tensor]]:
        """Yield the data batch by batch: inputs (B, ...) and targets (B, ...), always the same, in the same order."""
        return self._data.batches()

    def select(self, index: Tensor) -> tuple[Any, Tensor]:
        """Return copies of some examples: inputs (B, ...) and targets (B, ...) for an index (B,) on its device."""
        return self._data.select(index)

    def evaluate(self, weights: Tensor | None = None) -> Evaluation:
        """Compute the mean loss and the accuracy at a point.

        Args:
            weights: (P,), or None for the model's present weights.

        Returns:
            The evaluation; NaN and infinite losses come back as they are.

        Raises:
            MismatchError: ``weights`` does not fit the model.
        """
        loss, accuracy = self.evaluate_tensors(weights)
        return Evaluation(loss=float(loss), accuracy=float(accuracy), examples=self.examples)

    def evaluate_tensors(self, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Do what :meth:`evaluate` does without waiting for the device.

        Args:
            weights: (P,), or None for the model's present weights.

        Returns:
            Mean loss and accuracy, 0-d float64 tensors on the device.

        Raises:
            MismatchError: ``weights`` does not fit the model.
        """
        point = self.weights() if weights is None else self.check_vector(weights)
        with preserved_rng():
            self.refresh()
            return self.evaluate_at(point)

    def evaluate_at(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Do what :meth:`evaluate_tensors` does, without any check: the inner step of loops over many points.

        The caller calls :meth:`refresh` once before the loop and protects the global generators.

        Args:
            weights: (P,), on the objective's device and in its dtype.

        Returns:
            Mean loss and accuracy, 0-d float64 tensors on the device.
        """
        with torch.no_grad():
            self._flat.copy_(weights)
            return self.means(self._replica, self.batches())

    def means(self, forward: Callable[[Any], Any], batches: Iterable[tuple[Any, Tensor]]) -> tuple[Tensor, Tensor]:
        """Return mean loss and accuracy of something that maps inputs to outputs; see :func:`mean_scores`."""
        return mean_scores(forward, batches, self.batch_sum, self.device, self.metric)

    def batch_sum(self, outputs: Any, targets: Tensor) -> Tensor:
        """Return the sum of the loss over a batch, 0-d."""
        return sum_over_batch(self.loss_fn(outputs, targets), targets)

    def outputs(self, weights: Tensor | None = None) -> Tensor:
        """Return the model's outputs for all examples.

        Args:
            weights: (P,), or None for the model's present weights.

        Returns:
            (N, K) for K classes, or whatever shape the model gives, stacked along the first dimension.

        Raises:
            MismatchError: ``weights`` does not fit the model.
        """
        self._load(None if weights is None else self.check_vector(weights))
        with torch.no_grad(), preserved_rng():
            return torch.cat([self._replica(inputs) for inputs, _ in self.batches()])

    def loss_terms(self, flat: Tensor, terms: Iterator[tuple[Any, Tensor]] | None = None) -> Iterator[Tensor]:
        """Yield the loss in differentiable parts, one per batch: ``sum over the batch of loss / N``.

        The terms add up to the mean loss; drop one before taking the next to hold one batch's graph only.

        Args:
            flat: (P,), usually a leaf that requires grad.
            terms: Outputs and targets batch by batch, with their graph; those of :meth:`output_terms` by default.

        Yields:
            0-d tensors.

        Raises:
            ConfigError: The loss cannot be followed back to ``flat``.
            MismatchError: ``flat`` does not fit the model.
        """
        for outputs, targets in self.output_terms(flat) if terms is None else terms:
            yield self.followed(self.batch_sum(outputs, targets), flat) / self.examples
            del outputs  # and with them the batch's graph, before the next one is built

    def output_terms(self, flat: Tensor) -> Iterator[tuple[Any, Tensor]]:
        """Yield outputs and targets batch by batch, the outputs with their graph back to ``flat``.

        Args:
            flat: (P,), usually a leaf that requires grad.

        Yields:
            Outputs (B, ...), or what else the model gives, and targets (B, ...).

        Raises:
            MismatchError: ``flat`` does not fit the model.
        """
        self.check_vector(flat)
        self._load(flat.detach())
        call, named = self.substitution(self._replica), self.layout.named(flat)
        for inputs, targets in self.batches():
            yield call(named, inputs), targets

    def followed(self, value: Tensor, flat: Tensor) -> Tensor:
        """Return a loss, or outputs, that lead back to ``flat``: with derivatives of 0 where its weights are not used.

        Args:
            value: Any shape, computed from ``flat``.
            flat: (P,).

        Raises:
            ConfigError: They lead back to none of the model's weights.
        """
        return followed(value, flat, self.unrestricted if self.is_part else None)

    def gradient(self, weights: Tensor | None = None) -> Tensor:
        """Compute the gradient of the mean loss.

        Args:
            weights: (P,), or None for the model's present weights.

        Returns:
            (P,), in units of loss per weight.

        Raises:
            MismatchError: ``weights`` does not fit the model.
            ModelError: An operation of the model or the loss has no derivative.
        """
        flat = self._leaf(weights)
        with torch.inference_mode(False), torch.enable_grad(), preserved_rng(), derivatives_told():
            total = torch.zeros_like(flat)
            for term in self.loss_terms(flat):
                total += torch.autograd.grad(term, flat)[0]
        return total

    def hvp(self, vector: Tensor, weights: Tensor | None = None) -> Tensor:
        """Multiply the Hessian of the mean loss with a vector, by double backward (exact; no finite differences).

        Args:
            vector: (P,), or (P, K) for K vectors at once.
            weights: (P,), or None for the model's present weights.

        Returns:
            H v, in the shape of ``vector``.

        Raises:
            MismatchError: A vector does not fit the model.
            ModelError: An operation of the model or the loss has no second derivative.
        """
        check_vectors(vector, self.size, "This is no vector of weights.")
        columns = vector.unsqueeze(1) if vector.ndim == 1 else vector
        flat = self._leaf(weights)
        with twice_differentiable():
            columns = torch.stack([self.check_vector(column) for column in columns.unbind(1)], dim=1)
            total = torch.zeros_like(columns)
            for term in self.loss_terms(flat):
                gradient = torch.autograd.grad(term, flat, create_graph=True)[0]
                require_second_derivatives(gradient)
                for k in range(columns.shape[1]):
                    total[:, k] += hessian_product(gradient, flat, columns[:, k])
        return total.squeeze(1) if vector.ndim == 1 else total

    def check_deterministic(self) -> None:
        """Evaluate the first batch twice, outputs and loss, and compare.

        Raises:
            NonDeterministicError: They differ: the model or the loss draws random numbers in evaluation mode.
        """
        self._load(None)
        with torch.no_grad(), preserved_rng():
            check_deterministic(self._replica, self.loss_fn, self._data)

    def provenance(self) -> dict[str, Any]:
        """Say what this objective is: model, weights, data, precision, versions; plain JSON values.

        Raises:
            ModelError: The model is another than when this objective was made, so nobody would know of which this is.
        """
        self._structure.check(self.model)
        check_settings(self.model, self._replica)
        own = self.metric
        metric = {} if own is None else {"metric": loss_name(own), "metric_sha256": checksum_callable(own)}
        return {
            **metric,
            "model": type(self.model).__name__,
            "model_sha256": checksum_structure(self.model),
            "parameters": self.size,
            "layout": self.layout.fingerprint,
            "weights_sha256": checksum_tensors({"weights": self.weights()}),
            "fixed_sha256": self._fixed_checksum(),
            "data": self._data.name,
            "data_sha256": self._data.checksum(),
            "normalization": self._data.normalization,
            "examples": self.examples,
            "loss": self.loss_name,
            "loss_sha256": checksum_callable(self.loss_fn),
            "batch_size": self.batch_size,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else str(self.device),
            "threads": torch.get_num_threads(),
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        }
