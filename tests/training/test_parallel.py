"""One run in two processes: what each step does, and that it survives whatever happens to one of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from landscape.errors import ConfigError, NonFiniteError
from landscape.optim import SAM
from landscape.training import Run, RunConfig, train
from landscape.training.batches import batch_count, epoch_order
from landscape.training.materials import build_run_model, load_run_dataset
from landscape.training.world import World

# 5 batches of 15 an epoch: shares of 8 and 7.
CONFIG = RunConfig(
    model="mlp",
    limit=75,
    test_limit=40,
    epochs=2,
    batch_size=15,
    schedule="constant",
    precision="float64",
    device="cpu",
    nproc=2,
)


def weights(run: Run) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in run.checkpoint().model.values()])


def by_hand(config: RunConfig, optimizer_of, parts: int) -> torch.Tensor:
    """The same training in one process, each share of a batch a closure of its own."""
    data = load_run_dataset(config, "train")
    model = build_run_model(config, data).train()
    inputs = data.normalized(dtype=torch.float64)
    optimizer = optimizer_of(model)

    def closure_of(share):
        def closure():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs[share]), data.targets[share])
            loss.backward()
            return loss

        return closure

    for epoch in range(config.epochs):
        for part in epoch_order(config.seed, epoch, len(data)).split(config.batch_size):
            shares = part.tensor_split(parts)
            optimizer.step([closure_of(share) for share in shares], weights=[float(len(share)) for share in shares])
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def test_sam_in_two_processes_gives_each_share_its_own_perturbation(tmp_path):
    config = CONFIG.replace(optimizer="sam", rho=0.3)
    found = weights(train(config, root=tmp_path, progress=False))

    def sam(model):
        options = {"lr": config.lr, "momentum": config.momentum, "weight_decay": config.weight_decay}
        return SAM(model.parameters(), torch.optim.SGD, rho=0.3, **options)

    expected = by_hand(config, sam, parts=2)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)  # another order of float64 sums
    assert not torch.allclose(by_hand(config, sam, parts=1), expected, rtol=1e-4)  # the perturbations do differ


def test_sgd_in_two_processes_is_sgd_and_its_rows_are_those_of_all_examples(tmp_path):
    two, one = (
        train(CONFIG, root=tmp_path, progress=False),
        train(CONFIG.replace(nproc=1), root=tmp_path, progress=False),
    )
    torch.testing.assert_close(weights(two), weights(one), rtol=1e-9, atol=1e-12)  # another order of float64 sums
    for row, expected in zip(two.metrics(), one.metrics(), strict=True):
        assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-9)
        assert row["train_accuracy"] == expected["train_accuracy"]
        assert row["test_error"] == expected["test_error"]
    assert two.status == "finished"


def test_penalties_that_are_means_are_those_of_the_whole_batch(tmp_path):
    config = CONFIG.replace(
        penalty=("grad-l2", "spectral", "pgd-l2", "spectral-projection"), epsilon=0.5, penalty_options={"tau": 0.6}
    )
    two = train(config, root=tmp_path, progress=False)
    one = train(config.replace(nproc=1), root=tmp_path, progress=False)
    torch.testing.assert_close(weights(two), weights(one), rtol=1e-9, atol=1e-12)  # another order of float64 sums
    for row, expected in zip(two.metrics(), one.metrics(), strict=True):
        assert row["penalty"] == pytest.approx(expected["penalty"], rel=1e-9)


def test_an_error_in_the_processes_is_raised_here(tmp_path):
    with pytest.raises(NonFiniteError, match="became NaN or infinite"):
        train(CONFIG.replace(lr=1e30, precision="float32"), root=tmp_path, progress=False)


@pytest.mark.parametrize("changed", [{"nproc": 0}, {"nproc": 8}, {"device": "cuda:0"}])
def test_what_cannot_be_shared_is_refused(changed):
    with pytest.raises(ConfigError):
        CONFIG.replace(**changed)


def test_a_last_batch_has_two_examples_for_each_process():
    assert batch_count(103, 10, least=4) == 10
    assert batch_count(104, 10, least=4) == 11


def test_shares_are_a_whole():
    part = torch.arange(7)
    shares = [World(rank, 3).share(part) for rank in range(3)]
    assert torch.equal(torch.cat(shares), part)
    assert sum(World(rank, 3).weight(part) for rank in range(3)) == pytest.approx(3.0)


# Stopped from outside ---------------------------------------------------------------------------------------------

LONG = [
    *("--dataset", "digits", "--model", "smallcnn", "--optimizer", "sam", "--limit", "200", "--epochs", "12"),
    *("--batch-size", "20", "--test-limit", "50", "--device", "cpu", "--nproc", "2", "--quiet"),
]


def start(root: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "landscape", "train", *LONG, "--root", str(root)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def checksum(printed: str) -> str:
    return printed.split("weights sha256")[1].split()[0]


def wait_for_epoch(root: Path, epoch: int, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        found = list(root.glob("*/metrics.jsonl"))
        if found and len(found[0].read_text().splitlines()) >= epoch:
            return
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    raise AssertionError("no epoch was finished in a minute")


def ranks(parent: int) -> list[int]:
    """Process numbers of the ranks below a process: its grandchildren, by /proc."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    below = {pid for pid, its in parents.items() if its == parent}
    return sorted(pid for pid, its in parents.items() if its in below)


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the processes by /proc")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> str:
    """Checksum of the weights of the run that nothing happens to."""
    printed, _ = start(tmp_path_factory.mktemp("whole")).communicate(timeout=300)
    return checksum(printed)


@needs_proc
@pytest.mark.slow
def test_a_killed_process_or_a_signal_costs_nothing(tmp_path, uninterrupted):
    process = start(tmp_path)
    wait_for_epoch(tmp_path, 2, process)
    os.kill(ranks(process.pid)[-1], signal.SIGKILL)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    (line,) = printed.splitlines()  # none of torchrun's
    assert line.startswith("error: Rank 1 of the run's 2 processes was ended by SIGKILL.")
    assert "goes on from its last checkpoint" in line
    (folder,) = tmp_path.iterdir()
    run = Run.load(folder)
    assert run.status == "interrupted"
    assert run.last_step() == run.checkpoints()[-1][0]

    process = start(tmp_path)
    wait_for_epoch(tmp_path, 5, process)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 130, printed
    assert "Traceback" not in printed
    assert run.status == "interrupted"

    finished, _ = start(tmp_path).communicate(timeout=300)
    assert checksum(finished) == uninterrupted
    assert run.log_text().count("resumed at step") == 2


@needs_proc
def test_processes_end_with_the_one_that_was_killed_above_them(tmp_path, uninterrupted):
    process = start(tmp_path)
    wait_for_epoch(tmp_path, 2, process)
    below = ranks(process.pid)
    assert len(below) == 2
    process.kill()
    printed, _ = process.communicate(timeout=60)  # to the end of the last one that could print
    assert not printed
    assert not any(alive(pid) for pid in below)
    (folder,) = tmp_path.iterdir()
    run = Run.load(folder)
    assert run.status == "interrupted"  # saved as after Ctrl-C: before the last epoch
    assert run.last_step() == run.checkpoints()[-1][0]

    finished, _ = start(tmp_path).communicate(timeout=300)
    assert checksum(finished) == uninterrupted
