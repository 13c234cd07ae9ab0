"""What products take is measured, and stays within what is given."""

from __future__ import annotations

import subprocess
import sys
import weakref
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from landscape.curvature import GGN, Fisher, Hessian
from landscape.curvature.memory import peak_bytes
from landscape.errors import ConfigError
from landscape.loss_checks import ReductionWarning
from landscape.objective import Objective

from .nets import NETS, net_objective


def test_the_peak_counts_what_is_alive_at_once():
    def run() -> None:
        for _ in range(5):  # one after the other
            torch.ones(1000).sum()
        a = torch.ones(3000)
        b = a.view(-1)  # the same memory
        b.add_(1)
        a + b

    assert peak_bytes(run) == 4 * 6000


def test_what_was_there_before_is_not_counted():
    known = torch.ones(10_000)
    assert peak_bytes(lambda: known.add_(1).view(-1)) == 0


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("kind", [Hessian, GGN, Fisher])
def test_within_a_limit_batches_are_smaller_and_products_the_same(name, kind):
    objective = net_objective(name, batch_size=20)
    vector = torch.linspace(-1, 1, objective.size, dtype=torch.float64)
    whole = kind(objective)
    least = None
    for limit in (4_000_000, 60_000, 20_000, 10_000):
        try:
            small = kind(objective, memory_limit=limit)
        except ConfigError as error:
            assert "for one example" in str(error)
            break
        least = small
        torch.testing.assert_close(small @ vector, whole @ vector, rtol=1e-10, atol=1e-12)
        assert peak_bytes(lambda: small @ vector) + small._graphs.kept * small._graphs.bytes <= limit  # noqa: B023
    assert least is not None and least.objective.batch_size < 20


def test_a_limit_for_nothing_is_refused_with_what_is_needed():
    with pytest.raises(ConfigError, match=r"at least [0-9,]+ bytes, for one example"):
        Hessian(net_objective("mlp"), memory_limit=10)
    with pytest.raises(ConfigError, match="memory_limit is out of range"):
        Hessian(net_objective("mlp"), memory_limit=-1)


def test_a_loss_that_is_no_mean_is_not_cut_into_batches():
    with pytest.warns(ReductionWarning):
        objective = net_objective("mlp", batch_size=20, loss_fn=lambda out, y: torch.logsumexp(out.flatten(), 0))
    with pytest.raises(ConfigError, match="mean"):
        Hessian(objective, memory_limit=30_000)


class Token:
    """Lives as long as what it is put into."""


class Traced(torch.autograd.Function):
    """The identity, whose places in graphs are counted."""

    alive: ClassVar[weakref.WeakSet[Token]] = weakref.WeakSet()
    most = 0

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        if x.requires_grad:
            ctx.token = Token()
            Traced.alive.add(ctx.token)
            Traced.most = max(Traced.most, len(Traced.alive))
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0]


class Counting(nn.Linear):
    """A layer whose graphs are counted."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return Traced.apply(super().forward(input))  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("kind", [Hessian, GGN, Fisher])
def test_one_batchs_graph_is_gone_before_the_next_is_built(kind):
    data = torch.ones(12, 3), torch.arange(12) % 2
    objective = Objective(nn.Sequential(Counting(3, 4), nn.Tanh(), nn.Linear(4, 2)), data, batch_size=3)
    operator = kind(objective, memory=0)
    Traced.most = 0
    operator @ torch.ones(operator.size)
    assert Traced.most == 1
    kept = kind(objective)
    assert kept.keeps_graph and len(Traced.alive) == 4  # of four batches; what was built to measure is gone
    kept.close()
    assert not Traced.alive


@pytest.mark.parametrize("kind", [Hessian, GGN, Fisher])
def test_more_batches_of_one_size_take_no_more_memory(kind):
    inputs, targets = torch.randn(60, 3, 8, 8), torch.arange(60) % 3
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()
    peaks = []
    for examples in (10, 60):
        operator = kind(Objective(model, (inputs[:examples], targets[:examples]), batch_size=10), memory=0)
        vector = torch.ones(operator.size)
        operator @ vector
        peaks.append(peak_bytes(lambda: operator @ vector))  # noqa: B023
    assert peaks[1] == peaks[0]


LIMIT = 320 * 2**20
FULL = """
import contextlib, resource, sys, torch
from pathlib import Path
from landscape.curvature import Hessian
from landscape.curvature.memory import peak_bytes
from landscape.models import build_model
from landscape.objective import Objective

def most():  # a process begins with what its parent had as ru_maxrss, which would hide what it takes itself
    try:
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

examples, limit = int(sys.argv[1]), int(sys.argv[2])
torch.manual_seed(0)
model = build_model("resnet20").eval()
objective = Objective(model, (torch.randn(examples, 3, 32, 32), torch.randint(10, (examples,))), batch_size=examples)
vector = torch.ones(objective.size)
small = Objective(model, (torch.randn(2, 3, 32, 32), torch.zeros(2).long()))
peak_bytes(lambda: Hessian(small) @ vector)  # libraries are loaded
with contextlib.suppress(OSError):  # the most from now on
    Path("/proc/self/clear_refs").write_text("5")
before = most()
operator = Hessian(objective, memory_limit=limit)
operator @ vector
print(most() - before, operator.objective.batch_size)
"""


def measured(examples: int) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(examples), str(LIMIT)], capture_output=True, text=True, check=True
    )
    grown, batch = map(int, done.stdout.split())
    assert batch < examples
    return grown


def test_the_process_stays_within_the_limit():
    assert LIMIT / 4 <= measured(100) <= LIMIT  # by far less would be slower than need be


@pytest.mark.slow
def test_the_process_stays_within_the_limit_at_full_size():
    assert measured(5000) <= LIMIT


def test_other_weights_and_some_weights():
    objective = net_objective("cnn")
    point = objective.weights() + 0.1
    elsewhere = Hessian(objective, weights=point).dense()
    assert not torch.allclose(elsewhere, Hessian(objective).dense())
    moved = net_objective("cnn")
    with torch.no_grad():
        for parameter, value in zip(moved.model.parameters(), moved.layout.named(point).values(), strict=True):
            parameter.copy_(value)
    assert torch.equal(elsewhere, Hessian(moved).dense())


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("kind", [Hessian, GGN, Fisher])
def test_some_weights_are_a_block_of_the_whole(name, kind):
    objective = net_objective(name)
    layout = objective.layout
    whole = kind(objective).dense()
    starts = dict(zip(layout.names, zip(layout.offsets, layout.sizes, strict=True), strict=True))
    for layer, inside in layout.layers.items():
        names = [n for n in layout.names if n in inside or n.startswith(f"{layer}.")]
        index = torch.cat([torch.arange(start, start + size) for start, size in (starts[n] for n in names)])
        block = kind(objective, parameters=layer)
        assert block.shape == (len(index), len(index))
        torch.testing.assert_close(block.dense(), whole[index][:, index], rtol=1e-10, atol=1e-13)


def test_a_block_has_its_own_provenance_and_the_model_is_as_it_was():
    objective = net_objective("residual")
    flags = [p.requires_grad for p in objective.model.parameters()]
    block = GGN(objective, parameters=["*.bias"])
    assert block.provenance()["layout"] != GGN(objective).provenance()["layout"]
    assert [p.requires_grad for p in objective.model.parameters()] == flags
    assert isinstance(objective.model, nn.Module)


def test_a_block_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="No weight that moves is called 'heads'"):
        Hessian(net_objective("residual"), parameters="heads")


def test_a_restricted_objective_follows_the_model():
    model = nn.Linear(2, 1).double()
    data = torch.ones(3, 2).double(), torch.zeros(3, 1).double()
    whole = Objective(model, data, nn.functional.mse_loss)
    part = whole.restricted("bias")
    assert part.size == 1 and part.weights().shape == (1,)
    with torch.no_grad():
        model.weight.add_(1)
        model.bias.sub_(2)
    assert part.evaluate().loss == whole.evaluate().loss
    assert part.gradient().item() == whole.gradient()[2].item()
    moved = part.evaluate(part.weights() + 0.5).loss
    assert moved == whole.evaluate(whole.weights() + torch.tensor([0, 0, 0.5]).double()).loss
