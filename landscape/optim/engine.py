"""The engine behind every optimizer here: save, perturb, look again, restore by copy, step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import OptimizerError
from landscape.optim.backup import Backup
from landscape.optim.freshness import GradientMarks
from landscape.optim.options import BaseOptimizer, make_base

Closure = Callable[[], Any]

_TRANSIENT = ("old_p", "dev", "e_w")  # left in checkpoints by other implementations; meaningless between steps


class PerturbedOptimizer(torch.optim.Optimizer, ABC):
    """Evaluate the gradient at perturbed weights, put the weights back exactly, and let a base optimizer step.

    One step: back up the weights; run the closure; perturb and run the closure again, as often as the method says;
    copy the backup back (also after an exception); call the base optimizer with the last gradient. ``param_groups``
    and ``state`` are the base optimizer's own objects, so schedulers and checkpoints see one optimizer.

    Not used directly: subclasses set :attr:`clean_pass` and implement :meth:`_extra_passes` and :meth:`_perturb`.

    Args:
        params: Parameters or parameter groups, or None where ``base_optimizer`` is an instance.
        base_optimizer: An optimizer class (built with ``base_options``) or an instance.
        defaults: The method's own options with their values; they become keys of every parameter group.
        base_options: Options for the base optimizer's class.
        model: The module that the closure runs. With it, running statistics of normalization layers are updated by the
            first pass only; without it an optimizer cannot know of them and every pass updates them.

    Raises:
        ConfigError: An option collides with one of the base optimizer's, or a parameter is not floating point.
    """

    clean_pass: bool = True
    """Whether the first pass of a step is at the unperturbed weights."""

    def __init__(
        self,
        params: Iterable[Any] | None,
        base_optimizer: BaseOptimizer,
        defaults: dict[str, Any],
        base_options: dict[str, Any],
        *,
        model: nn.Module | None = None,
    ) -> None:
        base = make_base(type(self), params, base_optimizer, defaults, base_options)
        super().__init__(base.param_groups, {**base.defaults, **defaults})
        self.base_optimizer = base
        self.model = model
        self.stats: dict[str, Tensor] = {}
        self._own_defaults = dict(defaults)
        self._link()
        self._forget_buffers()

    def _link(self) -> None:
        """Share the groups and the state with the base optimizer: there is one of each."""
        self.param_groups = self.base_optimizer.param_groups
        self.state = self.base_optimizer.state
        for group in self.param_groups:
            for key, value in self._own_defaults.items():
                group.setdefault(key, value)

    def _forget_buffers(self) -> None:
        self._backup = Backup()
        self._marks = GradientMarks()
        self._away = False

    # What a method says -------------------------------------------------------------------------------------------

    @abstractmethod
    def _extra_passes(self) -> int:
        """How many perturbed passes this step takes."""

    @abstractmethod
    def _perturb(self, index: int) -> None:
        """Set the weights to backup + perturbation ``index``, from the gradients present."""

    def _active(self) -> bool:
        """Whether any group is perturbed at all; if not, a step is the base optimizer's own."""
        return True

    def _accepts_fresh_gradients(self) -> bool:
        """Whether gradients made before ``step`` count as the first pass (the SAM calling convention)."""
        return False

    # The step -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(
        self, closure: Closure | Sequence[Closure] | None = None, *, weights: Sequence[float] | None = None
    ) -> Any:
        """Take one step.

        Args:
            closure: Clears the gradients, runs forward and backward, and returns the loss or ``(outputs, loss)``. It is
                called once per pass, so build everything with a graph inside it. A sequence of closures, one per
                micro-batch, gives each its own perturbation and averages the gradients (m-sharpness).
            weights: For several closures: the weight of each, for example its share of the examples; equal by default.

        Returns:
            What the first call of the (first) closure returned, detached.

        Raises:
            OptimizerError: No closure, or no gradient after running it, or sparse gradients.
        """
        closures = self._check_closures(closure)
        if len(closures) == 1:
            value = self._gradient(
                closures[0], fresh=self._accepts_fresh_gradients() and self._marks.fresh(self._parameters())
            )
        else:
            value = self._averaged_gradient(closures, weights)
        self._base_step()
        return value

    def _check_closures(self, closure: Closure | Sequence[Closure] | None) -> list[Closure]:
        if self._away:
            raise OptimizerError("step() between first_step() and second_step().", fix="Call second_step() first.")
        if closure is None:
            raise OptimizerError(
                f"{type(self).__name__}.step() needs a closure: it looks at the loss more than once.",
                expected="step(closure)",
                fix="Put zero_grad, forward and backward into a function, or use first_step() and second_step().",
            )
        closures = [closure] if callable(closure) else list(closure)
        if not closures:
            raise OptimizerError("step() got no closure.", expected="at least one", fix="Pass the closure itself.")
        return closures

    def _averaged_gradient(self, closures: list[Closure], weights: Sequence[float] | None) -> Any:
        shares = [1.0 / len(closures)] * len(closures) if weights is None else list(weights)
        if len(shares) != len(closures):
            raise OptimizerError("Weights and closures differ in number.", expected=len(closures), got=len(shares))
        total = sum(shares)
        parameters = self._parameters()
        sums: list[Tensor | None] = [None] * len(parameters)
        value: Any = None
        for number, (closure, share) in enumerate(zip(closures, shares, strict=True)):
            returned = self._gradient(closure, fresh=False, seen=any(closure is c for c in closures[:number]))
            value = returned if number == 0 else value
            for k, parameter in enumerate(parameters):
                if parameter.grad is None:
                    continue
                part = parameter.grad * (share / total)
                present = sums[k]
                sums[k] = part if present is None else present.add_(part)
        for parameter, gradient in zip(parameters, sums, strict=True):
            parameter.grad = gradient
        return value

    def _gradient(self, closure: Closure, *, fresh: bool, seen: bool = False) -> Any:
        """Leave the method's gradient in ``.grad`` and the weights where they were; return the first call's value.

        ``fresh`` gradients are the first pass. Running statistics keep the first pass over each batch: none of this
        call's where the closure was ``seen`` before in this step.
        """
        extra = self._extra_passes() if self._active() else 0
        if not self._active():
            return _detached(self._first_pass(closure) if not fresh else None)
        value, called = None, False
        self._backup.save(self._parameters())
        if seen or fresh:
            self._backup.save_statistics(self.model)
        try:
            if self.clean_pass and not fresh:
                value, called = self._first_pass(closure), True
                if not seen:
                    self._backup.save_statistics(self.model)
            for index in range(extra):
                self._perturb(index)
                self._clear_gradients()
                with torch.enable_grad():
                    returned = closure()
                self._record_loss("loss_perturbed", returned)
                if not called:
                    value, called = returned, True
                if not self.clean_pass and index == 0 and not seen:
                    self._backup.save_statistics(self.model)
        finally:
            self._put_back()
        return _detached(value)

    def _first_pass(self, closure: Closure) -> Any:
        self._clear_gradients()
        with torch.enable_grad():
            value = closure()
        if all(parameter.grad is None for parameter in self._parameters()):
            raise OptimizerError(
                "The closure left no gradient.",
                expected="loss.backward() inside the closure",
                fix="Call backward on the loss before returning it.",
            )
        self._record_loss("loss", value)
        return value

    def _base_step(self) -> None:
        self.base_optimizer.step()
        self._marks.note(self._parameters())

    # The two-call style -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def first_step(self, zero_grad: bool = False) -> None:
        """Move to the perturbed weights, from the gradients present; the next backward pass is there.

        Args:
            zero_grad: Also clear the gradients.

        Raises:
            OptimizerError: Called twice, without gradients, or for a method that perturbs more than once a step.
        """
        if self._away:
            raise OptimizerError("first_step() twice.", expected="second_step() in between", fix="Call second_step().")
        if self._active() and self._extra_passes() != 1:
            raise OptimizerError(
                f"{type(self).__name__} perturbs {self._extra_passes()} times a step.", fix="Use step(closure)."
            )
        if self.clean_pass and all(parameter.grad is None for parameter in self._parameters()):
            raise OptimizerError(
                "There are no gradients.", expected="loss.backward() first", fix="Call backward first."
            )
        self._backup.save(self._parameters())
        self._away = True
        self._backup.save_statistics(self.model)
        if self._active():
            self._perturb(0)
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def second_step(self, zero_grad: bool = False) -> None:
        """Put the weights back exactly and let the base optimizer step with the gradients present.

        Args:
            zero_grad: Also clear the gradients afterwards.

        Raises:
            OptimizerError: There was no first_step().
        """
        if not self._away:
            raise OptimizerError("second_step() without first_step().", fix="Call first_step() before the second pass.")
        self._put_back()
        self._base_step()
        self._opt_called = True  # what learning-rate schedulers look at
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def restore(self) -> None:
        """Put the weights back after a first_step() whose second pass failed; does nothing otherwise."""
        if self._away:
            self._put_back()

    @contextmanager
    def perturbed(self) -> Iterator[None]:
        """Run a block at the perturbed weights and come back exactly; gradients must be present.

        Example:
            >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
            >>> from landscape.optim import SAM
            >>> optimizer = SAM([weight], torch.optim.SGD, rho=5.0, lr=0.1)
            >>> (weight**2).sum().div(2).backward()
            >>> with optimizer.perturbed():
            ...     weight.tolist()
            [6.0, 8.0]
            >>> weight.tolist()
            [3.0, 4.0]
        """
        gradients = [None if p.grad is None else p.grad.clone() for p in self._parameters()]
        with torch.no_grad():
            self.first_step()
        try:
            yield
        finally:
            with torch.no_grad():
                self.restore()
                for parameter, gradient in zip(self._parameters(), gradients, strict=True):
                    parameter.grad = gradient

    def _put_back(self) -> None:
        self._backup.restore()
        self._away = False

    # Gradients ---------------------------------------------------------------------------------------

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"] if p.requires_grad]

    def _moving(self, group: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
        """The group's weights that have a gradient, and these gradients."""
        weights = [p for p in group["params"] if p.requires_grad and p.grad is not None]
        gradients: list[Tensor] = [p.grad for p in weights]
        if any(g.is_sparse for g in gradients):
            raise OptimizerError(
                "A gradient is sparse.", expected="dense gradients", fix="Build Embedding with sparse=False."
            )
        return weights, gradients

    def _clear_gradients(self) -> None:
        for parameter in self._parameters():
            parameter.grad = None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients, and remember that what is left is no fresh gradient.

        Args:
            set_to_none: As in torch: None, or zeros in place.
        """
        super().zero_grad(set_to_none=set_to_none)
        self._marks.note(self._parameters())

    def _record_loss(self, name: str, value: Any) -> None:
        loss = value[-1] if isinstance(value, tuple | list) and value else value
        if isinstance(loss, Tensor) and loss.ndim == 0:
            self.stats[name] = loss.detach()

    # Checkpoints --------------------------------------------------------------------------------------------------

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a checkpoint of this optimizer, of its base optimizer, or of another method on the same base.

        Args:
            state_dict: What ``state_dict()`` gave. Options that it lacks keep their present values; leftovers of other
                implementations are dropped.
        """
        if self._away:
            self._put_back()
        present = self.param_groups
        groups = [dict(group) for group in state_dict["param_groups"]]
        for mine, loaded in zip(present, groups, strict=False):
            for key, value in mine.items():
                if key != "params":
                    loaded.setdefault(key, value)
        state = {
            key: {name: entry for name, entry in value.items() if name not in _TRANSIENT}
            for key, value in state_dict["state"].items()
        }
        self.base_optimizer.load_state_dict({"state": {k: v for k, v in state.items() if v}, "param_groups": groups})
        self._link()
        self._forget_buffers()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group to this and the base optimizer, which share their groups.

        Args:
            param_group: As for any torch optimizer; the method's own options may be among its keys.
        """
        base = self.__dict__.get("base_optimizer")
        if base is None:  # torch's own constructor: the groups are the base optimizer's, already complete
            self.param_groups.append(param_group)
            return
        base.add_param_group(param_group)
        self._link()

    def __getstate__(self) -> dict[str, Any]:
        state = {k: v for k, v in self.__dict__.items() if not k.startswith("_optimizer_")}
        for name in ("_backup", "_marks", "step"):  # "step": a scheduler's wrapper around this very object
            state.pop(name, None)
        return {**state, "stats": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "base_optimizer" in self.__dict__:
            self._forget_buffers()
            self._link()


def _detached(value: Any) -> Any:
    """Cut the graphs off, so that the first pass's memory does not live through the second."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, tuple | list):
        return type(value)(_detached(item) for item in value)
    return value
