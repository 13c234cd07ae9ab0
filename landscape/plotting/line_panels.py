"""Lines of several networks in panels beside each other: the same networks, looked at in several ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import DataError
from landscape.plotting.chart import Axes, Backend, Chart, Series, draw
from landscape.plotting.field import as_mapping
from landscape.plotting.scale import plural, spans_decade
from landscape.plotting.style import Style, styles
from landscape.plotting.units import direction_unit, loss_label

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

    from landscape.surface.results import Line


def line_panels(
    panels: Mapping[str, Mapping[str, Line | Sequence[Line]]],
    *,
    backend: Backend = "plotly",
    log: bool | None = None,
    title: str = "Loss along random directions through the trained weights",
    loss_name: str | None = None,
) -> go.Figure | matplotlib.figure.Figure:
    """Draw lines of the same networks, looked at in several ways: a panel each, on one common scale.

    Args:
        panels: Title of a panel -> label -> line, or lines in several directions, which are drawn in one color.
        backend: "plotly" or "matplotlib".
        log: True for a log10 loss axis; by default where all losses are positive and span more than a decade.
        title: What is seen.
        loss_name: Name and unit of the loss; by default what the results' provenance says.

    Returns:
        The figure. A label has the same color in all panels; the caption says how many directions there are, and what
        1 is along each panel's axis.

    Raises:
        ConfigError: The backend is unknown.
        DataError: There is nothing to draw, or it is no such result.
    """
    named = {name: _several(one) for name, one in as_mapping(panels).items()}
    every = [line for one in named.values() for lines in one.values() for line in lines]
    looks = styles(dict.fromkeys(label for one in named.values() for label in one))
    losses = np.concatenate([np.ravel(line.loss) for line in every])
    log = spans_decade(losses) if log is None else log
    loss_name = loss_label(line.provenance for line in every) if loss_name is None else loss_name
    axes = tuple(
        Axes(
            series=tuple(
                _series(label, number, line, looks[label], bool(log))
                for label, lines in one.items()
                for number, line in enumerate(lines)
            ),
            x_label="α",
            y_label=loss_name + (", log scale" if log else ""),
            log_y=bool(log),
            title=name,
        )
        for name, one in named.items()
    )
    return draw(Chart(title=title, caption=_caption(named, losses), panels=axes, share_y=True), backend)


def _several(found: Any) -> dict[str, tuple[Any, ...]]:
    lines = {label: tuple(one) if isinstance(one, list | tuple) else (one,) for label, one in as_mapping(found).items()}
    for label, several in lines.items():
        if not several:
            raise DataError(f"There are no lines of {label!r}.", expected="at least one", fix="Leave the label out.")
        as_mapping({str(number): one for number, one in enumerate(several)}, "Line")
    return lines


def _series(label: str, number: int, line: Line, style: Style, log: bool) -> Series:
    alphas, loss = np.asarray(line.alphas, float), np.array(line.loss, float)
    loss[~np.isfinite(loss) | ((loss <= 0) & log)] = np.nan
    which = f", direction {number + 1}" if number else ""
    return Series(
        name="" if number else label,
        x=alphas,
        y=loss,
        style=style,
        markers=False,
        width=1.2 if number else 2.4,
        hover=tuple(f"<b>{label}</b>{which}<br>α {x:.3g}: loss {y:.4g}" for x, y in zip(alphas, loss, strict=True)),
    )


def _caption(named: Mapping[str, Mapping[str, tuple[Any, ...]]], losses: np.ndarray) -> str:
    most = max(len(lines) for one in named.values() for lines in one.values())
    many = f"{most} random directions for each network, the first drawn thicker." if most > 1 else ""
    units: dict[str, list[str]] = {}
    for name, one in named.items():
        for unit in dict.fromkeys(direction_unit(line.directions, 0) for lines in one.values() for line in lines):
            units.setdefault(unit, []).append(name)
    if len(units) == 1:
        said = f"Along α, {next(iter(units))}."
    else:
        said = "Along α: " + "; ".join(f"{unit} ({', '.join(names)})" for unit, names in units.items()) + "."
    lost = int(np.sum(~np.isfinite(losses)))
    return " ".join(filter(None, [many, said, f"{plural(lost, 'point')} without a finite loss: gaps." if lost else ""]))
