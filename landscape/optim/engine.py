"""The engine behind every optimizer here: drop-in for the calls that people have in their scripts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from landscape.errors import OptimizerError
from landscape.optim.closures import forget_casts, refuse_sparse
from landscape.optim.options import check_clip
from landscape.optim.passes import Closure, PassOptimizer


class PerturbedOptimizer(PassOptimizer):
    """Evaluate the gradient at perturbed weights, put the weights back exactly, and let a base optimizer step.

    One step: back up the weights; run the closure; perturb and run the closure again, as often as the method says;
    copy the backup back (also after an exception); call the base optimizer with the resulting gradient.
    ``param_groups`` and ``state`` are the base optimizer's own objects.

    Three ways to call: ``step(closure)``; a backward pass and then ``step(closure)``, where the method takes a fresh
    gradient for its first pass; ``first_step()``, a backward pass, ``second_step()``. All arguments are explained at
    :class:`landscape.optim.passes.PassOptimizer`.
    """

    # The two-call style -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def first_step(self, zero_grad: bool = False, *, scaler: torch.amp.GradScaler | None = None) -> None:
        """Move to the perturbed weights, from the gradients present; the next backward pass is there.

        Args:
            zero_grad: Also clear the gradients. Without it the next backward pass adds to them.
            scaler: The gradient scaler that scaled the loss, if one did.

        Raises:
            OptimizerError: Called twice, without new gradients, or for a method that perturbs more than once a step.
        """
        if self._away:
            raise OptimizerError("first_step() twice.", expected="second_step() in between", fix="Call second_step().")
        self._plan = None
        self._plan = (self._planned_passes(),)
        looks = 1 if self._plan[0] is None else self._looks(1)
        if looks > 1:
            raise OptimizerError(f"{type(self).__name__} looks {looks} times a step.", fix="Use step(closure).")
        if self.clean_pass and not self._marks.fresh(self._parameters()):
            raise OptimizerError(
                "There are no gradients, or only those of the last step.",
                expected="zero_grad() and then loss.backward() since the last step",
                fix="Call both first.",
            )
        self._depart(scaler, consume=zero_grad)
        if zero_grad:
            self.zero_grad()

    def _depart(self, scaler: torch.amp.GradScaler | None, *, consume: bool) -> None:
        """Move to the perturbed weights; the gradients' content survives unless they may be consumed."""
        passes = self._planned_passes()
        if passes is not None and passes > 1:
            raise OptimizerError(f"{type(self).__name__} perturbs {passes} times a step.", fix="Use step(closure).")
        parameters = self._parameters()
        gradients = [p.grad for p in parameters]
        refuse_sparse([g for g in gradients if g is not None])
        self._backup.save(parameters)
        self._save_statistics()
        self._begin_step()
        self._away = True
        self._unscale = self._inverse_scale(scaler)
        try:
            if self.keeps_gradient and passes is not None:
                self._kept.save(parameters)
            if passes:
                if not consume:
                    _set_gradients(parameters, [g if g is None else g.clone() for g in gradients])
                self._perturb(0)
        except BaseException:
            self._put_back()
            raise
        finally:
            self._unscale = self._scaler = None
            _set_gradients(parameters, gradients)
            forget_casts()

    @torch.no_grad()
    def second_step(
        self,
        zero_grad: bool = False,
        *,
        scaler: torch.amp.GradScaler | None = None,
        max_grad_norm: float | None = None,
    ) -> None:
        """Put the weights back exactly and let the base optimizer step with the gradients present.

        Args:
            zero_grad: Also clear the gradients afterwards.
            scaler: As in :meth:`step`.
            max_grad_norm: As in :meth:`step`.

        Raises:
            OptimizerError: There was no first_step().
            ConfigError: ``max_grad_norm`` is no number of at least 0. The weights stay perturbed.
        """
        check_clip(max_grad_norm)
        if not self._away:
            raise OptimizerError("second_step() without first_step().", fix="Call first_step() before the second pass.")
        passes = self._planned_passes()
        self._unscale = self._inverse_scale(scaler)
        try:
            if passes is not None:
                self._wrap_up(passes)
        finally:
            self._unscale = self._scaler = None
            self._put_back()
        self._base_step(scaler, max_grad_norm)
        self._plan = None
        self._opt_called = True  # what learning-rate schedulers look at
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def restore(self) -> None:
        """Put the weights back after a first_step() whose second pass failed; does nothing otherwise."""
        if self._away:
            self._put_back()
        self._plan = None

    @contextmanager
    def perturbed(self, closure: Closure | None = None) -> Iterator[None]:
        """Run a block at the perturbed weights and come back exactly: weights, gradients, statistics, memory.

        Args:
            closure: As in :meth:`step`, for methods that look more than once (AMP with several ascent steps). Without
                it the gradients present are used, where the method needs any.

        Raises:
            OptimizerError: The method needs gradients or a closure and has none.

        Example:
            >>> import torch
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
        if self._away:
            raise OptimizerError("perturbed() after first_step().", fix="Call second_step() or restore() first.")
        parameters = self._parameters()
        gradients, marks = [p.grad for p in parameters], self._marks.copy()
        self._looking, self._plan = True, None
        try:
            with torch.no_grad():
                if closure is not None:
                    self._walk(closure)
                elif self.clean_pass and all(g is None for g in gradients):
                    raise OptimizerError("There are no gradients.", fix="Call backward first, or pass a closure.")
                else:
                    self._depart(None, consume=False)
            yield
        finally:
            self._looking = False
            with torch.no_grad():
                self.restore()
                _set_gradients(parameters, gradients)
                self._marks = marks

    def _walk(self, closure: Closure) -> None:
        """Go to the weights of the last pass of a step, by the passes before it."""
        self._plan = None
        passes = self._planned_passes() or 0
        self._backup.save(self._parameters())
        self._save_statistics()
        self._begin_step()
        self._away = True
        for index in range(passes):
            if index or self.clean_pass:
                self._pass(closure, "loss_perturbed" if index else "loss", last=False)
            self._perturb(index)
        forget_casts()


def _set_gradients(parameters: list[Tensor], gradients: list[Tensor | None]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
