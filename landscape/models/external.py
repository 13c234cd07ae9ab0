"""Models from elsewhere: torchvision's classifiers, and a user's own function."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import nn

from landscape.errors import ConfigError, MissingDependencyError, ModelError, nearest, unknown_name
from landscape.models.layers import check_images

TORCHVISION = "torchvision"
# without these two, both warn, or return more than logits in training mode
TWO_HEADED = {name: {"aux_logits": False, "init_weights": True} for name in ("googlenet", "inception_v3")}


def build_external(
    name: str, *, classes: int = 10, input_shape: Sequence[int] = (3, 224, 224), **options: Any
) -> nn.Module:
    """Build ``torchvision:NAME`` or ``module:function``.

    Args:
        name: What was asked for, with one colon.
        classes: K logits are to come out.
        input_shape: The shape of one input.
        **options: For the constructor or the function.

    Returns:
        The model; see :func:`torchvision_model` and :func:`user_model`.

    Raises:
        ModelError: It cannot be found or built.
        ConfigError: It does not take an option.
        MissingDependencyError: torchvision is asked for and not installed.
    """
    source, _, rest = name.partition(":")
    if source == TORCHVISION:
        return torchvision_model(rest, classes=classes, input_shape=input_shape, **options)
    return user_model(name, classes=classes, input_shape=input_shape, **options)


# ------------------------------------------------------------------------------------------------------- torchvision


def _torchvision() -> ModuleType:
    try:
        return importlib.import_module("torchvision.models")
    except ImportError as error:
        raise MissingDependencyError(
            "torchvision could not be imported.", got=str(error), fix="Install torchvision, or choose another model."
        ) from error


def torchvision_names() -> list[str]:
    """Return the names of torchvision's classifiers.

    Example:
        >>> "resnet18" in torchvision_names()
        True
    """
    models = _torchvision()
    return models.list_models(module=models)


def torchvision_model(name: str, *, classes: int, input_shape: Sequence[int], **options: Any) -> nn.Module:
    """Build one of torchvision's classifiers with fresh weights, initialized as torchvision does.

    Their stems are made for ImageNet: on 32x32 pixels most see very little (``resnet18`` of this package has a stem
    for small images). Vision transformers are built for the given image size. Layers that would work in place are told
    not to; GoogLeNet and Inception have no auxiliary heads.

    Args:
        name: A name of torchvision's registry, such as "resnet18".
        classes: K logits come out.
        input_shape: (3, H, W).
        **options: For torchvision's constructor.

    Returns:
        The model on the CPU, in training mode: (B, 3, H, W) -> (B, K).

    Raises:
        ModelError: The name is unknown, or the model cannot take inputs of that shape.
        ConfigError: The constructor does not take an option; ``weights`` is never one, models start fresh.
        MissingDependencyError: torchvision is not installed.

    Example:
        >>> with torch.device("meta"):
        ...     model = torchvision_model("resnet18", classes=1000, input_shape=(3, 224, 224))
        >>> sum(p.numel() for p in model.parameters())  # as torchvision documents it
        11689512
    """
    names = torchvision_names()
    if name not in names:
        raise unknown_name("torchvision model", name, names, ModelError)
    shape = check_images(f"{TORCHVISION}:{name}", input_shape, least=1)
    if shape[0] != 3:
        raise ModelError(
            f"torchvision's {name!r} takes images of three channels only.",
            expected="(3, H, W)",
            got=shape,
            fix="Use a model of this package, which take any number, or wrap torchvision's in a function of your own.",
        )
    for option in ("weights", "progress"):
        if option in options:
            raise ConfigError(
                f"The option {option!r} is not for here.", expected="a model with fresh weights", fix="Leave it out."
            )
    given = {**TWO_HEADED.get(name, {}), **_sizes(name, shape), **options}
    constructor = getattr(_torchvision(), name)
    try:
        model = constructor(num_classes=classes, **given)
    except TypeError as error:
        raise ConfigError(f"torchvision's {name!r} does not take these options.", got=str(error)) from error
    except (ValueError, RuntimeError, AssertionError) as error:
        raise _refused(name, shape, error) from error
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    _check_forward(name, model, shape)
    return model


def _sizes(name: str, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Return what the transformers with learned positions need to know of the image."""
    if name.startswith("vit_"):
        if shape[1] != shape[2]:
            raise ModelError(f"torchvision's {name!r} takes square images only.", got=shape)
        return {"image_size": shape[1]}
    return {"input_size": shape[1:]} if name.startswith("maxvit") else {}


def _refused(name: str, shape: tuple[int, int, int], error: Exception) -> ModelError:
    return ModelError(
        f"torchvision's {name!r} cannot take inputs of shape {shape}.",
        got=str(error),
        fix="Use larger images, or a model of this package, which are made for small ones.",
    )


def _check_forward(name: str, model: nn.Module, shape: tuple[int, int, int]) -> None:
    """Run one input through the model without computing anything: sizes that do not fit are seen here."""
    state = {key: torch.empty_like(value, device="meta") for key, value in model.state_dict(keep_vars=True).items()}
    model.eval()
    try:
        torch.func.functional_call(model, state, (torch.empty((1, *shape), device="meta"),))
    except NotImplementedError:  # an operation that cannot run without computing: no answer, no objection
        pass
    except (ValueError, RuntimeError, AssertionError) as error:
        raise _refused(name, shape, error) from error
    finally:
        model.train()


# ---------------------------------------------------------------------------------------------------- a user's function


@contextmanager
def importable_working_directory() -> Iterator[None]:
    """Let modules in the working directory be imported within the block, first of all, as in a notebook beside them.

    Example:
        >>> before = list(sys.path)
        >>> with importable_working_directory():
        ...     os.getcwd() in sys.path
        True
        >>> sys.path == before
        True
    """
    here = os.getcwd()
    known = here in sys.path or "" in sys.path
    if not known:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if not known and here in sys.path:
            sys.path.remove(here)


def user_model(name: str, *, classes: int, input_shape: Sequence[int], **options: Any) -> nn.Module:
    """Import a function (or a class) and let it build the model.

    The working directory counts as importable. A module is imported once in a process: after a change to it, begin a
    new one.

    The function is called with ``num_classes=classes`` and ``in_channels=input_shape[0]`` where its signature takes
    them (by name, or by ``**``), with ``classes`` and ``input_shape`` where its signature has these names, and with the
    options.

    Args:
        name: "module:function", the module's name with dots, as in an import.
        classes: K logits are to come out.
        input_shape: The shape of one input.
        **options: For the function.

    Returns:
        What the function returns, as it is: (B, *input_shape) -> (B, K) is up to it.

    Raises:
        ModelError: There is no such module or function, it fails, or it returns no ``torch.nn.Module``.
        ConfigError: The function does not take an option, or needs one that is not given.

    Example:
        >>> user_model("torch.nn:Linear", classes=3, input_shape=(2,), in_features=2, out_features=3)
        Linear(in_features=2, out_features=3, bias=True)
    """
    path, _, function = name.partition(":")
    with importable_working_directory():
        build = _function(name, _module(name, path), function)
        given = {"num_classes": classes, "in_channels": input_shape[0], "classes": classes, "input_shape": input_shape}
        arguments = _arguments(name, build, given, options)
        try:
            model = build(**arguments)
        except (Exception, SystemExit) as error:
            raise ModelError(
                f"The function {name!r} could not build a model.",
                got=f"{type(error).__name__}: {error}",
                fix=f"Correct it; it was called with {', '.join(map(repr, arguments)) or 'no arguments'}.",
            ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name!r} returned no model.", expected="a torch.nn.Module", got=f"a {type(model).__name__}")
    if "_modules" not in vars(model):
        raise ModelError(
            f"{name!r} returned a module that was never initialized.",
            got=f"a {type(model).__name__}",
            fix="Call super().__init__() first in its __init__.",
        )
    return model


def _module(name: str, path: str) -> ModuleType:
    """Import the module, telling one that is missing from one that fails."""
    if not path or not all(part.isidentifier() for part in path.split(".")):
        raise ModelError(
            f"The model {name!r} cannot be looked up.",
            expected="'torchvision:NAME' or 'module:function', the module as in an import",
            fix="For a file nets.py in the working directory that defines resnet(), write 'nets:resnet'.",
        )
    try:
        return importlib.import_module(path)
    except (Exception, SystemExit) as error:
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and (path == missing or path.startswith(f"{missing}.")):
            close = nearest(path, [TORCHVISION])
            fix = f"Put {path.split('.')[0]}.py into {os.getcwd()}, or install it."
            raise ModelError(
                f"There is no module {missing!r} for the model {name!r}.",
                fix=f"Did you mean '{close}:{name.partition(':')[2]}'?" if close else fix,
            ) from error
        raise ModelError(
            f"The module {path!r} for the model {name!r} could not be imported.",
            got=f"{type(error).__name__}: {error}",
            fix="Correct the module; `python -c 'import " + path + "'` shows the error in full.",
        ) from error


def _function(name: str, module: ModuleType, function: str) -> Callable[..., Any]:
    names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    if not hasattr(module, function):
        raise unknown_name(f"function of the module {module.__name__!r}", function, names, ModelError)
    found = getattr(module, function)
    if not callable(found):
        raise ModelError(f"{name!r} is no function.", expected="something that builds a model", got=repr(found))
    return found


def _arguments(
    name: str, build: Callable[..., Any], given: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Choose of what is known what the function takes; the user's options come first."""
    try:
        parameters = inspect.signature(build).parameters
    except (TypeError, ValueError):  # some functions written in C tell nothing
        return dict(options)
    takes_all = any(value.kind is value.VAR_KEYWORD for value in parameters.values())
    named = {
        key: value
        for key, value in parameters.items()
        if value.kind in (value.POSITIONAL_OR_KEYWORD, value.KEYWORD_ONLY)
    }
    for option in options:
        if option not in named and not takes_all:
            raise unknown_name(f"{name} option", option, named)
    taken = {key: value for key, value in given.items() if key in named}
    if takes_all:
        taken = {"num_classes": given["num_classes"], "in_channels": given["in_channels"], **taken}
    taken.update(options)
    needed = [key for key, value in named.items() if value.default is value.empty and key not in taken]
    if needed:
        raise ConfigError(
            f"{name!r} needs options that are not given.",
            expected=", ".join(needed),
            fix="Add them to the model's options, or give the function defaults.",
        )
    return taken
