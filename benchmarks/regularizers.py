"""What a training step costs with each regularizer, beside the passes that its definition counts.

A step is zero_grad, forward, loss with penalty, backward and SGD. Its ideal is the plain step and the passes on top,
each of which is timed in the same round: F(m), a forward pass of m images; I(m), forward and backward by the inputs
alone; P(m), forward and backward by the weights; A(m), by both. For a batch of n images, K classes and s steps:

- adversarial inputs: ``s I(n)``.
- adversarial penalty: ``K (I(n) - F(n))`` for the first step of each class from one forward pass, which is the loss's
  own, ``(s - 1) K I(n)`` for the others, ``K F(n)`` to choose, and ``2 P(K)`` for those chosen.
- gradient of the loss: ``A(n)``. Double backpropagation has six products for each layer: forward and backward by its
  input, and the derivatives of both by input and weight. Three of them are the loss's own.
- gradient penalty: ``K (I(n) - F(n))`` to choose, and for double backpropagation of those chosen ``P(K) + A(K)``.
- virtual adversarial training: ``s I(n) + P(n)``. TRADES: the same.
- deformation stability, of i images (32, or all there are) with 8 deformations of each: D, in which these are made,
  ``F(9 i)`` to choose, and ``P(2 K)`` for those chosen.
- tangent penalty: T, in which 30 tangents of each of i images are made, ``F(i) + K (I(i) - F(i))`` to choose, and
  ``P(K) + A(K)`` for double backpropagation of those chosen.

What looks at the weights alone is counted in products of each weight as a matrix W: M, ``W v`` and ``W' u``; V,
``(u' W v)^2`` and its derivative; E, in double precision ``W W'`` and its eigenvectors, by the shorter side; X, in
double precision two products of this size with W. Two power iterations and the penalty are ``2 M + V``, with a
decomposition ``E + V``, and the projection ``E + X``.

Times are of the processor, so those of other programs are not in them, on one thread: others that wait for work count
as busy. Freed memory is kept, as ``landscape train`` keeps it.
Bar: no step takes more than 1.3 times its ideal.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common import environment, interleaved, save
from landscape.allocator import keep_freed_memory
from landscape.models import build_model
from landscape.regularizers import (
    AdversarialInputs,
    AdversarialPenalty,
    Constraint,
    DeformationStability,
    GradientPenalty,
    InputMove,
    LossGradient,
    Penalty,
    SpectralPenalty,
    SpectralProjection,
    TangentPenalty,
    Trades,
    VirtualAdversarial,
)
from landscape.regularizers.deformations import Deformations
from landscape.seeding import generator, seeded

BAR = 1.3
CLASSES = 10
_SECONDS = 0.1  # a timing of short passes is of several
Regularizer = Penalty | InputMove | Constraint
Unit = Mapping[str, float]
"""Seconds of a plain step, and of the passes."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A regularizer, and what it adds to a plain step's seconds.

    Attributes:
        make: Makes it.
        adds: From the seconds of the passes to those that the definition counts.
        count: The same in words.
    """

    make: Callable[[], Regularizer]
    adds: Callable[[Unit], float]
    count: str


def _first(unit: Unit) -> float:
    """A backward pass by the inputs for each class, from one forward pass."""
    return CLASSES * (unit["I(n)"] - unit["F(n)"])


ROWS: dict[str, Row] = {
    "adversarial": Row(
        make=lambda: AdversarialPenalty(epsilon=1.0),
        adds=lambda u: _first(u) + 4 * CLASSES * u["I(n)"] + CLASSES * u["F(n)"] + 2 * u["P(K)"],
        count="K (I(n) - F(n)) + 4 K I(n) + K F(n) + 2 P(K)",
    ),
    "gradient": Row(
        make=GradientPenalty, adds=lambda u: _first(u) + u["P(K)"] + u["A(K)"], count="K (I(n) - F(n)) + P(K) + A(K)"
    ),
    "grad-l2": Row(make=LossGradient, adds=lambda u: u["A(n)"], count="A(n)"),
    "grad-l1": Row(make=lambda: LossGradient(norm="l1"), adds=lambda u: u["A(n)"], count="A(n)"),
    "vat": Row(make=lambda: VirtualAdversarial(epsilon=1.0), adds=lambda u: u["I(n)"] + u["P(n)"], count="I(n) + P(n)"),
    "trades": Row(make=Trades, adds=lambda u: 10 * u["I(n)"] + u["P(n)"], count="10 I(n) + P(n)"),
    "pgd-l2": Row(make=lambda: AdversarialInputs(epsilon=1.0), adds=lambda u: 5 * u["I(n)"], count="5 I(n)"),
    "pgd-linf": Row(
        make=lambda: AdversarialInputs(norm="linf", epsilon=0.03), adds=lambda u: 5 * u["I(n)"], count="5 I(n)"
    ),
    "deformation": Row(
        make=DeformationStability, adds=lambda u: u["D"] + u["F(9 i)"] + u["P(2 K)"], count="D + F(9 i) + P(2 K)"
    ),
    "tangent": Row(
        make=TangentPenalty,
        adds=lambda u: u["T"] + u["F(i)"] + CLASSES * (u["I(i)"] - u["F(i)"]) + u["P(K)"] + u["A(K)"],
        count="T + F(i) + K (I(i) - F(i)) + P(K) + A(K)",
    ),
    "spectral": Row(make=SpectralPenalty, adds=lambda u: 2 * u["M"] + u["V"], count="2 M + V"),
    "spectral-svd": Row(make=lambda: SpectralPenalty(method="svd"), adds=lambda u: u["E"] + u["V"], count="E + V"),
    "spectral-projection": Row(make=SpectralProjection, adds=lambda u: u["E"] + u["X"], count="E + X"),
}
"""Every regularizer: what it is made by, and what it adds."""


class Bench:
    """A model, a batch and an optimizer, and functions that time a step or a pass."""

    def __init__(self, name: str, count: int, shape: tuple[int, ...], **options: Any) -> None:
        stream = generator(0, "benchmark", "regularizers")
        with seeded(0, "benchmark", "regularizers"):
            model = build_model(name, classes=CLASSES, input_shape=shape, **options)
        self.model = model.to(memory_format=torch.channels_last)  # as the training loop has it
        self.weights: list[nn.Parameter] = list(self.model.parameters())
        pixels = torch.rand(count, *shape, generator=stream)
        self.inputs = pixels.contiguous(memory_format=torch.channels_last)
        self.targets = torch.randint(CLASSES, (count,), generator=stream)
        self.optimizer = torch.optim.SGD(self.weights, lr=1e-4, momentum=0.9)

    def step(self, regularizer: Regularizer | None = None) -> None:
        """Take a training step."""
        self.optimizer.zero_grad()
        inputs = self.inputs
        if isinstance(regularizer, InputMove):
            inputs = regularizer(self.model, inputs, self.targets)
        if isinstance(regularizer, Penalty) and regularizer.differentiates_inputs:
            inputs = inputs.detach().requires_grad_()
        outputs = self.model(inputs)
        loss = F.cross_entropy(outputs, self.targets)
        if isinstance(regularizer, Penalty):
            loss = loss + regularizer(self.model, inputs, self.targets, outputs=outputs)
        loss.backward(inputs=self.weights)
        self.optimizer.step()
        if isinstance(regularizer, Constraint):
            regularizer.apply(self.model, epoch=0.0)

    def passes(self) -> dict[str, Callable[[], object]]:
        """Return what an ideal is made of."""
        x, y = self.inputs, self.targets
        few, some = (x[:CLASSES], y[:CLASSES]), (x[:32], y[:32])
        copies, draw = some[0].repeat_interleave(8, dim=0), Deformations()
        searched, pairs = torch.cat([copies, some[0]]), tuple(torch.cat([each, each]) for each in few)
        stream = generator(0, "benchmark", "deformations")
        return {
            "plain": self.step,
            "F(n)": lambda: self.model(x),
            "I(n)": lambda: self._backward(x, y, by_inputs=True),
            "P(n)": lambda: self._backward(x, y, by_weights=True),
            "A(n)": lambda: self._backward(x, y, by_inputs=True, by_weights=True),
            "P(K)": lambda: self._backward(*few, by_weights=True),
            "A(K)": lambda: self._backward(*few, by_inputs=True, by_weights=True),
            "P(2 K)": lambda: self._backward(*pairs, by_weights=True),
            "F(i)": lambda: self.model(some[0]),
            "I(i)": lambda: self._backward(*some, by_inputs=True),
            "F(9 i)": lambda: self._looked_at(searched),
            "D": lambda: draw(copies, stream),
            "T": lambda: draw.tangents(some[0], stream, 30),
            "M": self._products,
            "V": self._values,
            "E": self._eigenvectors,
            "X": self._cuts,
        }

    def _backward(
        self, inputs: Tensor, targets: Tensor, *, by_inputs: bool = False, by_weights: bool = False
    ) -> tuple[Tensor, ...]:
        batch = inputs.detach().requires_grad_(by_inputs)
        loss = F.cross_entropy(self.model(batch), targets)
        return torch.autograd.grad(loss, [*([batch] if by_inputs else []), *(self.weights if by_weights else [])])

    def _looked_at(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return self.model(inputs)

    def _products(self) -> list[tuple[Tensor, Tensor]]:
        with torch.no_grad():
            return [(w @ v, u @ w) for w, u, v in self._matrices]

    def _values(self) -> tuple[Tensor, ...]:
        total = torch.stack([(u @ w @ v).square() for w, u, v in self._matrices]).sum()
        return torch.autograd.grad(total, [w for w in self.weights if w.ndim > 1])

    def _eigenvectors(self) -> list[Any]:
        with torch.no_grad():
            return [torch.linalg.eigh(w @ w.T if len(w) <= w.shape[1] else w.T @ w) for w in self._doubles()]

    def _cuts(self) -> list[Tensor]:
        with torch.no_grad():
            return [w @ w.T @ w if len(w) <= w.shape[1] else w @ (w.T @ w) for w in self._doubles()]

    @property
    def _matrices(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Each weight as a matrix, and a vector for either side."""
        flat = [w.flatten(1) for w in self.weights if w.ndim > 1]
        return [(w, w.detach()[:, 0], w.detach()[0]) for w in flat]

    def _doubles(self) -> list[Tensor]:
        return [w.double() for w, _, _ in self._matrices]


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """Return a function that gives the seconds of one call, as a mean over so many as take a tenth of a second."""
    begun = time.process_time()
    work()
    work()
    calls = max(1, round(2 * _SECONDS / (time.process_time() - begun)))

    def seconds() -> float:
        begun = time.process_time()
        for _ in range(calls):
            work()
        return (time.process_time() - begun) / calls

    return seconds


def compare(title: str, bench: Bench, rounds: int, names: Sequence[str]) -> dict[str, Any]:
    """Time all steps and passes of one model, interleaved, and print the outcome."""
    candidates = {name: timed(work) for name, work in bench.passes().items()}
    for name in names:
        regularizer = ROWS[name].make()
        candidates[name] = timed(lambda regularizer=regularizer: bench.step(regularizer))
    seconds = interleaved(candidates, rounds)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"  {title}: a plain step takes {1e3 * middle['plain']:.2f} ms")
    found: dict[str, Any] = {"plain_seconds": middle["plain"], "passes": {n: middle[n] for n in bench.passes()}}
    for name in names:
        row = ROWS[name]
        units = [{n: seconds[n][r] for n in bench.passes()} for r in range(rounds)]
        ratios = [seconds[name][r] / (unit["plain"] + row.adds(unit)) for r, unit in enumerate(units)]
        found[name] = {
            "seconds": middle[name],
            "plain_steps": middle[name] / middle["plain"],
            "ideal": f"plain + {row.count}",
            "over_ideal": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        }
        print(
            f"    {name:20}{1e3 * middle[name]:8.2f} ms, {found[name]['plain_steps']:6.2f} plain steps, "
            f"{found[name]['over_ideal']['median']:.2f} of plain + {row.count}"
        )
    return found


def main(argv: Sequence[str] = ()) -> int:
    """Measure, print and write the result.

    Args:
        argv: ``--rounds N``, ``--only NAME ...``, ``--no-save``.

    Returns:
        0 where the bar holds, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regularizers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args(list(argv))
    keep_freed_memory()
    torch.set_num_threads(1)
    problems = {
        "digits, small CNN, 128 images": lambda: Bench("smallcnn", 128, (1, 8, 8)),
        "32x32, VGG-11 with 16 channels, 16 images": lambda: Bench("vgg11", 16, (3, 32, 32), width=16),
    }
    found = {title: compare(title, make(), options.rounds, options.only) for title, make in problems.items()}
    ratios = [one[name]["over_ideal"]["median"] for one in found.values() for name in options.only]
    if not options.no_save:
        result = {
            "benchmark": "regularizers",
            "what": "processor seconds of a step with a regularizer, over a plain step and the passes that it counts",
            "bars": {"over its ideal": BAR},
            "threads": torch.get_num_threads(),
            "rounds": options.rounds,
            "results": found,
            **environment(),
        }
        save("regularizers", result)
    return int(max(ratios) > BAR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
