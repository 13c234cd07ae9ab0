"""The only training loop: data on the device, state that can be cut anywhere, one line of progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from landscape.datasets import Dataset
from landscape.optim.registry import build_optimizer
from landscape.progress import Progress, progress_bar
from landscape.seeding import derive_seed
from landscape.storage import Ledger
from landscape.training.batches import Batch, Batches
from landscape.training.checkpoint import Checkpoint, list_checkpoints, load_weights, save_checkpoint
from landscape.training.divergence import diverged_while_training
from landscape.training.feasible import unused_parameters
from landscape.training.interrupts import Interrupts
from landscape.training.metrics import evaluate_classifier
from landscape.training.passes import Passes
from landscape.training.precision import describe, fused_base, memory_format
from landscape.training.run import Run, stops
from landscape.training.schedule import Plateau, learning_rate
from landscape.training.swallowed import MARK
from landscape.training.tensorboard import EventLog
from landscape.training.world import World

_MEANS = ("fsam", "vasso")  # what they remember must be the same in all processes: a checkpoint holds one
_SHOW_EVERY = 0.5  # seconds between looks at the running loss; each look waits for the device


class Trainer:
    """One run in progress: model, optimizer and data on a device, and where it stands.

    Everything random is drawn from streams named by seed, epoch and step, so that the position alone says what comes
    next; a checkpoint needs no generator's state beyond the optimizer's own.
    """

    def __init__(
        self,
        run: Run,
        model: nn.Module,
        train: Dataset,
        test: Dataset,
        device: torch.device,
        world: World | None = None,
    ) -> None:
        config = self.config = run.config
        self.run, self.device, self.world = run, device, world or World()
        layout = memory_format(config, train.input_shape)
        self.model = model.to(device).to(memory_format=layout).train()
        searched = self.world.size > 1 and bool(unused_parameters(self.model, train))
        network = self.world.wrap(self.model, unused=searched)
        self.data, self.test = train.to(device), test.to(device)
        self.batches = Batches(config, self.data, next(self.model.parameters()).dtype, layout, self.world)
        self.optimizer = build_optimizer(
            config.optimizer,
            network,
            lr=config.lr,
            base=config.base,
            weight_decay=config.weight_decay,
            seed=derive_seed(config.seed, "noise"),
            total_steps=config.epochs * self.batches.count,
            momentum=config.momentum,
            nesterov=config.nesterov,
            fused=fused_base(config, device) or None,
            sync="global" if self.world.size > 1 and config.optimizer in _MEANS else None,
            **config.method_options(),
        )
        self.passes = Passes(config, network, self.optimizer, self.data, device, self.world)
        self.plateau = Plateau(gamma=config.gamma, patience=config.patience) if config.schedule == "plateau" else None
        self.computes = describe(config, device, layout)
        self.step, self.epoch, self.batch = 0, 0, 0
        self.stopped = False  # by stop_at_loss
        self.noted = False  # what the precision leaves of the perturbation
        self.seconds = 0.0
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)  # loss * n, right, n, penalty * n
        self.ledger = Ledger(run.path / "metrics.jsonl")
        self.events: EventLog | None = None

    # Where it stands ----------------------------------------------------------------------------------------------

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self._rate(self.step)

    def _rate(self, step: int) -> float:
        drops = 1.0 if self.plateau is None else self.plateau.factor
        return drops * learning_rate(self.config, step, self.batches.count)

    def load(self, checkpoint: Checkpoint) -> None:
        """Go to a checkpoint's position; nothing is written where the run's files do not go with it."""
        if self.world.leads:
            self.run.check_rows(checkpoint)
        load_weights(self.model, checkpoint, self.config.model)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.step, self.epoch, self.batch = checkpoint.step, checkpoint.epoch, checkpoint.batch
        sums = checkpoint.sums
        if self.world.leads:  # they are those of all processes
            known = [sums.get(name, 0.0) for name in ("loss", "right", "examples", "penalty")]
            self.sums.copy_(torch.tensor(known, dtype=torch.float64))
        self.seconds = sums["seconds"]
        if self.plateau is not None:
            self.plateau.load_state_dict(checkpoint.loop["plateau"])
        if self.passes.scaler is not None:
            self.passes.scaler.load_state_dict(checkpoint.loop["scaler"])
        self.passes.penalties.load_state_dict(checkpoint.loop.get("penalties", {}))
        if self.world.leads:
            self.ledger.keep(lambda row: row["step"] <= self.step)
        self.noted = MARK in self.run.log_text()
        rows = self.ledger.rows()
        self.stopped = self.batch == 0 and bool(rows) and stops(self.config, rows[-1])

    def save(self) -> None:
        """Write a checkpoint of the present position, if all weights are finite."""
        self._check_finite()
        loss, right, examples, penalty = self.world.total(self.sums).tolist()
        if not self.world.leads:
            return
        parts = {"plateau": self.plateau, "scaler": self.passes.scaler, "penalties": self.passes.penalties}
        checkpoint = Checkpoint(
            step=self.step,
            epoch=self.epoch,
            batch=self.batch,
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            sums={"loss": loss, "right": right, "examples": examples, "penalty": penalty, "seconds": self.seconds},
            loop={name: part.state_dict() for name, part in parts.items() if part is not None},
            config_hash=self.config.hash,
        )
        save_checkpoint(self.run.path / "checkpoints", checkpoint)
        self._prune()

    def _prune(self) -> None:
        """Keep the initial weights, the newest two, and those of every ``keep_every`` epochs."""
        every = self.config.keep_every * self.batches.count
        found = list_checkpoints(self.run.path / "checkpoints")
        for step, path in found[:-2]:
            if step != 0 and not (every and step % every == 0):
                path.unlink(missing_ok=True)

    def _check_finite(self) -> None:
        weights = [p.detach() for p in self.model.parameters()]
        finite = torch.stack([torch.isfinite(t).all() for t in (self.sums, *weights)]).all()
        if bool(finite):
            return
        loss, _, _, penalty = self.sums.tolist()
        broken = {
            "the loss": not math.isfinite(loss),
            "the penalty": not math.isfinite(penalty),
            "the weights": not all(bool(torch.isfinite(t).all()) for t in weights),
        }
        good = list_checkpoints(self.run.path / "checkpoints")
        raise diverged_while_training(
            self.config,
            what=[name for name, wrong in broken.items() if wrong],
            step=self.step,
            epoch=self.epoch + 1,
            rate=self._rate(max(self.step - 1, 0)),
            checkpoint=good[-1][1] if good else None,
        )

    # The work -----------------------------------------------------------------------------------------------------

    def fit(self, interrupts: Interrupts, *, progress: bool, stop: Callable[[], bool] | None) -> None:
        """Train to the end, or to the first interrupt, which leaves a checkpoint and raises."""
        if self.world.largest(int(self.world.leads and not list_checkpoints(self.run.path / "checkpoints"))):
            self.save()
        compiled, recorded = self.passes.compile(self._first_batch), self.passes.record(self._first_batch)
        self._log(f"{self.computes}; {compiled}; {recorded}")
        name = self.config.optimizer
        with progress_bar(
            self.config.epochs, desc=f"train {name}", unit="epoch", enabled=progress, initial=self.epoch
        ) as bar:
            while self.epoch < self.config.epochs and not self.stopped:
                self._epoch(interrupts, progress, stop)
                row = self._finish_epoch()
                bar.set_postfix(**_summary(row))
                bar.update()
        if interrupts.requested is not None:  # while the last epoch was tested: all is saved, but whoever asked waits
            interrupts.raise_requested()

    def _epoch(self, interrupts: Interrupts, progress: bool, stop: Callable[[], bool] | None) -> None:
        parts = self.batches.order(self.epoch)
        shown = begun = time.perf_counter()
        done_before, first = self.seconds, self.batch
        title = f"epoch {self.epoch + 1}"
        with progress_bar(
            self.batches.count, desc=title, unit="step", enabled=progress, initial=self.batch, leave=False
        ) as bar:
            for number in range(self.batch, self.batches.count):
                batch = self.batches.get(parts[number], epoch=self.epoch, step=self.step)
                if number == first:
                    self._note_fidelity(batch)
                self.sums += self.passes.step(batch, self.step, self.rate)
                self.step, self.batch = self.step + 1, number + 1
                bar.update()
                now = time.perf_counter()
                self.seconds = done_before + now - begun
                if now - shown > _SHOW_EVERY:
                    shown = now
                    self._show(bar, (number + 1 - first) * self.config.batch_size / (now - begun))
                self._heed(interrupts, stop)

    def _heed(self, interrupts: Interrupts, stop: Callable[[], bool] | None) -> None:
        """Save and raise where a signal, or whoever watches, wants that; several processes do so at the same step."""
        stopped = stop is not None and stop()
        wanted = self.world.largest(interrupts.requested or 0)
        if wanted or stopped:
            interrupts.requested = wanted or None
            self.save()
            interrupts.raise_requested()

    def _log(self, text: str) -> None:
        if self.world.leads:
            self.run.log(text)

    def _show(self, bar: Progress, speed: float) -> None:
        self._check_finite()
        loss, right, examples, _ = self.sums.tolist()
        bar.set_postfix(loss=f"{loss / examples:.4f}", accuracy=f"{right / examples:.3f}", images_per_s=f"{speed:.0f}")

    def _first_batch(self) -> Batch:
        return self.batches.get(self.batches.order(0)[0], epoch=0, step=0)

    def _note_fidelity(self, batch: Batch) -> None:
        """Say once in the log what is left of the perturbation; asked anew each epoch until there is one."""
        if not self.noted:
            note = self.passes.fidelity(batch, self.step)
            self.noted = note is not None
            if note is not None:
                self._log(note)

    def _finish_epoch(self) -> dict[str, Any]:
        self._check_finite()
        loss, right, examples, penalty = self.world.total(self.sums).tolist()
        self.epoch, self.batch = self.epoch + 1, 0
        row: dict[str, Any] = {
            "epoch": self.epoch,
            "step": self.step,
            "lr": self._rate(self.step - 1),
            "train_loss": loss / examples,
            "train_accuracy": right / examples,
            "seconds": self.seconds,
            "images_per_second": examples / self.seconds if self.seconds else math.nan,
        }
        if self.passes.penalties.on_loss:
            row["penalty"] = penalty / examples
        if self.plateau is not None:
            self.plateau.update(row["train_loss"])
        self.stopped = stops(self.config, row)
        last = self.stopped or self.epoch == self.config.epochs
        if self.world.leads and (last or self.epoch % self.config.eval_every == 0):
            found = evaluate_classifier(self.model, self.test, precision=self.config.precision)
            row |= {"test_error": found.error, "test_nll": found.nll, "test_ece": found.ece}
        self.sums.zero_()
        self.seconds = 0.0
        if self.world.leads:
            self.ledger.append(row)
        if self.events is not None:
            self.events.add(row)
        if last or self.epoch % self.config.save_every == 0:
            self.save()
        return row


def _summary(row: dict[str, Any]) -> dict[str, str]:
    shown = {"loss": f"{row['train_loss']:.4f}", "accuracy": f"{row['train_accuracy']:.3f}"}
    if "test_error" in row:
        shown["test_error"] = f"{100 * row['test_error']:.2f}%"
    return {**shown, "images_per_s": f"{row['images_per_second']:.0f}"}
