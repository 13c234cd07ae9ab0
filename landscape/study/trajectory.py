"""The path of a training: its checkpoints on the plane that holds most of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from landscape.errors import StorageError
from landscape.parameters import Layout
from landscape.study.checkpoints import choose_steps
from landscape.surface import Trajectory
from landscape.surface import trajectory_plane as plane_of_points
from landscape.surface.planes import Point
from landscape.training import Run


class RunWeights(Sequence[Tensor]):
    """The weights of a run's checkpoints, (P,) each, read from the disk when they are asked for.

    Args:
        run: The run.
        steps: Which checkpoints; all by default.

    Raises:
        StorageError: There is no such checkpoint.
    """

    def __init__(self, run: Run, steps: Sequence[int] | None = None) -> None:
        self.run, self.steps = run, choose_steps(run, steps)
        if len(self.steps) < 3:
            raise StorageError(
                f"{run.path} has too few checkpoints for a trajectory.",
                expected="at least 3",
                got=len(self.steps),
                fix="Train with keep_every=1 (--keep-every 1), which keeps one of every epoch.",
            )
        self.layout = Layout.of(run.model(self.steps[-1]))

    def __len__(self) -> int:
        """The number of checkpoints."""
        return len(self.steps)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        """Read the weights of one checkpoint, (P,), on the CPU."""
        return self.layout.flatten(self.run.checkpoint(self.steps[index]).model)

    def __iter__(self) -> Iterator[Tensor]:
        """Read one after the other."""
        return (self[index] for index in range(len(self)))


def trajectory_plane(
    path: Run | Sequence[Point],
    *,
    center: str = "last",
    steps: Sequence[int] | None = None,
    memory: int = 2**30,
    progress: bool = True,
) -> Trajectory:
    """Find the plane of the two principal components of a training, and its path on and beside it.

    See :func:`landscape.surface.trajectory_plane` for the definition. Of a run, the initial weights and all checkpoints
    that were kept count, as often as ``RunConfig(keep_every=...)`` said; they are read one by one.

    Args:
        path: A run, or T models, objectives or weight vectors (P,).
        center: "last": the plane goes through the last weights, as in Li et al.; "mean": through the mean of all.
        steps: For a run, the steps of the checkpoints to take, all by default; else the number of each point.
        memory: Bytes that points may take in float64. What does not fit is read several times over.
        progress: Whether a progress bar is shown.

    Returns:
        The trajectory; draw its path over ``evaluate_surface(run.objective(), trajectory.plane,
        extent=trajectory.extent())``.

    Raises:
        StorageError: The run has fewer than three checkpoints, or none of a step.
        CorruptFileError: A checkpoint is damaged.
        ConfigError: There are fewer than three points, or an option is unknown.
        MismatchError: The points belong to different models, or lie on one line.
        NonFiniteError: A checkpoint holds NaN or infinity.

    References:
        H. Li et al., Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018, section 7.
    """
    if not isinstance(path, Run):
        return plane_of_points(path, center=center, steps=steps, memory=memory, progress=progress)
    weights = RunWeights(path, steps)
    found = plane_of_points(weights, center=center, steps=weights.steps, memory=memory, progress=progress)
    if found.plane is None:
        return found
    directions = [replace(each, layout=weights.layout.fingerprint) for each in found.plane.directions]
    plane = replace(found.plane, direction1=directions[0], direction2=directions[1])
    source = {"run": path.path.name, "config_hash": path.config.hash, "layout": weights.layout.fingerprint}
    return replace(
        found,
        plane=plane,
        directions=tuple(direction.record() for direction in directions),
        provenance={**found.provenance, **source},
    )
