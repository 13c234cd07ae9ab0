"""Surfaces whose process is killed, and processes that meet in one store."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from landscape import Objective
from landscape.errors import LockedError
from landscape.storage import Ledger
from landscape.surface import Surface, collector, evaluate_surface, random_plane

PREPARED = multiprocessing.get_context("forkserver")
PREPARED.set_forkserver_preload(["landscape.surface", "torch"])
KILLS, POINTS = 10, 31


def slow_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    time.sleep(0.008)  # so that there is a moment to be killed in
    return torch.nn.functional.mse_loss(outputs, targets)


def problem() -> Objective:
    stream = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=stream))
    data = torch.randn(16, 4, generator=stream), torch.randn(16, 1, generator=stream)
    return Objective(model, data, slow_loss)


def evaluate(folder: Path | None) -> Surface:
    objective = problem()
    settings = {"points": POINTS, "engine": "plain", "workers": 2, "progress": False}
    return evaluate_surface(objective, random_plane(objective), store=folder, **settings)


def in_a_process(folder: Path, begun, outcome) -> None:
    torch.set_num_threads(2)
    # points go to the disk twenty times as often, so that a process on a busy machine is not always killed before
    collector.time = SimpleNamespace(monotonic=lambda: 20 * time.monotonic())  # type: ignore[assignment]
    begun.set()
    try:
        evaluate(folder)
        outcome.put("finished")
    except LockedError as error:
        outcome.put(f"locked: {error}")


def start(folder: Path):
    begun, outcome = PREPARED.Event(), PREPARED.Queue()
    process = PREPARED.Process(target=in_a_process, args=(folder, begun, outcome))
    process.start()
    assert begun.wait(60)
    return process, outcome


def stored(folder: Path) -> list[int]:
    """All points in the ledger."""
    path = folder / "points.jsonl"
    return [point for row in Ledger(path).rows() for point in row["points"]] if path.exists() else []


def test_ten_kills_lose_no_finished_point_and_change_no_bit(tmp_path: Path) -> None:
    moments, counts, stretch = random.Random(20), [0], 1
    for _ in range(KILLS):
        process, _ = start(tmp_path)
        time.sleep(stretch * moments.uniform(0.05, 0.75))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL  # it was at work
        counts.append(len(stored(tmp_path)))
        stretch = 1 if counts[-1] > counts[-2] else 2 * stretch  # a busy machine takes longer to begin
    assert counts == sorted(counts) and 0 < counts[-1] < POINTS**2
    found = evaluate(tmp_path)
    assert found.provenance["points_resumed"] == counts[-1]
    times = Counter(stored(tmp_path))
    assert set(times) == set(range(POINTS**2)) and set(times.values()) == {1}  # nothing lost, nothing computed twice
    whole = evaluate(None)
    for name in ("loss", "accuracy", "status"):
        assert getattr(found, name).tobytes() == getattr(whole, name).tobytes()
    assert np.isfinite(found.loss).all()


def test_of_two_processes_on_one_store_one_writes_and_the_other_says_so(tmp_path: Path) -> None:
    processes = [start(tmp_path) for _ in range(2)]
    outcomes = sorted(outcome.get(timeout=120) for _, outcome in processes)
    for process, _ in processes:
        process.join(60)
        assert process.exitcode == 0
    assert outcomes[0] == "finished" and outcomes[1].startswith("locked: ")
    times = Counter(stored(tmp_path))
    assert set(times) == set(range(POINTS**2)) and set(times.values()) == {1}
    again = evaluate(tmp_path)
    assert again.provenance["points_resumed"] == POINTS**2
