"""Data held still: whatever a user calls data, as inputs and targets on one device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as TorchDataset

from landscape.datasets.dataset import Dataset
from landscape.description import checksum_tensors
from landscape.errors import DataError, ModelError, first_line
from landscape.inputs import Inputs, is_inputs, join_inputs, map_inputs, named_tensors
from landscape.objective_checks import check_batch_size
from landscape.seeding import preserved_rng

TARGETS = ("labels", "label", "targets", "target", "y")
"""What targets are called in a batch of named tensors."""
_AT_ONCE = 512  # examples read at once
_FIX = (
    "Pass a landscape Dataset, a pair (inputs, targets), named tensors with 'labels', a torch Dataset or a DataLoader."
)


@dataclass(frozen=True, eq=False)
class FixedData:
    """Inputs (N, ...) and targets (N, ...) on one device, read in batches of a fixed size.

    Attributes:
        inputs: (N, ...), floating point in the objective's dtype, or integers (tokens) as they are; or several of them,
            in a tuple or by name.
        targets: (N, ...).
        batch_size: Examples per batch; the last one may be smaller.
        name: What the data calls itself.
        source_checksum: The checksum of the dataset it came from, or None.
        normalization: Mean and standard deviation of each channel that a dataset was normalized with, or None.
        copies: Whether batches are handed out as copies, for a model that works in place on its inputs.
    """

    inputs: Inputs
    targets: Tensor
    batch_size: int
    name: str
    source_checksum: str | None
    normalization: dict[str, list[float]] | None = None
    copies: bool = False

    @property
    def examples(self) -> int:
        """N, the number of examples."""
        return len(self.targets)

    def batches(self) -> Iterator[tuple[Any, Tensor]]:
        """Yield (inputs, targets) in order: views, or copies where :attr:`copies` says so.

        Raises:
            ModelError: Somebody wrote into a view, so the data is no longer what it was.
        """
        for start in range(0, self.examples, self.batch_size):
            inputs, targets = self.select(slice(start, start + self.batch_size))
            if self.copies:
                yield map_inputs(Tensor.clone, inputs), targets.clone()
                continue
            held = [*named_tensors(inputs).values(), targets]
            before = [tensor._version for tensor in held]
            yield inputs, targets
            if before != [tensor._version for tensor in held]:
                raise ModelError(
                    "The model or the loss changed its inputs in place, in some batches only.",
                    fix="Make its first operation one that returns a new tensor (inplace=False), and begin again.",
                )

    def select(self, index: Tensor | slice) -> tuple[Any, Tensor]:
        """Return some examples, inputs (B, ...) and targets (B, ...): copies for an index (B,), views for a slice."""
        return map_inputs(lambda part: part[index], self.inputs), self.targets[index]

    def brought(self, *, device: torch.device, dtype: torch.dtype) -> FixedData:
        """Return the same data on a device, floating point in a dtype; what is so already is shared."""

        def bring(part: Tensor) -> Tensor:
            return part.to(device=device, dtype=dtype if part.is_floating_point() else part.dtype)

        return replace(self, inputs=map_inputs(bring, self.inputs), targets=bring(self.targets), copies=False)

    def few(self, examples: int) -> FixedData:
        """Return copies of a few examples, evenly from first to last."""
        chosen = torch.linspace(0, self.examples - 1, min(examples, self.examples)).round().long()
        inputs, targets = self.select(chosen.to(self.targets.device))
        return replace(self, inputs=inputs, targets=targets, source_checksum=None)

    def __deepcopy__(self, memo: dict[int, Any]) -> FixedData:
        """Return itself: nobody writes into it."""
        return self

    def checksum(self) -> str:
        """Return a SHA-256 of the data."""
        if self.source_checksum is not None:
            return self.source_checksum
        return checksum_tensors({**named_tensors(self.inputs), "targets": self.targets})


def fix_data(data: Any, *, device: torch.device, dtype: torch.dtype, batch_size: int | None) -> FixedData:
    """Turn data into tensors on a device and check them.

    Args:
        data: A Dataset; a pair of inputs and targets; named tensors, one of them called as in :data:`TARGETS`; or a
            torch Dataset or DataLoader of such (read once, in its order). Inputs are a tensor, or a tuple or
            dictionary of tensors. What is fixed already keeps its batch size.
        device: Where the tensors go.
        dtype: What floating-point inputs become.
        batch_size: Examples per batch, or None for 256 on a CPU and 2048 elsewhere.

    Returns:
        The fixed data.

    Raises:
        ConfigError: ``batch_size`` is no whole number, or below 1.
        DataError: Nothing usable, no examples, NaN in the data, or inputs and targets differ in number.

    Example:
        >>> pair = torch.ones(3, 2), torch.zeros(3)
        >>> data = fix_data(pair, device=torch.device("cpu"), dtype=torch.float64, batch_size=2)
        >>> [len(targets) for _, targets in data.batches()]
        [2, 1]
    """
    if isinstance(data, FixedData):
        return data.brought(device=device, dtype=dtype)
    name, checksum, normalization = type(data).__name__, None, None
    if isinstance(data, Dataset):
        name, checksum = f"{data.name}/{data.split}", data.checksum
        normalization = {"mean": list(data.mean), "std": list(data.std)}
        held = data.to(device)
        inputs, targets = held.normalized(dtype=dtype), held.targets.clone()
    else:
        with preserved_rng():  # a loader draws a seed from the global generator, whether it shuffles or not
            found, labels = _read(data)

        def held_still(part: Tensor) -> Tensor:  # a copy, so that what becomes of the caller's makes no difference
            return part.detach().to(device=device, dtype=dtype if part.is_floating_point() else part.dtype, copy=True)

        inputs, targets = map_inputs(held_still, found), held_still(labels)
    _check(inputs, targets)
    if batch_size is None:
        batch_size = 256 if device.type == "cpu" else 2048
    return FixedData(inputs, targets, check_batch_size(batch_size), name, checksum, normalization)


def _read(data: Any) -> tuple[Inputs, Tensor]:
    """Read what is no Dataset of ours: all of it, as inputs and targets."""
    if not isinstance(data, DataLoader | TorchDataset):
        return _pair(data, "This cannot be used as data.")
    loader = data if isinstance(data, DataLoader) else DataLoader(data, batch_size=_AT_ONCE, collate_fn=_collate)
    batches = [_pair(batch, "The loader yields something else than pairs of tensors.") for batch in loader]
    if not batches:
        raise DataError("The data holds no examples.", fix="Check the dataset's folder or its filter.")
    try:
        return join_inputs([inputs for inputs, _ in batches]), torch.cat([targets for _, targets in batches])
    except (RuntimeError, KeyError, ValueError) as error:
        raise _misfit("The loader's batches", error) from error


def _collate(rows: list[Any]) -> Any:
    try:
        return default_collate(rows)
    except (RuntimeError, KeyError, TypeError) as error:
        raise _misfit("The dataset's examples", error) from error


def _misfit(what: str, error: Exception) -> DataError:
    return DataError(
        f"{what} do not fit together.",
        expected="tensors of one shape, beside the number of examples, and the same names everywhere",
        got=first_line(error),
        fix="Pad all examples to one length in the dataset (or with a collate_fn that has a fixed length).",
    )


def _pair(batch: Any, otherwise: str) -> tuple[Any, Tensor]:
    """Take a batch apart into inputs and targets, or say that it is otherwise."""
    if isinstance(batch, Mapping) and is_inputs(dict(batch)):
        names = [name for name in TARGETS if name in batch]
        inputs = {name: part for name, part in batch.items() if name not in names}
        if len(names) == 1 and inputs:
            return inputs, batch[names[0]]
        raise DataError(
            "Which of the named tensors are the targets?",
            expected=f"inputs, and one of {', '.join(TARGETS)}",
            got=", ".join(map(str, batch)),
            fix="Pass pairs (inputs, targets), with a dictionary of tensors for inputs.",
        )
    if isinstance(batch, tuple | list) and len(batch) == 2 and is_inputs(batch[0]) and isinstance(batch[1], Tensor):
        return (tuple(batch[0]) if isinstance(batch[0], list) else batch[0]), batch[1]
    raise DataError(otherwise, expected="inputs and targets, tensors of N examples", got=_described(batch), fix=_FIX)


def _described(batch: Any) -> str:
    if isinstance(batch, tuple | list) and batch:
        return f"a {type(batch).__name__} of {len(batch)}: {', '.join(type(part).__name__ for part in batch[:4])}"
    if isinstance(batch, Mapping):
        return "named values: " + ", ".join(f"{name} ({type(part).__name__})" for name, part in list(batch.items())[:8])
    return type(batch).__name__


def _check(inputs: Inputs, targets: Tensor) -> None:
    parts = named_tensors(inputs)
    if len(targets) == 0 or any(len(part) == 0 for part in parts.values()):
        raise DataError("The data holds no examples.", fix="Check the dataset's folder or its filter.")
    for what, part in parts.items():
        if len(part) != len(targets):
            raise DataError(
                f"{what.capitalize()} and targets differ in number.", expected=f"{len(part)} targets", got=len(targets)
            )
    for what, tensor in {**parts, "targets": targets}.items():
        if not tensor.is_floating_point():
            continue
        wrong = ~torch.isfinite(tensor) if what in ("inputs", "targets") else tensor.isnan()  # masks may hold -inf
        bad = wrong.flatten(1).any(1) if tensor.ndim > 1 else wrong
        count = int(bad.sum())
        if count:
            raise DataError(
                f"The {what} hold NaN or infinity in {count} of {len(tensor)} examples.",
                expected="finite numbers",
                got=f"the first at example {int(bad.nonzero()[0])}",
                fix="Remove or repair these examples; torch.nan_to_num would hide them.",
            )
