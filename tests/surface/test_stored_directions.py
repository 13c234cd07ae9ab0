"""A saved line or surface brings its directions back, bit for bit: as vectors, or drawn again from their records."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import landscape.surface.stored as stored
from landscape.errors import MismatchError
from landscape.objective import Objective
from landscape.storage import load_arrays, save_arrays
from landscape.surface import (
    Direction,
    DirectionsWarning,
    Line,
    Plane,
    Surface,
    amp_direction,
    direction_between,
    evaluate_line,
    evaluate_surface,
    gradient_direction,
    plane_through,
    random_direction,
    random_plane,
    redraw,
    sam_direction,
)


def surface_on(objective: Objective, plane: Plane) -> Surface:
    return evaluate_surface(objective, plane, points=3, progress=False)


def same(a: Direction, b: Direction) -> bool:
    exact = a.vector.dtype == b.vector.dtype and torch.equal(a.vector, b.vector)
    return exact and a.record() == b.record()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_loaded_surface_has_its_plane(tiny_problem, tmp_path: Path, dtype: torch.dtype) -> None:
    model = tiny_problem.model.to(dtype)
    objective = Objective(model, (tiny_problem.inputs, tiny_problem.targets), lambda o, t: (o**2).mean())
    other, third = (objective.weights() + random_direction(objective, seed=seed).vector for seed in (1, 2))
    plane = plane_through(model, other, third, names=("x", "y", "z"))
    found = surface_on(objective, plane)
    assert found.plane is plane
    found.save(tmp_path / "s.npz")
    loaded = Surface.load(tmp_path / "s.npz")
    assert all(map(same, loaded.plane.directions, plane.directions))
    assert torch.equal(loaded.plane.origin, plane.origin) and loaded.plane.origin.dtype == dtype
    assert loaded.plane.marks == plane.marks
    again = surface_on(objective, loaded.plane)
    assert again.loss.tobytes() == found.loss.tobytes()
    loaded.save(tmp_path / "t.npz")  # and once more, from what was loaded
    assert (tmp_path / "t.npz").read_bytes() == (tmp_path / "s.npz").read_bytes()


def test_a_loaded_line_has_its_direction(objective: Objective, tmp_path: Path) -> None:
    direction = direction_between(objective, objective.weights() + 1)
    found = evaluate_line(objective, direction, points=3, progress=False)
    found.save(tmp_path / "l.npz")
    assert same(Line.load(tmp_path / "l.npz").direction, direction)
    assert redraw(Line.load(tmp_path / "l.npz"), objective)[0].kind == "between"


MADE = {
    "random": lambda o: random_plane(o, norm="layer", ignore=None, seed=5),
    "orthogonal": lambda o: random_plane(o, seed=5, orthogonal=True),
    "gradient": lambda o: Plane(gradient_direction(o, norm="filter"), random_direction(o, seed=9)),
    "orthogonal to a gradient": lambda o: Plane(gradient_direction(o), amp_direction(o)).orthogonalized(),
    "methods": lambda o: Plane(sam_direction(o), amp_direction(o)),
}


@pytest.mark.parametrize("name", MADE)
def test_planes_that_were_not_stored_are_made_again(objective: Objective, tmp_path: Path, name: str) -> None:
    plane = MADE[name](objective)
    surface_on(objective, plane).save(tmp_path / "s.npz", keep_directions=False)
    loaded = Surface.load(tmp_path / "s.npz")
    assert loaded.plane is None
    assert all(map(same, redraw(loaded, objective), plane.directions))


def test_what_cannot_be_made_again(objective: Objective, tmp_path: Path) -> None:
    between = Plane(direction_between(objective, objective.weights() + 1), random_direction(objective))
    surface_on(objective, between).save(tmp_path / "s.npz", keep_directions=False)
    with pytest.raises(MismatchError, match="'between' cannot be made again"):
        redraw(Surface.load(tmp_path / "s.npz"), objective)
    surface_on(objective, random_plane(objective)).save(tmp_path / "r.npz", keep_directions=False)
    loaded, elsewhere = Surface.load(tmp_path / "r.npz"), copy.deepcopy(objective.model)
    with torch.no_grad():
        next(elsewhere.parameters()).add_(1e-3)
    with pytest.raises(MismatchError, match="at other weights"):
        redraw(loaded, Objective(elsewhere, tuple(torch.cat(p) for p in zip(*objective.batches(), strict=True))))
    records = [{**record, "vector_sha256": "0" * 64} for record in loaded.directions]
    with pytest.raises(MismatchError, match="not the one that the result was made with"):
        redraw(replace(loaded, directions=records), objective)


def test_big_directions_are_left_out_unless_asked_for(objective, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(stored, "DIRECTIONS_LIMIT", 2 * 8 * objective.size)
    found = surface_on(objective, random_plane(objective))
    found.save(tmp_path / "fits.npz")
    assert Surface.load(tmp_path / "fits.npz").plane is not None
    monkeypatch.setattr(stored, "DIRECTIONS_LIMIT", 2 * 8 * objective.size - 1)
    found.save(tmp_path / "silent.npz")  # random ones come back from their seeds
    assert Surface.load(tmp_path / "silent.npz").plane is None
    found.save(tmp_path / "asked.npz", keep_directions=True)
    assert Surface.load(tmp_path / "asked.npz").plane is not None
    mixed = surface_on(
        objective, Plane(random_direction(objective), direction_between(objective, objective.weights() + 1))
    )
    with pytest.warns(DirectionsWarning, match="kind between cannot") as told:
        mixed.save(tmp_path / "lost.npz")
    assert told[0].filename == __file__  # the caller's line, not one of the library
    assert Surface.load(tmp_path / "lost.npz").loss.tobytes() == mixed.loss.tobytes()


def test_directions_that_somebody_wrote_into_are_not_stored(objective: Objective, tmp_path: Path) -> None:
    plane = random_plane(objective)
    found = surface_on(objective, plane)
    plane.direction2.vector.add_(1.0)
    with pytest.warns(DirectionsWarning, match="changed since"):
        found.save(tmp_path / "s.npz")
    loaded = Surface.load(tmp_path / "s.npz")
    assert loaded.plane is None and loaded.loss.tobytes() == found.loss.tobytes()
    assert redraw(loaded, objective)[1].record() == found.directions[1]


def test_files_of_before_have_no_plane(objective: Objective, tmp_path: Path) -> None:
    surface_on(objective, random_plane(objective)).save(tmp_path / "s.npz", keep_directions=False)
    arrays = load_arrays(tmp_path / "s.npz")
    text = str(arrays["__text__"]).replace(', "vectors": {}', "")
    assert "vectors" not in text
    save_arrays(tmp_path / "old.npz", {**arrays, "__text__": np.array(text)})
    assert Surface.load(tmp_path / "old.npz").plane is None
