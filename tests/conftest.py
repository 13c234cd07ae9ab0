"""What all tests share: small problems and results, the folder of real data, and a model's state before and after."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from landscape.curvature.results import Estimate, SpectralDensity
from landscape.objective import Objective
from landscape.seeding import generator, seeded
from landscape.surface.results import Line, Profile, Surface

try:
    from hypothesis import settings
except ImportError:  # a machine that runs only the GPU tests may do without it
    pass
else:  # a slow machine is no failure, and a run for everyone tries the same examples each time
    settings.register_profile("landscape", deadline=None, derandomize="CI" in os.environ)
    settings.load_profile("landscape")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked ``gpu`` where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data (cifar10-images/, gtsrb/, multi30k/)."""
    root = os.environ.get("LANDSCAPE_DATA")
    if not root:
        pytest.skip("needs real data: set LANDSCAPE_DATA to a folder that holds cifar10-images/ and gtsrb/")
    if not Path(root).is_dir():
        pytest.fail(f"LANDSCAPE_DATA names {root}, which is no folder")
    return Path(root)


@dataclass(frozen=True)
class TinyProblem:
    """A model and data small enough for dense Hessians: inputs (40, 6) float64, targets (40,) int64, 3 classes."""

    model: nn.Module
    inputs: torch.Tensor
    targets: torch.Tensor

    @property
    def data(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inputs, self.targets


@pytest.fixture
def tiny_model() -> nn.Module:
    """A smooth MLP 6-8-5-3 in float64 with 119 weights, the same in every process."""
    with seeded(0, "tests", "tiny_model"):
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3))
    return model.double()


@pytest.fixture
def tiny_problem(tiny_model: nn.Module) -> TinyProblem:
    """The tiny model with 40 examples in three overlapping classes."""
    stream = generator(0, "tests", "tiny_problem")
    targets = torch.arange(40) % 3
    inputs = torch.randn(40, 6, generator=stream, dtype=torch.float64)
    inputs[torch.arange(40), targets] += 1.0
    return TinyProblem(model=tiny_model, inputs=inputs, targets=targets)


@pytest.fixture
def objective(tiny_problem: TinyProblem) -> Objective:
    """The tiny model and its 40 examples in ragged batches of 16, 16 and 8."""
    return Objective(tiny_problem.model, tiny_problem.data, batch_size=16)


@dataclass(frozen=True)
class Snapshot:
    """Everything that an analysis must leave as it was, copied: compared bit for bit, NaN equal to the same NaN."""

    tensors: dict[str, bytes]
    layouts: dict[str, tuple]
    identities: dict[str, int]
    modes: dict[str, bool]
    requires_grad: dict[str, bool]
    surroundings: dict[str, Any]


def _bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def take_snapshot(model: nn.Module) -> Snapshot:
    """Copy the weights, buffers, gradients, modes and flags of a model, the global RNG and the process's settings."""
    tensors = {f"weight {name}": parameter.data for name, parameter in model.named_parameters()}
    tensors |= {f"buffer {name}": buffer for name, buffer in model.named_buffers()}
    tensors |= {f"gradient {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    numpy_state = np.random.get_state(legacy=False)
    inner = numpy_state["state"]
    surroundings = {
        "Python's RNG": random.getstate(),
        "NumPy's RNG": (
            inner["key"].tolist(),
            repr({k: v for k, v in numpy_state.items() if k != "state"}),
            inner["pos"],
        ),
        "torch's RNG": _bits(torch.get_rng_state()),
        "CUDA's RNG": [_bits(s) for s in torch.cuda.get_rng_state_all()] if torch.cuda.is_initialized() else [],
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "default dtype": torch.get_default_dtype(),
        "grad mode": torch.is_grad_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
    }
    return Snapshot(
        tensors={name: _bits(tensor) for name, tensor in tensors.items()},
        layouts={
            name: (tensor.dtype, tensor.shape, tensor.stride(), tensor.device) for name, tensor in tensors.items()
        },
        identities={name: tensor.data_ptr() for name, tensor in tensors.items()},
        modes={name: module.training for name, module in model.named_modules()},
        requires_grad={name: parameter.requires_grad for name, parameter in model.named_parameters()},
        surroundings=surroundings,
    )


def check_unchanged(before: Snapshot, model: nn.Module) -> None:
    """Fail, naming what differs, unless the model and its surroundings are bit for bit as they were."""
    after = take_snapshot(model)
    for field in ("tensors", "layouts", "identities", "modes", "requires_grad", "surroundings"):
        old, new = getattr(before, field), getattr(after, field)
        changed = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
        assert not changed, f"{field} changed: {', '.join(changed)}"


@pytest.fixture
def snapshot() -> Callable[[nn.Module], Snapshot]:
    """``before = snapshot(model)``; see ``assert_unchanged``."""
    return take_snapshot


@pytest.fixture
def assert_unchanged() -> Callable[[Snapshot, nn.Module], None]:
    """``assert_unchanged(before, model)`` fails unless everything is bit for bit as it was."""
    return check_unchanged


LABELS = {"SGD": 6.0, "SAM (rho 0.1)": 1.2}
DIRECTIONS = ({"norm": "filter"}, {"norm": "filter"})


def _surface(scale: float, points: int = 9) -> Surface:
    axis = np.linspace(-1, 1, points)
    a, b = np.meshgrid(axis, axis[:-2], indexing="ij")
    loss = 0.05 + scale * (a**2 + 2 * b**2)
    status = np.ones(loss.shape, dtype=np.uint8)
    return Surface(
        alphas=axis,
        betas=axis[:-2],
        loss=loss,
        accuracy=np.clip(1 - loss / 20, 0, 1),
        status=status,
        directions=DIRECTIONS,
        provenance={},
    )


def _line(scale: float) -> Line:
    alphas = np.linspace(-1, 1, 11)
    loss = 0.05 + scale * alphas**2
    status = np.ones(11, dtype=np.uint8)
    return Line(
        alphas=alphas, loss=loss, accuracy=1 - loss / 20, status=status, directions=DIRECTIONS[:1], provenance={}
    )


def _profile(scale: float) -> Profile:
    radii = np.array([0.1, 0.5, 1.0])
    curve = 0.05 + scale * radii**2
    kinds = ("random", "sam", "amp")
    return Profile(
        kinds=kinds,
        radii=radii,
        loss={"random": 0.05 + 0.1 * radii, "sam": curve, "amp": 0.8 * curve},
        stderr={"random": 0.02 * radii, "sam": 0 * radii, "amp": 0 * radii},
        base_loss=0.05,
        provenance={},
    )


def _spectrum(scale: float) -> SpectralDensity:
    grid = np.linspace(-1, 10 * scale, 200)
    density = np.exp(-(grid**2)) + 1e-3 * np.exp(-((grid - 8 * scale) ** 2))
    nodes = np.array([[0.0, 8 * scale], [0.1, 8.1 * scale]])
    weights = np.full((2, 2), 0.5)
    return SpectralDensity(
        grid=grid, density=density, band=0.1 * density, nodes=nodes, weights=weights, sigma=1.0, provenance={}
    )


def _metrics(scale: float) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "train_loss": 2 / epoch**2,
            "test_loss": 2 / epoch + 0.01 * scale,
            "test_error": 0.5 / epoch,
            "train_accuracy": 1 - 0.4 / epoch,
        }
        for epoch in range(1, 9)
    ]


@pytest.fixture
def results() -> SimpleNamespace:
    """One mapping label -> result for each kind of figure."""
    many = {
        name: {label: make(scale) for label, scale in LABELS.items()}
        for name, make in {
            "surfaces": _surface,
            "lines": _line,
            "profiles": _profile,
            "spectra": _spectrum,
            "metrics": _metrics,
        }.items()
    }
    rows = {
        "SGD": {
            "test_error": 0.117,
            "test_error_stderr": 0.0099,
            "trace": Estimate(1800.0, 180.0, 100),
            "seconds": 1.0,
        },
        "SAM": {"test_error": 0.046, "test_error_stderr": 0.002, "trace": Estimate(300.0, 30.0, 100), "seconds": 2.0},
    }
    return SimpleNamespace(**many, rows=rows)
