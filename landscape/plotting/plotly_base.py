"""What all plotly figures share: fonts, transparent background, title with caption."""

from __future__ import annotations

import math
import textwrap
from html import escape
from typing import TYPE_CHECKING, Any

from landscape.plotting.style import GRID, INK

if TYPE_CHECKING:
    import plotly.graph_objects as go

CAPTION_WIDTH = 125
TITLE_WIDTH = 96
TOOLBAR = 42
"""Pixels above a title's base line that keep its letters below plotly's toolbar, which is 25 high, at the top right."""
PAGE = 940
"""The width in pixels that texts are wrapped for; figures fill whatever width there is."""

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
    lines = [line for part in caption.splitlines() for line in textwrap.wrap(part, CAPTION_WIDTH)]
    small = "<br>".join(escape(line, quote=False) for line in lines)
    bold = textwrap.wrap(title, TITLE_WIDTH) or [""]
    text = "<b>" + "<br>".join(escape(line, quote=False) for line in bold) + "</b>"
    if small:
        text += f'<br><span style="font-size:12.5px">{small}</span>'
    return text, 30 + 23 * (len(bold) - 1) + 22 * len(lines)


def wrapped(text: str, columns: int) -> str:
    """Wrap a panel's title or label for a panel that has a share of the page's width."""
    width = max(14, int(0.85 * PAGE / columns / 7.4))
    return "<br>".join(line for part in text.splitlines() for line in textwrap.wrap(part, width))


def legend_below(names: list[str]) -> tuple[dict[str, Any], int]:
    """Return a legend below the panels, and the room in pixels that it takes."""
    rows = math.ceil(sum(60 + 7.6 * len(name) for name in names) / PAGE)
    place = {
        "orientation": "h",
        "x": 0,
        "xanchor": "left",
        "y": 0,
        "yref": "container",
        "yanchor": "bottom",
        "font": {"size": 13},
    }
    return place, 8 + 24 * rows


def dress(
    figure: go.Figure,
    *,
    title: str,
    caption: str,
    height: int,
    description: str,
    extra_top: int = 0,
    extra_bottom: int = 0,
    **layout: Any,
) -> go.Figure:
    """Give a figure its title, caption, fonts and background.

    Args:
        figure: Changed in place.
        title: What is seen.
        caption: What a reader must know to believe it; wrapped under the title.
        height: Height of the drawing area without the title, pixels.
        description: The text alternative, stored in ``layout.meta["description"]``.
        extra_top: Room between caption and drawing area, for the panels' titles, pixels.
        extra_bottom: Room below the axes, for a legend, pixels.
        **layout: More of plotly's layout.

    Returns:
        The same figure.
    """
    below = 60 + extra_bottom
    text, top = title_block(title, caption)
    top += TOOLBAR + extra_top
    figure.update_layout(
        template="none",
        title={
            "text": text,
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yanchor": "top",
            "yref": "container",
            "pad": {"t": TOOLBAR, "l": 14},
            "font": {"size": 17},
        },
        font={"size": 14, "color": INK, "family": "system-ui, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        autosize=True,
        height=height + top + below,
        margin={"t": top, "l": 64, "r": 20, "b": below},
        hoverlabel={"font": {"size": 13}},
        meta={"description": description},
    )
    figure.update_layout(**layout)
    return figure
