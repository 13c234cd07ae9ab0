"""Directions of gradients and of optimizers' perturbations, and planes whose axes are made orthogonal."""

from __future__ import annotations

import pytest
import torch

from landscape.errors import ConfigError, NonFiniteError
from landscape.objective import Objective
from landscape.surface import (
    Plane,
    amp_direction,
    gradient_direction,
    perturbation_direction,
    random_direction,
    random_plane,
    sam_direction,
)


def test_the_gradient_is_autograds(objective: Objective, tiny_problem) -> None:
    """1e-12: the gradient is summed over batches in another order."""
    loss = torch.nn.functional.cross_entropy(tiny_problem.model(tiny_problem.inputs), tiny_problem.targets)
    plain = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(tiny_problem.model.parameters()))])
    found = gradient_direction(objective)
    torch.testing.assert_close(found.vector, plain / plain.norm(), rtol=1e-10, atol=1e-12)
    assert found.details["gradient_norm"] == pytest.approx(float(plain.norm()), rel=1e-12)
    raw = gradient_direction(objective, norm="none")
    torch.testing.assert_close(raw.vector, plain, rtol=1e-10, atol=1e-12)
    record = found.record()
    assert (record["kind"], record["norm"], record["layout"]) == ("gradient", "unit", objective.layout.fingerprint)
    assert record["details"] == {"gradient_norm": found.details["gradient_norm"]}


def test_the_gradient_goes_uphill(objective: Objective) -> None:
    """First order: the rise is the step times the norm of the gradient; 1e-3 leaves room for the second."""
    direction = gradient_direction(objective)
    rise = objective.evaluate(objective.weights() + 1e-4 * direction.vector).loss - objective.evaluate().loss
    assert rise == pytest.approx(1e-4 * direction.details["gradient_norm"], rel=1e-3)


def test_the_gradient_at_the_weights_scale(conv_objective: Objective) -> None:
    found, weights = gradient_direction(conv_objective, norm="filter").vector, conv_objective.weights()
    layout, gradient = conv_objective.layout, conv_objective.gradient()
    wanted = torch.where(layout.filter_norms(gradient) > 0, layout.filter_norms(weights), 0.0)
    torch.testing.assert_close(layout.filter_norms(found), wanted, rtol=1e-12, atol=0)
    assert torch.equal(
        found.sign()[wanted[layout.filter_index()] > 0], gradient.sign()[wanted[layout.filter_index()] > 0]
    )


def test_methods_are_their_perturbations(objective: Objective) -> None:
    for direction, kind in ((sam_direction(objective), "sam"), (amp_direction(objective), "amp")):
        assert torch.equal(direction.vector, perturbation_direction(objective, kind))
        assert (direction.kind, direction.norm, direction.layout) == (kind, "unit", objective.layout.fingerprint)
        assert direction.record()["weights_sha256"] == objective.provenance()["weights_sha256"]
    assert Plane(sam_direction(objective), amp_direction(objective)).cosine > 0.1  # both climb


def test_no_gradient_and_unknown_norms(tiny_problem, objective: Objective) -> None:
    flat = Objective(tiny_problem.model, tiny_problem.data, lambda outputs, _: 0 * outputs.sum())
    with pytest.raises(NonFiniteError, match="'gradient'"):
        gradient_direction(flat)
    with pytest.raises(ConfigError, match="Did you mean 'unit'"):
        gradient_direction(objective, norm="units")


def test_orthogonal_axes_lose_their_filter_norms(objective: Objective) -> None:
    """1e-15: two rounded operations on sums of 119 terms."""
    plain, plane = random_plane(objective, seed=2), random_plane(objective, seed=2, orthogonal=True)
    assert abs(plain.cosine) > 1e-3 and abs(plane.cosine) < 1e-15
    assert torch.equal(plane.direction1.vector, plain.direction1.vector)
    assert plane.direction2.length == pytest.approx(plain.direction2.length, rel=1e-14)
    together = torch.stack([each.vector for each in (*plain.directions, plane.direction2)])
    assert torch.linalg.matrix_rank(together, rtol=1e-12) == 2  # the same plane
    first, second = plane.directions
    assert (first.norm, second.norm, second.ignore) == ("filter", "none", "biasbn")
    assert second.details == {"orthogonal_to": first.record()["vector_sha256"], "norm_before": "filter"}
    norms = [objective.layout.filter_norms(each.vector) for each in (plane.direction2, plain.direction2)]
    assert not torch.allclose(*norms, rtol=1e-3)
    mixed = Plane(random_direction(objective, ignore=None), random_direction(objective, seed=1)).orthogonalized()
    assert mixed.direction2.ignore is None  # the first direction moves biases, so the second does now
