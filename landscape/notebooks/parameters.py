"""The parameters of a notebook: read from its tagged cell, and checked before anything runs."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import tokenize
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.errors import NotebookError, unknown_name

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_NONE = ("none", "null")
_ORDER = ("None", "bool", "int", "float", "tuple", "list", "dict", "str")


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One line of the parameters cell.

    Attributes:
        name: Its name.
        default: Its value in the notebook, a plain literal.
        help: The comment on its line; "" where there is none.
        kinds: The types that it accepts, from its annotation and its default: names of Python types, or "None".
    """

    name: str
    default: Any
    help: str = ""
    kinds: tuple[str, ...] = ()


def read_notebook(path: str | os.PathLike[str]) -> Any:
    """Read a notebook file as version 4.

    Args:
        path: The ``.ipynb`` file.

    Returns:
        An nbformat node.

    Raises:
        NotebookError: There is no such file, or it is no notebook.
    """
    import nbformat

    path = Path(path)
    if not path.is_file():
        raise NotebookError(
            f"There is no notebook {path}.", fix="Check the path; `landscape notebook --list` names ours."
        )
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises what json, validation and its converters raise
        raise NotebookError(f"{path} is not a notebook.", got=f"{type(error).__name__}: {error}") from error


def notebook_parameters(path: str | os.PathLike[str]) -> list[Parameter]:
    """Read the parameters of a notebook, with their defaults and comments.

    Args:
        path: The ``.ipynb`` file.

    Returns:
        The parameters, in the order of the cell.

    Raises:
        NotebookError: There is no such notebook, it has not exactly one cell tagged ``parameters``, or that cell holds
            something else than ``name = literal`` lines.
    """
    return parameters_of(read_notebook(path), str(path))


def parameters_of(notebook: Any, name: str) -> list[Parameter]:
    """Do what :func:`notebook_parameters` does for a notebook that is already read."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if len(cells) != 1:
        raise NotebookError(
            f"{name} needs one cell tagged 'parameters'.",
            got=f"{len(cells)} such cells",
            fix="Tag the cell with the settings 'parameters' (JupyterLab: property inspector, cell tags).",
        )
    return parse_parameters(cells[0].source)


def parse_parameters(source: str) -> list[Parameter]:
    """Parse the source of a parameters cell.

    Args:
        source: Lines such as ``rho: float = 0.05  # radius``.

    Returns:
        The parameters.

    Raises:
        NotebookError: A line is something else.

    Example:
        >>> parse_parameters("rho: float = 0.05  # radius")
        [Parameter(name='rho', default=0.05, help='radius', kinds=('float',))]
    """
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise NotebookError("The parameters cell is not valid Python.", got=str(error)) from error
    comments = _comments(source)
    found = []
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        found.append(_parameter(node, comments.get(node.end_lineno or 0, "")))
    return found


def _parameter(node: ast.stmt, comment: str) -> Parameter:
    target: Any = (
        node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else getattr(node, "target", None)
    )
    value: Any = getattr(node, "value", None)
    try:
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not isinstance(target, ast.Name) or value is None:
            raise ValueError("no assignment to one name")
        default = ast.literal_eval(value)
    except ValueError as error:
        raise NotebookError(
            "The parameters cell holds something else than settings.",
            expected="lines of the form name = literal",
            got=ast.unparse(node),
            fix="Move it to another cell.",
        ) from error
    annotation = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
    return Parameter(name=target.id, default=default, help=comment, kinds=_kinds(annotation, default))


def _kinds(annotation: str, default: Any) -> tuple[str, ...]:
    names = re.findall(r"[A-Za-z_]+", re.sub(r"\[(?!.*\|).*?\]", "", annotation.replace("Optional", "None |")))
    own = _kind(default)
    kinds = {name for name in names if name in _ORDER}
    if not kinds:
        return _ORDER if default is None else (own,)
    return tuple(kind for kind in _ORDER if kind in kinds | {own})


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ").rstrip() for token in tokens if token.type == tokenize.COMMENT}


def check_parameters(given: Mapping[str, Any], known: list[Parameter]) -> dict[str, Any]:
    """Check names and types of given values; texts, as they come from a command line, are converted.

    Args:
        given: Name to value.
        known: The notebook's parameters.

    Returns:
        Name to value of the parameter's own type.

    Raises:
        NotebookError: A name is unknown (the nearest one is named), or a value has another type.

    Example:
        >>> known = parse_parameters("rho = 0.05")
        >>> check_parameters({"rho": "1e-3"}, known)
        {'rho': 0.001}
    """
    by_name = {parameter.name: parameter for parameter in known}
    checked = {}
    for name, value in given.items():
        if name not in by_name:
            raise unknown_name("notebook parameter", name, by_name, NotebookError)
        checked[name] = _convert(value, by_name[name])
    return checked


def _convert(value: Any, parameter: Parameter) -> Any:
    own = _kind(value)
    if own in parameter.kinds and own != "str":
        return value
    if own == "int" and "float" in parameter.kinds:
        return float(value)
    if own in ("tuple", "list") and {"tuple", "list"} & set(parameter.kinds):
        return tuple(value) if "tuple" in parameter.kinds else list(value)
    if own == "str":
        for kind in parameter.kinds:
            try:
                return _PARSERS[kind](value, parameter)
            except (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError):
                continue
    raise _another_type(value, parameter)


def check_type(value: Any, parameter: Parameter) -> None:
    """Check that a value is of a parameter's type as it is; only whole numbers may stand for others.

    Args:
        value: The value.
        parameter: The parameter.

    Raises:
        NotebookError: It is of another type.

    Example:
        >>> check_type("false", parse_parameters("fast: bool = True")[0])
        Traceback (most recent call last):
        landscape.errors.NotebookError: The notebook parameter 'fast' has another type. Expected: bool, such as True. \
Got: 'false' (str).
    """
    own = _kind(value)
    whole = own == "int" and "float" in parameter.kinds
    rows = own in ("tuple", "list") and bool({"tuple", "list"} & set(parameter.kinds))
    if own not in parameter.kinds and not whole and not rows:
        raise _another_type(value, parameter)


def _another_type(value: Any, parameter: Parameter) -> NotebookError:
    return NotebookError(
        f"The notebook parameter {parameter.name!r} has another type.",
        expected=f"{' or '.join(parameter.kinds)}, such as {parameter.default!r}",
        got=f"{value!r} ({_kind(value)})",
    )


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def _none(text: str, _: Parameter) -> None:
    if text.lower() not in _NONE:
        raise ValueError(text)


def _bool(text: str, _: Parameter) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError(text)
    return text.lower() in _TRUE


def _int(text: str, _: Parameter) -> int:
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise
        return int(number)


def _sequence(text: str, parameter: Parameter) -> Any:
    made: Any = tuple if "tuple" in parameter.kinds else list
    if text.strip()[:1] in ("(", "["):
        return made(ast.literal_eval(text))
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parameter.default:
        return made(parts)
    element = Parameter(name=parameter.name, default=parameter.default[0], kinds=(type(parameter.default[0]).__name__,))
    return made(_PARSERS[element.kinds[0]](part, element) for part in parts)


def _dict(text: str, _: Parameter) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = ast.literal_eval(text)
    if not isinstance(value, dict):
        raise ValueError(text)
    return value


_PARSERS: dict[str, Callable[[str, Parameter], Any]] = {
    "None": _none,
    "bool": _bool,
    "int": _int,
    "float": lambda text, _: float(text),
    "tuple": _sequence,
    "list": _sequence,
    "dict": _dict,
    "str": lambda text, _: text,
}
