"""What a measure's ``cost`` says is what it takes, within a factor of 2: passes, gradients and products are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from landscape.curvature import Fisher, Hessian
from landscape.objective import Objective
from landscape.seeding import seeded
from landscape.sharpness import MEASURES, measure, workbench
from tests.sharpness.problems import drawn

EXAMPLES = 40
SAID: dict[str, dict[str, float]] = {  # what ``cost`` says, at the defaults
    "lpf": {"passes": 100},
    "lpf_normalized": {"passes": 100},
    "epsilon_sharpness": {"gradients": 1, "passes": 15},
    "epsilon_sharpness_box": {"gradients": 11},
    "sam_sharpness": {"gradients": 1, "passes": 2},
    "asam_sharpness": {"gradients": 1, "passes": 2},
    "average_adaptive_sharpness": {"passes": 101},
    "worst_case_adaptive_sharpness": {"gradients": 21},
    "pac_bayes": {"passes": 150},
    "pac_bayes_sigma": {"passes": 150},
    "frobenius": {"products": 10},
    "lambda_max": {"products": 10},
    "trace": {"products": 100},
    "effective_dimension": {"products": 200},
    "fisher_rao": {"products": 1},
    "weights_hessian": {"products": 1},
    "relative_flatness": {"products": 100},
    "shannon_entropy": {"passes": 1},
    "local_entropy": {"passes": 100},
    "local_entropy_along_gradient": {"gradients": 1, "passes": 33},
    "local_entropy_gradient_norm": {"gradients": 20},
}
WORDS = {"passes": "forward pass", "gradients": "gradient", "products": "product"}


class Counting(nn.Linear):
    """A layer that counts the examples of passes with and without a gradient, in all copies."""

    seen: Counter[str] = Counter()  # noqa: RUF012

    def forward(self, input: Tensor) -> Tensor:
        self.seen["gradients" if torch.is_grad_enabled() else "passes"] += len(input)
        return super().forward(input)


@pytest.fixture
def objective() -> Objective:
    with seeded(0, "tests", "costs"):
        net = nn.Sequential(Counting(6, 12), nn.ReLU(), nn.Linear(12, 3)).double()
    inputs, targets = drawn(EXAMPLES, 6, name="inputs"), torch.arange(EXAMPLES) % 3
    inputs[torch.arange(EXAMPLES), targets] += 3
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(inputs), targets).backward()
        optimizer.step()
    return Objective(net, (inputs, targets), batch_size=8)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, float]]:
    """What was taken from here on, in passes over all data."""
    for kind in (Hessian, Fisher):
        real = kind.__matmul__

        def counted(self, vector, real=real):
            Counting.seen["products"] += EXAMPLES
            return real(self, vector)

        monkeypatch.setattr(kind, "__matmul__", counted)
    Counting.seen.clear()
    return lambda: {what: Counting.seen[what] / EXAMPLES for what in WORDS}


def test_all_at_once(objective: Objective, taken: Callable[[], dict[str, float]]) -> None:
    Counting.seen.clear()
    measure(objective, list(MEASURES), initial_weights=objective.weights() / 2, progress=False)
    took = taken()
    said = {"products": 320 + 100, "passes": 400}  # with those of one layer
    assert all(said[what] / 2 <= took[what] <= 2 * said[what] for what in said), took
    assert took["gradients"] <= 60


@pytest.mark.parametrize("name", MEASURES)
def test_costs_are_as_said(objective: Objective, taken: Callable[[], dict[str, float]], name: str) -> None:
    Counting.seen.clear()
    value = measure(objective, name, initial_weights=objective.weights() / 2, progress=False)[name]
    took = taken()
    for what, said in SAID[name].items():
        least = 0 if "at most" in MEASURES[name].cost and what == "gradients" else said / 2
        assert least <= took[what] <= 2 * said, (what, took)
        assert WORDS[what] in MEASURES[name].cost
    for what in set(WORDS) - set(SAID[name]):  # checks of the model, and the loss and gradient at the weights
        assert took[what] <= 5, (what, took)
        assert WORDS[what] not in MEASURES[name].cost
    assert value.matvecs == (took["products"] if "products" in SAID[name] else 0)


def test_draws_are_drawn_once_while_they_fit_and_are_the_same_where_they_do_not(
    objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, drawn_indexes = ["lpf", "frobenius", "pac_bayes_sigma", "average_adaptive_sharpness"], []
    draw = workbench.draw_normal

    def counted(size: int, seed: int, *key: str | int) -> Tensor:
        drawn_indexes.append(key[-1])
        return draw(size, seed, *key)

    monkeypatch.setattr(workbench, "draw_normal", counted)
    kept = measure(objective, names, progress=False)
    assert sorted(drawn_indexes) == list(range(100))
    monkeypatch.setattr(workbench, "DRAWS_KEPT", 5 * 8 * objective.size + 7)
    drawn_indexes.clear()
    again = measure(objective, names, progress=False)
    assert again == kept
    assert [drawn_indexes.count(index) for index in (0, 4)] == [1, 1] and drawn_indexes.count(5) > 10
