"""Look at spectra of Hessians: smooth them more or less, mark single eigenvalues, take them layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.curvature.density import smooth
from landscape.errors import MismatchError
from landscape.plotting.field import as_mapping
from landscape.plotting.scale import plural
from landscape.plotting.spectrum_view import Curve, SpectrumView, spectrum_view
from landscape.widgets.controls import choice, menu, slider
from landscape.widgets.panel import Panel

if TYPE_CHECKING:
    from landscape.curvature.results import Eigenpairs, SpectralDensity

ALL = "all"
WHOLE = "all layers"
_GRID = 1201
_WIDTHS = (0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
_REAL = 1e-12  # below it a quadrature weight only fills a row


class SpectrumExplorer(Panel):
    """Spectral densities of Hessians, smoothed anew from their nodes and weights wherever the slider is put.

    Definition: ``density(t) = mean over probes of sum_i weight_i * N(t; node_i, sigma**2)``; the slider multiplies the
    sigma that each spectrum came with.

    Args:
        spectra: Label -> spectral density of the whole network.
        eigenpairs: Label -> largest eigenvalues, from ``Hessian.top``: marked one by one.
        layers: Label -> layer -> spectral density, from ``Hessian.layerwise("density")``.

    Raises:
        DataError: There are no spectra.
        MismatchError: ``eigenpairs`` or ``layers`` have other labels.

    References:
        B. Ghorbani et al., An Investigation into Neural Net Optimization via Hessian Eigenvalue Density, ICML 2019.
    """

    note_takes_values = True

    def __init__(
        self,
        spectra: Mapping[str, SpectralDensity],
        *,
        eigenpairs: Mapping[str, Eigenpairs] | None = None,
        layers: Mapping[str, Mapping[str, SpectralDensity]] | None = None,
    ) -> None:
        self.spectra: dict[str, Any] = as_mapping(spectra, "SpectralDensity")
        self.eigenpairs, self.layers = dict(eigenpairs or {}), {k: dict(v) for k, v in (layers or {}).items()}
        for found in (self.eigenpairs, self.layers):
            if set(found) - set(self.spectra):
                raise MismatchError("The labels differ.", expected=list(self.spectra), got=list(found))
        most = max((len(pairs.values) for pairs in self.eigenpairs.values()), default=0)
        names = list(dict.fromkeys(name for found in self.layers.values() for name in found))
        controls = [menu("shown", "show", [ALL, *self.spectra] if len(self.spectra) > 1 else self.spectra)]
        if names:
            controls.append(menu("layer", "layer", [WHOLE, *names]))
        controls += [
            slider("width", "kernel's width, × the spectrum's own σ", _WIDTHS, value=1.0, text="{:g}".format),
            choice("log", "density axis", {"log": True, "linear": False}, value=True),
            choice("rug", "Ritz values", {"ends": "ends", "all": "all", "hide": "none"}, value="ends"),
            slider("floor", "lowest density, fraction of the peak", [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3], value=1e-6),
        ]
        if most:
            counts = [count for count in (0, 1, 2, 3, 5, 10, 20, 50, 100) if count < most] + [most]
            controls.append(slider("top", "top eigenvalues marked, k", counts, value=min(most, 5), text=str))
        super().__init__(
            self._view,
            spectrum_view,
            controls=controls,
            note=self._note,
            hint="Try: make the kernel narrower, then wider. Notice: which bumps are eigenvalues and which are the "
            "kernel; how far the few large ones reach beyond the bulk at 0.",
            frames_over="width",
        )

    def _of(self, label: str, layer: str) -> Any:
        return self.spectra[label] if layer == WHOLE else self.layers.get(label, {}).get(layer)

    def _view(self, **values: Any) -> SpectrumView:
        layer = values.get("layer", WHOLE)
        shown = [label for label in self.spectra if values["shown"] in (ALL, label)]
        found = {label: self._of(label, layer) for label in shown}
        curves = {label: self._curve(label, found.get(label), layer, values) for label in self.spectra}
        drawn = [curve for curve in curves.values() if curve is not None]
        every = [one for label in self.spectra if (one := self._of(label, layer)) is not None]
        nodes = np.concatenate([np.ravel(one.nodes)[np.ravel(one.weights) > _REAL] for one in every] or [np.zeros(1)])
        low, high = float(nodes.min()), float(nodes.max())
        pad = 0.04 * (high - low) or 1.0
        where = "" if layer == WHOLE else f" of the layer {layer}"
        return SpectrumView(
            curves=curves,
            log=values["log"],
            floor=values["floor"],
            x_range=(low - pad, high + pad),
            peak=max((float(np.nanmax(curve.density)) for curve in drawn), default=1.0) or 1.0,
            title=f"Spectral density of the Hessian{where}: how many directions have which curvature?",
            caption=self._caption(found, values),
        )

    def _curve(self, label: str, one: Any, layer: str, values: dict[str, Any]) -> Curve | None:
        if one is None:
            return None
        nodes, weights = np.asarray(one.nodes), np.asarray(one.weights)
        sigma, real = values["width"] * one.sigma, np.sort(nodes[weights > _REAL])
        grid = np.linspace(float(real[0]) - 5 * sigma, float(real[-1]) + 5 * sigma, _GRID)
        found = np.stack([smooth(grid, *pair, sigma) for pair in zip(nodes, weights, strict=True)])
        probes = len(found)
        pairs, count = self.eigenpairs.get(label) if layer == WHOLE else None, values.get("top", 0)
        return Curve(
            grid=grid,
            density=found.mean(0),
            band=found.std(0, ddof=1) / math.sqrt(probes) if probes > 1 else np.full(_GRID, np.nan),
            marks={"ends": real[[0, -1]], "all": real, "none": real[:0]}[values["rug"]],
            top=np.asarray(pairs.values[:count]) if pairs is not None else np.empty(0),
            residuals=np.asarray(pairs.residuals[:count]) if pairs is not None else np.empty(0),
        )

    def _caption(self, found: Mapping[str, Any], values: dict[str, Any]) -> str:
        known = {label: one for label, one in found.items() if one is not None}
        widths = sorted({float(f"{values['width'] * one.sigma:.3g}") for one in known.values()})
        if not widths:
            return "There is no spectrum of this layer."
        span = f"{widths[0]:g}" + (f" to {widths[-1]:g}" if len(widths) > 1 else "")
        marks = {"ends": "the smallest and the largest Ritz value", "all": "all Ritz values", "none": ""}[values["rug"]]
        single = values.get("top") and self.eigenpairs and values.get("layer", WHOLE) == WHOLE
        top = "triangles: eigenvalues known singly" if single else ""
        below = "; ".join(text for text in (f"ticks: {marks}" if marks else "", top) if text)
        return (
            f"The area under each curve is 1. Each node is a Gaussian of standard deviation {span}. "
            f"Bands: ± 1 standard error over the probes." + (f" Below the curves, {below}." if below else "")
        )

    def _note(self, view: SpectrumView, **values: Any) -> str:
        layer, known = values.get("layer", WHOLE), view.curves.items()
        return "\n".join(self._of_curve(label, curve, layer) for label, curve in known if curve is not None)

    def _of_curve(self, label: str, curve: Curve, layer: str) -> str:
        one = self._of(label, layer)
        means = (np.asarray(one.nodes) * np.asarray(one.weights)).sum(1)
        error = f" ± {means.std(ddof=1) / math.sqrt(len(means)):.2g}" if len(means) > 1 else ""
        real = np.asarray(one.nodes)[np.asarray(one.weights) > _REAL]
        share = float((np.asarray(one.weights) * (np.asarray(one.nodes) < -one.sigma)).sum(1).mean())
        said = [
            f"{label or 'The Hessian'}: mean eigenvalue {means.mean():.3g}{error}",
            f"Ritz values from {real.min():.3g} to {real.max():.3g}",
            f"{share:.1%} of all eigenvalues below −{one.sigma:.2g}",
        ]
        if len(curve.top):
            said.append(
                f"top eigenvalue {curve.top[0]:.4g} (residual {curve.residuals[0]:.1g}), "
                f"number {len(curve.top)} {curve.top[-1]:.4g}"
            )
        examples = one.provenance.get("examples")
        basis = f", {examples:,} examples" if examples else ""
        return ", ".join(said) + f". {plural(len(one.nodes), 'probe')} of {plural(one.nodes.shape[1], 'step')}{basis}."
