"""Formulas as inline pictures in the text's own color, made by matplotlib's mathtext; no font and no network needed."""

from __future__ import annotations

import re
from html import escape

_REPLACEMENTS = (
    (r"\\[lr]Vert(?![A-Za-z])", r"\\|"),
    (r"\\[lr]vert(?![A-Za-z])", "|"),
    (r"\\(text|textrm|mbox)\{", r"\\mathrm{"),
    (r"\\[td]frac", r"\\frac"),
    (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
    (r"\\(le|ge|ne)(?![A-Za-z])", r"\\\1q"),
    (r"\\to(?![A-Za-z])", r"\\rightarrow"),
    (r"\\(displaystyle|textstyle|quad|qquad)(?![A-Za-z])", r"\\ "),
    (r"\\[bB]igg?[lr]?(?![A-Za-z])", ""),
)
_COMMANDS = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
_LENGTHS = {1: 1, 2: 1, 3: 2, 4: 3, 79: 1}


def formula(source: str, *, block: bool = False) -> str:
    """Turn a formula into an inline SVG.

    Args:
        source: TeX without the dollar signs; the subset that matplotlib's mathtext knows.
        block: Whether it stands in a line of its own.

    Returns:
        HTML: the picture with the source as its text alternative, or the source as code where it cannot be drawn.
    """
    text = " ".join(source.split())
    for pattern, replacement in _REPLACEMENTS:
        text = re.sub(pattern, replacement, text)
    try:
        picture = _svg(text, source)
    except Exception:  # mathtext raises ValueError, pyparsing errors and others for what it does not know
        picture = f"<code>{escape(source.strip())}</code>"
    return f'<div class="formula">{picture}</div>' if block else picture


def _svg(text: str, source: str) -> str:
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import MathTextParser
    from matplotlib.textpath import TextPath

    font = FontProperties(math_fontfamily="stix")
    path = TextPath((0, 0), f"${text}$", size=100, prop=font)
    font.set_size(100)
    width, height, depth = MathTextParser("path").parse(f"${text}$", dpi=72, prop=font)[:3]
    top = height - depth
    data, index = [], 0
    codes = path.codes if path.codes is not None else []
    while index < len(codes):
        code = int(codes[index])
        points = path.vertices[index : index + _LENGTHS[code]]
        numbers = "" if code == 79 else " ".join(f"{x:.0f} {top - y:.0f}" for x, y in points)
        data.append(_COMMANDS[code] + numbers)
        index += _LENGTHS[code]
    pad = 4
    return (
        f'<svg class="math" role="img" aria-label="{escape(source.strip())}" '
        f'viewBox="{-pad} {-pad} {width + 2 * pad:.0f} {height + 2 * pad:.0f}" '
        f'style="width:{(width + 2 * pad) / 100:.3f}em;height:{(height + 2 * pad) / 100:.3f}em;'
        f'vertical-align:{-(depth + pad) / 100:.3f}em"><path fill="currentColor" d="{"".join(data)}"/></svg>'
    )
