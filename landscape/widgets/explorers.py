"""Explorers of finished results: surfaces with a cut, spectra, and the numbers of several runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import ConfigError
from landscape.plotting import density, relation, surface_slice
from landscape.plotting.comparison import Metric, Rows, cell, read_rows
from landscape.plotting.field import as_mapping
from landscape.widgets.controls import Control, menu, slider
from landscape.widgets.panel import Panel

if TYPE_CHECKING:
    from landscape.curvature.results import SpectralDensity
    from landscape.surface.results import Surface

ALL = "all"


class SurfaceExplorer(Panel):
    """Surfaces from above, each with a cut at a beta, beside the loss of all of them along that cut.

    Args:
        surfaces: Label -> surface; one common color and loss scale for all.

    Raises:
        DataError: There are no surfaces.
    """

    def __init__(self, surfaces: Mapping[str, Surface]) -> None:
        self.surfaces: dict[str, Any] = as_mapping(surfaces, "Surface")
        betas = np.asarray(next(iter(self.surfaces.values())).betas, float)
        start = float(betas[np.argmin(np.abs(betas))])
        values = np.concatenate([np.ravel(one.loss) for one in self.surfaces.values()])
        finite = values[np.isfinite(values)]
        limits = np.unique([float(f"{q:.2g}") for q in np.quantile(finite, (0.5, 0.75, 0.9))]) if finite.size else []
        clips = (("none", None), *((f"{limit:g}", float(limit)) for limit in limits if limit > 0))
        scales = (("log where it helps", None), ("log", True), ("linear", False))
        super().__init__(
            lambda **values: values,
            self._build,
            controls=[
                menu("minimum", "minimum found by", self.surfaces),
                Control(name="log", label="loss axis", options=scales, value=None, kind="buttons"),
                Control(name="clip", label="clip the loss at", options=clips, value=None, kind="menu"),
                slider("beta", "cut at β", betas, value=start),
            ],
            note=self._note,
            hint="Try: move the cut away from β = 0. Notice: whose valley stays low and wide on the common scale.",
            frames_over="beta",
        )

    def _build(self, values: dict[str, Any]) -> Any:
        return surface_slice(
            self.surfaces, label=values["minimum"], beta=values["beta"], log=values["log"], clip=values["clip"]
        )

    def _note(self, values: dict[str, Any]) -> str:
        said = [f"Along the cut at β = {values['beta']:.3g}:"]
        for label, surface in self.surfaces.items():
            row = int(np.argmin(np.abs(np.asarray(surface.betas) - values["beta"])))
            cut = np.asarray(surface.loss, float)[:, row]
            finite = cut[np.isfinite(cut)]
            ends = f"from {finite.min():.3g} to {finite.max():.3g}" if finite.size else "no finite loss"
            said.append(f"{label}: loss {ends}.")
        return "\n".join(said)


class SpectrumExplorer(Panel):
    """Spectral densities of Hessians: all overlaid or one alone, cut where one likes, with or without the nodes.

    Args:
        spectra: Label -> spectral density.

    Raises:
        DataError: There are no spectra.
    """

    def __init__(self, spectra: Mapping[str, SpectralDensity]) -> None:
        self.spectra: dict[str, Any] = as_mapping(spectra, "SpectralDensity")
        super().__init__(
            lambda **values: values,
            self._build,
            controls=[
                menu("shown", "show", [ALL, *self.spectra]),
                Control(
                    name="log",
                    label="density axis",
                    options=(("log", True), ("linear", False)),
                    value=True,
                    kind="buttons",
                ),
                Control(
                    name="rug",
                    label="Ritz values",
                    options=(("hide", False), ("mark", True)),
                    value=False,
                    kind="buttons",
                ),
                slider(
                    "floor",
                    "lowest density shown, fraction of the peak",
                    [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3],
                    value=1e-6,
                ),
            ],
            note=self._note,
            hint="Try: show one network alone. Notice: how far the few large eigenvalues reach beyond the bulk at 0.",
            frames_over="shown",
        )

    def _chosen(self, values: dict[str, Any]) -> dict[str, Any]:
        return self.spectra if values["shown"] == ALL else {values["shown"]: self.spectra[values["shown"]]}

    def _build(self, values: dict[str, Any]) -> Any:
        return density(self._chosen(values), log=values["log"], rug=values["rug"], floor=values["floor"])

    def _note(self, values: dict[str, Any]) -> str:
        said = []
        for label, one in self._chosen(values).items():
            nodes, weights = np.asarray(one.nodes), np.asarray(one.weights)
            real = nodes[weights > 1e-12]
            mean = float((nodes * weights).sum(axis=1).mean())
            said.append(
                f"{label}: Ritz values from {real.min():.3g} to {real.max():.3g}, mean eigenvalue {mean:.3g}."
                if real.size
                else f"{label}: no Ritz values."
            )
        return "\n".join(said)

    def figure_with_frames(self, *, over: str | None = None, **changes: Any) -> Any:
        """Draw all spectra; plotly's legend shows and hides each of them in a static page.

        Args:
            over: A control to slide over instead; its figures must have the same traces.
            **changes: As in :meth:`Panel.values`.

        Returns:
            A plotly figure.

        Raises:
            ConfigError: A name or value is unknown.
            MismatchError: The figures have other traces.
        """
        if over is None:
            return self.figure(**changes)
        return super().figure_with_frames(over=over, **changes)


class RunComparison(Panel):
    """The numbers of several runs, any one against any other: does what is flat also err less?

    Args:
        rows: As in :func:`landscape.plotting.compare`.
        x: The number along the horizontal axis at first; the second one by default.
        y: The number along the vertical axis; the first one by default.
        metrics: Meanings of further keys.

    Raises:
        DataError: There are no rows, or labels are missing or doubled.
        ConfigError: There are fewer than two numbers, or ``x`` or ``y`` is none of them.
    """

    def __init__(
        self, rows: Rows, *, x: str | None = None, y: str | None = None, metrics: Mapping[str, Metric] | None = None
    ) -> None:
        self.rows = rows if isinstance(rows, Mapping) else list(rows)
        self.metrics = metrics
        found = read_rows(self.rows, metrics=metrics)
        if len(found.keys) < 2:
            raise ConfigError("A comparison needs two numbers for each run.", got=list(found.keys))
        options = tuple((metric.name, key) for metric, key in zip(found.metrics, found.keys, strict=True))
        first, second = found.keys[:2]
        super().__init__(
            lambda **values: values,
            self._build,
            controls=[
                Control(name="x", label="across", options=options, value=x or second, kind="menu"),
                Control(name="y", label="up", options=options, value=y or first, kind="menu"),
            ],
            note=self._note,
            hint="Try: set a flatness measure across and the test error up. Notice: whether the points rise together.",
            frames_over="x",
        )

    def _build(self, values: dict[str, Any]) -> Any:
        return relation(self.rows, x=values["x"], y=values["y"], metrics=self.metrics)

    def _note(self, values: dict[str, Any]) -> str:
        data = read_rows(self.rows, columns=[values["x"], values["y"]], metrics=self.metrics)
        return "\n".join(
            f"{label}: "
            + ", ".join(
                f"{metric.name} {cell(data.values[row, i], data.errors[row, i])} {metric.unit}".rstrip()
                for i, metric in enumerate(data.metrics)
            )
            + "."
            for row, label in enumerate(data.labels)
        )

    def figure_with_frames(self, *, over: str | None = None, **changes: Any) -> Any:
        """Draw one number against the other; with ``over`` behind plotly's own slider.

        Args:
            over: "x" or "y" to slide over all numbers.
            **changes: As in :meth:`Panel.values`.

        Returns:
            A plotly figure.

        Raises:
            ConfigError: A name or value is unknown.
        """
        return self.figure(**changes) if over is None else super().figure_with_frames(over=over, **changes)
