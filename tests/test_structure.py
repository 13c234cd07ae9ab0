"""An objective of a model that was taken apart meanwhile says so; one that was only trained is followed."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from landscape.curvature import Hessian
from landscape.errors import ModelError
from landscape.objective import Objective
from landscape.seeding import generator, seeded
from landscape.surface import evaluate_surface, random_plane


def network() -> nn.Sequential:
    with seeded(0, "tests", "structure"):
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).double().eval()


def objective_of(model: nn.Module) -> Objective:
    stream = generator(0, "tests", "structure")
    return Objective(model, (torch.randn(12, 4, generator=stream, dtype=torch.float64), torch.arange(12) % 3))


def delete(model: nn.Sequential) -> None:
    del model[2]


def rename(model: nn.Sequential) -> None:
    model._modules["activation"] = model._modules.pop("2")


CHANGES: dict[str, tuple[Callable[[nn.Sequential], object], str]] = {
    "another layer": (lambda m: m.__setitem__(2, nn.Tanh()), "layer '2': ReLU.*layer '2': Tanh"),
    "a layer like it": (
        lambda m: m.__setitem__(3, copy.deepcopy(m[3])),
        "layer '3': Linear.*layer '3': another Linear",
    ),
    "one layer more": (lambda m: m.append(nn.ReLU()), "layer '4': not there.*layer '4': ReLU"),
    "one layer less": (delete, "layer '2': ReLU.*layer '2': "),
    "another name": (rename, "layer '2': ReLU.*layer '2': not there"),
    "a parameter more": (
        lambda m: m.register_parameter("gate", nn.Parameter(torch.ones(2))),
        r"parameter 'gate': not there.*parameter 'gate': shape \(2,\)",
    ),
    "another shape": (
        lambda m: setattr(m[0], "weight", nn.Parameter(torch.ones(6, 5))),
        r"parameter '0.weight': shape \(6, 4\).*parameter '0.weight': shape \(6, 5\)",
    ),
    "a buffer more": (lambda m: m.register_buffer("b", torch.ones(1)), "buffer 'b': not there.*buffer 'b'"),
    "a buffer less": (lambda m: setattr(m[1], "running_mean", None), "buffer '1.running_mean'.*not there"),
    "another buffer": (
        lambda m: setattr(m[1], "running_var", torch.ones(1)),
        r"buffer '1.running_var': shape \(6,\).*buffer '1.running_var': shape \(1,\)",
    ),
    "another setting": (lambda m: setattr(m[1], "eps", 0.5), r"eps of layer '1': 1e-05.*eps of layer '1': 0.5"),
    "a function in the place of a forward": (
        lambda m: setattr(m[2], "forward", torch.tanh),
        r"forward of layer '2': not there.*forward of layer '2': the function tanh",
    ),
    "one tensor of two": (
        lambda m: setattr(m[1], "bias", m[0].bias),
        r"parameter '1.bias': shape \(6,\)\..*parameter '1.bias': shape \(6,\), the same as '0.bias'",
    ),
}
USES: dict[str, Callable[[Objective], object]] = {
    "evaluate": lambda o: o.evaluate(),
    "evaluate elsewhere": lambda o: o.evaluate(torch.zeros(o.size)),
    "weights": lambda o: o.weights(),
    "outputs": lambda o: o.outputs(torch.zeros(o.size)),
    "gradient": lambda o: o.gradient(),
    "hvp": lambda o: o.hvp(torch.ones(o.size), torch.zeros(o.size).double()),
    "replica": lambda o: o.replica(),
    "snapshot": lambda o: o.snapshot(),
    "restricted": lambda o: o.restricted("0"),
    "provenance": lambda o: o.provenance(),
    "Hessian": lambda o: Hessian(o) @ torch.ones(o.size, dtype=torch.float64),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_structure_is_noticed(change: str) -> None:
    model = network()
    objective, (make, pattern) = objective_of(model), CHANGES[change]
    plane = random_plane(objective)
    make(model)
    said = f"(?s)has changed since its objective was made.*{pattern}.*new Objective"
    for use in USES.values():
        with pytest.raises(ModelError, match=said):
            use(objective)
    with pytest.raises(ModelError, match=said):
        evaluate_surface(objective, plane, points=3, progress=False)


def test_a_setting_of_a_layer_is_noticed_where_a_result_is_to_say_what_it_is_of() -> None:
    """Of a layer of one's own, whose settings are nothing but what it prints."""

    class Times(nn.Module):
        factor = 1.0

        def extra_repr(self) -> str:
            return f"factor={self.factor}"

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.factor * x

    model = network().append(Times())
    objective = objective_of(model)
    plane = random_plane(objective)
    model[4].factor = 2.0  # pyright: ignore[reportArgumentType]
    with pytest.raises(ModelError, match=r"has changed.*factor=1.0.*factor=2.0.*new Objective"):
        evaluate_surface(objective, plane, points=3, progress=False)
    evaluate_surface(objective_of(model), plane, points=3, progress=False)


def train(model: nn.Sequential) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()(torch.randn(8, 4).double()).sum().backward()
    optimizer.step()


FOLLOWED: dict[str, Callable[[nn.Sequential], object]] = {
    "training": train,
    "load_state_dict": lambda m: m.load_state_dict({n: t + 0.5 for n, t in m.state_dict().items()}),
    "assigned": lambda m: m.load_state_dict({n: t + 0.5 for n, t in m.state_dict().items()}, assign=True),
    "a new parameter": lambda m: setattr(m[0], "weight", nn.Parameter(torch.ones(6, 4).double())),
    "a new buffer": lambda m: setattr(m[1], "running_var", torch.full((6,), 2.0).double()),
    "frozen": lambda m: m.requires_grad_(False),
}


@pytest.mark.parametrize("what", FOLLOWED)
def test_what_changes_values_only_is_followed(what: str) -> None:
    model = network()
    objective = objective_of(model)
    FOLLOWED[what](model)
    found = objective.evaluate(), objective.provenance()["fixed_sha256"]
    model.requires_grad_(True)
    assert found == (objective_of(model).evaluate(), objective_of(model).provenance()["fixed_sha256"])


def test_copies_and_snapshots_are_of_their_own_model() -> None:
    model = network()
    objective = objective_of(model)
    held, twin = objective.snapshot(), copy.deepcopy(objective)
    before = objective.evaluate()
    model[2] = nn.Tanh()
    assert held.evaluate() == twin.evaluate() == before
    twin.model[2] = nn.Tanh()
    with pytest.raises(ModelError, match="has changed"):
        twin.evaluate()


class Shared(nn.Module):
    """Two layers with one weight, and a function of the user's choice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.activation, self.calls = nn.Linear(4, 4), nn.Linear(4, 4), torch.tanh, 0
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.second(self.activation(self.first(x)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: setattr(m, "activation", torch.relu), "activation of the model: the function tanh.*relu"),
        (lambda m: setattr(m.second, "weight", nn.Parameter(torch.ones(4, 4).double())), "the same as 'first.weight'"),
    ],
)
def test_functions_and_ties_are_seen_too(change: Callable[[nn.Module], object], said: str) -> None:
    model = Shared().double()
    objective = objective_of(model)
    change(model)
    for ask in (objective.evaluate, objective.gradient, lambda: Hessian(objective)):
        with pytest.raises(ModelError, match=f"has changed since its objective was made.*{said}"):
            ask()


def test_counters_and_new_values_are_no_other_model() -> None:
    model = Shared().double()
    objective = objective_of(model)
    model(torch.ones(1, 4).double())
    model.first.weight.data.add_(1)
    assert objective.evaluate().loss != objective_of(Shared().double()).evaluate().loss
    assert Hessian(objective).size == objective.size
