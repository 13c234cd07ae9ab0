"""Running statistics of normalization layers, computed anew for the weights at hand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from landscape.arguments import check_objective
from landscape.config import require_name
from landscape.errors import DataError, MismatchError
from landscape.objective import Objective
from landscape.seeding import generator
from landscape.surface.arguments import check_statistics

BATCH_NORMS = ("running", "recompute")
STATISTICS_BATCH = 256
"""Examples whose mean and variance are taken together: the same on every device, so that results are too."""


def running_norms(model: nn.Module) -> list[nn.Module]:
    """Return the layers of a model that keep running statistics: batch normalization, and some instance ones.

    Example:
        >>> len(running_norms(nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False))))
        1
    """
    norms = (module for module in model.modules() if isinstance(module, _NormBase))
    return [norm for norm in norms if norm.track_running_stats and norm.running_mean is not None]


def recompute_batch_norm(objective: Objective, *, statistics_from: Objective | None = None) -> Objective:
    """Return the same objective with running statistics that are computed anew at every point it is evaluated at.

    Statistics that were gathered along one training do not fit other weights: between two models, the variance of
    activations is smaller than at either, and the loss with old statistics is far too high.

    Definition: all data passes once, in batches of a fixed random order whose sizes differ by at most one, about
    256 examples each. Normalization layers use each batch's own statistics meanwhile (dropout stays off), and keep the
    mean over examples of batch means and of unbiased batch variances. Then the loss is evaluated with these, so a point
    costs about two forward passes. Derivatives take the statistics as constants.

    Args:
        objective: Its model is not changed; it is followed as before.
        statistics_from: Whose data the statistics come from. Default: the objective's own. For test data, give the
            objective of the training data, as a model in use knows no other.

    Returns:
        An objective; the one given, where its model keeps no running statistics.

    Raises:
        ConfigError: It is no objective, or ``statistics_from`` is none.
        DataError: There are too few examples for statistics.
        MismatchError: ``statistics_from`` is on another device or of another dtype.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(1, affine=False), nn.Linear(1, 1, bias=False)).double()
        >>> data = (torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1))  # mean 2, unbiased variance 2
        >>> objective = Objective(model, data, torch.nn.functional.mse_loss)
        >>> round(recompute_batch_norm(objective).evaluate(torch.ones(1).double()).loss, 4)  # ((-1)**2 + 1**2) / 2 / 2
        0.5

    References:
        P. Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, UAI 2018, section 3.2.
        K. Jordan et al., REPAIR: REnormalizing Permuted Activations for Interpolation Repair, ICLR 2023.
    """
    check_objective(objective, "recompute_batch_norm")
    check_statistics(statistics_from)
    if not running_norms(objective.model):
        return objective
    source = objective if statistics_from is None else statistics_from
    if source.device != objective.device or source.dtype != objective.dtype:
        raise MismatchError(
            "The statistics' data does not lie where the objective is.",
            expected=f"{objective.dtype} on {objective.device}",
            got=f"{source.dtype} on {source.device}",
            fix="Make both objectives with the same device and dtype.",
        )
    return _Recomputed(objective, source)


def with_batch_norm(objective: Objective, batch_norm: str, statistics_from: Objective | None = None) -> Objective:
    """Apply a policy for running statistics: "running" leaves the model's, "recompute" computes each point's own.

    Raises:
        ConfigError: It is neither.
        DataError: There are too few examples for statistics.
        MismatchError: ``statistics_from`` is on another device or of another dtype.
    """
    require_name("policy for batch_norm", batch_norm, BATCH_NORMS)
    check_statistics(statistics_from)
    return objective if batch_norm == "running" else recompute_batch_norm(objective, statistics_from=statistics_from)


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[list[nn.Module]]:
    """Let normalization layers with running statistics use each batch's own inside, all others being as they are."""
    norms = running_norms(model)
    before = [(norm, norm.training, norm.momentum) for norm in norms]
    try:
        for norm in norms:
            norm.training = True
        yield norms
    finally:
        for norm, training, momentum in before:
            norm.training, norm.momentum = training, momentum  # type: ignore[assignment]


class _Recomputed(Objective):
    """An objective whose replica gets its running statistics anew each time weights are loaded."""

    fixed_statistics = False

    def __init__(self, objective: Objective, source: Objective) -> None:
        vars(self).update(vars(objective))
        self._source = source
        self._flat, self._replica = self._make_replica(self.model)
        count = source.examples
        order = torch.randperm(count, generator=generator(0, "batch norm statistics"))
        pieces = order.tensor_split(-(-count // STATISTICS_BATCH))
        self._pieces = [piece.to(objective.device) for piece in pieces]
        if count < 2:
            raise DataError("There are too few examples for statistics.", expected="at least 2", got=count)

    def _load(self, weights: Tensor | None) -> None:
        super()._load(weights)
        self._recompute()

    def evaluate_at(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            self._flat.copy_(weights)
            self._recompute()
        return super().evaluate_at(weights)

    @torch.no_grad()
    def _recompute(self) -> None:
        seen = 0
        with batch_statistics(self._replica) as norms:
            for norm in norms:
                norm.reset_running_stats()  # type: ignore[operator]
            for piece in self._pieces:
                seen += len(piece)
                for norm in norms:
                    norm.momentum = len(piece) / seen  # type: ignore[assignment]
                self._replica(self._source.select(piece)[0])

    def with_model(self, model: nn.Module) -> Objective:
        return recompute_batch_norm(super().with_model(model), statistics_from=self._source)

    def provenance(self) -> dict[str, Any]:
        own, other = super().provenance(), Objective.provenance(self._source)
        statistics = {"examples": other["examples"], "data_sha256": other["data_sha256"]}
        decisive = repr((own["fixed_sha256"], "recompute", STATISTICS_BATCH, statistics))
        fixed = hashlib.sha256(decisive.encode()).hexdigest()  # a store of one policy is none of the other
        return {**own, "fixed_sha256": fixed, "batch_norm": "recompute", "statistics_from": statistics}
