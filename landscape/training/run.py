"""A training run on disk: its settings, metrics, checkpoints, and what can be asked of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.datasets import Dataset, load_dataset
from landscape.errors import ConfigError, MismatchError, StorageError
from landscape.models import build_model
from landscape.objective import Objective
from landscape.seeding import generator, seeded
from landscape.storage import Ledger, read_json, sha256_arrays, write_json
from landscape.training.checkpoint import Checkpoint, latest_checkpoint, list_checkpoints, load_checkpoint
from landscape.training.run_config import RunConfig


def resolve_device(device: str) -> torch.device:
    """Turn "auto", "cpu", "cuda" or "cuda:N" into a device that is there.

    Args:
        device: The setting.

    Returns:
        The device; "auto" is CUDA where there is one.

    Raises:
        ConfigError: CUDA was asked for and is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = torch.device(device)
    if found.type == "cuda" and (not torch.cuda.is_available() or (found.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(
            f"The device {device!r} is not there.",
            expected=f"one of {torch.cuda.device_count()} CUDA devices",
            fix="Set device to 'auto' or 'cpu'; `landscape doctor` says what is wrong with CUDA.",
        )
    return found


def load_run_dataset(config: RunConfig, split: str, *, data_root: str | os.PathLike[str] | None = None) -> Dataset:
    """Load the dataset of a run's settings, on the CPU.

    Args:
        config: The settings.
        split: "train" or "test".
        data_root: Folder of the datasets; see :func:`landscape.load_dataset`.

    Returns:
        The dataset; label noise is in the training split only.
    """
    training = split == "train"
    return load_dataset(
        config.dataset,
        root=None if data_root is None else Path(data_root),
        split=split,
        limit=config.limit if training else config.test_limit,
        seed=config.data_seed,
        label_noise=config.label_noise if training else 0.0,
        noise_kind=config.noise_kind,
    )


def build_run_model(config: RunConfig, dataset: Dataset) -> nn.Module:
    """Build a run's model with its initial weights: the same for every optimizer, on the CPU.

    Args:
        config: The settings; only model, model_options, seed and precision matter.
        dataset: Gives the number of classes and the shape of an input.

    Returns:
        The model.
    """
    with seeded(config.seed, "model"):
        model = build_model(
            config.model, **{"classes": dataset.classes, "input_shape": dataset.input_shape, **config.model_options}
        )
    return model.double() if config.precision == "float64" else model


@dataclass(frozen=True)
class Run:
    """A run's folder, read only. Build it with :func:`landscape.train` or :meth:`load`.

    Attributes:
        path: The folder.
        config: The settings.
    """

    path: Path
    config: RunConfig

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Run:
        """Open a run's folder.

        Args:
            path: The folder.

        Returns:
            The run, finished or not.

        Raises:
            StorageError: The folder holds no run.
            ConfigError: Its config.json holds an unknown key or a wrong value.
            MismatchError: Its config.json was changed after the run began.
        """
        folder = Path(path)
        if not (folder / "config.json").is_file():
            raise StorageError(f"{folder} holds no run.", expected="a folder with config.json", fix="Check the path.")
        config = RunConfig.from_dict(read_json(folder / "config.json"))
        status = read_json(folder / "status.json") if (folder / "status.json").is_file() else {}
        if status.get("config_hash", config.hash) != config.hash:
            raise MismatchError(
                f"{folder / 'config.json'} was changed after the run began.",
                expected=f"hash {status['config_hash'][:8]}",
                got=config.hash[:8],
                fix="Put the settings back, or train a new run with them.",
            )
        return cls(folder, config)

    @property
    def status(self) -> str:
        """One of "new", "running", "interrupted", "failed", "finished"; "running" also for a run that was killed."""
        path = self.path / "status.json"
        return str(read_json(path)["state"]) if path.is_file() else "new"

    def metrics(self) -> list[dict[str, Any]]:
        """Return one row per finished epoch.

        Keys: epoch (from 1), step, lr, train_loss, train_accuracy, seconds (training only), images_per_second, and in
        the epochs that were tested test_error, test_nll, test_ece. Error and accuracy are fractions, losses nats.
        """
        return Ledger(self.path / "metrics.jsonl").rows()

    def environment(self) -> dict[str, Any]:
        """Return versions, device, threads and data checksums of the run."""
        return read_json(self.path / "environment.json")

    def checkpoints(self) -> list[tuple[int, Path]]:
        """Return (step, path) of every checkpoint, oldest first; step 0 holds the initial weights."""
        return list_checkpoints(self.path / "checkpoints")

    def checkpoint(self, step: int | None = None) -> Checkpoint:
        """Read a checkpoint.

        Args:
            step: Its step, or None for the newest whole one.

        Returns:
            The checkpoint, verified.

        Raises:
            StorageError: There is none, or none of that step.
            CorruptFileError: It is damaged.
        """
        if step is None:
            found = latest_checkpoint(self.path / "checkpoints")
            if found is None:
                raise StorageError(f"{self.path} has no checkpoint.", fix="Train it first.")
            return found
        paths = dict(self.checkpoints())
        if step not in paths:
            have = ", ".join(str(number) for number in paths) or "none"
            raise StorageError(
                f"There is no checkpoint of step {step}.", expected=f"one of {have}", fix="Choose one of these."
            )
        return load_checkpoint(paths[step])

    def dataset(self, split: str = "train") -> Dataset:
        """Load the run's dataset, as it was trained on (label noise included) or tested on.

        Args:
            split: "train" or "test".

        Returns:
            The dataset, on the CPU.

        Raises:
            MismatchError: The data is not the data of the run.
        """
        environment = self.environment() if (self.path / "environment.json").is_file() else {}
        dataset = load_run_dataset(self.config, split, data_root=environment.get("data_root"))
        expected = environment.get("data_sha256", {}).get(split)
        if expected is not None and expected != dataset.checksum:
            raise MismatchError(
                f"The {split} data of {self.config.dataset} has changed since the run.",
                expected=expected[:16],
                got=dataset.checksum[:16],
                fix="Put the files back, or train again.",
            )
        return dataset

    def model(self, step: int | None = None) -> nn.Module:
        """Build the model with the weights of a checkpoint, in evaluation mode.

        Args:
            step: The checkpoint's step (0: the initial weights), or None for the newest.

        Returns:
            The model, on the CPU.
        """
        model = build_run_model(self.config, self._shape_source())
        model.load_state_dict(self.checkpoint(step).model)
        return model.eval()

    def _shape_source(self) -> Dataset:
        stored = self.environment().get("data") if (self.path / "environment.json").is_file() else None
        if stored is None:
            return self.dataset("test")
        shape, classes = stored["input_shape"], stored["classes"]
        inputs = torch.zeros((1, *shape), dtype=torch.float32)
        return Dataset(
            name="shape", inputs=inputs, targets=torch.zeros(1, dtype=torch.int64), classes=classes,
            mean=(0.0,) * shape[0], std=(1.0,) * shape[0],
        )  # fmt: skip

    def objective(
        self,
        split: str = "train",
        limit: int | None = None,
        *,
        step: int | None = None,
        batch_size: int | None = None,
        device: str | None = None,
        loss_fn: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    ) -> Objective:
        """Return the loss of the run's model as a function of its weights.

        Args:
            split: "train" (as trained on, noisy labels included, without augmentation) or "test".
            limit: Use a fixed random subset of this many examples; None takes all.
            step: The checkpoint's step, or None for the newest.
            batch_size: Examples per forward pass; None lets the objective choose.
            device: Where to compute; None is the run's setting.
            loss_fn: The loss; cross-entropy without label smoothing by default, so that runs can be compared.

        Returns:
            The objective.

        Raises:
            ConfigError: ``limit`` is below 1 or more than there is.
        """
        dataset = self.dataset(split)
        if limit is not None and limit != len(dataset):
            if not 1 <= limit <= len(dataset):
                raise ConfigError(
                    "limit is out of range.", expected=f"1 to {len(dataset)}", got=limit, fix="Choose fewer."
                )
            order = torch.randperm(len(dataset), generator=generator(self.config.data_seed, "objective", split))
            dataset = dataset.subset(order[:limit].sort().values)
        model = self.model(step).to(resolve_device(device or self.config.device))
        return Objective(model, dataset, loss_fn, batch_size=batch_size)

    def weights_checksum(self) -> str:
        """Return the SHA-256 of the newest checkpoint's weights and buffers: equal for bit-identical runs."""
        model = self.checkpoint().model
        return sha256_arrays(
            {
                name: tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
                for name, tensor in model.items()
            }
        )

    def write_status(self, state: str, **details: Any) -> None:
        """Write status.json (for the training loop)."""
        write_json(self.path / "status.json", {"state": state, "config_hash": self.config.hash, **details})

    def __repr__(self) -> str:
        """Show the folder and the state."""
        return f"Run({json.dumps(str(self.path))}, {self.status})"
