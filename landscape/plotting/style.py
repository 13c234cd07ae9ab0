"""Colors, dashes and markers: one fixed look for each training method, legible for color-blind readers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SEQUENTIAL = "cividis"
"""The sequential color map of every loss surface: perceptually uniform, also for color-blind readers (Nunez 2018)."""

DIVERGING = "RdBu_r"
"""The color map of values with a sign, white at 0: told apart by color-blind readers too (Brewer 2002)."""

INK = "#757575"
"""Text color of plotly figures, whose background is transparent: contrast of at least 4:1 on white and near black."""

GRID = "rgba(128,128,128,0.28)"
"""Grid lines, on any background."""

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C", "#B8A800")
"""The palette of Okabe and Ito (2008). Black is gray and yellow darker here, to show on white and black."""

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star", "pentagon", "cross")

MATPLOTLIB_DASHES = {
    "solid": "-",
    "dash": (0, (5, 2)),
    "dot": (0, (1.2, 1.5)),
    "dashdot": (0, (5, 1.5, 1.2, 1.5)),
    "longdash": (0, (9, 2)),
    "longdashdot": (0, (9, 1.5, 1.2, 1.5)),
}
MATPLOTLIB_MARKERS: dict[str, str] = dict(zip(MARKERS, ("o", "s", "D", "^", "X", "*", "p", "P"), strict=True))


@dataclass(frozen=True, kw_only=True)
class Style:
    """How one curve looks; names of dash and marker are plotly's."""

    color: str
    dash: str = "solid"
    marker: str = "circle"


METHODS = {
    "sgd": Style(color=OKABE_ITO[0], dash="solid", marker="circle"),
    "sam": Style(color=OKABE_ITO[1], dash="dash", marker="square"),
    "amp": Style(color=OKABE_ITO[2], dash="dot", marker="diamond"),
    "lpfsgd": Style(color=OKABE_ITO[3], dash="dashdot", marker="triangle-up"),
    "asam": Style(color=OKABE_ITO[4], dash="longdash", marker="x"),
    "entropysgd": Style(color=OKABE_ITO[5], dash="longdashdot", marker="star"),
    "smoothout": Style(color=OKABE_ITO[6], dash="dash", marker="pentagon"),
    "adam": Style(color=OKABE_ITO[7], dash="dot", marker="cross"),
}
"""The look of each training method, the same in every figure."""

_ALIASES = {"lpf": "lpfsgd", "adamw": "adam", "entropy": "entropysgd", "esgd": "entropysgd"}

KIND_NAMES = {
    "random": "random direction",
    "sam": "SAM: along the gradient",
    "amp": "AMP: along each tensor's gradient",
}
"""What the perturbations of a profile are called."""


def method_of(label: str) -> str | None:
    """Find the training method that a label names first.

    Args:
        label: Any label of a run, for example "SAM (rho 0.05)" or "lpf-sgd".

    Returns:
        The key in :data:`METHODS`, or None where the label names none.

    Example:
        >>> method_of("LPF-SGD, std 0.1"), method_of("SAM 0.3"), method_of("sample")
        ('lpfsgd', 'sam', None)
    """
    words = [word.rstrip("0123456789") for word in re.findall(r"[a-z0-9]+", label.lower())]
    for candidate in ("".join(words[:2]), *words[:1]):
        name = _ALIASES.get(candidate, candidate)
        if name in METHODS:
            return name
    return None


def styles(labels: Iterable[str]) -> dict[str, Style]:
    """Give each label a color, a dash and a marker.

    A label that names a training method has that method's color everywhere; a second label of the same method keeps
    the color and takes another dash and marker. Other labels take the colors that are left, in order.

    Args:
        labels: The labels of one figure, in the order of drawing.

    Returns:
        Label to style.

    Example:
        >>> styles(["SGD", "mine"])["SGD"] == METHODS["sgd"]
        True
    """
    labels = list(dict.fromkeys(labels))
    named = len({name for label in labels if (name := method_of(label))})
    taken = {METHODS[name].color for label in labels if (name := method_of(label))}
    free = [color for color in OKABE_ITO if color not in taken] or list(OKABE_ITO)
    result: dict[str, Style] = {}
    used: dict[str, int] = {}
    others = 0
    for label in labels:
        name = method_of(label)
        if name is None:
            look = others + named  # those of the methods are taken too
            base = Style(color=free[others % len(free)], dash=DASHES[look % 6], marker=MARKERS[look % 8])
            others += 1
            result[label] = base
            continue
        base, repeat = METHODS[name], used.get(name, 0)
        used[name] = repeat + 1
        dash = DASHES[(DASHES.index(base.dash) + repeat) % len(DASHES)]
        marker = MARKERS[(MARKERS.index(base.marker) + repeat) % len(MARKERS)]
        result[label] = Style(color=base.color, dash=dash, marker=marker)
    return result


def translucent(color: str, alpha: float) -> str:
    """Turn "#rrggbb" into an rgba() text of plotly.

    Example:
        >>> translucent("#0072B2", 0.2)
        'rgba(0,114,178,0.2)'
    """
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"
