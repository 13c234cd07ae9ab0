"""Two processes over gloo: replicas stay bit-identical, with each one's own perturbation or with a common one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.optim.methods import METHODS

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs torch's gloo")
WORKER = Path(__file__).parent / "two_processes.py"
ROOT = Path(__file__).parents[2]


def run_workers(task: str, tmp_path: Path) -> list[dict]:
    """Run ``two_processes.py TASK`` as two ranks and return what each one found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    workers = [
        subprocess.Popen(
            [sys.executable, str(WORKER), task, str(tmp_path / f"{rank}.json")],
            env={**environment, "RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    try:
        errors = [worker.communicate(timeout=240)[1].decode() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], errors[0][-3000:] + errors[1][-3000:]
    return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def fifty_steps(tmp_path_factory) -> list[dict]:
    return run_workers("fifty_steps", tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("sync", ["replica", "global"])
@pytest.mark.parametrize("method", METHODS)
def test_replicas_are_bit_identical_after_fifty_steps(fifty_steps, method, sync):
    if method == "entropy" and sync == "replica":
        pytest.skip("Entropy-SGD has no perturbation of its own for each process")
    first, second = (found[f"{method} {sync}"] for found in fifty_steps)
    assert first["weights"] == second["weights"]
    assert first["start"] == second["start"] and first["weights"] != first["start"]
    assert (first["moves"] == second["moves"]) == (sync == "global")  # where the perturbed pass was


@pytest.mark.parametrize("method", ["gsam", "gnp", "looksam"])
def test_the_kept_gradient_is_averaged(fifty_steps, method):
    """With equal data on both ranks, each process alone must come to the same weights."""
    first, second = (found[f"{method} equal data"] for found in fifty_steps)
    assert first["weights"] == second["weights"]
    assert first["alone"] == pytest.approx(first["mean"], rel=1e-5)


def test_micro_batches_and_a_scaler(fifty_steps):
    first, second = (found["micro-batches, scaler"] for found in fifty_steps)
    assert first["weights"] == second["weights"] and first["weights"] != first["start"]


def test_an_overflow_on_one_process_skips_the_step_on_both(fifty_steps):
    for found in fifty_steps:
        assert found["overflow"]["weights"] == found["overflow"]["start"]
        assert found["overflow"]["scale"] == 32.0


def test_sharded_weights_are_perturbed_as_whole_ones(tmp_path):
    """DTensors: norms over the whole, not over each process's part."""
    for found in run_workers("sharded", tmp_path):
        assert len(found) == 5
        for name, (sharded, plain) in found.items():
            assert sharded == pytest.approx(plain, rel=1e-5), name
