"""The path of a run: its own checkpoints, in their order, on a plane whose surface passes through their losses."""

from __future__ import annotations

import pytest
import torch

import landscape
from landscape.errors import CorruptFileError, StorageError
from landscape.study import trajectory_plane
from landscape.surface import evaluate_surface
from landscape.training import Run, RunConfig, train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = RunConfig(
        limit=100, test_limit=50, model="mlp", model_options={"hidden": [8], "batch_norm": True}, epochs=4,
        batch_size=50, keep_every=1,
    )  # fmt: skip
    return train(config, root=tmp_path_factory.mktemp("runs"), progress=False)


def test_a_run_on_its_plane(run: Run) -> None:
    """float32: a point of the plane is off by a rounding, its loss by 1e-5."""
    found = landscape.trajectory_plane(run, progress=False)
    assert found.steps.tolist() == [0, 2, 4, 6, 8] == [step for step, _ in run.checkpoints()]
    models = [run.model(step) for step in found.steps]
    plain = trajectory_plane(models, steps=found.steps.tolist(), progress=False)
    assert plain.coordinates.tobytes() == found.coordinates.tobytes()
    assert plain.directions == found.directions and plain.provenance.items() <= found.provenance.items()
    assert found.directions == tuple(direction.record() for direction in found.plane.directions)
    objective = run.objective()
    assert found.plane.direction1.layout == objective.layout.fingerprint
    assert found.provenance["run"] == run.path.name and found.provenance["config_hash"] == run.config.hash
    last = evaluate_surface(objective, found.plane, extent=found.extent(), points=3, progress=False)
    assert last.provenance["weights_sha256"] == objective.provenance()["weights_sha256"]
    end = evaluate_surface(objective, found.plane, points=1, progress=False)
    assert end.center_loss == objective.evaluate().loss


def test_chosen_steps(run: Run) -> None:
    found = trajectory_plane(run, steps=[0, 4, 8], center="mean", progress=False)
    assert found.steps.tolist() == [0, 4, 8] and found.center == "mean"
    assert found.explained_by_plane == pytest.approx(1)  # three points are a plane
    weights = [run.objective(step=step).weights() for step in (0, 4, 8)]
    torch.testing.assert_close(found.plane.origin, sum(weights) / 3)
    with pytest.raises(StorageError, match="no checkpoint of step 3.*some of 0, 2, 4, 6, 8.*keep_every=1"):
        trajectory_plane(run, steps=[0, 3, 8], progress=False)
    with pytest.raises(StorageError, match="keep_every=1"):
        trajectory_plane(run, steps=[0, 8], progress=False)


def test_a_damaged_checkpoint(run: Run) -> None:
    path = dict(run.checkpoints())[4]
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(CorruptFileError, match="step_00000004"):
            trajectory_plane(run, progress=False)
    finally:
        path.write_bytes(whole)
