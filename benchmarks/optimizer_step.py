"""What a SAM step costs beyond its two forward-backward passes, beside the SAM of the package pytorch_optimizer.

Each step's closure measures itself; the step's time less the closures' is the overhead: backup, norms, perturbation,
restore and the base optimizer. Bars: at most 0.6 of the other package's, and at most 3 % of a step of ResNet-18 with
batches of 64. The base optimizer's own work, the same on both sides, is part of both; so it is measured with
torch's plain SGD and with momentum, which costs more than twice as much.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.common import environment, interleaved, peer, save
from landscape.models import build_model
from landscape.optim import SAM
from landscape.seeding import generator, seeded

BAR_PEER, BAR_SHARE = 0.6, 0.03
BASES: dict[str, dict[str, float]] = {"SGD": {}, "SGD with momentum": {"momentum": 0.9}}


def many_tensors() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Return a net of 300 small tensors, where only the number of calls counts, and data for it."""
    layers: list[nn.Module] = []
    for _ in range(150):
        layers += [nn.Linear(32, 32), nn.Tanh()]
    return nn.Sequential(*layers), torch.randn(32, 32), torch.randint(32, (32,))


def resnet() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Return ResNet-18 for 32x32 images and a batch of 64."""
    stream = generator(0, "images")
    return (
        build_model("resnet18"),
        torch.randn(64, 3, 32, 32, generator=stream),
        torch.randint(10, (64,), generator=stream),
    )


class Contender:
    """A model, an optimizer, and steps that measure what is not forward or backward."""

    def __init__(
        self, problem: Callable[[], Any], make: Callable[..., Any], base: dict[str, float], *, first_backward: bool
    ) -> None:
        with seeded(0, "optimizer step"):
            self.model, self.inputs, self.targets = problem()
        self.optimizer = make(self.model.parameters(), torch.optim.SGD, rho=0.05, lr=1e-3, **base)
        self.first_backward = first_backward
        self.inside = 0.0
        self.steps: list[float] = []

    def closure(self) -> torch.Tensor:
        """Run forward and backward, and add the seconds that took."""
        begun = time.perf_counter()
        loss = F.cross_entropy(self.model(self.inputs), self.targets)
        loss.backward()
        self.inside += time.perf_counter() - begun
        return loss

    def overhead(self) -> float:
        """Take one step; return its seconds less those of its two forward-backward passes."""
        self.inside = 0.0
        begun = time.perf_counter()
        self.optimizer.zero_grad()
        if self.first_backward:  # the other package's way: the first pass before the step
            self.closure()
        self.optimizer.step(self.closure)
        total = time.perf_counter() - begun
        self.steps.append(total)
        return total - self.inside


def compare(name: str, problem: Callable[[], Any], base: str, other: Any, rounds: int) -> dict[str, Any]:
    """Measure one model and base with both packages, interleaved, and print the outcome."""
    contenders = {"landscape": Contender(problem, SAM, BASES[base], first_backward=False)}
    if other is not None:
        contenders["pytorch_optimizer"] = Contender(problem, other.SAM, BASES[base], first_backward=True)
    seconds = interleaved({key: one.overhead for key, one in contenders.items()}, rounds)
    ours = statistics.median(seconds["landscape"])
    step = statistics.median(contenders["landscape"].steps)
    found: dict[str, Any] = {"overhead_seconds": ours, "share_of_step": ours / step, "rounds": rounds}
    line = f"  {name}, {base}: {1e3 * ours:.2f} ms beyond the passes, {ours / step:.2%} of a step"
    if other is not None:
        theirs = statistics.median(seconds["pytorch_optimizer"])
        ratios = [a / b for a, b in zip(seconds["landscape"], seconds["pytorch_optimizer"], strict=True)]
        found |= {"peer_seconds": theirs, "ratio": statistics.median(ratios)}
        line += f"; pytorch_optimizer {1e3 * theirs:.2f} ms: ratio {found['ratio']:.3f} (bar {BAR_PEER})"
    print(line)
    return found


def main(argv: Sequence[str] = ()) -> int:
    """Measure, print and write the result.

    Args:
        argv: ``--rounds N`` for the small net (the large one takes a fifth of it), ``--no-save``.

    Returns:
        0 where both bars hold, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.optimizer_step", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args(list(argv))
    other = peer("pytorch_optimizer")
    found = {}
    for base in BASES:
        found[f"300 tensors, {base}"] = compare("300 small tensors", many_tensors, base, other, options.rounds)
        found[f"ResNet-18, {base}"] = compare("ResNet-18, batch 64", resnet, base, other, max(3, options.rounds // 5))
    shares = [one["share_of_step"] for name, one in found.items() if name.startswith("ResNet-18")]
    missed = max(shares) > BAR_SHARE or any(one.get("ratio", 0.0) > BAR_PEER for one in found.values())
    if not options.no_save:
        result = {
            "benchmark": "optimizer_step",
            "what": "seconds of a SAM step less those of its two forward-backward passes; ratio to pytorch_optimizer's",
            "bars": {"ratio": BAR_PEER, "share of a step, ResNet-18": BAR_SHARE},
            "results": found,
            **environment("pytorch_optimizer"),
        }
        save("optimizer_step", result)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
