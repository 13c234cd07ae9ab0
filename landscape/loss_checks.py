"""What a loss must be so that its value over many batches is the mean over examples, checked on a few examples."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from landscape.errors import ConfigError, DataError, NonDeterministicError, first_line, shown
from landscape.fixed_data import FixedData
from landscape.inputs import map_inputs, named_tensors

_PROBE = 64  # examples at most: enough to meet several classes, few enough to cost nothing
_LEAST = 8  # and at least, however small the batches


class ReductionWarning(UserWarning):
    """A loss is not a mean over examples; its value is right only while all data is in one batch."""


def sum_over_batch(loss: Tensor, targets: Tensor, *, what: str = "loss") -> Tensor:
    """Return the sum of a batch's losses, 0-d float64: of a 0-d mean times B, or of one loss per example (B,).

    In float16 a sum of some thousand losses would be infinite.

    Raises:
        ConfigError: The loss is no tensor of real numbers, or has another shape.
    """
    if not isinstance(loss, Tensor) or loss.is_complex():
        raise _no_loss(loss, what)
    if loss.ndim == 0:
        return loss.double() * len(targets)
    if loss.shape == targets.shape[:1]:
        return loss.double().sum()
    raise ConfigError(
        f"The {what} has a shape that says nothing of examples.",
        expected=f"a 0-d tensor, the mean over the batch, or one loss per example, shape ({len(targets)},)",
        got=f"shape {tuple(loss.shape)}",
        fix=f"Take the mean: lambda outputs, targets: {what}(outputs, targets).mean().",
    )


def _no_loss(loss: Any, what: str) -> ConfigError:
    plain = isinstance(loss, int | float | np.ndarray)
    fix = f"Keep it in torch: without .item(), float() and numpy, so that the {what} can be followed and summed."
    if isinstance(loss, Tensor):
        fix = "Take its real part or its size: .real, .abs()."
    return ConfigError(
        f"The {what} is no tensor of real numbers.",
        expected=f"a {what}(outputs, targets) that returns a tensor: the mean over the batch, or one value per example",
        got=loss.dtype if isinstance(loss, Tensor) else shown(loss),
        fix=fix if plain or isinstance(loss, Tensor) else f"Return the {what} from the function.",
    )


class Differentiable(Protocol):
    """A loss as a function of weights, in parts."""

    def weights(self) -> Tensor:
        """Return the present weights, (P,)."""
        ...

    def loss_terms(self, flat: Tensor) -> Iterator[Tensor]:
        """Yield the loss in parts, which lead back to ``flat``."""
        ...


def followed(loss: Tensor, weights: Tensor, whole: Callable[[], Differentiable] | None = None) -> Tensor:
    """Return a loss that leads back to the weights that it came from.

    Args:
        loss: Any shape.
        weights: (P,).
        whole: Where the weights are some of a model's: the same loss as a function of all. Where that leads back to
            all of them, the model does not use these, and the loss's derivatives in them are 0.

    Raises:
        ConfigError: The weights require a gradient, and the loss has none.
    """
    if weights.requires_grad and torch.is_grad_enabled() and not loss.requires_grad:
        if whole is not None:
            every = whole()
            next(every.loss_terms(every.weights().requires_grad_(True)))
            return loss + weights[:0].sum()
        raise ConfigError(
            "The loss has no gradient.",
            expected="a loss computed from the model's outputs by torch's functions",
            got="a tensor without a history",
            fix="Keep .item(), numpy, .detach() and torch.no_grad() out of the loss and the model.",
        )
    return loss


def is_classification(outputs: Any, targets: Tensor) -> bool:
    """Tell whether accuracy has a meaning: scores (N, K) of two or more classes, and whole numbers (N,)."""
    whole = not (targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool)
    scores = isinstance(outputs, Tensor) and outputs.ndim == 2 and outputs.shape[1] >= 2
    return whole and scores and targets.ndim == 1


def check_deterministic(replica: nn.Module, loss_fn: Callable[[Any, Tensor], Tensor], data: FixedData) -> None:
    """Evaluate the first batch twice, outputs and loss, and compare.

    Raises:
        NonDeterministicError: They differ.
    """
    inputs, targets = next(data.batches())
    first, second = (replica(map_inputs(Tensor.clone, inputs)) for _ in range(2))
    pairs = [("outputs", first, second)] if isinstance(first, Tensor) else []
    losses = [loss_fn(outputs, targets.clone()) for outputs in (first, second)]
    for what, one, other in [*pairs, ("losses", *losses)]:
        if not _same(one, other):
            layer = random_layer(replica, lambda: replica(map_inputs(Tensor.clone, inputs)))
            raise NonDeterministicError(
                f"The model gives two {what} for one input in evaluation mode{f', from {layer} on' if layer else ''}.",
                expected="a fixed function of the weights",
                got=f"a largest difference of {float((one - other).abs().max()):.3g}",
                fix="Use nn.Dropout (off in evaluation mode) rather than F.dropout(x), and no random layers or losses.",
            )


def _same(one: Any, other: Any) -> bool:
    if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
        return True
    return torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))


def random_layer(model: nn.Module, forward: Callable[[], object]) -> str:
    """Find the first layer whose outputs differ between two passes with the same inputs.

    Args:
        model: Whose layers.
        forward: One pass.

    Returns:
        For example ``layer 'features.3' (Dropout)``; "" where it is none of its layers, but what is between them.
    """
    passes: list[list[tuple[str, Any]]] = [[], []]

    def watch(name: str, module: nn.Module, seen: list[tuple[str, Any]]) -> RemovableHandle:
        label = f"layer {name!r} ({type(module).__name__})" if name else ""
        return module.register_forward_hook(lambda _module, _args, output: seen.append((label, output)))

    for seen in passes:
        handles = [watch(name, module, seen) for name, module in model.named_modules()]
        try:
            forward()
        finally:
            for handle in handles:
                handle.remove()
    return next((name for (name, one), (_, other) in zip(*passes, strict=False) if not _same(one, other)), "")


def check_labels(outputs: Any, loss_fn: Callable[[Any, Tensor], Tensor], targets: Tensor) -> None:
    """Refuse labels that a loss does not take because the model has no score for them.

    Where some are outside of 0 to K - 1, the loss is asked about each kind of them, on the CPU: on other devices the
    question itself would end all work. Labels that it ignores, as cross-entropy does -100, are none.

    Args:
        outputs: Of some examples: scores (B, K, ...), or whatever else, which is not looked at.
        loss_fn: ``loss_fn(outputs, targets)``.
        targets: Of all examples: labels (N, ...), or whatever else.

    Raises:
        DataError: The loss does not take a label.
    """
    whole = not (targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool)
    scores = isinstance(outputs, Tensor) and outputs.ndim >= 2 and targets.shape[1:] == outputs.shape[2:]
    if not (whole and scores and targets.ndim >= 1):
        return
    count = outputs.shape[1]
    outside = (targets < 0) | (targets >= count)
    for label in targets[outside].unique()[:_PROBE].tolist():
        try:
            with torch.no_grad():
                asked = copy.deepcopy(loss_fn).cpu() if isinstance(loss_fn, nn.Module) else loss_fn
                asked(outputs[:1].detach().cpu(), torch.full_like(targets[:1], label, device="cpu"))
        except (IndexError, RuntimeError) as error:
            if "out of" not in str(error):  # bounds, or range
                return
            where, found = (targets == label).flatten(1).any(1) if targets.ndim > 1 else targets == label, int(label)
            low, high = int(targets.min()), int(targets.max())
            fix = "Give the model a score for each class, or correct the labels."
            raise DataError(
                f"A label is none of the model's {count} classes.",
                expected=f"whole numbers from 0 to {count - 1}",
                got=f"{found}, the first at example {int(where.nonzero()[0])}; all labels are from {low} to {high}",
                fix="Subtract 1 from the labels: they begin at 1." if (low, high) == (1, count) else fix,
            ) from error


def check_mean(replica: nn.Module, loss_fn: Callable[[Any, Tensor], Tensor], data: FixedData) -> bool:
    """Check on a few examples that parts of a batch, weighted by their examples, make up the whole.

    Args:
        replica: A private copy of the model, in evaluation mode.
        loss_fn: ``loss_fn(outputs, targets)``.
        data: What it is evaluated on.

    Returns:
        Whether model or loss write into the tensors they are given.

    Raises:
        ConfigError: The loss is not a mean over examples, and there is more than one batch; or its shape is wrong.
        DataError: A label is none of the model's classes, and the loss does not take it.

    Warns:
        ReductionWarning: It is not a mean over examples, and there is one batch only.
    """
    chosen = _probe(data)
    inputs, targets = data.select(chosen)
    x, y = map_inputs(Tensor.clone, inputs), targets.clone()
    given = [*named_tensors(x).values(), y]
    before = [tensor._version for tensor in given]
    outputs = replica(x)
    check_labels(outputs, loss_fn, data.targets)
    whole = float(sum_over_batch(loss_fn(outputs, y), y)) / len(chosen)
    same = all(map(torch.equal, given, [*named_tensors(inputs).values(), targets]))
    in_place = not same or before != [tensor._version for tensor in given]

    def share(part: slice) -> float:
        y = targets[part].clone()
        x = map_inputs(lambda tensor: tensor[part].clone(), inputs)
        return float(sum_over_batch(loss_fn(replica(x), y), y)) / len(chosen)

    one_batch = data.examples <= data.batch_size
    everything, precision = slice(None), torch.finfo(_precision(data)).eps
    for split in sorted({1, len(chosen) // 3, len(chosen) // 2} - {0, len(chosen)}):
        try:
            parts = [share(slice(None, split)), share(slice(split, None))]
        except ValueError as error:  # BatchNorm1d of one example, without running statistics
            if "more than 1 value per channel" not in str(error):
                raise
            _complain(f"{whole:.6g} for some examples at once, and {first_line(error)} for two parts", one_batch)
            break
        if _differ(whole, parts, precision) and not _differ(whole, [share(everything)], precision):  # not by chance
            got = f"{whole:.6g} for some examples at once, and {sum(parts):.6g} from two parts of them"
            _complain(got, one_batch)
            break
    return in_place


def _precision(data: FixedData) -> torch.dtype:
    kinds = [part.dtype for part in named_tensors(data.inputs).values() if part.is_floating_point()]
    return kinds[0] if kinds else torch.float32


def _probe(data: FixedData) -> Tensor:
    """Choose examples from all over the data; the lowest target is the first (labels to ignore are negative)."""
    count = min(data.examples, max(data.batch_size, _LEAST), _PROBE)
    spread = torch.linspace(0, data.examples - 1, count).round().long()
    numbers = data.targets.numel() and not data.targets.is_complex()
    lowest = int(data.targets.reshape(data.examples, -1).double().amin(1).argmin()) if numbers else 0
    return torch.cat([torch.tensor([lowest]), spread[spread != lowest]]).to(data.targets.device)


def _differ(whole: float, parts: list[float], precision: float) -> bool:
    if not (math.isfinite(whole) and all(map(math.isfinite, parts))):
        return False  # NaN is data
    tolerance = max(10 * precision, math.sqrt(precision) / 3)
    return not abs(whole - sum(parts)) <= tolerance * max(abs(whole), *map(abs, parts))


def _complain(got: str, one_batch: bool) -> None:
    what = "The loss of a batch is not the mean over its examples, so its value depends on the batch size."
    if one_batch:
        warnings.warn(f"{what} All data is in one batch here. Got: {got}.", ReductionWarning, stacklevel=4)
        return
    raise ConfigError(
        what,
        expected="parts that add up, weighted by their examples",
        got=got,
        fix="Use reduction='mean' over examples without class weights or ignored labels (or reduction='none' and a "
        "mean of your own), normalization with running statistics, or a batch_size of at least the number of examples, "
        "so that there is one batch.",
    )
