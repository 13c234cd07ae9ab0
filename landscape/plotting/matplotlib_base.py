"""What all matplotlib figures share: a Figure without pyplot, with a title, a wrapped caption and readable fonts."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE, LABEL, TICK = 13, 10.5, 9.5
GRAY = "#555555"


def new_figure(width: float, height: float, *, title: str, caption: str, description: str) -> Figure:
    """Make a figure of its own, which pyplot does not know.

    Args:
        width: Inches.
        height: Inches of the drawing area; title and caption come on top.
        title: What is seen.
        caption: Wrapped under the title.
        description: The text alternative, stored as the figure's label.

    Returns:
        An empty figure in constrained layout.
    """
    from matplotlib.figure import Figure

    lines = [line for part in caption.splitlines() for line in textwrap.wrap(part, int(width * 12.5))]
    titles = textwrap.wrap(title, int(width * 8.5))
    header = 0.12 + 0.25 * len(titles) + 0.19 * len(lines) + 0.08
    figure = Figure(figsize=(width, height + header), layout="constrained", dpi=110)
    whole = height + header
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=0.08, h_pad=0.08, rect=(0, 0, 1, 1 - header / whole))  # pyright: ignore[reportCallIssue]
    place = {"x": 0.12 / width, "ha": "left", "va": "top"}
    figure.text(y=1 - 0.1 / whole, s="\n".join(titles), fontsize=TITLE, fontweight="bold", **place)
    top = 0.14 + 0.25 * len(titles)
    figure.text(y=1 - top / whole, s="\n".join(lines), fontsize=9.5, color=GRAY, linespacing=1.25, **place)
    figure.set_label(description)
    return figure


def plain_axes(axes: Axes) -> None:
    """Light grid, no frame on top and right, readable ticks."""
    axes.grid(True, which="major", color="#d9d9d9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=TICK)
