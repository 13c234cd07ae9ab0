"""What the parameters of a notebook may be: by their names, or by what stands behind them in brackets."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from landscape.errors import LandscapeError, NotebookError, unknown_name
from landscape.notebooks.parameters import Parameter
from landscape.notebooks.profile import PROFILES, SIZES

Check = Callable[[str, Any], None]

_BRACKETS = re.compile(r"\[([^\[\]]*)\]\s*$")
_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"


def check_values(values: Mapping[str, Any], known: Sequence[Parameter] = ()) -> None:
    """Check the values of a notebook's parameters.

    Names that all notebooks share (``dataset``, ``model``, ``rho``, ``epochs``, ...) have rules of their own. What a
    parameter's comment ends with in brackets takes their place: ``[> 0]``, ``[>= 1]``, ``[0..1]``, ``[mean | max]``.
    Of lists every entry is checked; None passes.

    Args:
        values: Name to value, of the right type.
        known: The notebook's parameters, for what stands in brackets.

    Raises:
        NotebookError: A value is not allowed; the message lists what is.

    Example:
        >>> check_values({"rho": 0.05, "label_noise": 0.2})
        >>> check_values({"rho": -1.0})
        Traceback (most recent call last):
        landscape.errors.NotebookError: The notebook parameter 'rho' is out of range. Expected: at least 0. Got: -1.0.
    """
    helps = {parameter.name: parameter.help for parameter in known}
    for name, value in values.items():
        entries = value if isinstance(value, list | tuple) else [value]
        for entry in entries:
            if entry is not None:
                _finite(name, entry)
                for _, check in filter(None, [rule_of(name, helps.get(name, ""))]):
                    check(name, entry)


def rule_of(name: str, help: str = "") -> tuple[str, Check] | None:
    """Return the rule of one parameter: in words, and as a function that raises.

    Args:
        name: The parameter's name.
        help: Its comment.

    Returns:
        The rule, or None where any value of its type will do.

    Raises:
        NotebookError: What stands in brackets is no rule.

    Example:
        >>> rule_of("lr")[0], rule_of("planes", "how many [1..50]")[0], rule_of("title")
        ('above 0', '1 to 50', None)
    """
    found = _BRACKETS.search(help)
    if found:
        return _parsed(name, found[1].strip())
    return _BY_NAME.get(name)


def plain_help(help: str) -> str:
    """Return a comment without the rule at its end.

    Example:
        >>> plain_help("how many planes [1..50]")
        'how many planes'
    """
    return _BRACKETS.sub("", help).strip()


def _parsed(name: str, text: str) -> tuple[str, Check]:
    if compared := re.fullmatch(rf"(>=|>|<=|<)\s*({_NUMBER})", text):
        return _compared(compared[1], float(compared[2]))
    if between := re.fullmatch(rf"({_NUMBER})\s*\.\.\s*({_NUMBER})", text):
        return _between(float(between[1]), float(between[2]))
    choices = [choice.strip() for choice in text.split("|")]
    if len(choices) > 1 and all(choices):
        return _one_of(name.removesuffix("s"), choices)
    raise NotebookError(
        f"The brackets behind the notebook parameter {name!r} hold no rule.",
        expected="[> 0], [>= 1], [0..1] or [this | that]",
        got=f"[{text}]",
    )


def _finite(name: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise _out_of_range(name, "a finite number", value)


def _compared(sign: str, bound: float) -> tuple[str, Check]:
    words = {">": "above", ">=": "at least", "<": "below", "<=": "at most"}[sign]
    compare: dict[str, Callable[[float], bool]] = {
        ">": lambda value: value > bound,
        ">=": lambda value: value >= bound,
        "<": lambda value: value < bound,
        "<=": lambda value: value <= bound,
    }
    return _range(f"{words} {bound:g}", compare[sign])


def _between(low: float, high: float) -> tuple[str, Check]:
    return _range(f"{low:g} to {high:g}", lambda value: low <= value <= high)


def _range(words: str, fits: Callable[[float], bool]) -> tuple[str, Check]:
    def check(name: str, value: Any) -> None:
        if not fits(value):
            raise _out_of_range(name, words, value)

    return words, check


def _one_of(kind: str, choices: Sequence[str]) -> tuple[str, Check]:
    def check(name: str, value: Any) -> None:
        if str(value) not in choices:
            raise unknown_name(kind, value, choices, NotebookError)

    return "one of " + ", ".join(choices), check


def _out_of_range(name: str, expected: str, value: Any) -> LandscapeError:
    return NotebookError(f"The notebook parameter {name!r} is out of range.", expected=expected, got=repr(value))


# ---------------------------------------------------------------------------------------------------- by their names


def _dataset(name: str, value: str) -> None:
    from landscape.datasets.registry import DATASETS, ELSEWHERE
    from landscape.datasets.synthetic import PREFIX

    if value in DATASETS or value.startswith(PREFIX):
        return
    if value in ELSEWHERE:
        raise NotebookError(f"The dataset {value!r} is not loaded by its name.", fix=ELSEWHERE[value])
    if not value.startswith("folder:"):
        forms = [*DATASETS, "folder:PATH", f"{PREFIX}CxHxW:K"]
        raise unknown_name("dataset", value, forms, NotebookError)
    folder = Path(value.removeprefix("folder:"))
    if not (folder / "train").is_dir():
        raise NotebookError(
            f"There are no images in {folder}.",
            expected="PATH/train/<class>/ and PATH/test/<class>/",
            got="no folder train" if folder.is_dir() else "no such folder",
        )


def _model(name: str, value: str) -> None:
    from landscape.models.external import TORCHVISION, torchvision_names
    from landscape.models.registry import MODELS

    source, colon, rest = value.partition(":")
    if value in MODELS or (colon and source != TORCHVISION and source and rest):
        return
    if colon and source == TORCHVISION:
        if rest not in torchvision_names():
            raise unknown_name("model of torchvision", rest, torchvision_names(), NotebookError)
        return
    raise unknown_name("model", value, [*MODELS, f"{TORCHVISION}:NAME", "module:function"], NotebookError)


def _optimizer(name: str, value: str) -> None:
    from landscape.optim.registry import OPTIMIZERS

    if value not in OPTIMIZERS:
        raise unknown_name("optimizer", value, OPTIMIZERS, NotebookError)


def _recipe(name: str, value: str) -> None:
    from landscape.recipes.recipe import RECIPES, unknown_recipe

    if value and value not in RECIPES:
        raise NotebookError(str(unknown_recipe(value)))


def _device(name: str, value: str) -> None:
    import torch

    kind, _, index = value.partition(":")
    if value in ("auto", "cpu"):
        return
    if kind != "cuda" or (index and not index.isdigit()):
        raise NotebookError(
            "The notebook parameter 'device' is no device.", expected="auto, cpu, cuda or cuda:N", got=value
        )
    if int(index or 0) >= torch.cuda.device_count():
        raise NotebookError(
            f"The device {value!r} is not there.",
            expected=f"one of {torch.cuda.device_count()} CUDA devices, auto or cpu",
            fix="`landscape doctor` says what is wrong with CUDA.",
        )


def _root(name: str, value: str) -> None:
    if not value or Path(value).is_file():
        raise NotebookError(f"The notebook parameter {name!r} names no folder.", expected="a folder", got=repr(value))


def _data_root(name: str, value: str) -> None:
    if value and not Path(value).is_dir():
        raise NotebookError(
            f"The notebook parameter {name!r} names no folder.", expected="a folder that is there", got=repr(value)
        )


_NOT_NEGATIVE = (
    "seed", "data_seed", "limit", "test_limit", "rho", "rho_asam", "epsilon", "std", "weight_decay", "inner_lr",
)  # fmt: skip
_POSITIVE = ("lr", "extent", "radius", "bandwidth", "seconds")
_COUNTS = ("batch_size", "inner_iter", "M", "steps", "planes", *(size for size in SIZES if size != "seconds"))
_SHARES = ("label_noise", "label_smoothing", "momentum", "validation")

_BY_NAME: dict[str, tuple[str, Check]] = {
    "dataset": ("a dataset's name or folder:PATH", _dataset),
    "model": ("a model's name", _model),
    "optimizer": ("an optimizer's name", _optimizer),
    "optimizers": ("optimizers' names", _optimizer),
    "recipe": ("a recipe's name, or none", _recipe),
    "device": ("auto, cpu, cuda or cuda:N", _device),
    "profile": _one_of("profile", list(PROFILES)),
    "mode": _one_of("mode", ["auto", "live", "static"]),
    "root": ("a folder", _root),
    "data_root": ("a folder, or none for ./data", _data_root),
    **{name: _compared(">=", 0) for name in _NOT_NEGATIVE},
    **{name: _compared(">", 0) for name in _POSITIVE},
    **{name: _compared(">=", 1) for name in _COUNTS},
    **{name: _between(0, 1) for name in _SHARES},
}
