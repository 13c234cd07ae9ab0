"""The command that trains many runs and compares them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from landscape.cli_options import Words, with_options
from landscape.training.run_config import RunConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyCommand:
    """Compare the test errors of SGD, SAM, ASAM, AMP and LPF-SGD over many seeds, radii chosen on held-out data."""

    question: tyro.conf.Positional[Literal["generalization"]] = "generalization"
    """What is asked."""
    settings: Annotated[RunConfig, tyro.conf.arg(name="")] = dataclasses.field(default_factory=RunConfig)
    model_option: Words = ()
    """An option of the model as KEY=VALUE, for example hidden=[64]; may be repeated."""
    seeds: int = 10
    """Runs per method, tested once, after the last epoch."""
    search_seeds: int = 3
    """Runs per method and radius, to choose the radius by."""
    held_out: float = 0.25
    """Fraction of the training examples that the radii are chosen on."""
    jobs: int | None = None
    """Runs at a time; as many as there are cores by default."""
    root: Path = Path("runs")
    """Folder of all runs."""
    data_root: Path | None = None
    """Folder of the datasets; ./data by default."""
    output: Path | None = None
    """Where the result goes, as JSON; ROOT/studies/... by default."""
    quiet: bool = False
    """No progress bars."""

    def run(self) -> int:
        """Train, print the table, save."""
        from landscape.storage import require_writable
        from landscape.study.generalization import compare_generalization, default_result_path

        settings = with_options(self.settings, self.model_option)
        sizes: dict[str, Any] = {"seeds": self.seeds, "search_seeds": self.search_seeds, "validation": self.held_out}
        path = self.output or default_result_path(settings, self.root, **sizes)
        require_writable(path)
        found = compare_generalization(
            settings,
            **sizes,
            root=self.root,
            jobs=self.jobs,
            data_root=self.data_root,
            progress=not self.quiet,
        )
        found.save(path)
        print(found.table())
        print(f"\nresult {path}")
        return 0
