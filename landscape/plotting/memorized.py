"""Wrong labels along a training: how many are learned by heart, and what is answered instead."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.config import is_whole
from landscape.errors import ConfigError, DataError, MismatchError, shown
from landscape.plotting.chart import Axes, Backend, Chart, Series, draw
from landscape.plotting.comparison import cell
from landscape.plotting.field import as_mapping
from landscape.plotting.scale import plural, spans_decade
from landscape.plotting.style import OKABE_ITO, Style, styles

if TYPE_CHECKING:
    import matplotlib.figure
    import plotly.graph_objects as go

    from landscape.study.results import Memorization

    Courses = Memorization | Mapping[str, Memorization | Sequence[Memorization]]

_PANELS = {
    "learned": ("wrong labels learned by heart", "share of the wrong labels (%)"),
    "seen_through": ("true labels found nevertheless", "share of the wrong labels (%)"),
    "test_error": ("test error", "error (%)"),
}
_SHARES = ("learned", "seen_through")
_ANSWERS = {
    "another label": Style(color=OKABE_ITO[6]),
    "the true label": Style(color=OKABE_ITO[5]),
    "the wrong label, as given": Style(color=OKABE_ITO[4]),
}


def memorization(
    courses: Courses,
    *,
    backend: Backend = "plotly",
    title: str = "Are the wrong labels learned by heart?",
) -> go.Figure | matplotlib.figure.Figure:
    """Draw what networks make of wrong labels along their training, and the test error beside it.

    Args:
        courses: Of :func:`landscape.study.memorization`, or label -> one, or label -> several: one a seed.
        backend: "plotly" or "matplotlib".
        title: What is seen.

    Returns:
        The figure: of the training examples with a wrong label, the share to which the network gives that label, and
        the share to which it gives the true one; and the test error, in percent against the epoch. Of several seeds the
        mean, in a band of one standard error. Errors that span more than a decade are on a log10 axis.

    Raises:
        ConfigError: The backend is unknown.
        DataError: There is nothing to draw, or it is no such result.
        MismatchError: Courses of one label have other checkpoints.
    """
    named = _named(courses)
    looks = styles(named)
    panels = []
    for key, (name, y_label) in _PANELS.items():
        series = tuple(_curve(label, its, key, looks[label]) for label, its in named.items())
        log = key == "test_error" and spans_decade(np.concatenate([one.y for one in series]))
        limits = None if key == "test_error" else (-2.0, 102.0)
        y_label += ", log scale" * log
        panels.append(Axes(series=series, x_label="epoch", y_label=y_label, title=name, y_range=limits, log_y=log))
    seeds = max(map(len, named.values()))
    band = f"band: ± 1 standard error over {seeds} seeds" * (seeds > 1)
    return draw(Chart(title=title, caption=_caption(named), panels=tuple(panels), band=band), backend)


def answers(
    courses: Courses,
    *,
    at: int = -1,
    backend: Backend = "plotly",
    title: str = "What do the networks answer where the label is wrong?",
) -> go.Figure | matplotlib.figure.Figure:
    """Draw the answers of networks on training examples with a wrong label, at one checkpoint: a bar for each network.

    Args:
        courses: As in :func:`memorization`.
        at: Which checkpoint: 0 is the first one, -1 the last.
        backend: "plotly" or "matplotlib".
        title: What is seen.

    Returns:
        The figure: each bar is divided into the shares of the wrong label, the true label, and any other; of several
        seeds their means.

    Raises:
        ConfigError: The backend is unknown, or there is no such checkpoint.
        DataError: There is nothing to draw, or it is no such result.
        MismatchError: Courses have other checkpoints.
    """
    named = _named(courses)
    epochs = {float(_at(its, at).epochs[at]) for its in named.values()}
    if len(epochs) > 1:
        raise MismatchError("The networks have other checkpoints.", expected="one epoch", got=sorted(epochs))
    learned, true = (np.array([100 * _mean(its, key)[0][at] for its in named.values()]) for key in _SHARES)
    own = dict(zip(_ANSWERS, (100 - learned - true, true, learned), strict=True))
    ends = dict(zip(_ANSWERS, (np.where(np.isnan(learned), np.nan, 100.0), learned + true, learned), strict=True))
    series = tuple(
        Series(
            name=name,
            x=ends[name],
            y=np.arange(len(named), dtype=float),
            style=style,
            bars=True,
            hover=tuple(f"<b>{one}</b><br>{name}: {own[name][k]:.1f} %" for k, one in enumerate(named)),
        )
        for name, style in _ANSWERS.items()
    )
    axes = Axes(
        series=series,
        x_label="share of the training examples with a wrong label (%)",
        y_label="",
        x_range=(0.0, 100.0),
        y_names=tuple(name or "the network" for name in named),
    )
    caption = f"After epoch {epochs.pop():g}. {_caption(named)}"
    chart = Chart(title=title, caption=caption, panels=(axes,), row_height=130 + 44 * len(named))
    return draw(chart, backend)


def _named(courses: Any) -> dict[str, list[Memorization]]:
    outer = as_mapping(courses)
    named = {label: list(one) if isinstance(one, Sequence) else [one] for label, one in outer.items()}
    for its in named.values():
        for one in its or [None]:
            if "Memorization" not in {base.__name__ for base in type(one).__mro__}:
                raise DataError(
                    f"This figure cannot show a {type(one).__name__}.",
                    expected="a Memorization, label -> one, or label -> several",
                    got=type(one).__name__,
                    fix="Use study.memorization(run).",
                )
    return named


def _at(its: list[Memorization], at: int) -> Memorization:
    count = len(its[0].steps)
    if not (is_whole(at) and -count <= at < count):
        raise ConfigError(
            "There is no such checkpoint.", expected=f"a whole number from {-count} to {count - 1}", got=shown(at)
        )
    return its[0]


def _mean(its: list[Memorization], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over the seeds at each checkpoint, (T,), and its standard error, NaN for one seed."""
    if any(one.steps.tolist() != its[0].steps.tolist() for one in its):
        raise MismatchError(
            "Courses of one label have other checkpoints.",
            expected=f"those of steps {its[0].steps.tolist()}",
            got=next(one.steps.tolist() for one in its if one.steps.tolist() != its[0].steps.tolist()),
            fix="Train them with the same keep_every.",
        )
    values = np.stack([getattr(one, key) for one in its])
    error = values.std(0, ddof=1) / math.sqrt(len(its)) if len(its) > 1 else np.full(values.shape[1], np.nan)
    return values.mean(0), error


def _curve(label: str, its: list[Memorization], key: str, style: Style) -> Series:
    mean, error = (100 * values for values in _mean(its, key))
    kept = np.isfinite(mean) if key == "test_error" else np.full(len(mean), True)
    head = f"<b>{label}</b><br>" if label else ""
    texts = tuple(
        f"{head}epoch {epoch:g}: {cell(value, half)} %"
        for epoch, value, half in zip(its[0].epochs[kept], mean[kept], error[kept], strict=True)
    )
    return Series(
        name=label,
        x=np.array(its[0].epochs[kept]),
        y=mean[kept],
        error=error[kept] if len(its) > 1 else None,
        style=style,
        markers=int(kept.sum()) <= 25,
        size=5,
        hover=texts,
    )


def _caption(named: Mapping[str, list[Memorization]]) -> str:
    every = [one for its in named.values() for one in its]
    counts = sorted({one.wrong for one in every})
    wrong = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    sizes = sorted({one.examples for one in every})
    seeds = max(map(len, named.values()))
    text = f"{wrong} of {sizes[-1]} training labels are wrong"
    text += f", one draw for each of {plural(seeds, 'seed')}." if seeds > 1 else "."
    return text + " Without any, nothing can be learned by heart: gaps." * (counts[0] == 0)
