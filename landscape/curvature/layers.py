"""The same questions for each layer: the blocks on the diagonal of a curvature matrix."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from landscape.curvature.operator import CurvatureOperator
from landscape.curvature.unfinished import InterruptedWarning
from landscape.errors import ConfigError, unknown_name
from landscape.progress import progress_bar

QUESTIONS = ("top", "trace", "diagonal", "frobenius_norm", "density", "dense")


class Answers(dict[str, Any]):
    """Layer to answer, and whether Ctrl-C left some out or cut one short."""

    complete: bool = True


def _check(question: str | Callable[[Any], Any], options: set[str]) -> None:
    if callable(question):
        if options:
            got, fix = ", ".join(sorted(options)), "Give them within the function."
            raise ConfigError("Options are for a named question.", got=got, fix=fix)
        return
    if question not in QUESTIONS:
        raise unknown_name("question", question, QUESTIONS)
    known = inspect.signature(getattr(CurvatureOperator, question)).parameters
    for name in options:
        if name not in known:
            raise unknown_name(f"option of {question}", name, [*known, "progress"][1:])


def ask_each(
    blocks: Iterator[tuple[str, Any]], count: int, question: str | Callable[[Any], Any], options: dict[str, Any]
) -> Answers:
    """Ask the block of each layer; see :meth:`landscape.curvature.frozen.FrozenOperator.layerwise`.

    Args:
        blocks: Name and operator, one after the other; each is closed before the next is made.
        count: How many there are.
        question: The name of a method, or a function of an operator.
        options: For the method.

    Raises:
        ConfigError: The question or an option is unknown, or a function has options.
        KeyboardInterrupt: It came before there was an answer.

    Warns:
        InterruptedWarning: It came later.
    """
    _check(question, {name for name in options if name != "progress"})
    shown = bool(options.get("progress", True))
    if question in ("trace", "diagonal", "frobenius_norm", "density"):
        options = {**options, "progress": False}
    else:
        options = {name: value for name, value in options.items() if name != "progress"}
    answers = Answers()
    try:
        with progress_bar(count, desc="layers", unit="layer", enabled=shown) as bar:
            for name, block in blocks:
                with block:
                    answers[name] = question(block) if callable(question) else getattr(block, question)(**options)
                bar.update()
                if not getattr(answers[name], "complete", True):
                    break
    except KeyboardInterrupt:
        if not answers:
            raise
    answers.complete = len(answers) == count and all(getattr(one, "complete", True) for one in answers.values())
    if len(answers) < count:
        warnings.warn(f"Interrupted after {len(answers)} of {count} layers.", InterruptedWarning, stacklevel=3)
    return answers
