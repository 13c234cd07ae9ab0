"""The parameters as a notebook sees them: checked in its first cell, however it is run."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from landscape.errors import NotebookError, unknown_name
from landscape.notebooks.parameters import Parameter, check_type, parse_parameters
from landscape.notebooks.rules import check_values
from landscape.training import RunConfig
from landscape.training.feasible import check_feasible
from landscape.training.materials import build_run_model, load_run_dataset, resolve_device

_INJECTED = "# Parameters"
_LOOKED_AT = 200  # cells of a session that are looked through


def check_given(values: Mapping[str, Any], sources: Sequence[str] | None = None) -> None:
    """Check what a notebook was given: names that papermill injected, types, and what the values may be.

    The parameters cell, with its annotations and comments, is found among the cells that this kernel has run. Where
    there is none (a plain script), the names that all notebooks share are checked alone.

    Args:
        values: Name to value, of all of the notebook's parameters.
        sources: The cells that were run; those of this kernel by default.

    Raises:
        NotebookError: A name is no parameter, or a value is of another type or not allowed.

    Example:
        >>> check_given({"rho": 0.1}, ["rho: float = 0.05", "# Parameters" + chr(10) + "rho = 0.1"])
    """
    known, injected = _cells(values, _history() if sources is None else list(sources))
    names = {parameter.name: parameter for parameter in known}
    for name in injected:
        if name not in names:
            raise unknown_name("notebook parameter", name, names, NotebookError)
    for name, value in values.items():
        if name in names:
            check_type(value, names[name])
    check_values(values, known)


def check_trainings(configs: Iterable[RunConfig], *, data_root: str) -> None:
    """Check that the data of some runs is there, and that their models can be built for it and trained on it.

    Of runs that differ in seeds, epochs or radii only, one is tried: a pass in each mode over two examples.

    Args:
        configs: The settings.
        data_root: Folder of the datasets.

    Raises:
        LandscapeError: What :func:`landscape.train` would raise before its first step.
    """
    kinds: dict[str, RunConfig] = {}
    for config in configs:
        about = (config.dataset, config.image_size, config.validation, config.limit, config.batch_size, config.M)
        kinds.setdefault(repr((config.model, config.model_options, config.precision, *about)), config)
    for config in kinds.values():
        data = load_run_dataset(config, "train", data_root=data_root)
        check_feasible(config, build_run_model(config, data), data, resolve_device(config.device))


def _cells(values: Mapping[str, Any], sources: list[str]) -> tuple[list[Parameter], list[str]]:
    """Return the newest parameters cell that has all these names, and the names that were injected after it."""
    injected: list[str] = []
    for source in reversed(sources[-_LOOKED_AT:]):
        try:
            found = parse_parameters(source)
        except NotebookError:
            continue
        if source.startswith(_INJECTED):
            injected += [parameter.name for parameter in found]
        elif values.keys() <= {parameter.name for parameter in found}:
            return found, injected
    return [], []


def _history() -> list[str]:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return [str(source) for source in shell.user_ns.get("In", [])] if shell is not None else []
