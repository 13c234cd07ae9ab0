"""What a comparison says, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from landscape.config import require
from landscape.curvature import Estimate
from landscape.study.contest import Score
from landscape.study.correlation import rank_correlation
from landscape.study.generalization import Generalization
from landscape.study.labels import method_label

_MEASURES = {"top_eigenvalue": "top Hessian eigenvalue", "trace": "Hessian trace", "lpf_rise": "LPF rise"}


_TOLD_APART = 2.0  # combined standard errors
_RATIO, _GAP = 2.0, 0.1  # training losses differ much: by more than this factor, and by more than these nats


def _number(value: Any) -> float:
    return value.value if isinstance(value, Estimate) else float(value)


def _error(row: Mapping[str, Any], key: str) -> float:
    value = row[key]
    error = float(value.stderr if isinstance(value, Estimate) else row.get(f"{key}_stderr") or 0.0)
    return error if math.isfinite(error) else 0.0


def _lowest(rows: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, float]:
    """Return the lowest value and those that are not told apart from it, in ascending order, by label."""
    values = {label: _number(row[key]) for label, row in rows.items() if key in row}
    order = sorted((label for label in values if math.isfinite(values[label])), key=lambda label: values[label])
    if len(order) < 2:
        return {}
    first = order[0]
    bars = {label: _TOLD_APART * math.hypot(_error(rows[first], key), _error(rows[label], key)) for label in order}
    return {
        label: values[label]
        for label in order
        if label == first or values[label] - values[first] < bars[label] or values[label] == values[first]
    }


def _are(best: Mapping[str, float], what: str, form: str) -> str:
    """Say who is best: "SAM is flattest, 2", or "SAM and AMP are flattest, not told apart (2 and 3)"."""
    labels, texts = list(best), [form.format(value) for value in best.values()]
    if len(best) == 1:
        return f"{labels[0]} is {what}, {texts[0]}"
    return f"{_listed(labels)} are {what}, not told apart ({_listed(texts)})"


def _listed(words: list[str]) -> str:
    return ", ".join(words[:-1]) + " and " + words[-1]


def flattest(rows: Mapping[str, Mapping[str, Any]], *, reference: str = "SGD") -> list[str]:
    """Say for each measure of flatness which minimum is flattest, by how much, and whether flatness goes with error.

    Minima whose values differ from the lowest by less than two combined standard errors are named together: they are
    not told apart. Where the training losses differ much (by more than a factor of 2 and 0.1 nats), one more sentence
    says so: a network that learned little is flat for that reason alone.

    Kendall's tau counts pairs: +1 where every flatter minimum has the lower test error, -1 where every one has the
    higher. With five networks the smallest two-sided p-value is 2/120, and |tau| below 0.8 is no evidence.

    Args:
        rows: Label to numbers, as of :meth:`Minimum.row`.
        reference: The label that the others are compared with.

    Returns:
        Sentences: for each measure the flattest minimum and its agreement with the test error; then the test error, and
        the training losses where they differ much.

    Example:
        >>> rows = {"SGD": {"test_error": 0.1, "trace": 8.0}, "SAM": {"test_error": 0.05, "trace": 2.0}}
        >>> flattest(rows)[0]
        'Hessian trace: SAM is flattest, 2, 4.0 times below SGD (8).'
    """
    sentences = []
    for key, name in _MEASURES.items():
        best = _lowest(rows, key)
        if not best:
            continue
        text = f"{name}: {_are(best, 'flattest', '{:.3g}')}"
        least, other = next(iter(best.values())), _number(rows.get(reference, {}).get(key, math.nan))
        if reference not in best and math.isfinite(other) and other > 0 and least > 0:
            text += f", {other / least:.1f} times below {reference} ({other:.3g})"
        sentences += [text + ".", *_agreement(rows, key, name)]
    best = _lowest(rows, "test_error")
    if best:
        other = rows.get(reference, {}).get("test_error")
        against = "" if reference in best or other is None else f" against {reference}'s {float(other):.1%}"
        text = f"test error: {_are(best, 'lowest', '{:.1%}')}{against}."
        sentences.append(text.replace("%", " %"))
    return sentences + _unequal_fit(rows)


def _unequal_fit(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    losses = {label: _number(row["train_loss"]) for label, row in rows.items() if "train_loss" in row}
    losses = {label: loss for label, loss in losses.items() if math.isfinite(loss)}
    if not losses:
        return []
    low, high = min(losses, key=lambda label: losses[label]), max(losses, key=lambda label: losses[label])
    if losses[high] <= _RATIO * losses[low] or losses[high] - losses[low] <= _GAP:
        return []
    return [
        f"training loss: from {losses[low]:.3g} ({low}) to {losses[high]:.3g} ({high}), so the networks do not fit "
        "their data alike; one that learned little is flat for that reason alone."
    ]


def _agreement(rows: Mapping[str, Mapping[str, Any]], key: str, name: str) -> list[str]:
    both = [row for row in rows.values() if key in row and "test_error" in row]
    if len(both) < 3:
        return []
    found = rank_correlation([_number(row[key]) for row in both], [float(row["test_error"]) for row in both])
    return [f"{name} against test error over these {found.count} networks: Kendall's tau {found.tau:+.2f}."]


def paired_verdict(found: Generalization, *, level: float = 0.95) -> list[str]:
    """Say for each method whether its test error is told apart from sgd's, by the interval of its paired difference.

    Definition: with the mean difference m of n pairs and its standard error s, the interval is ``m - t s`` to
    ``m + t s``, t the quantile of Student's distribution with n - 1 degrees of freedom: 4.3 for 3 pairs and 2.3 for 10
    at 95 %. Errors are told apart where it does not hold 0. Each method is judged alone: of twenty methods that are
    like sgd, one is told apart from it on average.

    Args:
        found: Of :func:`pair_runs` or :func:`compare_generalization`.
        level: How often such an interval holds the true difference, where differences are normally distributed.

    Returns:
        A sentence for each method but sgd.

    Raises:
        ConfigError: ``level`` is not between 0 and 1.

    Example:
        >>> plain = Score(optimizer="sgd", option=None, radius=None, validation=(), errors=(0.10, 0.12, 0.11))
        >>> sam = Score(optimizer="sam", option="rho", radius=0.1, validation=(), errors=(0.05, 0.06, 0.06))
        >>> paired_verdict(Generalization(base={}, validation=0.0, search_seeds=0, scores=(plain, sam)))[0]
        'SAM: 5.3 points below SGD (95 % interval 3.9 to 6.8, 3 pairs): a lower error.'
    """
    require(0 < level < 1, "level", "a share between 0 and 1", level)
    return [_paired_sentence(found, score, level) for score in found.scores[1:]]


def _paired_sentence(found: Generalization, score: Score, level: float) -> str:
    from scipy.stats import t

    name, count = method_label(score.optimizer), len(score.errors)
    gain, error = (100 * value for value in found.advantage(score))
    if math.isnan(gain):
        return f"{name}: runs diverged, so there is no difference."
    side = "below" if gain >= 0 else "above"
    head = f"{name}: {abs(gain):.1f} points {side} SGD"
    if math.isnan(error):
        return f"{head} in one pair, which tells nothing of other seeds."
    half = float(t.ppf((1 + level) / 2, count - 1)) * error
    low, high = sorted((math.copysign(1, gain) * (gain - half), math.copysign(1, gain) * (gain + half)))
    verdict = "not told apart" if low <= 0 else f"a {'lower' if gain > 0 else 'higher'} error"
    return f"{head} ({100 * level:g} % interval {low:.1f} to {high:.1f}, {count} pairs): {verdict}."
