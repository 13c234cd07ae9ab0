"""Dataset: a classification set held as tensors, verified when it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from landscape.datasets.statistics import channel_statistics
from landscape.description import checksum_tensors
from landscape.errors import DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Inputs and labels as tensors on one device. Every value is checked when it is made; it cannot be changed.

    Definition: images are stored as uint8 and stand for ``x / 255`` in [0, 1]; floating-point inputs stand for
    themselves. A model sees ``(x - mean) / std`` per channel, which :meth:`normalized` computes on the device.

    Args:
        name: What the set is called.
        split: "train" or "test", or any other word.
        inputs: (N, C, H, W) uint8 images, or floating-point inputs (N, C, ...): (N, C, L) signals, (N, D) points,
            (N, C, H, W) images in units of [0, 1].
        targets: (N,) integer labels in [0, classes).
        classes: The number of classes K.
        class_names: K names; "0" to "K-1" where not given.
        mean: C numbers in the units above, one per channel (dimension 1); computed over ``inputs`` where not given.
        std: C positive numbers, the standard deviation over all pixels; computed over ``inputs`` where not given.
        clean_targets: (N,) labels before label noise; ``targets`` where not given.

    Raises:
        DataError: The set is empty, shapes disagree, a dtype cannot be used, a label is out of range, an input is
            NaN or infinite, or ``std`` is not positive.

    Example:
        >>> points, labels = torch.tensor([[0.0], [2.0]]), torch.tensor([0, 1])
        >>> ds = Dataset(name="two", inputs=points, targets=labels, classes=2)
        >>> ds.mean, ds.std, ds.normalized().flatten().tolist()
        ((1.0,), (1.0,), [-1.0, 1.0])
    """

    name: str
    split: str = "train"
    inputs: torch.Tensor
    targets: torch.Tensor
    classes: int
    class_names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    clean_targets: torch.Tensor = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Fill in what was not given and check everything."""
        _check_inputs(self.name, self.inputs)
        targets = _as_labels(self.name, "targets", self.targets, self)
        clean = (
            targets if self.clean_targets is None else _as_labels(self.name, "clean_targets", self.clean_targets, self)
        )
        mean, std = self.mean, self.std
        if not mean or not std:
            computed = channel_statistics(self.inputs)
            mean, std = mean or computed.mean, std or computed.std
        values = {
            "targets": targets,
            "clean_targets": clean,
            "class_names": tuple(self.class_names) or tuple(str(k) for k in range(self.classes)),
            "mean": tuple(float(value) for value in mean),
            "std": tuple(float(value) for value in std),
        }
        for key, value in values.items():
            object.__setattr__(self, key, value)
        _check_channels(self)

    def __len__(self) -> int:
        """The number of examples N."""
        return self.inputs.shape[0]

    def __repr__(self) -> str:
        """One line: name, split, size, shape, device."""
        shape = "x".join(str(size) for size in self.input_shape)
        return (
            f"Dataset({self.name!r}, {self.split!r}: {len(self)} examples of {shape} {self.inputs.dtype}, "
            f"{self.classes} classes, on {self.device})"
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input, for example (3, 32, 32)."""
        return tuple(self.inputs.shape[1:])

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.inputs.device

    @cached_property
    def checksum(self) -> str:
        """SHA-256, in hexadecimal, over the inputs and the targets that are held; computed when first asked for."""
        return checksum_tensors({"inputs": self.inputs, "targets": self.targets})

    def to(self, device: torch.device | str) -> Dataset:
        """Return the same set on another device, itself where it is there already.

        Args:
            device: For example "cuda".
        """
        if torch.empty(0, device=device).device == self.device:
            return self
        moved = replace(
            self,
            inputs=self.inputs.to(device),
            targets=self.targets.to(device),
            clean_targets=self.clean_targets.to(device),
        )
        if "checksum" in self.__dict__:
            moved.__dict__["checksum"] = self.checksum
        return moved

    def subset(self, indices: torch.Tensor | Sequence[int]) -> Dataset:
        """Return a set of chosen examples, in the order given, with the same classes, mean and std.

        Args:
            indices: Positions in [0, N), or a boolean mask of length N.

        Raises:
            DataError: Nothing is chosen, or a position is out of range.
        """
        chosen = torch.as_tensor(indices, device=self.device)
        if chosen.dtype == torch.bool and chosen.shape == (len(self),):
            chosen = chosen.nonzero().squeeze(1)
        if chosen.numel() == 0 or chosen.ndim != 1 or chosen.is_floating_point() or chosen.dtype == torch.bool:
            raise DataError(
                f"The subset of {self.name!r} cannot be taken.",
                expected=f"a non-empty list of positions in [0, {len(self)}), or a mask of that length",
                got=f"{chosen.dtype} values of shape {tuple(chosen.shape)}",
            )
        low, high = int(chosen.min()), int(chosen.max())
        if low < 0 or high >= len(self):
            raise DataError(
                f"A position is outside {self.name!r}.",
                expected=f"positions in [0, {len(self)})",
                got=low if low < 0 else high,
                fix="Choose among the examples that are there; negative positions are not counted from the end.",
            )
        chosen = chosen.long()
        return replace(
            self, inputs=self.inputs[chosen], targets=self.targets[chosen], clean_targets=self.clean_targets[chosen]
        )

    def normalize(self, inputs: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Compute ``(x - mean) / std`` per channel, on the inputs' device; uint8 counts as ``x / 255``.

        For batches that come from this set and were changed on the way, by an
        :class:`~landscape.datasets.Augmentation` for example.

        Args:
            inputs: (B, C, ...) uint8 or floating point.
            dtype: Of the result. Half-precision results are computed in float32 first.

        Returns:
            (B, C, ...) of that dtype.
        """
        working = torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
        factor = 255.0 if inputs.dtype == torch.uint8 else 1.0
        scale, shift = self._affine(factor, working, inputs.device, inputs.ndim)
        return torch.addcmul(shift, inputs.to(working), scale).to(dtype)

    def normalized(self, indices: torch.Tensor | None = None, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return the inputs as the model sees them: ``(x - mean) / std`` per channel.

        Args:
            indices: (B,) positions on the set's device; all N examples where not given.
            dtype: Of the result.

        Returns:
            (B, C, ...) or (N, C, ...) of that dtype, on the set's device.

        Example:
            >>> pixels = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
            >>> labels = torch.tensor([0, 1])
            >>> ds = Dataset(name="two", inputs=pixels, targets=labels, classes=2, mean=(0.5,), std=(0.25,))
            >>> ds.normalized().flatten().round(decimals=3).tolist()
            [-2.0, 2.0]
        """
        return self.normalize(self.inputs if indices is None else self.inputs[indices], dtype)

    def _affine(
        self, factor: float, dtype: torch.dtype, device: torch.device, ndim: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scale and shift of the normalization, kept on the device after the first call."""
        key = (factor, dtype, device, ndim)
        kept = self.__dict__.setdefault("_kept_affine", {})
        if key not in kept:
            std, mean = torch.tensor(self.std, dtype=torch.float64), torch.tensor(self.mean, dtype=torch.float64)
            shape = (1, -1) + (1,) * (ndim - 2)
            kept[key] = tuple(t.to(device, dtype).reshape(shape) for t in (1 / (factor * std), -mean / std))
        return kept[key]


def _check_inputs(name: str, inputs: torch.Tensor) -> None:
    """Refuse what is not a non-empty tensor of usable dtype, shape and values."""
    if not isinstance(inputs, torch.Tensor):
        raise DataError(f"The inputs of {name!r} are no tensor.", expected="a torch.Tensor", got=type(inputs).__name__)
    if inputs.dtype not in (torch.uint8, torch.float32, torch.float64):
        raise DataError(
            f"The inputs of {name!r} have a dtype that cannot be used.",
            expected="uint8 images, float32 or float64",
            got=inputs.dtype,
            fix="Convert them; images in [0, 1] go in as (255 * x).round().to(torch.uint8), or as they are.",
        )
    if inputs.ndim < 2 or 0 in inputs.shape or (inputs.dtype == torch.uint8 and inputs.ndim != 4):
        raise DataError(
            f"The inputs of {name!r} are empty or have a shape that cannot be used.",
            expected="(N, C, H, W) images, (N, C, L) signals or (N, D) points, with N >= 1",
            got=tuple(inputs.shape),
        )
    if inputs.is_floating_point():
        _check_finite(name, inputs)


def _check_finite(name: str, inputs: torch.Tensor) -> None:
    finite = torch.isfinite(inputs)
    if not bool(finite.all()):
        wrong = (~finite).nonzero()
        raise DataError(
            f"The inputs of {name!r} hold {len(wrong)} values that are NaN or infinite.",
            expected="finite numbers",
            got=f"{float(inputs[tuple(wrong[0])])} first, at position {tuple(wrong[0].tolist())}",
            fix="Remove those examples, or mend the file they came from.",
        )


def _as_labels(name: str, what: str, labels: torch.Tensor, dataset: Dataset) -> torch.Tensor:
    """Return labels as int64 on the inputs' device, checked."""
    labels = torch.as_tensor(labels, device=dataset.inputs.device)
    count, classes = dataset.inputs.shape[0], dataset.classes
    if labels.shape != (count,):
        raise DataError(
            f"The {what} of {name!r} do not match its inputs.", expected=f"shape ({count},)", got=tuple(labels.shape)
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise DataError(f"The {what} of {name!r} are no class labels.", expected="integers", got=labels.dtype)
    labels = labels.long()
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        first = int(((labels < 0) | (labels >= classes)).nonzero()[0])
        raise DataError(
            f"A label in the {what} of {name!r} is out of range.",
            expected=f"labels in [0, {classes})",
            got=f"{int(labels[first])} at position {first} (smallest {low}, largest {high})",
            fix="Count classes from 0, and give the right number of classes.",
        )
    return labels


def _check_channels(dataset: Dataset) -> None:
    """Refuse names, means and deviations that do not fit."""
    name, channels = dataset.name, dataset.inputs.shape[1]
    if len(dataset.class_names) != dataset.classes:
        raise DataError(
            f"The class names of {name!r} do not match its classes.",
            expected=f"{dataset.classes} names",
            got=f"{len(dataset.class_names)} names",
        )
    for what, values in (("mean", dataset.mean), ("std", dataset.std)):
        if len(values) != channels:
            raise DataError(
                f"The {what} of {name!r} does not match its channels.",
                expected=f"{channels} numbers",
                got=len(values),
            )
    if not all(0 < value < float("inf") for value in dataset.std):
        raise DataError(f"The std of {name!r} is not positive.", expected="positive numbers", got=dataset.std)
