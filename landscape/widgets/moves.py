"""The weights that a method's own optimizer really looks at: moved by it, read, and put back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape.objective import Evaluation, Objective
from landscape.optim import build_optimizer
from landscape.parameters import Layout
from landscape.seeding import generator
from landscape.widgets.methods import Setting


@dataclass(frozen=True, eq=False)
class RawMove:
    """The points at which a step of a method looks beside the weights themselves.

    Attributes:
        weights: (P,), where the step begins.
        points: (P,) each, moved weights: AMP's after each inner step; SAM's; LPF-SGD's of each draw.
        final: How many of them, counted from the end, are the perturbed weights themselves: all of LPF-SGD's, else
            one; none where the perturbation has size 0.
    """

    weights: Tensor
    points: tuple[Tensor, ...]
    final: int

    @property
    def perturbed(self) -> tuple[Tensor, ...]:
        """The perturbed weights, of each draw; the weights themselves where nothing is moved."""
        return self.points[-self.final :] if self.final else (self.weights,)

    @property
    def deltas(self) -> tuple[Tensor, ...]:
        """What was added to the weights, for each of ``points``."""
        return tuple(point - self.weights for point in self.points)


class Mover:
    """The weights of an objective's model, as they are now, and what the methods' optimizers do to them.

    Args:
        objective: Its data make the gradients. It is not written to.
        judge: Where losses are read; the objective itself by default.
        seed: Names LPF-SGD's noise.
    """

    def __init__(self, objective: Objective, judge: Objective | None = None, *, seed: int = 0) -> None:
        self.objective, self.judge, self.seed = objective, judge or objective, seed
        self.weights = objective.weights()
        self._flat, self._model = objective.replica()
        for parameter in objective.layout.parameters_of(self._model):
            parameter.requires_grad_(True)
        self._gradient: Tensor | None = None

    def twin(self) -> Mover:
        """Return the same for another thread."""
        mine = self.judge is self.objective
        objective = self.objective.twin()
        other = Mover(objective, objective if mine else self.judge.twin(), seed=self.seed)
        other._gradient = self._gradient
        return other

    @property
    def gradient(self) -> Tensor:
        """The gradient at the weights, (P,); computed once."""
        if self._gradient is None:
            self._gradient = self.objective.gradient(self.weights)
        return self._gradient

    def evaluate(self, point: Tensor | None = None) -> Evaluation:
        """Evaluate the loss at some weights, (P,); at the objective's own by default."""
        return self.judge.evaluate(self.weights if point is None else point)

    def move(self, setting: Setting) -> RawMove:
        """Let the method's own optimizer take a step of length 0, and note the weights at which it asks for gradients.

        The gradients are those of the objective, in evaluation mode, over all its examples.

        Args:
            setting: The method and its options.

        Returns:
            The perturbations. Of size 0 there are none.
        """
        layout, visited = self.objective.layout, []
        parameters = layout.parameters_of(self._model)
        self._flat.copy_(self.weights)
        options = {"momentum": 0.0, "seed": self.seed, **setting.options}
        if setting.method == "lpfsgd":
            options["M"] = int(options["M"])
        elif setting.method == "amp":
            options["inner_iter"] = int(options["inner_iter"])
        optimizer: Any = build_optimizer(setting.method, _Parameters(parameters), lr=0.0, **options)
        expected = self._passes(setting)

        def closure() -> Tensor:
            visited.append(self._flat.clone())
            self._set_gradient(parameters, number=len(visited), of=expected, noisy=setting.method == "lpfsgd")
            return torch.zeros(())

        optimizer.step(closure)
        clean = setting.method == "lpfsgd" and setting.value > 0
        moved = visited if clean else visited[1:]
        final = len(moved) if clean else min(1, len(moved))
        return RawMove(self.weights, tuple(moved), final)

    def _passes(self, setting: Setting) -> int:
        """How many times a step asks for a gradient."""
        others = dict(setting.others)
        return int({"amp": 1 + others.get("inner_iter", 1), "lpfsgd": others.get("M", 1)}.get(setting.method, 2))

    def _set_gradient(self, parameters: list[Any], *, number: int, of: int, noisy: bool) -> None:
        """Give the optimizer the gradient where it is: none that it will not use, and that at the weights once only."""
        if noisy or number == of:
            gradient = torch.zeros_like(self._flat)
        elif number == 1:
            gradient = self.gradient.clone()
        else:
            gradient = self.objective.gradient(self._flat)
        for parameter, piece in zip(parameters, self.objective.layout.named(gradient).values(), strict=True):
            parameter.grad = piece

    def curvature(self, delta: Tensor) -> float:
        """Return the curvature of the objective's loss along a perturbation, ``d^T H d`` with ``||d|| = 1``."""
        unit = delta / torch.linalg.vector_norm(delta)
        return float(torch.dot(unit, self.objective.hvp(unit, self.weights)))


class _Parameters(torch.nn.Module):
    """Some parameters as a module, in their order: what an optimizer is built for."""

    def __init__(self, parameters: list[Any]) -> None:
        super().__init__()
        self.moving = torch.nn.ParameterList(parameters)


def part_of(objective: Objective, examples: int | None, *, seed: int = 0) -> Objective:
    """Return the same objective of a copy of the model as it is now, on some of the examples.

    Args:
        objective: Not changed.
        examples: At most so many, drawn without putting back; None takes all.
        seed: Names the draw.

    Returns:
        The objective. One whose statistics are computed anew at each point keeps all examples.
    """
    if examples is None or examples >= objective.examples or type(objective) is not Objective:
        return objective.snapshot()
    drawn = torch.randperm(objective.examples, generator=generator(seed, "explorer", "subset"))[:examples]
    inputs, targets = objective.select(drawn.sort().values.to(objective.targets.device))
    copy = objective.snapshot().model
    for parameter in objective.layout.parameters_of(copy):
        parameter.requires_grad_(True)
    return Objective(copy, (inputs, targets), objective.loss_fn, metric=objective.metric, device=objective.device)


def filter_names(layout: Layout) -> list[str]:
    """Name every filter of a layout: "conv.weight[3]" for one of several, "conv.bias" for a whole tensor.

    Example:
        >>> filter_names(Layout.of(torch.nn.Linear(3, 2)))
        ['weight[0]', 'weight[1]', 'bias']
    """
    names: list[str] = []
    for name, shape, dim in zip(layout.names, layout.shapes, layout.filter_dims, strict=True):
        names += [name] if dim is None else [f"{name}[{index}]" for index in range(shape[dim])]
    return names
