"""The surfaces of other packages: each is called as its own documentation does, on one and the same plane.

A package that reads batches gets the batch size that serves the plain forward best; one that takes one batch gets all
data in one.
"""

from __future__ import annotations

import contextlib
import copy
import io
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common import peer
from landscape.objective import Objective
from landscape.parameters import Layout
from landscape.seeding import seeded
from landscape.surface import Plane, Surface, evaluate_surface, random_plane

Batches = list[tuple[Tensor, Tensor]]


class Clock:
    """Cross-entropy that writes down when it is called: from a point's loss to the next one's is what a point costs."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.wall: list[float] = []

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        self.cpu.append(time.process_time())
        self.wall.append(time.perf_counter())
        return F.cross_entropy(outputs, targets)

    def per_point(self, points: int, *, wall: bool) -> float:
        """Return the seconds from a point to the next, with all that happens in between.

        Raises:
            RuntimeError: The loss was not called equally often at each point.
        """
        calls, rest = divmod(len(self.cpu), points)
        if rest or not calls:
            raise RuntimeError(f"{len(self.cpu)} calls of the loss for {points} points")
        stamps = self.wall if wall else self.cpu
        return (stamps[-calls] - stamps[0]) / (points - 1)


def verdict(held: bool) -> str:
    """Say it in a word."""
    return "held" if held else "missed"


@dataclass(frozen=True)
class Problem:
    """A model in evaluation mode, its data, a plane through its weights, and the batch size that serves it best."""

    name: str
    model: nn.Module
    inputs: Tensor
    targets: Tensor
    plane: Plane
    extent: float = 1.0
    batch: int = 256

    @classmethod
    def of(cls, name: str, model: nn.Module, inputs: Tensor, targets: Tensor, *, extent: float = 1.0) -> Problem:
        """Draw a plane for a model and its data."""
        plane = random_plane(Objective(model, (inputs, targets)))
        return cls(name, model, inputs, targets, plane, extent)

    def first(self, examples: int) -> Problem:
        """Return the same problem with fewer examples."""
        return replace(self, inputs=self.inputs[:examples], targets=self.targets[:examples])

    def objective(self) -> Objective:
        """Return our objective."""
        return Objective(self.model, (self.inputs, self.targets))

    def surface(self, points: int | tuple[int, int], engine: str, workers: int = 1, **options: Any) -> Surface:
        """Evaluate our surface."""
        options |= {"extent": self.extent, "points": points, "engine": engine, "workers": workers}
        return evaluate_surface(self.objective(), self.plane, progress=False, **options)

    def batches(self, size: int) -> Batches:
        """Cut the data into batches."""
        return list(zip(self.inputs.split(size), self.targets.split(size), strict=True))

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Return the plane's directions, (P,) each."""
        return self.plane.direction1.vector, self.plane.direction2.vector

    def named(self) -> list[dict[str, Tensor]]:
        """Return the plane's directions by the names of the parameters."""
        return [dict(Layout.of(self.model).named(vector)) for vector in self.vectors()]

    def moved(self, alpha: float, beta: float) -> nn.Module:
        """Return a copy of the model at a point of the plane."""
        other, (first, second) = copy.deepcopy(self.model), self.named()
        with torch.no_grad():
            for name, parameter in other.named_parameters():
                parameter.add_(alpha * first[name] + beta * second[name])
        return other


Surfaces = Callable[[Problem, int, Clock], np.ndarray]
"""Takes a problem, the points along each axis and the loss; returns (steps, steps) losses, alpha first."""


def _loss_landscapes(module: ModuleType, problem: Problem, steps: int, loss: Clock) -> np.ndarray:
    """Start one step beside the corner: this package takes a step along beta before it looks."""
    reach = problem.extent
    step = 2 * reach / (steps - 1)
    models = (
        problem.moved(-reach, -reach - step),
        problem.moved(-reach + steps * step, -reach - step),
        problem.moved(-reach, -reach - step + steps * step),
    )
    metric = import_module("loss_landscapes.metrics").Loss(loss, problem.inputs, problem.targets)
    return module.planar_interpolation(*models, metric, steps=steps)


def _landscaper(module: ModuleType, problem: Problem, steps: int, loss: Clock) -> np.ndarray:
    """Choose the distance so that its window is as long as ours: this package rescales what it is given."""
    weights = torch.cat([parameter.detach().double().flatten() for parameter in problem.model.parameters()])
    length = problem.plane.direction1.length / float(torch.linalg.vector_norm(weights))
    data = problem.inputs, problem.targets
    losses, _ = module.compute_loss_landscape(
        copy.deepcopy(problem.model),
        data,
        [list(direction.values()) for direction in problem.named()],
        lambda model, batch: loss(model(batch[0]), batch[1]).item(),
        steps=steps,
        distance=problem.extent * length * steps / (steps - 1),
        dim=2,
        device="cpu",
    )
    return losses


def _loss_landscape_3d(module: ModuleType, problem: Problem, steps: int, loss: Clock) -> np.ndarray:
    model = copy.deepcopy(problem.model)
    center = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    axis = np.linspace(-problem.extent, problem.extent, steps).tolist()
    calculator = module.LossLandscapeCalculator(model, problem.batches(problem.batch), loss)
    return calculator.calculate(axis, axis, *problem.named(), center)


def _nngeom(module: ModuleType, problem: Problem, steps: int, loss: Clock) -> np.ndarray:
    model = module.Model(copy.deepcopy(problem.model), loss_fn=lambda net, batch: loss(net(batch[0]), batch[1]))
    surface = module.lossland.plane_slice_2d(
        model,
        (problem.inputs, problem.targets),
        span=problem.extent,
        steps=steps,
        directions=[vector.double().numpy() for vector in problem.vectors()],
    )
    return surface.losses.T


def _losscape(module: ModuleType, problem: Problem, steps: int, loss: Clock) -> np.ndarray:
    """Give it equal batches: this package takes the mean over batches, however many examples they hold."""
    for each in (module, import_module("losscape.compute_loss")):
        vars(each)["device"] = "cpu"  # they take a CUDA device where there is one
    even = len(problem.targets) % problem.batch == 0
    loader = problem.batches(problem.batch if even else len(problem.targets))
    reach = {"x_min": -problem.extent, "x_max": problem.extent, "y_min": -problem.extent, "y_max": problem.extent}
    with tempfile.TemporaryDirectory() as folder:
        *_, losses = module.create_3D_losscape(
            copy.deepcopy(problem.model),
            loader,
            directions=[list(direction.values()) for direction in problem.named()],
            criterion=loss,
            num_batches=len(loader),
            save_only=True,
            output_path=folder,
            output_h5=False,
            **reach,
            num_points=steps,
        )
    return losses.T


CALLS: dict[str, Callable[[ModuleType, Problem, int, Clock], np.ndarray]] = {
    "loss-landscapes": _loss_landscapes,
    "landscaper": _landscaper,
    "loss-landscape-3d": _loss_landscape_3d,
    "nngeom": _nngeom,
    "losscape": _losscape,
}


def _quietly(call: Callable[..., np.ndarray], *arguments: Any) -> np.ndarray:
    """Call without what the package prints at each point; one of them draws from numpy's global generator."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), seeded(0, "surface benchmark"):
        return np.asarray(call(*arguments), dtype=np.float64)


def surface_peers() -> dict[str, Surfaces]:
    """Return what can be compared with here, by distribution; what cannot be imported is said and left out."""
    import matplotlib

    matplotlib.use("Agg")  # one of them draws a figure
    found = {name: peer(name) for name in CALLS}
    return {name: partial(_quietly, CALLS[name], module) for name, module in found.items() if module is not None}
