"""What all plotly figures share: fonts, transparent background, title with caption."""

from __future__ import annotations

import textwrap
from html import escape
from typing import TYPE_CHECKING, Any

from landscape.plotting.style import GRID, INK

if TYPE_CHECKING:
    import plotly.graph_objects as go

CAPTION_WIDTH = 120
AXIS = {
    "gridcolor": GRID,
    "zerolinecolor": GRID,
    "linecolor": INK,
    "showline": True,
    "ticks": "outside",
    "tickcolor": INK,
    "automargin": True,
    "title_standoff": 8,
}


def title_block(title: str, caption: str) -> tuple[str, int]:
    """Join a bold title and a wrapped caption; return the text and its height in pixels."""
    lines = textwrap.wrap(caption, CAPTION_WIDTH)
    small = "<br>".join(escape(line, quote=False) for line in lines)
    text = f"<b>{escape(title, quote=False)}</b>"
    if small:
        text += f'<br><span style="font-size:12.5px">{small}</span>'
    return text, 30 + 17 * len(lines)


def dress(
    figure: go.Figure, *, title: str, caption: str, height: int, description: str, extra_top: int = 0, **layout: Any
) -> go.Figure:
    """Give a figure its title, caption, fonts and background.

    Args:
        figure: Changed in place.
        title: What is seen.
        caption: What a reader must know to believe it; wrapped under the title.
        height: Height of the drawing area without the title, pixels.
        description: The text alternative, stored in ``layout.meta["description"]``.
        extra_top: Room between caption and drawing area, for the panels' titles, pixels.
        **layout: More of plotly's layout.

    Returns:
        The same figure.
    """
    text, top = title_block(title, caption)
    top += 26 + extra_top
    figure.update_layout(
        template="none",
        title={"text": text, "x": 0, "xref": "container", "xanchor": "left", "y": 1, "yanchor": "top",
               "yref": "container", "pad": {"t": 22, "l": 14}, "font": {"size": 17}},
        font={"size": 14, "color": INK, "family": "system-ui, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        autosize=True,
        height=height + top + 60,
        margin={"t": top, "l": 64, "r": 20, "b": 60},
        hoverlabel={"font": {"size": 13}},
        meta={"description": description},
    )
    figure.update_layout(**layout)
    return figure
