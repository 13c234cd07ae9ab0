"""A training run on disk: its settings, metrics, checkpoints, and what can be asked of it."""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.config import is_whole
from landscape.datasets import Dataset
from landscape.errors import ConfigError, CorruptFileError, MismatchError, StorageError, shown
from landscape.models.trust import check_trusted
from landscape.objective import Objective
from landscape.seeding import generator
from landscape.storage import Ledger, append_line, read_json, sha256_arrays, write_json
from landscape.training.checkpoint import (
    Checkpoint,
    StorageWarning,
    check_owner,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    load_weights,
)
from landscape.training.materials import build_run_model, load_run_dataset, resolve_device
from landscape.training.run_config import RunConfig


@dataclass(frozen=True)
class Run:
    """A run's folder, read only. Build it with :func:`landscape.train` or :meth:`load`.

    Attributes:
        path: The folder.
        config: The settings.
    """

    path: Path
    config: RunConfig

    def __post_init__(self) -> None:
        """Check that the folder's name can be handed to every reader."""
        try:
            str(self.path).encode()
        except UnicodeEncodeError as error:
            raise StorageError(
                f"The path {str(self.path)!r} is not valid UTF-8.", fix="Choose another root for the runs."
            ) from error

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
        run = cls(folder, config)
        began = run._status().get("config_hash", config.hash)
        if began != config.hash:
            raise MismatchError(
                f"{folder / 'config.json'} was changed after the run began.",
                expected=f"hash {began[:8]}",
                got=config.hash[:8],
                fix="Put the settings back, or train a new run with them.",
            )
        return run

    @property
    def status(self) -> str:
        """One of "new", "running", "interrupted", "failed", "finished"; "running" also for a run that was killed."""
        return self._status().get("state", "new")

    @property
    def failure(self) -> str:
        """Why the run failed; "" where it did not."""
        status = self._status()
        return str(status.get("error", "")) if status.get("state") == "failed" else ""

    def _status(self) -> dict[str, Any]:
        """Read status.json; empty where there is none yet."""
        path = self.path / "status.json"
        return _read_record(path, {"state": str, "config_hash": str}) if path.is_file() else {}

    def metrics(self) -> list[dict[str, Any]]:
        """Return one row per finished epoch.

        Keys: epoch (from 1), step, lr, train_loss, train_accuracy, seconds (training only), images_per_second, and in
        the epochs that were tested test_error, test_nll, test_ece; with penalties on the loss also penalty, which
        train_loss does not hold. Error and accuracy are fractions, losses nats.

        Raises:
            CorruptFileError: A row is damaged, or the run is finished and epochs are missing.
        """
        ledger = Ledger(self.path / "metrics.jsonl")
        rows = ledger.rows()
        if self.status == "finished" and not self._complete(rows):
            raise CorruptFileError(
                f"{ledger.path} does not hold the epochs of a finished run.",
                expected=f"one row for each of {self.config.epochs} epochs"
                + (" or up to the one that reached stop_at_loss" if self.config.stop_at_loss else ""),
                got=f"{len(rows)} rows" if ledger.path.exists() else "no file",
                fix="Put the file back, or train again with resume='never' (--resume never).",
            )
        return rows

    def check_rows(self, checkpoint: Checkpoint) -> None:
        """Check that the metrics hold a row for each epoch that a checkpoint has behind it, before training goes on.

        Args:
            checkpoint: Where training is to go on.

        Raises:
            CorruptFileError: A row is damaged, missing, or there twice.
        """
        ledger = Ledger(self.path / "metrics.jsonl")
        found = [row.get("epoch") for row in ledger.rows() if row.get("step", 0) <= checkpoint.step]
        wanted = [*range(1, checkpoint.epoch + 1)]
        if found == wanted:
            return
        missing = [epoch for epoch in wanted if epoch not in found]
        what = f"{len(missing)} are missing, the first of epoch {missing[0]}" if missing else f"{len(found)} rows"
        raise CorruptFileError(
            f"{ledger.path} does not hold the epochs before step {checkpoint.step}, where training would go on.",
            expected=f"one row for each of {checkpoint.epoch} epochs, in their order",
            got=what if ledger.path.exists() else "no file",
            fix="Put the file back, or train again with resume='never' (--resume never), which keeps this run aside.",
        )

    def _complete(self, rows: list[dict[str, Any]]) -> bool:
        whole = [row.get("epoch") for row in rows] == [*range(1, len(rows) + 1)]
        return whole and (len(rows) == self.config.epochs or (bool(rows) and stops(self.config, rows[-1])))

    def best(self) -> dict[str, Any] | None:
        """Return the row of :meth:`metrics` with the lowest test error, the first of equal ones; None without any.
        NaN is higher than any number.

        Chosen by the test data, so it is no result: that is the last row. Papers that report it can be compared so.
        """
        tested = [row for row in self.metrics() if "test_error" in row]
        return min(tested, key=lambda row: (math.isnan(row["test_error"]), row["test_error"]), default=None)

    def environment(self) -> dict[str, Any]:
        """Return versions, device, threads and data checksums of the run.

        Raises:
            StorageError: There is no environment.json.
            CorruptFileError: It is not as the run wrote it.
        """
        path, fix = self.path / "environment.json", "Put the file back, or train again with resume='never'."
        if not path.is_file():
            raise StorageError(f"{path} is missing: nothing says which data the run began with.", fix=fix)
        data = (found := _read_record(path, {"data": dict, "data_sha256": dict}))["data"]
        shape = data.get("input_shape")
        whole = isinstance(shape, list) and bool(shape) and all(is_whole(n) and n > 0 for n in shape)
        if not (whole and is_whole(data.get("classes")) and data["classes"] > 0):
            raise CorruptFileError(f"{path} says nothing of the data.", expected="data of a shape", got=data, fix=fix)
        return found

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
            CorruptFileError: It is damaged; or the run is finished, and its last one is damaged or missing.
            MismatchError: It belongs to another run.
        """
        if step is None:
            found = latest_checkpoint(self.path / "checkpoints", self.config.hash)
            if found is None:
                raise StorageError(f"{self.path} has no checkpoint.", fix="Train it first.")
            self._check_newest(found)
            return found
        paths = dict(self.checkpoints())
        if step not in paths:
            have = ", ".join(str(number) for number in paths) or "none"
            raise StorageError(
                f"There is no checkpoint of step {step}.", expected=f"one of {have}", fix="Choose one of these."
            )
        return check_owner(load_checkpoint(paths[step]), paths[step], self.config.hash)

    def last_step(self) -> int | None:
        """Return the step whose weights the run says to have ended or stopped with; None where it says nothing."""
        status = self._status()
        if status.get("state") not in ("finished", "interrupted"):
            return None
        steps = [status.get("step")]
        if status["state"] == "finished":
            steps += [row.get("step") for row in Ledger(self.path / "metrics.jsonl").rows()[-1:]]
        return max((int(step) for step in steps if is_whole(step)), default=None)

    def _check_newest(self, found: Checkpoint) -> None:
        """Refuse older weights of a finished run; warn of those of an interrupted one."""
        last = self.last_step()
        if last is None or found.step >= last:
            return
        what = f"The last checkpoint of {self.path}, of step {last}, is damaged or missing"
        if self.status == "finished":
            raise CorruptFileError(
                f"{what}.",
                got=f"step {found.step} as the newest whole one",
                fix=f"Train the run again: it goes on from there. Or ask for step={found.step}.",
            )
        warnings.warn(f"{what}; that of step {found.step} is used.", StorageWarning, stacklevel=4)

    def dataset(self, split: str = "train", limit: int | None = None) -> Dataset:
        """Load the run's dataset, as it was trained on (label noise included) or tested on.

        Args:
            split: "train" or "test".
            limit: Take a fixed random subset of this many examples; None takes all.

        Returns:
            The dataset, on the CPU.

        Raises:
            ConfigError: ``limit`` is no whole number, below 1 or more than there is.
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
        if limit is not None and limit != len(dataset):
            if not is_whole(limit) or not 1 <= limit <= len(dataset):
                raise ConfigError(
                    "limit is out of range.",
                    expected=f"a whole number from 1 to {len(dataset)}",
                    got=shown(limit),
                    fix=f"Leave it out for all {len(dataset)} examples.",
                )
            order = torch.randperm(len(dataset), generator=generator(self.config.data_seed, "objective", split))
            dataset = dataset.subset(order[:limit].sort().values)
        return dataset

    def model(self, step: int | None = None) -> nn.Module:
        """Build the model with the weights of a checkpoint, in evaluation mode.

        Args:
            step: The checkpoint's step (0: the initial weights), or None for the newest.

        Returns:
            The model, on the CPU.

        Raises:
            ModelError: The settings name code from outside of the working directory that nobody asked for here; see
                :func:`landscape.models.trust.check_trusted`.
            MismatchError: The model is built with other weights than it was: its code has changed.
        """
        check_trusted(self.config.model)
        model = build_run_model(self.config, self._shape_source())
        load_weights(model, self.checkpoint(step), self.config.model)
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
            ConfigError: ``limit`` is no whole number, below 1 or more than there is.
        """
        dataset = self.dataset(split, limit)
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

    def log(self, text: str) -> None:
        """Append a line to log.txt (for the training loop)."""
        append_line(self.path / "log.txt", f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")

    def log_text(self) -> str:
        """Return log.txt; empty where there is none."""
        path = self.path / "log.txt"
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def __repr__(self) -> str:
        """Show the folder and the state."""
        return f"Run({json.dumps(str(self.path))}, {self.status})"


def stops(config: RunConfig, row: dict[str, Any]) -> bool:
    """Tell whether an epoch's row of metrics ends a run early.

    Args:
        config: The settings.
        row: As in :meth:`Run.metrics`.
    """
    loss = row.get("train_loss")
    return config.stop_at_loss is not None and isinstance(loss, float) and loss < config.stop_at_loss


def _read_record(path: Path, kinds: dict[str, type]) -> dict[str, Any]:
    """Read a JSON object that holds at least these keys, with values of these kinds."""
    found = read_json(path)
    for key, kind in kinds.items():
        if not (isinstance(found, dict) and isinstance(found.get(key), kind)):
            raise CorruptFileError(
                f"{path} is not as the run wrote it.",
                expected=f"an object with {key!r}",
                got=json.dumps(found)[:60],
                fix="Put the file back, or train again in another folder.",
            )
    return found
