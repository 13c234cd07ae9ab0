"""The command that measures how sharp the minimum of a run is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from landscape.cli_analysis import described, ended_by, kept, open_run, short_hash, write_page
from landscape.cli_options import Words
from landscape.config import require

if TYPE_CHECKING:
    from torch import Tensor

    from landscape.curvature.results import Estimate
    from landscape.objective import Objective
    from landscape.training.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharpnessCommand:
    """Measure how sharp the loss is at the end of a run: a table with standard errors, a picture, and a JSON file."""

    run_folder: tyro.conf.Positional[Path]
    """The run's folder, as printed by `landscape train`."""
    measure: Words = ()
    """One or several measures, for example lambda_max trace. All that apply by default."""
    balanced: tyro.conf.FlagCreatePairsOff[bool] = False
    """Measure the same function with filters of norm 1, which a rescaled network has too."""
    as_published: tyro.conf.FlagCreatePairsOff[bool] = False
    """Compute what the code behind published tables computes, where that is something else."""
    seed: int = 0
    """Seed of all draws."""
    split: Literal["train", "test"] = "train"
    """Which data."""
    limit: int | None = None
    """Use so many examples; all by default."""
    json: Path | None = None
    """Where to write the values; in the run's folder by default."""
    html: Path | None = None
    """Where to write the picture; beside the values by default."""
    quiet: bool = False
    """No progress bars."""

    def run(self) -> int:
        """Measure, print, save."""
        from landscape.plotting import sharpness
        from landscape.sharpness import MEASURES, balance
        from landscape.sharpness.measures import chosen_measures
        from landscape.storage import require_writable, write_json

        chosen_measures(self.measure or None)
        for path in (self.json, self.html):
            if path is not None:
                require_writable(path)
        differ = self.json is None or self.html is None or self.json.absolute() != self.html.absolute()
        require(differ, "--html", "another file than --json", self.html, "Give the picture a name of its own.")
        run, objective = open_run(self.run_folder, self.split, self.limit)
        start = _initial_weights(run, balanced=self.balanced)
        if self.balanced:
            objective = objective.with_model(balance(objective.model))
        found: dict[str, Estimate] = {}
        failed = ended_by(lambda: self._measure(objective, start, found), found)
        settings = dataclasses.asdict(self) | {"run_folder": run.path.name, "json": None, "html": None}
        provenance = objective.provenance()
        path = self.json or run.path / "sharpness" / f"{short_hash({**settings, **provenance})}.json"
        values = {
            name: {**dataclasses.asdict(value), "unit": MEASURES[name].unit, "definition": MEASURES[name].definition}
            for name, value in found.items()
        }

        def save() -> None:
            write_json(path, {"measures": values, "settings": settings, "complete": failed is None, **provenance})
            if found:
                title = f"Sharpness of {described(run, objective.examples, self.split, self.limit)}"
                page = self.html or path.with_name(f"{path.stem if path.suffix != '.html' else path.name}.html")
                print(f"picture        {write_page(title, [sharpness(found, title=title)], page)}")

        return kept(save, failed, record=path, shown=path)

    def _measure(self, objective: Objective, start: Tensor | None, found: dict[str, Estimate]) -> None:
        """Measure one after the other into ``found``, printing each; what was not asked for by name may not apply."""
        from landscape.errors import ConfigError
        from landscape.sharpness import MEASURES, measure

        width = max(map(len, self.measure or MEASURES))
        for name in self.measure or MEASURES:
            try:
                estimate = measure(
                    objective,
                    name,
                    seed=self.seed,
                    initial_weights=start,
                    as_published=self.as_published,
                    progress=not self.quiet,
                )[name]
            except ConfigError as error:
                if self.measure:
                    raise
                print(f"{name:<{width}}  does not apply: {str(error).splitlines()[0]}")
                continue
            found[name] = estimate
            unit = MEASURES[name].unit
            print(f"{name:<{width}}  {estimate}" + (f"  [{unit}]" if unit != "1" else ""))


def _initial_weights(run: Run, *, balanced: bool) -> Tensor | None:
    """The weights that the run began from, (P,), or None where they were not kept."""
    from landscape.parameters import Layout
    from landscape.sharpness import balance

    if not any(step == 0 for step, _ in run.checkpoints()):
        return None
    model = run.model(0)
    model = balance(model) if balanced else model
    return Layout.of(model).flatten(model)
