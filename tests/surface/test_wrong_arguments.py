"""Every public function of the room, every argument, something of the wrong kind: one sentence that says what to do."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from landscape import objective, parameters, surface
from landscape.errors import LandscapeError
from landscape.objective import Objective
from landscape.surface import exchange

P = 8
ANYTHING = object()


@cache
def things() -> dict[str, Any]:
    """What may be handed over by mistake, by name."""
    model = nn.Linear(3, 2)
    objective = Objective(model, (torch.eye(3), torch.tensor([0, 1, 1])))
    other = nn.Linear(3, 2)
    plane = surface.random_plane(objective, ignore=None)
    line = surface.evaluate_line(objective, plane.direction1, points=3, progress=False)
    grid = surface.evaluate_surface(objective, plane, points=3, progress=False)
    return {
        "none": None, "number": 0.5, "whole": 3, "true": True, "nan": float("nan"), "text": "something",
        "bytes": b"some", "empty": "", "list": ["a", 1], "empty list": [], "mapping": {"a": 1}, "object": ANYTHING,
        "function": len, "class": Objective, "path": Path("nowhere/at/all"), "array": np.ones(P), "matrix": np.eye(2),
        "model": model, "model class": nn.Linear, "objective": objective, "tensor": torch.zeros(P),
        "complex": torch.zeros(P, dtype=torch.complex64), "integers": torch.zeros(P, dtype=torch.long),
        "scalar": torch.zeros(()), "direction": plane.direction1, "plane": plane, "line": line, "surface": grid,
        "other": other, "curve": surface.bezier_curve(objective, other, epochs=1, points=3, progress=False),
        "profile": surface.perturbation_profile(objective, radii=[0.0, 1.0], draws=2, progress=False),
    }  # fmt: skip


def third() -> Tensor:
    return torch.arange(P, dtype=torch.float32)


FUNCTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "amp_direction": lambda: {"objective": things()["objective"]},
    "barrier": lambda: {"path": things()["curve"]},
    "bezier_curve": lambda: {"objective": things()["objective"], "other": things()["other"], "epochs": 1, "points": 3},
    "default_radii": dict,
    "direction_between": lambda: {"a": things()["model"], "b": things()["other"]},
    "evaluate_curve": lambda: {"objective": things()["objective"], "curve": things()["curve"], "points": 3},
    "evaluate_line": lambda: {"objective": things()["objective"], "direction": things()["direction"], "points": 3},
    "evaluate_surface": lambda: {"objective": things()["objective"], "plane": things()["plane"], "points": 3},
    "export_result": lambda: {"result": things()["line"], "path": "line.csv"},
    "gradient_direction": lambda: {"objective": things()["objective"]},
    "import_result": lambda: {"path": "line.csv"},
    "interpolate": lambda: {"surface": things()["surface"], "points": 5},
    "interpolation_line": lambda: {"objective": things()["objective"], "other": things()["other"], "points": 3},
    "linear_barrier": lambda: {"objectives": {"a": things()["objective"]}, "other": things()["other"], "points": 3},
    "perturbation_direction": lambda: {"objective": things()["objective"], "kind": "random"},
    "perturbation_profile": lambda: {"objective": things()["objective"], "radii": [0.0, 1.0], "draws": 2},
    "plane_through": lambda: {"a": things()["model"], "b": things()["other"], "c": third()},
    "random_direction": lambda: {"objective": things()["objective"]},
    "random_plane": lambda: {"objective": things()["objective"], "ignore": None},
    "recompute_batch_norm": lambda: {"objective": things()["objective"]},
    "redraw": lambda: {"result": things()["line"], "objective": things()["objective"]},
    "sam_direction": lambda: {"objective": things()["objective"]},
    "surface_topology": lambda: {"surface": things()["surface"]},
    "trajectory_plane": lambda: {"points": [torch.zeros(P), torch.ones(P), third()]},
    "Direction": lambda: {"vector": torch.zeros(P), "kind": "mine", "norm": "none"},
    "Plane": lambda: {"direction1": things()["plane"].direction1, "direction2": things()["plane"].direction2},
    "Plane.project": lambda: {"self": things()["plane"], "points": [torch.zeros(P)], "origin": torch.zeros(P)},
    "Plane.extent": lambda: {"self": surface.plane_through(torch.zeros(P), torch.ones(P), third())},
    "Curve.point": lambda: {"self": things()["curve"], "t": 0.5},
    "Topology.simplified": lambda: {"self": surface.surface_topology(things()["surface"]), "threshold": 0.1},
    "Line.save": lambda: {"self": things()["line"], "path": "line.npz"},
    "Line.load": lambda: {"path": "line.npz"},
    "Profile.save": lambda: {"self": things()["profile"], "path": "profile.npz"},
    "Profile.load": lambda: {"path": "profile.npz"},
    "Line": lambda: {"alphas": [0], "loss": [0], "accuracy": [0], "status": [1], "directions": (), "provenance": {}},
    "check_suffix": lambda: {"path": "line.csv"},
    "export_csv": lambda: {"result": things()["line"], "path": "line.csv"},
    "export_hdf5": lambda: {"results": {"test": things()["line"]}, "path": "line.h5"},
    "export_vtp": lambda: {"surface": things()["surface"], "path": "surface.vtp"},
    "import_csv": lambda: {"path": "line.csv"},
    "import_hdf5": lambda: {"path": "line.h5"},
    "Objective": lambda: {"model": things()["model"], "data": (torch.eye(3), torch.tensor([0, 1, 1]))},
    "Objective.evaluate": lambda: {"self": things()["objective"]},
    "Objective.outputs": lambda: {"self": things()["objective"]},
    "Objective.gradient": lambda: {"self": things()["objective"]},
    "Objective.hvp": lambda: {"self": things()["objective"], "vector": torch.zeros(P)},
    "Objective.restricted": lambda: {"self": things()["objective"], "patterns": "bias"},
    "Objective.snapshot": lambda: {"self": things()["objective"]},
    "Objective.in_batches_of": lambda: {"self": things()["objective"], "examples": 2},
    "Layout.of": lambda: {"model": things()["model"]},
    "Layout.flatten": lambda: {"self": things()["objective"].layout, "source": things()["model"]},
    "Layout.named": lambda: {"self": things()["objective"].layout, "vector": torch.zeros(P)},
    "Layout.filter_norms": lambda: {"self": things()["objective"].layout, "vector": torch.zeros(P)},
}  # fmt: skip

SHARED = """
objective: objective
a b c other: model objective tensor other
origin: model objective tensor other none
path: text path
seed: whole true
direction direction1 direction2: direction
plane: plane
curve: curve
surface: surface
result results: line surface
vector: tensor
points epochs batch_size draws workers examples memory: whole
lr weight_decay: number whole
momentum: number
extent margin: number whole true scalar
threshold: number whole true
t: number whole true nan scalar
missing: none number whole nan
radii: none array tensor integers
ignore steps executor metric device: none
on_update: none function class "model class"
statistics_from evaluate_on: none objective
store: none text path
kind: text empty
layout weights: none text empty
details: mapping
model source: model other
"""
"""What an argument of that name may be, wherever it stands; one that is not here may be none of the things."""

OWN = """
barrier.path: line curve
export_result.result export_csv.result: line surface profile curve
export_result.path import_result.path import_csv.path import_hdf5.path check_suffix.path Line.load.path:
Profile.load.path perturbation_direction.kind trajectory_plane.points:
export_csv.path export_vtp.path export_hdf5.path: text path
Direction.norm: text empty
Direction.ignore: none text empty
Direction.seed: none whole true
Plane.origin: none tensor
Plane.project.points: "empty list" mapping
Layout.filter_norms.vector Layout.named.vector Objective.hvp.vector: tensor integers
Objective.batch_size: none whole
Objective.evaluate.weights Objective.outputs.weights Objective.gradient.weights: none tensor integers
Objective.hvp.weights Objective.snapshot.weights: none tensor integers
"""
"""And in one function, where that is something else."""

FREE = {
    "self", "progress", "orthogonal", "orthonormal", "keep_directions", "keep_minus_one", "log",  # truth values
    "split", "directions", "provenance",
}  # fmt: skip


def table(text: str) -> dict[str, set[str]]:
    """Names to the things that they may be."""
    rows = [line.partition(":") for line in text.strip().splitlines()]
    return {name: set(shlex.split(things)) for names, _, things in rows for name in names.split()}


RIGHT = table(SHARED) | table(OWN)


def function(name: str) -> Callable[..., Any]:
    owner, _, method = name.partition(".")
    found = next(getattr(room, owner) for room in (surface, exchange, objective, parameters) if hasattr(room, owner))
    return getattr(found, method) if method else found


def cases() -> list[tuple[str, str]]:
    every = [(name, argument) for name in FUNCTIONS for argument in inspect.signature(function(name)).parameters]
    return [case for case in every if case[1] not in FREE and case != ("Line", "direction")]


def call(name: str, **changes: Any) -> Any:
    given = {**FUNCTIONS[name](), **changes}
    chosen = function(name)
    if "progress" in inspect.signature(chosen).parameters:
        given["progress"] = False
    me = [given.pop("self")] if "self" in given else []
    return chosen(*me, **given)


def test_every_public_function_is_asked() -> None:
    asked = {name.partition(".")[0] for name in FUNCTIONS}
    results = {
        "Barrier",
        "Curve",
        "DirectionsWarning",
        "InterpolatedSurface",
        "Line",
        "Profile",
        "Surface",
        "Topology",
        "Trajectory",
    }
    assert set(surface.__all__) <= asked | results


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_right_arguments_are_taken(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    things()["line"].save("line.npz")
    things()["profile"].save("profile.npz")
    for name_of_file in ("line.csv", "line.h5"):
        surface.export_result(things()["line"], name_of_file)
    call(name)


@pytest.mark.parametrize(("name", "argument"), cases(), ids=lambda part: part)
def test_what_is_wrong_is_said_in_one_sentence(
    name: str, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    right = RIGHT.get(f"{name}.{argument}", RIGHT.get(argument, set()))
    faults = []
    for kind, thing in things().items():
        if kind in right:
            continue
        try:
            call(name, **{argument: thing})
        except LandscapeError as error:
            said = str(error)
            if "What to do: " not in said or ("Expected: " not in said and "There is no file" not in said):
                faults.append(f"{kind}: {said}")
        except Exception as error:
            faults.append(f"{kind}: {type(error).__name__}: {error}")
        else:
            faults.append(f"{kind}: taken")
    assert faults == []
    assert list(tmp_path.iterdir()) == []
