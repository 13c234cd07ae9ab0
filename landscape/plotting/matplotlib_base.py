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
        caption: Wrapped below the panels.
        description: The text alternative, stored as the figure's label.

    Returns:
        An empty figure in constrained layout.
    """
    from matplotlib.figure import Figure

    lines = textwrap.wrap(caption, int(width * 13))
    figure = Figure(figsize=(width, height + 0.45 + 0.2 * len(lines)), layout="constrained", dpi=110)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    wrapped = "\n".join(textwrap.wrap(title, int(width * 9)))
    figure.suptitle(wrapped, fontsize=TITLE, fontweight="bold", x=0.01, ha="left")
    if lines:
        figure.supxlabel("\n".join(lines), fontsize=9.5, color=GRAY, x=0.01, ha="left")
    figure.set_label(description)
    return figure


def plain_axes(axes: Axes) -> None:
    """Light grid, no frame on top and right, readable ticks."""
    axes.grid(True, which="major", color="#d9d9d9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=TICK)
