"""The commands that look at a run: its loss surface and its curvature."""

from __future__ import annotations

import dataclasses
import html
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import tyro

from landscape.cli_mistakes import one_run
from landscape.cli_options import Words
from landscape.config import require

if TYPE_CHECKING:
    from torch import nn

    from landscape.curvature.hessian import Hessian
    from landscape.curvature.results import Eigenpairs
    from landscape.objective import Objective
    from landscape.surface.path_results import Trajectory
    from landscape.surface.planes import Plane
    from landscape.training.run import Run

UNIT = "loss/weight^2"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurfaceCommand:
    """Slice the loss of a run along a plane; resumes where it was stopped."""

    run_folder: tyro.conf.Positional[Path]
    """The run's folder, as printed by `landscape train`."""
    plane: Literal["random", "trajectory", "eigen"] = "random"
    """random: filter-normalized; trajectory: the principal components of its checkpoints; eigen: of the Hessian."""
    extent: float | None = None
    """Half-width of the plane: in filter norms (random, default 1), or in lengths of weight space (eigen, default 1);
    a trajectory's is what its checkpoints need."""
    points: int = 21
    """Points along each axis; odd, so that the center is one of them."""
    seed: int = 0
    """Seed of the plane's two directions."""
    split: Literal["train", "test"] = "train"
    """Which data."""
    limit: int | None = None
    """Use so many examples; all by default."""
    engine: Literal["auto", "plain", "folded", "folded_large", "stacked", "graphed"] = "auto"
    """How points are computed; auto measures which is fastest."""
    workers: int | None = None
    """Points at a time; as many as there are cores by default."""
    html: Path | None = None
    """Where to write the picture; beside the arrays by default."""
    export: Words = ()
    """Also write files for other programs: one or several of NAME.csv, .vtp (ParaView) and .h5 (loss-landscape)."""
    quiet: bool = False
    """No progress bar."""

    def run(self) -> int:
        """Compute, save, draw."""
        require(
            self.points >= 1 and self.points % 2 == 1,
            "--points",
            "an odd number: the trained weights are at the center",
            self.points,
            f"Use --points {self.points + 1 if self.points > 0 else 21}.",
        )
        if self.extent is not None:
            usable = math.isfinite(self.extent) and self.extent > 0
            require(usable, "--extent", "a positive number", self.extent, "Leave it out, or use --extent 1.")
        from landscape import plotting
        from landscape.storage import require_writable
        from landscape.surface import evaluate_surface, export_result
        from landscape.surface.exchange import check_suffix

        for name in self.export:
            check_suffix(name)
            require_writable(name)
        if self.html is not None:
            require_writable(self.html)
        run, objective = open_run(self.run_folder, self.split, self.limit)
        plane, extent, path = self._plane(run, objective)
        settings = {"plane": self.plane, "extent": extent, "points": self.points, "seed": self.seed}
        settings |= {"split": self.split, "engine": self.engine}
        folder = run.path / "surfaces" / short_hash({**settings, **objective.provenance()})
        surface = evaluate_surface(
            objective,
            plane,
            extent=extent,
            points=(self.points, self.points),
            engine=self.engine,
            workers="auto" if self.workers is None else self.workers,
            store=folder / "store",
            progress=not self.quiet,
        )
        surface.save(folder / "surface.npz")
        title = f"Loss surface of {described(run, objective.examples, self.split, self.limit)}"
        figures = plotting.surface3d(surface, title=title), plotting.contour(surface, title="From above", path=path)
        page = write_page(title, figures, self.html or folder / "surface.html")
        print(f"surface        {folder / 'surface.npz'}")
        print(f"picture        {page}")
        center = surface.center_loss
        if math.isnan(center):  # a trajectory's grid need not have a point there
            center = objective.evaluate().loss
        print(f"center loss    {center:.6f} nats")
        print(f"highest loss   {highest(surface.loss)}")
        for name in self.export:
            export_result(surface, name)
            print(f"exported       {name}")
        return 0

    def _plane(self, run: Run, objective: Objective) -> tuple[Plane, Any, Trajectory | None]:
        """Build the plane, say how far it reaches, and return the path that lies over it."""
        from landscape.curvature import Hessian
        from landscape.curvature.planes import eigen_plane
        from landscape.study.trajectory import trajectory_plane
        from landscape.surface import random_plane

        if self.plane == "random":
            return random_plane(objective, seed=self.seed), self._extent(1.0), None
        if self.plane == "eigen":
            return eigen_plane(Hessian(objective), seed=self.seed), self._extent(1.0), None
        trajectory = trajectory_plane(run, progress=not self.quiet)
        return cast("Plane", trajectory.plane), self._extent(trajectory.extent()), trajectory

    def _extent(self, usual: Any) -> Any:
        return usual if self.extent is None else self.extent


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurvatureCommand:
    """Measure the Hessian of a run's loss: largest eigenvalues, trace, spectral density."""

    run_folder: tyro.conf.Positional[Path]
    """The run's folder, as printed by `landscape train`."""
    top: int = 3
    """How many of the largest eigenvalues."""
    probes: int = 100
    """Random probes of the trace."""
    density_probes: int = 10
    """Random probes of the spectral density; 0 leaves it out."""
    steps: int = 50
    """Lanczos steps per probe of the density."""
    method: Literal["hutchinson", "hutch++", "xtrace", "exact"] = "hutchinson"
    """How the trace is estimated; exact takes a product for each weight."""
    rel_error: float | None = None
    """Stop the trace when its standard error is at most this fraction of it; --probes is then the most."""
    layers: tyro.conf.FlagCreatePairsOff[bool] = False
    """Also the largest eigenvalue and the trace of each layer's block."""
    memory_limit: int | None = None
    """Mebibytes that a product may take beside weights and data; batches are made small enough."""
    seed: int = 0
    """Seed of all probes."""
    split: Literal["train", "test"] = "train"
    """Which data."""
    limit: int | None = None
    """Use so many examples; all by default."""
    html: Path | None = None
    """Where to write the pictures of the density and the layers; beside the arrays by default."""
    quiet: bool = False
    """No progress bar."""

    def run(self) -> int:
        """Compute, save, draw, print."""
        from landscape.curvature import Hessian
        from landscape.curvature.trace import LEAST_PROBES
        from landscape.storage import require_writable, write_json

        probes = LEAST_PROBES.get(self.method, 1)
        for name, least in {"top": 1, "probes": probes, "density_probes": 0, "steps": 1, "memory_limit": 1}.items():
            flag, value = f"--{name.replace('_', '-')}", getattr(self, name)
            usable = value is None or value >= least
            require(usable, flag, f"at least {least}", value, f"Use {flag} {max(1, least)} or more.")
        usable = self.rel_error is None or 0 < self.rel_error < math.inf
        require(usable, "--rel-error", "a positive number", self.rel_error, "Leave it out, or use --rel-error 0.05.")
        if self.html is not None:
            drawn = bool(self.layers or self.density_probes)
            require(drawn, "--html", "a density or layers to draw", self.html, "Add --layers, or leave --html out.")
            require_writable(self.html)
        run, objective = open_run(self.run_folder, self.split, self.limit)
        most = objective.size
        require(self.top <= most, "--top", f"at most {most}, the number of weights", self.top, f"Use --top {most}.")
        settings = dataclasses.asdict(self) | {"run_folder": run.path.name, "html": None}
        provenance = objective.provenance()
        folder = run.path / "curvature" / short_hash({**settings, **provenance})
        hessian = Hessian(objective, memory_limit=None if self.memory_limit is None else self.memory_limit * 2**20)
        found: dict[str, Any] = {}
        # Numbers are printed before they are saved: a full disk must not take them along.
        failed = ended_by(lambda: self._ask(hessian, found), found)

        def save() -> None:
            self._save(found, folder)
            write_json(folder / "provenance.json", {"settings": settings, "complete": failed is None, **provenance})
            figures = _figures(found, objective, described(run, objective.examples, self.split, self.limit))
            if figures:
                page = folder / ("density.html" if "density" in found else "layers.html")
                print(f"picture        {write_page('Hessian spectrum', figures, self.html or page)}")

        return kept(save, failed, record=folder / "provenance.json", shown=folder)

    def _ask(self, hessian: Hessian, found: dict[str, Any]) -> None:
        """Compute and print one after the other, until Ctrl-C; what it cuts short is in ``found`` too, as a part."""
        pairs = found["eigenpairs"] = hessian.top(self.top, seed=self.seed)
        _print_pairs(pairs)
        _stop_after_a_part(pairs)
        shown = not self.quiet
        estimate = {"probes": self.probes, "method": self.method, "rel_error": self.rel_error, "seed": self.seed}
        trace = found["trace"] = hessian.trace(**estimate, progress=shown)
        how = "" if self.method == "hutchinson" else f", {self.method}"
        part = "" if trace.complete else ", interrupted"
        print(f"trace          {trace} {UNIT} (± one standard error, {trace.matvecs} probes{how}{part})")
        _stop_after_a_part(trace)
        if self.layers:
            found["layers"] = layers = self._layers(hessian, estimate)
            _print_layers(layers, hessian.objective.model)
            _stop_after_a_part(*(answer for answers in layers.values() for answer in answers.values()))
            if {len(answers) for answers in layers.values()} != {len(hessian.objective.layout.layers)}:
                raise KeyboardInterrupt
        if self.density_probes:
            asked = {"probes": self.density_probes, "steps": self.steps, "seed": self.seed}
            found["density"] = hessian.density(**asked, progress=shown)
            _stop_after_a_part(found["density"])

    def _layers(self, hessian: Hessian, estimate: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Ask each layer's block; of those from Ctrl-C on there is nothing."""
        tops = hessian.layerwise("top", k=1, seed=self.seed, progress=not self.quiet)
        if len(tops) < len(hessian.objective.layout.layers) or not all(pairs.complete for pairs in tops.values()):
            return {"top": tops, "trace": {}}
        return {"top": tops, "trace": hessian.layerwise("trace", **estimate, progress=not self.quiet)}

    def _save(self, found: dict[str, Any], folder: Path) -> None:
        from landscape.storage import write_json

        for name in ("eigenpairs", "trace", "density"):
            if name in found:
                found[name].save(folder / f"{name}.npz")
        if "layers" in found:
            write_json(folder / "layers.json", _layer_numbers(found["layers"]))
        if "density" in found:
            print(f"density        {folder / 'density.npz'}")


def _stop_after_a_part(*results: Any) -> None:
    if not all(result.complete for result in results):
        raise KeyboardInterrupt


def ended_by(compute: Callable[[], None], found: Mapping[str, Any]) -> BaseException | None:
    """Compute into ``found``, and return what ended that midway; raise it where nothing was found yet."""
    try:
        compute()
    except BaseException as error:
        if not found:
            raise
        return error
    return None


def kept(save: Callable[[], None], failed: BaseException | None, *, record: Path, shown: Path) -> int:
    """Save what was found, unless it is a part of what is there complete; then end as the computation did.

    Args:
        save: Writes it.
        failed: What ended the computation midway, or None.
        record: The file that says whether what is there is complete.
        shown: What was written, for the last line.

    Returns:
        The exit code; whatever else than Ctrl-C ended the computation is raised again.
    """
    if failed is None or not is_complete(record):
        save()
        print(f"saved          {shown}" + ("" if failed is None else ", what there was: it was interrupted"))
    elif isinstance(failed, KeyboardInterrupt):
        print(f"interrupted    nothing is saved: {shown} holds the same, complete")
    if failed is not None and not isinstance(failed, KeyboardInterrupt):
        raise failed
    return 0 if failed is None else 130


def is_complete(path: Path) -> bool:
    """Whether a file says of results that they were not interrupted; one that is not there or damaged does not."""
    from landscape.errors import StorageError
    from landscape.storage import read_json

    try:
        return bool(read_json(path).get("complete", True))
    except (StorageError, AttributeError):
        return False


def _figures(found: dict[str, Any], objective: Objective, described: str) -> list[Any]:
    """Draw what was found: the density, and the layers as far as all were asked."""
    from landscape import plotting

    figures: list[Any] = []
    if "density" in found:
        part = "" if found["density"].complete else " (interrupted)"
        figures.append(plotting.density(found["density"], title=f"Hessian spectrum of {described}{part}"))
    tops, traces = (found.get("layers", {}).get(name, {}) for name in ("top", "trace"))
    if tops:
        panels = {"top": tops} | ({"trace": traces} if list(traces) == list(tops) else {})
        figures.append(plotting.layers(panels, sizes=objective.layout if list(tops) == list(traces) else None))
    return figures


def _layer_numbers(layers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What is saved of each layer."""
    found = {}
    for name, pairs in layers["top"].items():
        trace = layers["trace"].get(name)
        found[name] = {
            "eigenvalue": float(pairs.values[0]),
            "residual": float(pairs.residuals[0]),
            "converged": bool(pairs.converged[0]),
            "complete": pairs.complete and trace is not None and trace.complete,
        }
        if trace is not None:
            found[name] |= {"trace": trace.value, "trace_stderr": trace.stderr, "trace_matvecs": trace.matvecs}
    return found


def _print_layers(layers: dict[str, dict[str, Any]], model: nn.Module) -> None:
    """Print a line for each layer, by its name and what it is; of a parameter of the model's own too."""
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    called = {name: f"{name} ({kinds.get(name, 'Parameter')})" for name in layers["top"]}
    width = max(map(len, called.values()))
    for name, pairs in layers["top"].items():
        value, residual, trace = float(pairs.values[0]), float(pairs.residuals[0]), layers["trace"].get(name)
        known = "" if trace is None else f", trace {trace} {UNIT}"
        part = "" if pairs.complete and trace is not None and trace.complete else ", interrupted"
        print(f"layer {called[name]:<{width}}  eigenvalue {value:.4g} (residual {residual:.1e}){known}{part}")


def _print_pairs(pairs: Eigenpairs) -> None:
    for k, (value, residual, good) in enumerate(zip(pairs.values, pairs.residuals, pairs.converged, strict=True), 1):
        missed = "" if good else ", NOT converged"
        print(f"eigenvalue {k:<3} {value:.6g} {UNIT} (absolute residual {residual:.1e}{missed})")


def open_run(folder: Path, split: str, limit: int | None) -> tuple[Run, Objective]:
    """Load a run and its loss over so many examples of a split."""
    from landscape.training.run import Run

    run = Run.load(one_run(folder))
    return run, run.objective(split, limit)


def described(run: Run, examples: int, split: str, limit: int | None) -> str:
    """Say in a title what was looked at, and whether that was trained to its end."""
    config = run.config
    data = config.dataset.removeprefix("folder:").rstrip("/").rsplit("/", 1)[-1]
    share = f"limit {limit}" if limit is not None else f"all {examples}"
    state = "" if run.status == "finished" else f", {run.status}"
    return f"{data}, {config.model}, {config.optimizer}{state}: {split} split, {share} examples"


def highest(loss: np.ndarray) -> str:
    """Say in words how high a loss rises, and at how many points it is no finite number.

    Example:
        >>> import numpy as np
        >>> highest(np.array([1.0, 2.5])), highest(np.array([1.0, np.nan])), highest(np.array([np.inf]))
        ('2.500000 nats', '1.000000 nats; not finite at 1 of 2 points', 'none: not finite at 1 of 1 point')
    """
    finite = loss[np.isfinite(loss)]
    wrong = loss.size - finite.size
    beside = f"not finite at {wrong} of {loss.size} point{'s' * (loss.size > 1)}" if wrong else ""
    if not finite.size:
        return f"none: {beside}"
    return f"{finite.max():.6f} nats" + (f"; {beside}" if wrong else "")


def write_page(title: str, figures: Sequence[Any], page: Path) -> Path:
    """Write figures, one below the other, as a page that needs nothing beside it."""
    from landscape.storage import write_text

    parts = [
        figure.to_html(include_plotlyjs=not number, full_html=False, config={"displaylogo": False})
        for number, figure in enumerate(figures)
    ]
    style = "<style>body { max-width: 64rem; margin: auto }</style>"
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title>{style}'
    write_text(page, "\n".join(["<!doctype html>", f"<html><head>{head}</head><body>", *parts, "</body></html>"]))
    return page


def short_hash(values: dict[str, Any]) -> str:
    """Name settings by 8 hexadecimal digits; what changes no number does not count."""
    from landscape.storage import sha256_bytes

    plain = {key: value for key, value in values.items() if key not in ("versions", "threads", "html", "quiet")}
    return sha256_bytes(json.dumps(plain, sort_keys=True, default=str).encode())[:8]
