"""How much a notebook computes: three sizes, so that no notebook decides anything itself."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from landscape.config import Config, require
from landscape.errors import NotebookError, unknown_name


@dataclass(frozen=True, kw_only=True)
class Profile(Config):
    """The sizes of everything that the notebooks compute.

    Attributes:
        name: "quick", "standard" or "paper".
        epochs: Passes over the training data of one run.
        seeds: Runs that differ in their seed only.
        examples: Examples that a loss is averaged over; all of them where there are fewer.
        points: Points along each axis of a surface; odd, so that the trained weights are one of them.
        line_points: Points along a line; odd.
        directions: Random directions or planes.
        probes: Random probes of a trace, a norm or a diagonal.
        density_probes: Random probes of a spectral density.
        density_steps: Lanczos steps for each of them.
        eigenvalues: Eigenvalues at the top of the spectrum.
        draws: Random draws of a perturbation.
        radii: Values along a slider or an axis of radii.
        seconds: Time for what chooses its own sizes, on two cores; see :func:`landscape.study.choose_effort`.

    Raises:
        ConfigError: A size is no number of its kind, or too small.

    Example:
        >>> PROFILES["quick"].points, PROFILES["paper"].points
        (15, 51)
    """

    name: str
    epochs: int
    seeds: int
    examples: int
    points: int
    line_points: int
    directions: int
    probes: int
    density_probes: int
    density_steps: int
    eigenvalues: int
    draws: int
    radii: int
    seconds: float

    def validate(self) -> None:
        """Check that there is at least one of everything, and a middle where one is needed."""
        for field in dataclasses.fields(self)[1:]:
            value = getattr(self, field.name)
            require(value > 0, field.name, "above 0", value)
        for name in ("points", "line_points"):
            value = getattr(self, name)
            require(value >= 3 and value % 2 == 1, name, "an odd number of at least 3", value)


PROFILES: dict[str, Profile] = {
    "quick": Profile(
        name="quick", epochs=20, seeds=2, examples=500, points=15, line_points=31, directions=5, probes=30,
        density_probes=3, density_steps=30, eigenvalues=3, draws=5, radii=9, seconds=3.0,
    ),
    "standard": Profile(
        name="standard", epochs=60, seeds=3, examples=1000, points=25, line_points=51, directions=10, probes=100,
        density_probes=10, density_steps=50, eigenvalues=5, draws=10, radii=13, seconds=30.0,
    ),
    "paper": Profile(
        name="paper", epochs=200, seeds=10, examples=10_000, points=51, line_points=101, directions=20, probes=300,
        density_probes=20, density_steps=90, eigenvalues=10, draws=30, radii=21, seconds=120.0,
    ),
}  # fmt: skip
"""quick: a notebook in seconds on two cores, on the embedded data. standard: minutes. paper: as figures in print."""

SIZES = tuple(field.name for field in dataclasses.fields(Profile) if field.name != "name")
"""What a profile holds beside its name."""


def find_profile(name: str, **sizes: Any) -> Profile:
    """Return a profile by its name, with some sizes replaced.

    Args:
        name: "quick", "standard" or "paper".
        **sizes: Field to value; None leaves the profile's.

    Returns:
        The profile.

    Raises:
        NotebookError: There is no such profile.
        ConfigError: A size cannot be used.

    Example:
        >>> find_profile("quick", epochs=3, points=None).epochs
        3
    """
    if name not in PROFILES:
        raise unknown_name("profile", name, PROFILES, NotebookError)
    return PROFILES[name].replace(**{field: value for field, value in sizes.items() if value is not None})
