"""What a model is made of and set to, so that one which was taken apart or set otherwise meanwhile is noticed."""

from __future__ import annotations

from functools import partial
from itertools import zip_longest
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from torch import nn

from landscape.errors import ModelError, shown

_PLAIN = (bool, int, float, str, tuple, type(None))
_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, partial)
_FIX = "Make a new Objective of the model as it is now."


class Structure:
    """The layers of a model, their settings, and the names and shapes of its tensors, as they are when this is made.

    Values may change, and so may the tensors that hold them; but tensors that are one stay one. Settings are what
    torch's layers list as their ``__constants__``, and functions that are attributes of a layer. Other numbers that
    layers hold are not looked at: they may be counters.

    Args:
        model: Any module.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
        >>> structure = Structure(model)
        >>> structure.check(model)
        >>> model[1] = nn.Tanh()
        >>> structure.check(model)
        Traceback (most recent call last):
        ...
        landscape.errors.ModelError: Sequential has changed since its objective was made. ...
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules, self._tensors = _walk(model)  # the modules themselves: an address may be used again
        self._parts = _parts(model)
        self._settings: list[tuple[dict[str, Any], list[str], list[Any]]] = []
        for module in self._modules:
            known = {"forward": None, **_settings(module)}  # whoever gives one layer a forward of its own sets that
            self._settings.append((vars(module), [*known], [*known.values()]))

    def check(self, model: nn.Module) -> None:
        """See that a model is made of the same parts; this takes some microseconds for each.

        Raises:
            ModelError: A layer was replaced or set otherwise, a layer, a parameter or a buffer was added or taken away,
                or two became one or one two.
        """
        modules, tensors = _walk(model)
        same = len(modules) == len(self._modules) and all(map(_is, modules, self._modules))
        same = same and all([*map(own.get, names)] == values for own, names, values in self._settings)
        if not (same and tensors == self._tensors):
            was, now = _difference(self._parts, _parts(model))
            raise ModelError(_changed(model), expected=was, got=now, fix=_FIX)


def check_settings(model: nn.Module, copy: nn.Module) -> None:
    """See that a model prints as a copy that was made of it does: settings of layers are seen there.

    Args:
        model: As it is now.
        copy: As it was.

    Raises:
        ModelError: It does not.
    """
    lines = [repr(each).splitlines() for each in (copy, model)]
    for was, now in zip_longest(*lines, fillvalue="nothing more"):
        if was != now:
            raise ModelError(_changed(model), expected=was.strip(), got=now.strip(), fix=_FIX)


def _changed(model: nn.Module) -> str:
    return f"{type(model).__name__} has changed since its objective was made."


def _is(one: object, other: object) -> bool:
    return one is other


def _walk(model: nn.Module) -> tuple[list[nn.Module], list[Any]]:
    """All modules, in a fixed order, and the names and shapes of what they hold."""
    found: list[nn.Module] = []
    held: list[Any] = []
    numbers: dict[int, int] = {}  # of tensors, in the order in which they are met
    todo, seen = [model], {id(model)}
    while todo:
        module = todo.pop()
        found.append(module)
        for tensors in (module._parameters, module._buffers):
            held.append(len(tensors))
            for name, tensor in tensors.items():
                held += (name, None if tensor is None else (tensor.shape, numbers.setdefault(id(tensor), len(numbers))))
        for name, child in module._modules.items():
            held.append(name)
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                todo.append(child)
    return found, held


def _settings(module: nn.Module) -> dict[str, Any]:
    """What a layer is set to, by name."""
    own = vars(module)
    listed = {name: own[name] for name in getattr(module, "__constants__", ()) if name in own}
    plain = {name: value for name, value in listed.items() if isinstance(value, _PLAIN)}
    functions = {name: value for name, value in own.items() if isinstance(value, _FUNCTIONS) and name[0] != "_"}
    return plain | functions


def _parts(model: nn.Module) -> dict[str, tuple[object, str]]:
    """What is where: something that is the same as long as it is, and what to call it."""
    modules: dict[str, tuple[object, str]] = {
        f"layer {name!r}": (module, type(module).__name__)
        for name, module in model.named_modules(remove_duplicate=False)
    }
    parameters, buffers = model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)
    tensors = [("parameter", *pair) for pair in parameters] + [("buffer", *pair) for pair in buffers]
    settings = {
        f"{name} of {f'layer {layer!r}' if layer else 'the model'}": (value, shown(value))
        for layer, module in model.named_modules()
        for name, value in _settings(module).items()
    }
    first: dict[int, str] = {}
    held = {}
    for kind, name, tensor in tensors:
        same = first.setdefault(id(tensor), name)
        text = f"shape {tuple(tensor.shape)}" + (f", the same as {same!r}" if same != name else "")
        held[f"{kind} {name!r}"] = (text, text)
    return modules | settings | held


def _difference(was: dict[str, tuple[object, str]], now: dict[str, tuple[object, str]]) -> tuple[str, str]:
    """Say of one part what it was and what it is."""
    for name in [*was, *now]:
        (old, before), (new, after) = was.get(name, (None, "not there")), now.get(name, (None, "not there"))
        if (old is not new) if isinstance(old, nn.Module) and isinstance(new, nn.Module) else (old != new):
            other = f"another {after}" if before == after else after
            return f"{name}: {before}", f"{name}: {other}"
    return "the same parts in the same order", "another order"
