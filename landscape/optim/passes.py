"""One step: save the weights, perturb, look again, put them back by copy, combine, step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from landscape.errors import ConfigError, OptimizerError
from landscape.optim.backup import Backup, Statistics
from landscape.optim.closures import closures_of, detached, forget_casts, refuse_sparse, shares_of
from landscape.optim.gradients import GradientCopy, GradientMarks, GradientSum
from landscape.optim.linked import LinkedOptimizer
from landscape.optim.norms import dot, global_norm, multiply
from landscape.optim.options import BaseOptimizer, check_clip, take_engine_options
from landscape.optim.scaling import check_used, inverse_scale, is_unused
from landscape.optim.sgd_step import is_plain_sgd, sgd_step_from
from landscape.optim.sharding import is_sharded
from landscape.seeding import RNGState

Closure = Callable[[], Any]


class PassOptimizer(LinkedOptimizer, ABC):
    """The passes of a step; see :class:`landscape.optim.engine.PerturbedOptimizer`, which adds the other ways to call.

    One step: back up the weights; run the closure; perturb and run the closure again, as often as the method says;
    copy the backup back (also after an exception); call the base optimizer with the resulting gradient.
    ``param_groups`` and ``state`` are the base optimizer's own objects.

    Not used directly: subclasses set :attr:`clean_pass` and implement :meth:`_extra_passes` and :meth:`_perturb`.

    Args:
        params: Parameters or parameter groups, or None where ``base_optimizer`` is an instance.
        base_optimizer: An optimizer class (built with the remaining ``options``) or an instance.
        defaults: The method's own options with their values; they become keys of every parameter group.
        options: For the engine (:class:`EngineOptions`: ``schedule``, ``sync``, ``same_rng``, ``buffers``,
            ``track_cosine``) and for the base optimizer's class.
        model: The module that the closure runs. With it, running statistics of normalization layers are updated by the
            first pass only; without it an optimizer cannot know of them and every pass updates them.

    Attributes:
        stats: 0-d tensors on the device, of the last step: ``loss``, ``loss_perturbed``, ``grad_norm``, ``eps_norm``,
            and ``cos`` where tracked. Reading one waits for the device; nothing else does.

    Raises:
        ConfigError: An option collides with one of the base optimizer's, or a parameter is not floating point.
    """

    clean_pass: bool = True
    """Whether the first pass of a step is at the unperturbed weights."""
    keeps_gradient: bool = False
    """Whether the first pass's gradient is needed after the last pass."""
    takes_fresh_gradients: bool = False
    """Whether gradients made before ``step`` count as the first pass (the SAM calling convention)."""

    def __init__(
        self,
        params: Iterable[Any] | None,
        base_optimizer: BaseOptimizer,
        defaults: dict[str, Any],
        options: dict[str, Any],
        *,
        model: nn.Module | None = None,
    ) -> None:
        self.engine, base_options = take_engine_options(options)
        self.model = model
        self.stats: dict[str, Tensor] = {}
        super().__init__(params, base_optimizer, {**defaults, "perturbation_step": 0}, base_options)
        sharded = any(is_sharded(p) for p in self._all_parameters())
        if sharded and (self.engine.track_cosine or not self._takes_sharded_weights()):
            raise ConfigError(
                f"{type(self).__name__} cannot perturb sharded weights (DTensor) like this.",
                expected="SAM, ASAM, or AMP with inner_iter=1, without track_cosine; or plain weights",
                fix="Use DistributedDataParallel, or one of these methods.",
            )

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_backup", "_statistics", "_kept", "_sum", "_marks", "_unscale", "_scaler", "_during_step")
        return {**{k: v for k, v in super().__getstate__().items() if k not in left_out}, "stats": {}}

    def state_dict(self) -> dict[str, Any]:
        """Return the checkpoint; see :meth:`LinkedOptimizer.state_dict`.

        Raises:
            OptimizerError: Between first_step() and second_step(), where the model's weights are not the true ones.
        """
        if self._away:
            raise OptimizerError(
                "A checkpoint between first_step() and second_step() would hold perturbed weights.",
                fix="Call second_step() or restore() first.",
            )
        return super().state_dict()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; see :meth:`LinkedOptimizer.add_param_group`."""
        super().add_param_group(param_group)
        if "_marks" in self.__dict__:
            self._marks.add(self.param_groups[-1]["params"])

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a checkpoint; see :meth:`LinkedOptimizer.load_state_dict`. Perturbed weights are put back first."""
        if self._away:
            self._put_back()
        super().load_state_dict(state_dict)

    def _forget_buffers(self) -> None:
        self._backup, self._statistics = Backup(), Statistics()
        self._kept, self._sum = GradientCopy(), GradientSum()
        self._during_step: list[Tensor] = []
        self._marks = GradientMarks()
        self._marks.note(self._all_parameters())  # what is there before the first step was made for something else
        self._away = False
        self._looking = False  # within perturbed(): nothing may be remembered
        self._unscale: Tensor | None = None
        self._scaler: torch.amp.GradScaler | None = None
        self._moved = False  # within step(): the weights may be elsewhere
        self._plan: tuple[int | None] | None = None  # perturbed passes of the step under way

    @abstractmethod
    def _extra_passes(self) -> int:
        """How many perturbed passes this step takes."""

    @abstractmethod
    def _perturb(self, index: int) -> None:
        """Set the weights to backup + perturbation ``index``, from the gradients present, which may be overwritten."""

    def _active(self) -> bool:
        """Whether any group is perturbed at all; if not, a step is the base optimizer's own."""
        return True

    def _takes_sharded_weights(self) -> bool:
        """Whether parameters may be DTensors (FSDP): everything but norms must be elementwise."""
        return False

    def _looks(self, closures: int) -> int:
        """How many independent perturbations each of so many closures gets; their gradients are averaged."""
        return 1

    def _finish(self, passes: int) -> None:
        """Turn the last gradients into the method's, after all passes and before the weights come back."""

    @property
    def steps_done(self) -> int:
        """How many steps were taken; part of the checkpoint."""
        return self.param_groups[0]["perturbation_step"]

    @torch.no_grad()
    def step(
        self,
        closure: Closure | Sequence[Closure] | None = None,
        *,
        weights: Sequence[float] | None = None,
        scaler: torch.amp.GradScaler | None = None,
        max_grad_norm: float | None = None,
    ) -> Any:
        """Take one step.

        Args:
            closure: Clears the gradients, runs forward and backward, and returns the loss or ``(outputs, loss)``. It is
                called once per pass, so build everything with a graph inside it. A sequence of closures, one per
                micro-batch, gives each its own perturbation and averages the gradients (m-sharpness); see
                :func:`micro_batches`.
            weights: For several closures: the weight of each, for example its share of the examples; equal by default.
            scaler: A ``torch.amp.GradScaler``; the closure then calls ``scaler.scale(loss).backward()``, and the caller
                ``scaler.update()`` after the step. An overflow in any pass skips the step: the weights stay; running
                statistics are those of the first pass, as for any optimizer.
            max_grad_norm: Clip the final gradient, averaged and unscaled, to this norm over all weights.

        Returns:
            What the first call of the (first) closure returned, detached.

        Raises:
            OptimizerError: No closure, or no gradient after running it, or sparse gradients.
            ConfigError: ``max_grad_norm`` is no number of at least 0, or ``weights`` do not fit the closures.
        """
        closures = self._check_closures(closure)
        check_clip(max_grad_norm)
        self._plan = None
        self._plan = (self._planned_passes(),)
        looks = 1 if self._plan[0] is None else self._looks(len(closures))
        shares = shares_of(weights, len(closures))
        closures = [one for one in closures for _ in range(looks)]
        shares = [share for share in shares for _ in range(looks)]
        self._during_step = self._parameters()
        self.stats.clear()
        self._unscale = self._inverse_scale(scaler)
        self._begin_step()
        direct = self._steps_from_backup(len(closures), scaler)
        try:
            if len(closures) == 1:
                fresh = self.takes_fresh_gradients and self._marks.fresh(self._parameters())
                value = self._gradient(closures[0], fresh=fresh, back=not direct)
            else:
                value = self._averaged_gradient(closures, shares)
            self._base_step(scaler, max_grad_norm, direct=direct)
        except BaseException:
            if self._moved:
                self._put_back()
            self._marks.note(self._all_parameters())  # what the failed pass left is no first pass
            raise
        finally:
            self._unscale, self._scaler, self._during_step, self._plan = None, None, [], None
        return value

    def _steps_from_backup(self, closures: int, scaler: torch.amp.GradScaler | None) -> bool:
        """Whether the base optimizer's step also puts the weights back, which saves a pass over the memory."""
        perturbed = self._planned_passes() is not None
        return perturbed and closures == 1 and scaler is None and is_plain_sgd(self.base_optimizer)

    def _begin_step(self) -> None:
        """Whatever a method must set at the start of a step."""

    def _check_closures(self, closure: Closure | Sequence[Closure] | None) -> list[Closure]:
        if self._away:
            raise OptimizerError("step() between first_step() and second_step().", fix="Call second_step() first.")
        return closures_of(closure, type(self).__name__)

    def _averaged_gradient(self, closures: list[Closure], shares: list[float]) -> Any:
        parameters = self._parameters()
        self._sum.begin(parameters)
        value: Any = None
        for number, (closure, share) in enumerate(zip(closures, shares, strict=True)):
            returned = self._gradient(closure, fresh=False, seen=any(closure is c for c in closures[:number]))
            value = returned if number == 0 else value
            self._sum.add(parameters, share / sum(shares))
        self._sum.finish(parameters)
        return value

    def _planned_passes(self) -> int | None:
        """Perturbed passes of this step, or None where the base optimizer steps alone; decided once a step."""
        if self._plan is not None:
            return self._plan[0]
        schedule = self.engine.schedule
        if not self._active() or (schedule is not None and not schedule(self.steps_done)):
            return None
        return self._extra_passes()

    def _gradient(self, closure: Closure, *, fresh: bool, seen: bool = False, back: bool = True) -> Any:
        """Leave the method's gradient in ``.grad`` and the weights where they were; return the first call's value.

        Without ``back`` they stay away, for the caller to put back. ``fresh`` gradients are the first pass. Running
        statistics keep the first pass over each batch: none of this call's where the closure was ``seen`` before.
        """
        extra = self._planned_passes()
        if extra is None:
            return detached(None if fresh else self._pass(closure, "loss", last=True))
        randomness = self._randomness(fresh)
        self._backup.save(self._parameters())
        self._moved = True
        if seen or fresh:
            self._save_statistics()
        values: list[Any] = []
        try:
            if self.clean_pass and not fresh:
                values.append(self._pass(closure, "loss", last=extra == 0))
                if not seen:
                    self._save_statistics()
            elif fresh:
                refuse_sparse([g for p in self._parameters() if (g := p.grad) is not None])
            if self.keeps_gradient:
                self._kept.save(self._parameters())
            for index in range(extra):
                self._perturb(index)
                if randomness is not None:
                    randomness.restore()
                values.append(self._pass(closure, "loss_perturbed", last=index == extra - 1))
                if not self.clean_pass and index == 0 and not seen:
                    self._save_statistics()
            self._wrap_up(extra)
        finally:
            self._put_back(weights=back)
        return detached(values[0]) if values else None

    def _pass(self, closure: Closure, name: str, *, last: bool) -> Any:
        for parameter in self._all_parameters():  # frozen ones too: the base optimizer would step with what is left
            parameter.grad = None
        forget_casts()
        with torch.enable_grad(), self._communication(last):
            value = closure()
        gradients = [gradient for p in self._parameters() if (gradient := p.grad) is not None]
        if not gradients:
            raise OptimizerError(
                "The closure left no gradient.",
                expected="loss.backward() inside the closure",
                fix="Call backward on the loss before returning it.",
            )
        refuse_sparse(gradients)
        if self._unscale is None and self._scaler is not None:
            check_used(self._scaler)
            self._unscale = inverse_scale(self._scaler, gradients[0].device)
        loss = value[-1] if isinstance(value, tuple | list) and value else value
        if isinstance(loss, Tensor) and loss.ndim == 0:
            self.stats[name] = loss.detach()
        return value

    def _wrap_up(self, passes: int) -> None:
        if self.engine.track_cosine and passes:
            self._record_cosine()
        if self.keeps_gradient and self._replicas() and passes:
            self._kept.average(cast(DistributedDataParallel, self.model).process_group)
        self._finish(passes)

    def _record_cosine(self) -> None:
        pairs = [(p, g) for p in self._parameters() if (g := p.grad) is not None]
        away, gradients = [p for p, _ in pairs], [g for _, g in pairs]
        moved = torch._foreach_sub(away, self._backup.of(away))
        self.stats["cos"] = dot(moved, gradients) / (global_norm(moved) * global_norm(gradients))

    def _base_step(
        self, scaler: torch.amp.GradScaler | None, max_grad_norm: float | None, *, direct: bool = False
    ) -> None:
        if max_grad_norm is not None:
            if scaler is not None:
                scaler.unscale_(self.base_optimizer)
            torch.nn.utils.clip_grad_norm_([p for p in self._parameters() if p.grad is not None], max_grad_norm)
        if direct:
            sgd_step_from(self.base_optimizer, self._backup.by_id())
            self._moved = False
        elif scaler is None:
            self.base_optimizer.step()
        else:
            scaler.step(self.base_optimizer)
        self.param_groups[0]["perturbation_step"] += 1
        self._marks.note(self._all_parameters())

    # Mixed precision, processes, random numbers -------------------------------------------------------------------

    def _inverse_scale(self, scaler: torch.amp.GradScaler | None) -> Tensor | None:
        self._scaler = scaler  # has it scaled nothing yet, the first pass will tell
        return None if is_unused(scaler) else inverse_scale(scaler, self._parameters()[0].device)

    def _unscaled(self, gradients: list[Tensor]) -> list[Tensor]:
        """Divide gradients by the scaler's scale, in place; nothing without a scaler."""
        if self._unscale is not None:
            multiply(gradients, self._unscale)
        return gradients

    def _replicas(self) -> bool:
        """Whether several processes perturb their weights each in its own way."""
        return self.engine.sync == "replica" and isinstance(self.model, DistributedDataParallel)

    def _communication(self, last: bool) -> AbstractContextManager[Any]:
        """Forward and backward without averaging over the processes, but for the last pass of a step."""
        return nullcontext() if last or not self._replicas() else cast(DistributedDataParallel, self.model).no_sync()

    def _randomness(self, fresh: bool) -> RNGState | None:
        """The state that every pass of this step starts from, or None where each goes on from the last."""
        if not self.engine.same_rng:
            return None
        if fresh:
            raise OptimizerError(
                "same_rng needs to see the first pass.", fix="Call zero_grad() and let step(closure) do every pass."
            )
        return RNGState.capture()

    # Parameters and gradients -------------------------------------------------------------------------------------

    def _parameters(self) -> list[Tensor]:
        """The parameters that move; during a step the list is made once."""
        return self._during_step or [p for group in self.param_groups for p in group["params"] if p.requires_grad]

    def _moving(self, group: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
        """The group's weights that have a gradient, and these gradients, unscaled."""
        pairs = [(p, g) for p in group["params"] if (g := p.grad) is not None and p.requires_grad]
        weights, gradients = [p for p, _ in pairs], [g for _, g in pairs]
        return weights, self._unscaled(gradients)

    def _save_statistics(self) -> None:
        self._statistics.save(self.model, self.engine.buffers)

    def _put_back(self, *, weights: bool = True) -> None:
        if weights:
            self._backup.restore()
            self._away = self._moved = False
        self._statistics.restore()
        forget_casts()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients, and remember that what is left is no fresh gradient.

        Args:
            set_to_none: As in torch: None, or zeros in place.
        """
        super().zero_grad(set_to_none=set_to_none)
        if set_to_none:
            self._marks.none_left()
        else:
            self._marks.note(self._all_parameters(), cleared=True)
