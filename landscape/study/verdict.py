"""What a comparison says, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from landscape.curvature import Estimate

_MEASURES = {"top_eigenvalue": "top Hessian eigenvalue", "trace": "Hessian trace", "lpf_rise": "LPF rise"}


def _number(value: Any) -> float:
    return value.value if isinstance(value, Estimate) else float(value)


def flattest(rows: Mapping[str, Mapping[str, Any]], *, reference: str = "SGD") -> list[str]:
    """Say for each measure of flatness which minimum is flattest, by how much, and whether flatness goes with error.

    Kendall's tau counts pairs: +1 where every flatter minimum has the lower test error, -1 where every one has the
    higher. With five networks the smallest two-sided p-value is 2/120, and |tau| below 0.8 is no evidence.

    Args:
        rows: Label to numbers, as of :meth:`Minimum.row`.
        reference: The label that the others are compared with.

    Returns:
        Sentences: for each measure the flattest minimum and its agreement with the test error; last the test error.

    Example:
        >>> rows = {"SGD": {"test_error": 0.1, "trace": 8.0}, "SAM": {"test_error": 0.05, "trace": 2.0}}
        >>> flattest(rows)[0]
        'Hessian trace: SAM is flattest, 2, 4.0 times below SGD (8).'
    """
    sentences = []
    for key, name in _MEASURES.items():
        values = {label: _number(row[key]) for label, row in rows.items() if key in row}
        finite = {label: value for label, value in values.items() if math.isfinite(value)}
        if len(finite) < 2:
            continue
        best = min(finite, key=lambda label: finite[label])
        text = f"{name}: {best} is flattest, {finite[best]:.3g}"
        if best != reference and finite.get(reference, -1.0) > 0 and finite[best] > 0:
            text += f", {finite[reference] / finite[best]:.1f} times below {reference} ({finite[reference]:.3g})"
        sentences += [text + ".", *_agreement(rows, key, name)]
    errors = {label: float(row["test_error"]) for label, row in rows.items() if "test_error" in row}
    if len(errors) > 1:
        best = min(errors, key=lambda label: errors[label])
        text = f"test error: {best} is lowest, {100 * errors[best]:.1f} %"
        sentences.append(
            text
            + (
                f" against {reference}'s {100 * errors[reference]:.1f} %."
                if best != reference and reference in errors
                else "."
            )
        )
    return sentences


def _agreement(rows: Mapping[str, Mapping[str, Any]], key: str, name: str) -> list[str]:
    both = [row for row in rows.values() if key in row and "test_error" in row]
    if len(both) < 3:
        return []
    from scipy.stats import kendalltau

    found = kendalltau([_number(row[key]) for row in both], [float(row["test_error"]) for row in both])
    tau = found.statistic  # pyright: ignore[reportAttributeAccessIssue]
    return [f"{name} against test error over these {len(both)} networks: Kendall's tau {tau:+.2f}."]
