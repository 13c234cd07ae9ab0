"""The spectral density of a Hessian, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import ConfigError
from landscape.plotting.chart import Axes, Backend, Chart, Series, draw
from landscape.plotting.field import as_mapping
from landscape.plotting.scale import plural
from landscape.plotting.style import styles

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

    from landscape.curvature.results import SpectralDensity


def density(
    spectra: SpectralDensity | Mapping[str, SpectralDensity],
    *,
    backend: Backend = "plotly",
    log: bool = True,
    floor: float = 1e-6,
    rug: bool = False,
    title: str = "Spectral density of the Hessian: how many directions have which curvature?",
) -> go.Figure | matplotlib.figure.Figure:
    """Draw spectral densities, overlaid.

    Definition: the density times the width of an interval is the fraction of the P eigenvalues in it; the area under
    each curve is 1.

    Args:
        spectra: One density with ``grid`` (G,), ``density`` (G,) and ``band`` (G,), or label -> density.
        backend: "plotly" or "matplotlib".
        log: Whether the density axis is log10, which shows the few large eigenvalues.
        floor: On the log axis, where to cut, as a fraction of the highest peak. Below it the smoothing kernel's tails
            say nothing about the spectrum.
        rug: Whether to mark all Ritz values (the quadrature's nodes) at the bottom. The smallest and the largest are
            always marked: a lone eigenvalue may weigh too little, in the probes' sample, for a peak above the axis.
        title: What is seen.

    Returns:
        The figure; bands are one standard error over the probe vectors.

    Raises:
        ConfigError: The backend is unknown, or ``floor`` is not in (0, 1).
        DataError: There is nothing to draw, or it is no such result.
    """
    if not 0 < floor < 1:
        raise ConfigError("The floor is a fraction of the highest peak.", expected="0 < floor < 1", got=floor)
    named: dict[str, Any] = as_mapping(spectra, "SpectralDensity")
    looks = styles(named)
    peak = max(float(np.nanmax(np.asarray(one.density, float), initial=0.0)) for one in named.values())
    bottom = floor * peak if log and peak > 0 else 0.0
    series = tuple(
        Series(
            name=name,
            x=np.asarray(one.grid, float),
            y=_cut(one.density, bottom if log else -np.inf),
            error=np.asarray(one.band, float),
            style=looks[name],
            markers=False,
        )
        for name, one in named.items()
    )
    rugs = tuple(_rug(name, one, looks, ends=not rug) for name, one in named.items())
    axes = Axes(
        series=series,
        x_label="eigenvalue λ of the Hessian (loss per squared weight)",
        y_label="density (fraction per unit of λ)" + (", log scale" if log else ""),
        log_y=log and peak > 0,
        y_range=(bottom, 2.0 * peak) if log and peak > 0 else None,
        x_range=_range(named, bottom, rugs),
        rug=rugs,
    )
    chart = Chart(
        title=title, caption=_caption(named, log, floor, rug), panels=(axes,), band=_band(named), row_height=420
    )
    return draw(chart, backend)


def _cut(values: Any, bottom: float) -> np.ndarray:
    array = np.array(values, dtype=float)
    array[~(array >= bottom)] = np.nan
    return array


def _rug(name: str, one: SpectralDensity, looks: dict[str, Any], *, ends: bool) -> Series:
    nodes, weights = np.ravel(one.nodes), np.ravel(one.weights)
    kept = nodes[weights > 1e-12]
    if ends and kept.size:
        kept = np.array([kept.min(), kept.max()])
    return Series(name=name, x=kept, y=np.zeros(len(kept)), style=looks[name])


def _range(named: dict[str, Any], bottom: float, rugs: tuple[Series, ...]) -> tuple[float, float] | None:
    seen = [np.asarray(one.grid, float)[np.asarray(one.density, float) > bottom] for one in named.values()]
    seen = np.concatenate([*seen, *(series.x for series in rugs)])
    if not seen.size or seen.min() == seen.max():
        return None
    pad = 0.03 * float(seen.max() - seen.min())
    return float(seen.min()) - pad, float(seen.max()) + pad


def _band(named: dict[str, Any]) -> str:
    return (
        "band: ± 1 standard error over probes"
        if any(np.any(np.asarray(one.band) > 0) for one in named.values())
        else ""
    )


def _caption(named: dict[str, Any], log: bool, floor: float, rug: bool) -> str:
    said = ["The area under each curve is 1."]
    widths = {name: float(one.sigma) for name, one in named.items()}
    low, high = min(widths.values()), max(widths.values())
    said.append(
        f"Each eigenvalue is smoothed by a Gaussian of width {low:.3g}" + (f" to {high:.3g}." if high > low else ".")
    )
    probes = {np.shape(one.nodes) for one in named.values()}
    if len(probes) == 1 and len(shape := probes.pop()) == 2:
        said.append(f"Stochastic Lanczos quadrature with {plural(shape[0], 'probe')} of {plural(shape[1], 'step')}.")
    if log:
        said.append(f"The axis ends at {floor:g} of the highest peak.")
    said.append(f"Ticks at the bottom: {'the' if rug else 'smallest and largest'} Ritz values.")
    return " ".join(said)
