"""Data held still: whatever a user calls data, as two tensors on one device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from landscape.config import is_whole
from landscape.datasets.dataset import Dataset
from landscape.description import checksum_tensors
from landscape.errors import DataError, ModelError
from landscape.seeding import preserved_rng

_FIX = "Pass a landscape Dataset, a pair (inputs, targets) of tensors, a torch Dataset, or a DataLoader."


@dataclass(frozen=True, eq=False)
class FixedData:
    """Inputs (N, ...) and targets (N, ...) on one device, read in batches of a fixed size.

    Attributes:
        inputs: (N, ...), floating point in the objective's dtype, or integers (tokens) as they are.
        targets: (N, ...).
        batch_size: Examples per batch; the last one may be smaller.
        name: What the data calls itself.
        source_checksum: The checksum of the dataset it came from, or None.
        normalization: Mean and standard deviation of each channel that a dataset was normalized with, or None.
        copies: Whether batches are handed out as copies, for a model that works in place on its inputs.
    """

    inputs: Tensor
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

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, targets) in order: views, or copies where :attr:`copies` says so.

        Raises:
            ModelError: Somebody wrote into a view, so the data is no longer what it was.
        """
        for start in range(0, self.examples, self.batch_size):
            batch = self.inputs[start : start + self.batch_size], self.targets[start : start + self.batch_size]
            if self.copies:
                yield batch[0].clone(), batch[1].clone()
                continue
            before = batch[0]._version, batch[1]._version
            yield batch
            if before != (batch[0]._version, batch[1]._version):
                raise ModelError(
                    "The model or the loss changed its inputs in place, in some batches only.",
                    fix="Make its first operation one that returns a new tensor (inplace=False), and begin again.",
                )

    def select(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return copies of some examples: inputs (B, ...) and targets (B, ...) for an index (B,) on the same device."""
        return self.inputs[index], self.targets[index]

    def checksum(self) -> str:
        """Return a SHA-256 of the data."""
        if self.source_checksum is not None:
            return self.source_checksum
        return checksum_tensors({"inputs": self.inputs, "targets": self.targets})


def fix_data(data: Any, *, device: torch.device, dtype: torch.dtype, batch_size: int | None) -> FixedData:
    """Turn data into two tensors on a device and check them.

    Args:
        data: A Dataset, a pair of tensors, a torch Dataset, or a DataLoader (read once, in its order).
        device: Where the tensors go.
        dtype: What floating-point inputs become.
        batch_size: Examples per batch, or None for 256 on a CPU and 2048 elsewhere.

    Returns:
        The fixed data.

    Raises:
        DataError: Nothing usable, no examples, NaN in the data, or inputs and targets differ in number.

    Example:
        >>> pair = torch.ones(3, 2), torch.zeros(3)
        >>> data = fix_data(pair, device=torch.device("cpu"), dtype=torch.float64, batch_size=2)
        >>> [len(targets) for _, targets in data.batches()]
        [2, 1]
    """
    name, checksum, normalization = type(data).__name__, None, None
    if isinstance(data, Dataset):
        name, checksum = f"{data.name}/{data.split}", data.checksum
        normalization = {"mean": list(data.mean), "std": list(data.std)}
        held = data.to(device)
        inputs, targets = held.normalized(dtype=dtype), held.targets.clone()
    else:
        with preserved_rng():  # a loader draws a seed from the global generator, whether it shuffles or not
            inputs, targets = _pair(data)
        inputs, targets = (  # copies, so that what becomes of the caller's tensors makes no difference
            part.detach().to(device=device, dtype=dtype if part.is_floating_point() else part.dtype, copy=True)
            for part in (inputs, targets)
        )
    _check(inputs, targets)
    if batch_size is None:
        batch_size = 256 if device.type == "cpu" else 2048
    if not is_whole(batch_size) or batch_size < 1:
        raise DataError("The batch size is out of range.", expected="a whole number of at least 1", got=batch_size)
    return FixedData(inputs, targets, int(batch_size), name, checksum, normalization)


def _pair(data: Any) -> tuple[Tensor, Tensor]:
    if isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        return data[0], data[1]
    if isinstance(data, TorchDataset) and not isinstance(data, DataLoader):
        data = DataLoader(data, batch_size=512)
    if not isinstance(data, DataLoader):
        raise DataError("This cannot be used as data.", got=type(data).__name__, fix=_FIX)
    inputs, targets = [], []
    for batch in data:
        if not (
            isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch)
        ):
            raise DataError(
                "The loader yields something else than pairs of tensors.", got=type(batch).__name__, fix=_FIX
            )
        inputs.append(batch[0])
        targets.append(batch[1])
    if not inputs:
        raise DataError("The data holds no examples.", fix="Check the dataset's folder or its filter.")
    return torch.cat(inputs), torch.cat(targets)


def _check(inputs: Tensor, targets: Tensor) -> None:
    if len(inputs) == 0:
        raise DataError("The data holds no examples.", fix="Check the dataset's folder or its filter.")
    if len(inputs) != len(targets):
        raise DataError("Inputs and targets differ in number.", expected=f"{len(inputs)} targets", got=len(targets))
    for what, tensor in (("inputs", inputs), ("targets", targets)):
        if not tensor.is_floating_point():
            continue
        bad = (~torch.isfinite(tensor)).flatten(1).any(1) if tensor.ndim > 1 else ~torch.isfinite(tensor)
        count = int(bad.sum())
        if count:
            raise DataError(
                f"The {what} hold NaN or infinity in {count} of {len(tensor)} examples.",
                expected="finite numbers",
                got=f"the first at example {int(bad.nonzero()[0])}",
                fix="Remove or repair these examples; torch.nan_to_num would hide them.",
            )
