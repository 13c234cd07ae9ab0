"""A model's passes beside the training's own, which leave no trace in it, and gradients by its inputs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.errors import DataError, MismatchError, ModelError, shown
from landscape.inputs import held_logits
from landscape.optim.backup import frozen_statistics
from landscape.precision import HALF, unrounded
from landscape.regularizers.base import Forward

Losses = Callable[[Tensor, Tensor], Tensor]
"""From logits (B, K) and targets (B,) to the loss of each example, (B,)."""


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each example, (B,), in nats.

    Args:
        outputs: (B, K) logits.
        targets: (B,) class numbers.

    Raises:
        DataError: They are no class numbers of these outputs; on a CUDA device their values are not looked at.
    """
    classes, kind = outputs.shape[1], targets.device.type
    whole = targets.ndim == 1 and targets.dtype == torch.long
    if not whole or (kind == "cpu" and bool(((targets < 0) | (targets >= classes)).any())):
        raise DataError(
            "These targets are no classes of the outputs.",
            expected=f"{len(outputs)} whole numbers (torch.int64) from 0 to {classes - 1}, of shape ({len(outputs)},)",
            got=shown(targets),
            fix="Give the number of the right logit for each input.",
        )
    return F.cross_entropy(outputs, targets, reduction="none")


class Passes:
    """A model's passes, each of which begins with the same random numbers.

    Args:
        model: From inputs to logits.
        device: Where.

    Attributes:
        exact: Whether autocast was on and is switched off: outputs that were handed over are less exact than these.
    """

    def __init__(self, model: Forward, device: torch.device) -> None:
        self._model, self._draws, self._kind = model, _Draws(device), device.type
        self.exact = False

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return logits (b, K) of inputs (b, ...)."""
        self._draws.put_back()
        return logits_of(self._model(inputs), inputs)

    @contextmanager
    def exactly(self) -> Iterator[None]:
        """Switch autocast off in a block: of two points that are near half precision sees little but rounding.

        A model with weights in half precision keeps it: without autocast it may not run at all.
        """
        parameters = self._model.parameters() if isinstance(self._model, nn.Module) else ()
        if not torch.is_autocast_enabled(self._kind) or any(each.dtype in HALF for each in parameters):
            yield
            return
        self.exact = True
        try:
            with torch.autocast(self._kind, enabled=False):
                yield
        finally:
            self.exact = False

    def given(self, inputs: Tensor) -> Tensor:
        """Return inputs with no history, in single precision where these are in half and autocast was switched off."""
        return unrounded(unlinked(inputs)) if self.exact else unlinked(inputs)

    @property
    def drew(self) -> bool:
        """Whether the last pass drew numbers: dropout's masks. Outputs of other passes are then another function's."""
        return self._draws.moved_on()

    def gave(self, outputs: Tensor) -> bool:
        """Whether outputs are the model's: their graph leads to its weights.

        Of a function, and where no weight is trained, it cannot be told: these are taken for its own.
        """
        weights = self._model.parameters() if isinstance(self._model, nn.Module) else ()
        trained = {id(each) for each in weights if each.requires_grad}
        return not trained or _leads_to(outputs, lambda node: id(getattr(node, "variable", None)) in trained)

    def end(self) -> None:
        """Put torch's generators back."""
        self._draws.put_back()


@contextmanager
def extra_passes(model: Forward, inputs: Tensor, targets: Tensor | None = None) -> Iterator[Passes]:
    """Give a block the model for passes beside the training's own.

    The model's mode stays as it is. Running statistics, and where torch's generators stand, come back, also after an
    exception. Each pass begins with the same random numbers: passes of as many examples see the same dropout masks.

    Args:
        model: From inputs to logits.
        inputs: (B, ...), a batch.
        targets: (B,), where they matter.

    Yields:
        From inputs (b, ...) to logits (b, K).

    Raises:
        DataError: The batch is empty, or its inputs are no floating-point numbers.
        MismatchError: There are not as many targets as inputs.
        ModelError: Outputs are not of the shape (b, K).
    """
    if not inputs.is_floating_point() or inputs.ndim < 2 or len(inputs) == 0:
        raise DataError(
            "These inputs cannot be moved.",
            expected="floating-point numbers of shape (B, ...), with B at least 1",
            got=f"{inputs.dtype} of shape {tuple(inputs.shape)}",
            fix="Convert the inputs, for example with inputs.float(), and leave out empty batches.",
        )
    if targets is not None and len(targets) != len(inputs):
        raise MismatchError("Targets and inputs do not go together.", expected=len(inputs), got=len(targets))
    passes = Passes(model, inputs.device)
    with frozen_statistics(model) if isinstance(model, nn.Module) else nullcontext():
        try:
            with torch.inference_mode(False), torch.enable_grad():
                yield passes
        finally:
            passes.end()


def logits_of(outputs: Tensor, inputs: Tensor) -> Tensor:
    """Return outputs, or the logits that they hold, those in half precision as float32.

    Args:
        outputs: (B, K), or an object with such ``logits``, as transformers' models give.
        inputs: (B, ...).

    Raises:
        ModelError: They are of another shape.
    """
    outputs = held_logits(outputs)
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(inputs):
        raise ModelError(
            "These outputs are no logits.",
            expected=f"a tensor of shape ({len(inputs)}, number of classes)",
            got=shown(outputs),
            fix="Give a function from inputs to logits.",
        )
    return unrounded(outputs)


def unlinked(inputs: Tensor) -> Tensor:
    """Return inputs with no history, in the same memory; such as were made in inference mode are copied."""
    return inputs.clone() if inputs.is_inference() else inputs.detach()


def leaf(inputs: Tensor) -> Tensor:
    """Return inputs, with no history, to differentiate by."""
    return unlinked(inputs).requires_grad_()


def gradient_by(value: Tensor, inputs: Tensor, *, keep: bool = False, graph: bool = False) -> Tensor:
    """Return the gradient by inputs; that by the weights is not computed. Zero where nothing depends on them.

    Args:
        value: 0-d.
        inputs: (B, ...) from which it was computed.
        keep: Whether another gradient is to be taken of the same pass.
        graph: Whether the gradient is to be differentiated.
    """
    found = None
    if value.requires_grad:
        found = torch.autograd.grad(value, inputs, retain_graph=keep or graph, create_graph=graph, allow_unused=True)[0]
    return torch.zeros_like(inputs) if found is None else found


def differentiable(outputs: Tensor | None, inputs: Tensor, forward: Passes) -> tuple[Tensor, Tensor]:
    """Return inputs to differentiate by and their outputs, those that were handed over where these can be used.

    They can where a graph leads from them to the inputs, and to the weights of the model.

    Args:
        outputs: (B, K) logits, or None.
        inputs: (B, ...).
        forward: Computes outputs otherwise.

    Returns:
        Inputs (B, ...) and outputs (B, K).
    """
    if outputs is not None:
        logits = logits_of(outputs, inputs)
        if inputs.requires_grad and _leads_to(logits, _is(inputs)) and forward.gave(logits):
            return inputs, logits
    moving = leaf(inputs)
    return moving, forward(moving)


def _is(inputs: Tensor) -> Callable[[Any], bool]:
    """Whether a node is where inputs come in: outputs of a copy would have no gradient, and none would say so."""
    return lambda node: node is inputs.grad_fn or getattr(node, "variable", None) is inputs


def _leads_to(outputs: Tensor, wanted: Callable[[Any], bool]) -> bool:
    """Whether a graph leads from outputs to some node. The nearest are looked at first: the last layer's weights."""
    todo = deque([outputs.grad_fn] if outputs.requires_grad else ())
    seen = set(todo)
    while todo:
        node = todo.popleft()
        if node is None:
            continue
        if wanted(node):
            return True
        following = {after for after, _ in node.next_functions} - seen
        seen |= following
        todo += following
    return False


class _Draws:
    """Where torch's generators of the CPU and of a device stand: microseconds, where RNGState takes 0.2 ms."""

    def __init__(self, device: torch.device) -> None:
        self._generators = [torch.default_generator]
        if device.type == "cuda" and not torch.cuda.is_current_stream_capturing():  # a recorded step draws nothing
            index = torch.cuda.current_device() if device.index is None else device.index
            self._generators.append(torch.cuda.default_generators[index])
        self._states = [one.get_state() for one in self._generators]

    def put_back(self) -> None:
        for one, state in zip(self._generators, self._states, strict=True):
            one.set_state(state)

    def moved_on(self) -> bool:
        return any(not torch.equal(one.get_state(), s) for one, s in zip(self._generators, self._states, strict=True))
