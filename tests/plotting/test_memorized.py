"""Wrong labels along a training: what is drawn is what was counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from landscape.errors import ConfigError, DataError, MismatchError
from landscape.plotting import answers, memorization
from landscape.study import Memorization

NAN = float("nan")


def course(shift: float = 0.0, *, wrong: int = 40, steps: tuple[int, ...] = (0, 10, 20)) -> Memorization:
    there = wrong > 0
    return Memorization(
        steps=np.array(steps),
        epochs=np.array(steps) / 10,
        learned=np.array([0.1, 0.4, 0.8]) + shift if there else np.full(3, NAN),
        seen_through=np.array([0.1, 0.5, 0.1]) - shift if there else np.full(3, NAN),
        right=np.array([0.1, 0.9, 1.0]),
        test_error=np.array([NAN, 0.1, 0.2 + shift]),
        wrong=wrong,
        examples=200,
        provenance={},
    )


BOTH = {"SGD": [course(), course(0.1)], "SAM": [course(-0.1), course(-0.1)]}


def of(figure: Any, name: str) -> list[Any]:
    return [trace for trace in figure.data if trace.name == name and (trace.type == "bar" or trace.fill is None)]


def test_curves_are_means_over_seeds_in_percent() -> None:
    figure: Any = memorization(BOTH)
    learned, found, error = of(figure, "SGD")
    assert learned.y == pytest.approx([15, 45, 85]) and found.y == pytest.approx([5, 45, 5])
    assert error.x.tolist() == [1, 2] and error.y == pytest.approx([10, 25])  # untested epochs are left out
    assert "85.0 ± 5.0 %" in learned.text[-1]
    assert any("standard error over 2 seeds" in str(trace.name) for trace in figure.data)


def test_a_single_course_has_no_band() -> None:
    figure: Any = memorization(course())
    assert [trace.y.tolist() for trace in figure.data[:1]] == [pytest.approx([10, 40, 80])]
    assert not any(trace.fill for trace in figure.data)


def test_bars_are_divided_into_all_answers() -> None:
    figure: Any = answers({"SGD": [course(), course()], "SAM": course(-0.1)}, at=1)
    (other,), (true,), (wrong,) = (
        of(figure, name) for name in ("another label", "the true label", "the wrong label, as given")
    )
    assert wrong.x == pytest.approx([40, 30])
    assert true.x == pytest.approx([90, 90])  # drawn behind it: up to the sum of both
    assert other.x == pytest.approx([100, 100])
    assert "10.0 %" in other.hovertext[0] and "60.0 %" in true.hovertext[1]
    assert "After epoch 1." in figure.layout.meta["description"]
    assert list(figure.layout.xaxis.range) == [0, 100]


def test_where_no_label_is_wrong_there_are_gaps_and_a_word() -> None:
    for draw in (memorization, answers):
        figure: Any = draw({"SGD": course(wrong=0)})
        assert "nothing can be learned by heart" in figure.layout.meta["description"]
    bars: Any = answers({"SGD": course(wrong=0)})
    assert all(np.isnan(trace.x).all() for trace in bars.data)


@pytest.mark.parametrize("draw", [memorization, answers])
def test_both_backends_draw_both(draw) -> None:
    figure = draw(BOTH, backend="matplotlib")
    assert len(figure.axes) == (3 if draw is memorization else 1)
    with pytest.raises(ConfigError):
        draw(BOTH, backend="ascii")


@pytest.mark.parametrize("draw", [memorization, answers])
@pytest.mark.parametrize("nothing", [{}, {"SGD": []}, {"SGD": 1.0}, None])
def test_nothing_to_draw(draw, nothing) -> None:
    with pytest.raises(DataError):
        draw(nothing)


def test_other_checkpoints_are_refused() -> None:
    late = course(steps=(0, 10, 30))
    with pytest.raises(MismatchError, match="one label have other checkpoints"):
        memorization({"SGD": [course(), late]})
    with pytest.raises(MismatchError, match="have other checkpoints"):
        answers({"SGD": course(), "SAM": late})
    for at in (3, -4, 0.5):
        with pytest.raises(ConfigError, match="no such checkpoint"):
            answers(course(), at=at)  # pyright: ignore[reportArgumentType]
