"""One of two ranks, started by test_processes.py: ``two_processes.py TASK OUT``."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from landscape.errors import ConfigError
from landscape.optim import AMP, SAM
from landscape.seeding import generator
from landscape.storage import sha256_bytes
from tests.optim.methods import METHODS, build, closure_of, flat, problem


def checksum(tensor: torch.Tensor) -> str:
    return sha256_bytes(tensor.contiguous().numpy().tobytes())


def own_data(rank: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    stream = generator(11, "data", rank, step)
    return torch.randn(12, 4, generator=stream), torch.randint(3, (12,), generator=stream)


def train(method: str, sync: str, rank: int, steps: int = 50) -> dict:
    model, _, _ = problem()
    wrapped = DistributedDataParallel(model)
    optimizer = build(method, wrapped.parameters(), model=wrapped, sync=sync)
    start, where = checksum(flat(model)), []
    for step in range(steps):
        inputs, targets = own_data(rank, step)
        inner = closure_of(wrapped, optimizer, inputs, targets)

        def closure(inner=inner):
            where.append(flat(model))
            return inner()

        optimizer.step(closure)
    moved = METHODS[method][0].clean_pass
    return {"start": start, "weights": checksum(flat(model)), "moves": checksum(where[1 if moved else 0])}


def equal_data(method: str) -> dict:
    model, inputs, targets = problem()
    alone = copy.deepcopy(model)
    wrapped = DistributedDataParallel(model)
    together = build(method, wrapped.parameters(), model=wrapped)
    single = build(method, alone.parameters(), model=alone)
    for _ in range(5):
        together.step(closure_of(wrapped, together, inputs, targets))
        single.step(closure_of(alone, single, inputs, targets))
    return {"weights": checksum(flat(model)), "mean": flat(model).tolist(), "alone": flat(alone).tolist()}


def micro_batches_and_scaler(rank: int) -> dict:
    model, _, _ = problem()
    wrapped = DistributedDataParallel(model)
    optimizer = build("sam", wrapped.parameters(), model=wrapped)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    start = checksum(flat(model))
    for step in range(5):
        inputs, targets = own_data(rank, step)
        parts = (slice(0, 8), slice(8, 12))
        closures = [closure_of(wrapped, optimizer, inputs[p], targets[p], scaler=scaler) for p in parts]
        optimizer.step(closures, weights=[8, 4], scaler=scaler, max_grad_norm=1.0)
        scaler.update()
    return {"start": start, "weights": checksum(flat(model))}


def overflow(rank: int) -> dict:
    model, _, _ = problem()
    wrapped = DistributedDataParallel(model)
    optimizer = build("sam", wrapped.parameters(), model=wrapped)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    start = checksum(flat(model))
    inputs, targets = own_data(rank, 0)
    spoil_at = 1 if rank == 1 else None
    optimizer.step(closure_of(wrapped, optimizer, inputs, targets, scaler=scaler, spoil_at=spoil_at), scaler=scaler)
    scaler.update()
    return {"start": start, "weights": checksum(flat(model)), "scale": scaler.get_scale()}


def fifty_steps(rank: int) -> dict:
    found = {}
    for method in METHODS:
        for sync in ("replica", "global"):
            if (method, sync) != ("entropy", "replica"):
                found[f"{method} {sync}"] = train(method, sync, rank)
    for method in ("gsam", "gnp", "looksam"):
        found[f"{method} equal data"] = equal_data(method)
    found["micro-batches, scaler"] = micro_batches_and_scaler(rank)
    found["overflow"] = overflow(rank)
    return found


def sharded(rank: int) -> dict:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (2,))
    found = {}
    for name, make in {
        "sam": lambda p: SAM(p, torch.optim.SGD, rho=0.3, lr=0.1),
        "asam": lambda p: SAM(p, torch.optim.SGD, rho=0.3, adaptive=True, lr=0.1),
        "amp": lambda p: AMP(p, lr=0.1, epsilon=0.1),
        "amp-global": lambda p: AMP(p, lr=0.1, epsilon=0.1, ball="global"),
    }.items():
        model, inputs, targets = problem(norm=False)
        plain = copy.deepcopy(model)
        fully_shard(model, mesh=mesh)
        norms = []
        for net in (model, plain):
            optimizer = make(net.parameters())

            def closure(net: nn.Module = net, optimizer: torch.optim.Optimizer = optimizer, x=inputs, y=targets):
                optimizer.zero_grad()
                loss = F.cross_entropy(net(x), y)
                loss.backward()
                return loss

            for _ in range(3):
                optimizer.step(closure)
            weights = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in net.parameters()]
            norms.append([float(w.detach().norm()) for w in weights] + [float(optimizer.stats["eps_norm"])])
        found[name] = norms
    try:
        build("nso", model.parameters())
    except ConfigError as error:
        found["refused"] = [["sharded weights" in str(error)], [True]]
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    result = {"fifty_steps": fifty_steps, "sharded": sharded}[sys.argv[1]](dist.get_rank())
    Path(sys.argv[2]).write_text(json.dumps(result))
    dist.destroy_process_group()
