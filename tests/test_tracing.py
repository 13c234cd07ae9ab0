"""A forward is written down only where the calls are the same whatever its weights and inputs hold."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.errors import ModelError
from landscape.folding import traced
from landscape.models import build_model
from landscape.objective import Objective
from landscape.surface import evaluate_surface, random_plane


class Parts(nn.Module):
    """A convolution, a normalization, a gate and a place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate = nn.Conv2d(2, 3, 3, padding=1), nn.Parameter(torch.ones(1))
        self.norm = nn.BatchNorm2d(3)
        self.register_buffer("place", torch.ones(3, 1, 1))


def body(forward: Callable[..., Any]) -> Any:
    """They, in a forward of one's own."""
    return type("Body", (Parts,), {"forward": forward})()


def named(self: nn.Module) -> Tensor:
    return dict(self.named_parameters())["gate"]


READS = {
    "if": lambda self, x: self.norm(self.conv(x)) if named(self) > 0 else self.conv(x),
    "float": lambda self, x: self.conv(x) * float(named(self)),
    "item": lambda self, x: self.conv(x) * next(iter(self.parameters())).item(),
    "tolist": lambda self, x: self.conv(x) * named(self).tolist()[0],
    "numpy": lambda self, x: self.conv(x) * float(named(self).numpy()[0]),
    "state_dict": lambda self, x: self.conv(x) * self.state_dict()["gate"].abs(),
    "_parameters": lambda self, x: self.conv(x) * self._parameters["gate"].exp(),
    "data": lambda self, x: self.conv(x) * named(self).data,
    "keyword": lambda self, x: self.conv(x) * torch.add(input=torch.ones(1), other=named(self)),
    "stack": lambda self, x: self.conv(x) * torch.stack([p.sum() for p in self.parameters()]).sum(),
}


@pytest.mark.parametrize("how", READS)
def test_a_weight_that_is_looked_at_is_noticed(how: str) -> None:
    """Written down once, its value would stay what it was."""
    with pytest.raises(ModelError, match="reads the weights.*same at every point"):
        traced(body(READS[how]).eval().requires_grad_(False))


def sizes(self: Any, x: Tensor) -> Tensor:
    known = dict(self.named_parameters())
    assert known["gate"].shape == (1,) and known["gate"].dtype == torch.float32 and known["gate"].numel() == 1
    assert len(known["conv.weight"]) == 3 and known["gate"].dim() == 1 and known["gate"].size(0) == 1
    return F.conv2d(x, known["conv.weight"]) * self.gate * known["gate"]


CALLS = {
    "itself": lambda self, x: torch.sigmoid(self.gate) * self.conv(x) + self.place,
    "a buffer": lambda self, x: self.conv(x) * (2.0 if float(self.place.sum()) > 0 else 1.0),
    "sizes": sizes,
    "shape": lambda self, x: self.conv(x).view(x.shape[0], -1),
    "weight of a layer": lambda self, x: F.conv2d(x, self.conv.weight.abs()),
}


@pytest.mark.parametrize("how", CALLS)
def test_what_does_not_look_is_followed(how: str) -> None:
    model, x = body(CALLS[how]).eval().requires_grad_(False), torch.randn(2, 2, 5, 5)
    found = traced(model)
    for value in (1.0, -2.0):
        model.gate.data.fill_(value)
        model.conv.weight.data.mul_(value)
        torch.testing.assert_close(found(x), model(x))


ASKS = {
    "a value": (lambda self, x: self.conv(x) if x.sum() > 0 else x, "control flow"),
    "a shape": (lambda self, x: self.conv(x) if x.shape[2] > 3 else x, "control flow"),
    "a length": (lambda self, x: self.conv(x).view(len(x), -1), "len"),
    "a gate": (lambda self, x: self.conv(x) if self.gate > 0 else x, "control flow"),
    "rows": (lambda self, x: torch.stack([self.conv(row) for row in x]), "iterate"),
}


@pytest.mark.parametrize("what", ASKS)
def test_what_stands_in_the_way_is_said(what: str) -> None:
    forward, reason = ASKS[what]
    with pytest.raises(ModelError, match=f"(?s)asks for a value, a shape or a length.*{reason}.*shape"):
        traced(body(forward).eval())


class Scores(NamedTuple):
    logits: Tensor


def objective_of(model: nn.Module, inputs: Any) -> Objective:
    return Objective(model.eval(), (inputs, torch.arange(6) % 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_that_gives_its_scores_by_name_is_folded(dtype: torch.dtype) -> None:
    model = body(lambda self, x: Scores(torch.relu(self.norm(self.conv(x))).mean((2, 3)) * self.gate)).to(dtype)
    objective = objective_of(model, torch.randn(6, 2, 5, 5))
    plane = random_plane(objective, seed=0)
    plain, found = (
        evaluate_surface(objective, plane, points=4, engine=name, progress=False) for name in ("plain", "folded")
    )
    assert abs(found.loss - plain.loss).max() <= 1e-5 * plain.loss.max()


@pytest.mark.parametrize("kind", ["dictionary", "tuple"])
def test_a_model_of_several_inputs_is_said_to_be_one(kind: str) -> None:
    parts = {"x": torch.randn(6, 2, 5, 5), "y": torch.randn(6, 2, 5, 5)}
    inputs = parts if kind == "dictionary" else tuple(parts.values())
    objective = objective_of(body(lambda self, x, y: self.norm(self.conv(x + y)).mean((2, 3))), inputs)
    with pytest.raises(ModelError, match="takes several tensors"):
        evaluate_surface(objective, random_plane(objective), points=3, engine="folded", progress=False)


def test_a_hook_of_somebody_else_is_one() -> None:
    model = body(lambda self, x: Scores(self.norm(self.conv(x)).mean((2, 3))))
    model.register_forward_hook(lambda module, args, outputs: Scores(outputs.logits * 2.0))
    objective = objective_of(model, torch.randn(6, 2, 5, 5))
    with pytest.raises(ModelError, match="forward hooks"):
        evaluate_surface(objective, random_plane(objective), points=3, engine="folded", progress=False)


@pytest.mark.parametrize("name", ["resnet20", "vgg11_bn", "smallcnn"])
def test_models_of_ours_are_written_down(name: str) -> None:
    shape = (1, 8, 8) if name == "smallcnn" else (3, 32, 32)
    model, x = build_model(name, classes=3, input_shape=shape).eval(), torch.randn(2, *shape)
    assert torch.equal(traced(model)(x), model(x))


def test_models_of_other_threads_work_while_one_is_written_down():
    other, seen = nn.Sequential(nn.Linear(3, 3), nn.ReLU()), []

    class Slow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            with ThreadPoolExecutor(1) as pool:  # as a training in the background
                seen.append(pool.submit(lambda: other(torch.ones(1, 3))).result())
            return self.layer(inputs)

    graph = traced(Slow())
    torch.testing.assert_close(seen[0], other(torch.ones(1, 3)))
    assert [node.op for node in graph.graph.nodes] == ["placeholder", "call_module", "output"]


def test_models_written_down_by_several_threads_leave_modules_as_they_were():
    before = (nn.Module.__call__, nn.Module.__getattr__)
    models = [nn.Sequential(*(nn.Linear(3, 3) for _ in range(30))) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        graphs = list(pool.map(traced, models * 8))
    assert (nn.Module.__call__, nn.Module.__getattr__) == before
    assert {len(graph.graph.nodes) for graph in graphs} == {32}
