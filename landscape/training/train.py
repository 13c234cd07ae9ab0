"""``train(config) -> Run``: begin, resume, or find finished."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from landscape.errors import ConfigError, LandscapeError, MismatchError, NonFiniteError, StorageError
from landscape.models.trust import trust_model
from landscape.seeding import preserved_rng
from landscape.storage import FolderLock, remove_stale_temporaries, write_json
from landscape.training.checkpoint import StorageWarning, latest_checkpoint
from landscape.training.divergence import diverged_at_the_end
from landscape.training.environment import describe_environment, differences, single_precision
from landscape.training.feasible import check_feasible
from landscape.training.interrupts import Interrupts
from landscape.training.launch import launch
from landscape.training.loop import Trainer
from landscape.training.materials import build_run_model, load_run_dataset, resolve_device
from landscape.training.precision import matrix_precision
from landscape.training.run import Run
from landscape.training.run_config import RunConfig
from landscape.training.tensorboard import EventLog, require_tensorboard
from landscape.training.world import World


def train(
    config: RunConfig,
    *,
    root: str | os.PathLike[str] = "runs",
    resume: Literal["auto", "never", "must"] = "auto",
    progress: bool = True,
    data_root: str | os.PathLike[str] | None = None,
    stop: Callable[[], bool] | None = None,
    tensorboard: bool = False,
) -> Run:
    """Train a model as the settings say, or go on where an earlier call was stopped.

    The run's folder is ``root/<name>-<first 8 digits of the settings' hash>``. However it was stopped (Ctrl-C, SIGTERM,
    kill -9, power cut), the same call goes on from the newest checkpoint and ends with the same weights, bit for bit,
    as an uninterrupted run on that machine. A finished run is returned at once.

    Args:
        config: The settings.
        root: Folder of all runs. Default "runs".
        resume: "auto" goes on or begins; "never" begins anew and moves an existing folder aside; "must" fails where
            there is nothing to go on with.
        progress: Show progress bars.
        data_root: Folder of the datasets; None is ``data``.
        stop: Called after every step; true stops as Ctrl-C does. For background jobs.
        tensorboard: Also write the metrics as event files into the run's folder ``tensorboard``, epoch by epoch; of a
            finished run, all of them.

    Returns:
        The finished run.

    Raises:
        ConfigError: A setting is wrong, or ``resume`` is.
        DataError: The data is missing or damaged.
        ModelError: The model cannot be built, cannot take the data, or cannot be trained on it.
        ProcessError: With ``nproc`` above 1: one of the processes was killed, or another package, or the model, raised
            an error in it.
        LockedError: Another process trains this very run.
        MismatchError: The data or the model has changed since the run began, or a checkpoint belongs to another run.
        StorageError: The folder cannot be written, or "must" found nothing.
        CorruptFileError: Every checkpoint of the run is damaged, or its metrics or environment are; or the metrics
            lack epochs that the newest checkpoint has behind it.
        NonFiniteError: The loss, a penalty or a weight became NaN or infinite; the last good checkpoint is kept. Where
            only outputs for the test set are no numbers, the metrics hold them as they are, and the log says so.
        MissingDependencyError: ``tensorboard`` is asked for and not installed.
        KeyboardInterrupt: Ctrl-C; the position was saved.

    Warns:
        StorageWarning: A damaged or missing checkpoint costs the steps since the one before it.
    """
    if resume not in ("auto", "never", "must"):
        raise ConfigError("resume is out of range.", expected="'auto', 'never' or 'must'", got=repr(resume))
    if tensorboard:
        require_tensorboard()
    resolve_device(config.device)
    trust_model(config.model)
    run = Run(Path(root) / config.folder_name, config)
    exists = (run.path / "config.json").is_file()
    if resume == "must" and not exists:
        raise StorageError(
            f"There is no run {run.path} to resume.", fix="Use resume='auto', or check root and settings."
        )
    if exists and resume != "never":
        Run.load(run.path)
        if _is_complete(run):
            if tensorboard:
                EventLog(run.path / "tensorboard", run.metrics()).close()
            return run
    how: dict[str, Any] = {
        "root": root,
        "resume": resume,
        "progress": progress,
        "data_root": data_root,
        "stop": stop,
        "tensorboard": tensorboard,
    }
    if config.nproc > 1:
        launch(config, **how)
        return run
    return train_here(config, world=World(), **how)


def train_here(
    config: RunConfig,
    *,
    world: World,
    root: str | os.PathLike[str],
    resume: str,
    progress: bool,
    data_root: str | os.PathLike[str] | None,
    stop: Callable[[], bool] | None,
    tensorboard: bool,
) -> Run:
    """Train in this process: all of the run, or its part of one that several processes train.

    Args:
        config: The settings.
        world: Which process this is.
        root: As in :func:`train`, and so are the rest.
        resume: As there.
        progress: Show progress bars.
        data_root: Folder of the datasets.
        stop: As there; not looked at where there are several processes.
        tensorboard: As there.

    Returns:
        The finished run.
    """
    run = Run(Path(root) / config.folder_name, config)
    device = world.device(resolve_device(config.device))
    with preserved_rng(), single_precision(), matrix_precision(config.precision):
        train_data = load_run_dataset(config, "train", data_root=data_root)
        test_data = load_run_dataset(config, "test", data_root=data_root)
        model = build_run_model(config, train_data)
        check_feasible(config, model, train_data, device)
        if world.leads and resume == "never" and (run.path / "config.json").is_file():
            with FolderLock(run.path):
                _move_aside(run.path)
        with FolderLock(run.path) if world.leads else nullcontext(), Interrupts() as interrupts:
            trainer = Trainer(run, model, train_data, test_data, device, world)
            if world.leads:
                _begin(run, trainer, describe_environment(device, train_data, test_data, data_root))
            _follow(run, trainer, world)
            if tensorboard and world.leads:
                trainer.events = EventLog(run.path / "tensorboard", trainer.ledger.rows())
            _fit(run, trainer, interrupts, progress=progress, stop=stop)
    return run


def _follow(run: Run, trainer: Trainer, world: World) -> None:
    """Begin where the leading process begins."""
    step = world.largest(trainer.step if world.leads else 0)
    if not world.leads and step:
        trainer.load(run.checkpoint(step))


def _is_complete(run: Run) -> bool:
    """Tell whether a run is finished and has its last weights; warn where they are lost."""
    if run.status != "finished":
        return False
    run.metrics()
    last, newest = run.last_step(), latest_checkpoint(run.path / "checkpoints", run.config.hash)
    if newest is not None and (last is None or newest.step >= last):
        return True
    start = "the beginning" if newest is None else f"step {newest.step}"
    warnings.warn(
        f"{run.path} is finished, but its checkpoint of step {last} is damaged or missing: "
        f"training goes on from {start}.",
        StorageWarning,
        stacklevel=3,
    )
    return False


def _move_aside(path: Path) -> None:
    number = 1
    while (aside := path.with_name(f"{path.name}.before-{number}")).exists():
        number += 1
    path.rename(aside)


def _begin(run: Run, trainer: Trainer, environment: dict) -> None:
    """Write the run's first files, or load the newest checkpoint."""
    for folder in (run.path, run.path / "checkpoints"):
        if folder.is_dir():
            remove_stale_temporaries(folder)
    known = run.path / "environment.json"
    checkpoint = latest_checkpoint(run.path / "checkpoints", run.config.hash)
    if checkpoint is None:
        write_json(known, environment)
        trainer.ledger.keep(lambda row: False)
        run.write_status("running", pid=os.getpid())
        write_json(run.path / "config.json", run.config.to_dict())
        run.log(f"begun on {environment['device']}, {environment['threads']} threads, torch {environment['torch']}")
        return
    before = run.environment()
    _check_data(run, before["data_sha256"], environment["data_sha256"])
    trainer.load(checkpoint)
    run.write_status("running", pid=os.getpid())
    run.log(f"resumed at step {checkpoint.step}")
    for change in differences(before, environment):
        run.log(f"not bit-identical to an uninterrupted run: {change}")


def _check_data(run: Run, before: dict, now: dict) -> None:
    for split, checksum in now.items():
        if before.get(split) != checksum:
            raise MismatchError(
                f"The {split} data of {run.config.dataset} has changed since the run {run.path} began.",
                expected=str(before.get(split))[:16],
                got=checksum[:16],
                fix="Put the data back, or begin anew with resume='never' (--resume never).",
            )


def _fit(
    run: Run, trainer: Trainer, interrupts: Interrupts, *, progress: bool, stop: Callable[[], bool] | None
) -> None:
    if not trainer.world.leads:
        trainer.fit(interrupts, progress=progress, stop=stop)
        return
    try:
        trainer.fit(interrupts, progress=progress, stop=stop)
    except (KeyboardInterrupt, SystemExit):
        run.write_status("interrupted", step=trainer.step)
        run.log(f"interrupted at step {trainer.step}")
        raise
    except NonFiniteError as error:
        run.write_status("failed", step=trainer.step, error=str(error))
        run.log(str(error))
        raise
    except Exception as error:
        if trainer.world.size == 1 or isinstance(error, LandscapeError):  # else perhaps because another process ended:
            run.write_status("failed", step=trainer.step, error=f"{type(error).__name__}: {error}")
        raise  # whoever started them all finds out
    run.write_status("finished", step=trainer.step)
    run.log(f"finished at step {trainer.step}")
    if (diverged := diverged_at_the_end(run.metrics(), run.config)) is not None:
        run.log(str(diverged))
