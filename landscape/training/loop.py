"""The only training loop: data on the device, state that can be cut anywhere, one line of progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.datasets import Augmentation, Dataset
from landscape.errors import NonFiniteError
from landscape.optim.engine import PerturbedOptimizer
from landscape.optim.lpfsgd import LPFSGD
from landscape.optim.registry import build_optimizer
from landscape.progress import Progress, progress_bar
from landscape.seeding import derive_seed, generator
from landscape.storage import Ledger
from landscape.training.checkpoint import Checkpoint, list_checkpoints, save_checkpoint
from landscape.training.interrupts import Interrupts
from landscape.training.metrics import evaluate_classifier
from landscape.training.run import Run
from landscape.training.schedule import learning_rate

_SHOW_EVERY = 0.5  # seconds between looks at the running loss; each look waits for the device


class Trainer:
    """One run in progress: model, optimizer and data on a device, and where it stands.

    Everything random is drawn from streams named by seed, epoch and step, so that the position alone says what comes
    next; a checkpoint needs no generator's state beyond the optimizer's own.
    """

    def __init__(self, run: Run, model: nn.Module, train: Dataset, test: Dataset, device: torch.device) -> None:
        self.run, self.config, self.device = run, run.config, device
        self.model = model.to(device).train()
        self.data, self.test = train.to(device), test.to(device)
        self.batches = batch_count(len(train), self.config.batch_size)
        self.optimizer = build_optimizer(
            self.config.optimizer,
            self.model,
            lr=self.config.lr,
            base=self.config.base,
            weight_decay=self.config.weight_decay,
            seed=derive_seed(self.config.seed, "noise"),
            total_steps=self.config.epochs * self.batches,
            momentum=self.config.momentum,
            nesterov=self.config.nesterov,
            **self.config.method_options(),
        )
        self.augment = Augmentation(
            crop_padding=self.config.crop_padding,
            flip=self.config.flip,
            cutout=self.config.cutout,
            cutout_fill=self.data.mean,
        )
        self.dtype = next(self.model.parameters()).dtype
        self.inputs = self.data.normalized(dtype=self.dtype) if self.augment.identity else None
        self.step, self.epoch, self.batch = 0, 0, 0
        self.seconds = 0.0
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)  # loss * n, right, n
        self.ledger = Ledger(run.path / "metrics.jsonl")

    # Where it stands ----------------------------------------------------------------------------------------------

    def load(self, checkpoint: Checkpoint) -> None:
        """Go to a checkpoint's position."""
        self.model.load_state_dict(checkpoint.model)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.step, self.epoch, self.batch = checkpoint.step, checkpoint.epoch, checkpoint.batch
        sums = checkpoint.sums
        self.sums.copy_(torch.tensor([sums["loss"], sums["right"], sums["examples"]], dtype=torch.float64))
        self.seconds = sums["seconds"]
        self.ledger.keep(lambda row: row["step"] <= self.step)

    def save(self) -> Path:
        """Write a checkpoint of the present position, if all weights are finite."""
        self._check_finite()
        loss, right, examples = self.sums.tolist()
        checkpoint = Checkpoint(
            step=self.step,
            epoch=self.epoch,
            batch=self.batch,
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            sums={"loss": loss, "right": right, "examples": examples, "seconds": self.seconds},
            config_hash=self.config.hash,
        )
        path = save_checkpoint(self.run.path / "checkpoints", checkpoint)
        self._prune()
        return path

    def _prune(self) -> None:
        """Keep the initial weights, the newest two, and those of every ``keep_every`` epochs."""
        every = self.config.keep_every * self.batches
        found = list_checkpoints(self.run.path / "checkpoints")
        for step, path in found[:-2]:
            if step != 0 and not (every and step % every == 0):
                path.unlink(missing_ok=True)

    def _check_finite(self) -> None:
        tensors = [self.sums, *(p.detach() for p in self.model.parameters())]
        finite = torch.stack([torch.isfinite(t).all() for t in tensors]).all()
        if not bool(finite):
            good = list_checkpoints(self.run.path / "checkpoints")
            raise NonFiniteError(
                f"The training loss or a weight became NaN or infinite by step {self.step} (epoch {self.epoch + 1}).",
                expected="finite numbers",
                got=f"learning rate {learning_rate(self.config, self.step, self.batches):.4g}",
                fix=f"Lower lr, rho, epsilon or std. The last good checkpoint is {good[-1][1] if good else 'none'}.",
            )

    # The work -----------------------------------------------------------------------------------------------------

    def fit(self, interrupts: Interrupts, *, progress: bool, stop: Callable[[], bool] | None) -> None:
        """Train to the end, or to the first interrupt, which leaves a checkpoint and raises."""
        if not list_checkpoints(self.run.path / "checkpoints"):
            self.save()
        name = self.config.optimizer
        with progress_bar(
            self.config.epochs, desc=f"train {name}", unit="epoch", enabled=progress, initial=self.epoch
        ) as bar:
            while self.epoch < self.config.epochs:
                self._epoch(interrupts, progress, stop)
                row = self._finish_epoch()
                bar.set_postfix(**_summary(row))
                bar.update()
        if interrupts.requested is not None:  # while the last epoch was tested: all is saved, but whoever asked waits
            interrupts.raise_requested()

    def _epoch(self, interrupts: Interrupts, progress: bool, stop: Callable[[], bool] | None) -> None:
        order = epoch_order(self.config.seed, self.epoch, len(self.data)).to(self.device)
        parts = order.split(self.config.batch_size)[: self.batches]
        shown = begun = time.perf_counter()
        done_before, first = self.seconds, self.batch
        title = f"epoch {self.epoch + 1}"
        with progress_bar(
            self.batches, desc=title, unit="step", enabled=progress, initial=self.batch, leave=False
        ) as bar:
            for number in range(self.batch, self.batches):
                self._train_step(parts[number])
                self.step, self.batch = self.step + 1, number + 1
                bar.update()
                now = time.perf_counter()
                self.seconds = done_before + now - begun
                if now - shown > _SHOW_EVERY:
                    shown = now
                    self._show(bar, (number + 1 - first) * self.config.batch_size / (now - begun))
                if interrupts.requested is not None or (stop is not None and stop()):
                    self._interrupted(interrupts)

    def _interrupted(self, interrupts: Interrupts) -> None:
        self.save()
        interrupts.raise_requested()

    def _show(self, bar: Progress, speed: float) -> None:
        self._check_finite()
        loss, right, examples = self.sums.tolist()
        bar.set_postfix(loss=f"{loss / examples:.4f}", accuracy=f"{right / examples:.3f}", images_per_s=f"{speed:.0f}")

    def _train_step(self, part: Tensor) -> None:
        torch.manual_seed(derive_seed(self.config.seed, "step", self.step))  # dropout's stream
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.step, self.batches)
        inputs, targets = self._batch(part)
        pieces = self.config.M if isinstance(self.optimizer, LPFSGD) and self.config.M else 1
        if pieces > 1 and isinstance(self.optimizer, PerturbedOptimizer):
            chunks = list(zip(inputs.chunk(pieces), targets.chunk(pieces), strict=True))
            closures = [self._closure(x, y) for x, y in chunks]
            self.optimizer.step(closures, weights=[float(len(y)) for _, y in chunks])
        else:
            self.optimizer.step(self._closure(inputs, targets))  # pyright: ignore[reportCallIssue, reportArgumentType]

    def _batch(self, part: Tensor) -> tuple[Tensor, Tensor]:
        targets = self.data.targets[part]
        if self.inputs is not None:
            return self.inputs[part], targets
        stream = generator(self.config.seed, "augment", self.step, device=self.device)
        return self.data.normalize(self.augment(self.data.inputs[part], stream), self.dtype), targets

    def _closure(self, inputs: Tensor, targets: Tensor) -> Callable[[], Tensor]:
        """Make a closure; its first call of a step adds to the epoch's sums, later (perturbed) ones do not."""
        counted = False

        def closure() -> Tensor:
            nonlocal counted
            self.optimizer.zero_grad()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
                outputs = self.model(inputs)
                loss = F.cross_entropy(outputs, targets, label_smoothing=self.config.label_smoothing)
            loss.backward()
            if not counted:
                counted = True
                with torch.no_grad():
                    n = len(targets)
                    right = (outputs.argmax(1) == targets).sum()
                    self.sums += torch.stack([loss.double() * n, right.double(), torch.full_like(right, n).double()])
            return loss

        return closure

    def _finish_epoch(self) -> dict[str, Any]:
        self._check_finite()
        loss, right, examples = self.sums.tolist()
        self.epoch, self.batch = self.epoch + 1, 0
        row: dict[str, Any] = {
            "epoch": self.epoch,
            "step": self.step,
            "lr": learning_rate(self.config, self.step - 1, self.batches),
            "train_loss": loss / examples,
            "train_accuracy": right / examples,
            "seconds": self.seconds,
            "images_per_second": examples / self.seconds if self.seconds else math.nan,
        }
        last = self.epoch == self.config.epochs
        if last or self.epoch % self.config.eval_every == 0:
            found = evaluate_classifier(self.model, self.test, precision=self.config.precision)
            row |= {"test_error": found.error, "test_nll": found.nll, "test_ece": found.ece}
        self.sums.zero_()
        self.seconds = 0.0
        self.ledger.append(row)
        if last or self.epoch % self.config.save_every == 0:
            self.save()
        return row


def epoch_order(seed: int, epoch: int, examples: int) -> Tensor:
    """Return the order of the examples in an epoch, (N,), drawn on the CPU so that every device trains alike."""
    return torch.randperm(examples, generator=generator(seed, "order", epoch))


def batch_count(examples: int, batch_size: int) -> int:
    """Return the number of steps in an epoch; a last batch of one example is left out, as it has no variance.

    Args:
        examples: N.
        batch_size: Examples per step.

    Returns:
        Steps, at least 1.

    Example:
        >>> batch_count(130, 64), batch_count(129, 64)
        (3, 2)
    """
    full, rest = divmod(examples, batch_size)
    return max(1, full + (1 if rest > 1 else 0))


def _summary(row: dict[str, Any]) -> dict[str, str]:
    shown = {"loss": f"{row['train_loss']:.4f}", "accuracy": f"{row['train_accuracy']:.3f}"}
    if "test_error" in row:
        shown["test_error"] = f"{100 * row['test_error']:.2f}%"
    return {**shown, "images_per_s": f"{row['images_per_second']:.0f}"}
