"""Whether a model can be trained as a run trains it: its weights, and a pass in each mode with a twin of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.datasets import Dataset
from landscape.errors import ConfigError, LandscapeError, ModelError, first_line
from landscape.models.lazy import lazy_names
from landscape.seeding import preserved_rng
from landscape.training.precision import autocast, memory_format
from landscape.training.run_config import RunConfig

_SINGLE = "more than 1 value per channel"  # what torch's batch normalization says of a single example


def check_weights(config: RunConfig, model: nn.Module) -> None:
    """Check that a model has weights that can be trained in the run's precision, and stored.

    Args:
        config: The settings.
        model: The run's model; not changed.

    Raises:
        ModelError: It has no weights, or all are frozen; or a tensor has no shape, no values, or is sparse; or a weight
            is no real floating-point number, is NaN or infinite, is not in the precision of the settings, or shares its
            place in memory.
    """
    name, lazy = config.model, lazy_names(model)
    if lazy:
        raise ModelError(
            f"Parameter {lazy[0]} of the model {name!r} has no shape yet.", fix="Build the layer with its sizes."
        )
    trainable = {key: p for key, p in model.named_parameters() if p.requires_grad and p.numel()}
    if not trainable:
        frozen = any(p.numel() for p in model.parameters())
        raise ModelError(
            f"The model {name!r} has no weights to train.",
            expected="at least one parameter with requires_grad",
            got="frozen parameters only" if frozen else "no parameters",
            fix="Call requires_grad_(True) on the part of the model that is to be trained."
            if frozen
            else "Assign layers to attributes of the model, or use nn.ModuleList for a list of them.",
        )
    for key, tensor in [*model.named_parameters(), *model.named_buffers()]:
        _check_tensor(f"{key!r} of the model {name!r}", tensor)
    for key, parameter in trainable.items():
        _check_trainable(f"{key!r} of the model {name!r}", parameter, config.precision)


def _check_tensor(name: str, tensor: Tensor) -> None:
    """Refuse what has no values, cannot be stored, or is no real number where a weight is wanted."""
    if tensor.is_meta:
        raise ModelError(
            f"The tensor {name} is on the meta device, so it has no values.",
            fix="Build the model outside of torch.device('meta'), or call to_empty(device='cpu') and initialize it.",
        )
    if tensor.layout != torch.strided:
        raise ModelError(
            f"The tensor {name} is sparse.", expected="dense tensors", got=tensor.layout, fix="Call .to_dense() on it."
        )
    if isinstance(tensor, nn.Parameter) and not tensor.is_floating_point():
        raise ModelError(
            f"The parameter {name} is not floating point.",
            expected="real floating-point weights",
            got=tensor.dtype,
            fix="Hold real and imaginary parts in one real parameter, and call torch.view_as_complex in forward."
            if tensor.is_complex()
            else "Make it a buffer with register_buffer.",
        )
    if isinstance(tensor, nn.Parameter) and not bool(torch.isfinite(tensor).all()):
        raise ModelError(
            f"The parameter {name} holds NaN or infinity before any training.", fix="Initialize it with finite numbers."
        )


def _check_trainable(name: str, parameter: Tensor, precision: str) -> None:
    """Refuse a weight of another precision than the run's, and one that is several at once."""
    wanted = torch.float64 if precision == "float64" else torch.float32
    if parameter.dtype != wanted:
        other = (
            " or set precision to 'float64'." if parameter.dtype == torch.float64 else " the precision does the rest."
        )
        raise ModelError(
            f"The parameter {name} does not have the precision of the run.",
            expected=f"{wanted} weights for precision {precision!r}",
            got=parameter.dtype,
            fix=f"Return model.float() from the function that builds it;{other}",
        )
    if any(step == 0 and size > 1 for step, size in zip(parameter.stride(), parameter.shape, strict=True)):
        raise ModelError(
            f"The parameter {name} is an expanded tensor, whose weights share their place in memory.",
            expected="a place for each weight",
            got=f"strides {parameter.stride()} of shape {tuple(parameter.shape)}",
            fix="Call .clone() on what was expanded.",
        )


def check_passes(
    config: RunConfig, model: nn.Module, data: Dataset, *, part: int, device: torch.device | None = None
) -> None:
    """Run a twin of a model forward in both modes, and backward, as training does; the generators come back.

    Args:
        config: The settings.
        model: The run's model; not changed.
        data: The training data.
        part: How many examples the smallest forward pass of training has.
        device: Where the run computes; None is where the model is.

    Raises:
        ConfigError: ``part`` is 1, and normalization needs the variance of two examples.
        ModelError: The model cannot be copied, cannot take the data, does not return one score for each class, changes
            its inputs, or gives its weights no gradient.
    """
    layout = memory_format(config, data.input_shape)
    with preserved_rng():
        with _refused(config, "cannot be copied", "a module for copy.deepcopy", layout):
            twin = copy.deepcopy(model)
        with _refused(config, "cannot be moved", f"a module that goes to {device} in {layout}", layout):
            twin = twin.to(device).to(memory_format=layout)
        for mode in (True, False):
            if twin.train(mode) is not twin:
                raise ModelError(
                    f"The method train() of the model {config.model!r} does not return the model.",
                    fix="End it with: return super().train(mode).",
                )
        first = next(twin.parameters())
        inputs = data.normalized(torch.arange(min(2, len(data))), dtype=first.dtype).to(first.device)
        targets = data.targets[: len(inputs)].to(first.device)
        with torch.no_grad():
            _forward(config, twin, inputs, data, layout)
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=layout)
        inputs, targets = inputs[: max(1, part)], targets[: max(1, part)]
        _train(config, twin.train(), inputs, targets, data, layout)


def _train(
    config: RunConfig,
    twin: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    data: Dataset,
    layout: torch.memory_format,
) -> None:
    """Run a pass of training, forward and backward."""
    if config.adversarial_epsilon:
        inputs = inputs.detach().requires_grad_()
    with torch.enable_grad():
        outputs = _forward(config, twin, inputs, data, layout)
        with _refused(config, "cannot be trained", "a backward pass", layout):
            with autocast(config.precision, inputs.device):
                loss = F.cross_entropy(outputs, targets)
            if loss.requires_grad:
                loss.backward()
    if all(parameter.grad is None for parameter in twin.parameters()):
        raise ModelError(
            f"The outputs of the model {config.model!r} do not depend on any of its weights that train.",
            expected="a gradient of the loss",
            fix="Take torch.no_grad, .detach() and .data out of forward, and see that it uses the weights.",
        )
    if config.adversarial_epsilon and inputs.grad is None:
        raise ModelError(
            f"The outputs of the model {config.model!r} have no gradient with respect to its inputs.",
            expected="one, by which adversarial_epsilon moves the inputs",
            fix="Take .detach() and torch.no_grad out of forward, or leave adversarial_epsilon unset.",
        )


def _forward(config: RunConfig, twin: nn.Module, inputs: Tensor, data: Dataset, layout: torch.memory_format) -> Tensor:
    """Run a forward pass and check what comes out, and that nothing happened to what went in."""
    before, version = inputs.detach().clone(), inputs._version
    doing = "cannot train on" if twin.training else "cannot take"
    shape = f"inputs of shape {tuple(inputs.shape[1:])}"
    with _refused(config, f"{doing} the data {config.dataset!r}", shape, layout):
        try:
            with autocast(config.precision, inputs.device):
                outputs = twin(inputs)
        except ValueError as error:
            if _SINGLE not in str(error) or len(inputs) > 1:
                raise
            raise _single(config, len(data), error) from error
    _check_outputs(config, outputs, inputs, data.classes, "training" if twin.training else "evaluation")
    if inputs._version != version or not torch.equal(inputs.detach(), before):
        raise ModelError(
            f"The model {config.model!r} changes its inputs in place.",
            expected="inputs left as they are: a step may pass them again",
            fix="Write x = x * 2 for x.mul_(2), and let no layer that sees the inputs work with inplace=True.",
        )
    return outputs


def _check_outputs(config: RunConfig, outputs: object, inputs: Tensor, classes: int, mode: str) -> None:
    """Refuse outputs that are not one score for each class."""
    wanted = f"one score for each of {classes} classes: outputs of shape (B, {classes})"
    if not isinstance(outputs, Tensor):
        raise ModelError(
            f"The model {config.model!r} returns no tensor in {mode} mode.",
            expected=wanted,
            got=f"a {type(outputs).__name__}",
            fix="Return the scores alone from forward, in both modes.",
        )
    if outputs.shape != (len(inputs), classes):
        batch = "B" if outputs.shape[:1] == inputs.shape[:1] else None
        got = ", ".join(str(size) for size in ((batch, *outputs.shape[1:]) if batch else outputs.shape))
        raise ModelError(
            f"The model {config.model!r} does not fit the data {config.dataset!r}.",
            expected=wanted,
            got=f"outputs of shape ({got}) in {mode} mode" + ("" if batch else f", for B = {len(inputs)}"),
            fix="Leave classes and input_shape out of the model's options: they come from the data.",
        )
    if not outputs.is_floating_point():
        raise ModelError(
            f"The outputs of the model {config.model!r} are no scores.",
            expected="floating-point numbers, one for each class",
            got=outputs.dtype,
            fix="Return the scores before argmax, rounding or a threshold.",
        )
    if outputs.device != inputs.device:
        raise ModelError(
            f"The outputs of the model {config.model!r} are on another device than its inputs.",
            expected=inputs.device,
            got=outputs.device,
            fix="Take .cpu(), .cuda() and .to(device) out of forward.",
        )


def _single(config: RunConfig, examples: int, error: Exception) -> ConfigError:
    return ConfigError(
        "The model cannot train on a batch, or a part of one, of a single example.",
        expected="two examples or more wherever normalization takes a variance",
        got=f"batch_size {config.batch_size}, {examples} examples, M {config.M or 1}: {error}",
        fix="Raise batch_size or limit, lower M, or choose a model without batch normalization.",
    )


@contextmanager
def _refused(config: RunConfig, what: str, expected: str, layout: torch.memory_format) -> Iterator[None]:
    """Turn whatever a model raises, SystemExit too, into a ModelError."""
    try:
        yield
    except LandscapeError:
        raise
    except (Exception, SystemExit) as error:
        fix = "Choose another model, correct its forward, or leave classes and input_shape out of its options."
        said = str(error)
        if what == "cannot be copied":
            fix = "Keep only modules, parameters, buffers and plain values in its attributes, and no results of layers."
        elif layout == torch.channels_last and ("view" in said or "channels_last" in said):
            fix = "Call x.flatten(1) or x.reshape(...) for x.view(...), or set channels_last to false."
        elif "inplace" in said:
            fix = "Write y = y * 2 for y.mul_(2) in forward."
        raise ModelError(
            f"The model {config.model!r} {what}.", expected=expected, got=first_line(error), fix=fix
        ) from error
