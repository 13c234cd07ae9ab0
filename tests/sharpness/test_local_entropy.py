"""Local entropy: Gaussian integrals by hand, and what is published in its place."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import erf

from landscape.sharpness.local_entropy import clenshaw_curtis, log_integral
from tests.sharpness.problems import drawn, found, normals, quadratic, relu_objective, spd


def test_on_a_quadratic_it_is_a_gaussian_integral() -> None:
    """``-log det(1 + s^2 A) / 2 - w.A (1 + s^2 A)^-1 w / 2``, within 4 standard errors."""
    matrix, start = spd(5), 0.5 * drawn(5)
    smoothed = torch.eye(5).double() + 0.4**2 * matrix
    expected = -float(torch.logdet(smoothed)) / 2 - float(start @ matrix @ torch.linalg.solve(smoothed, start)) / 2
    value = found(quadratic(matrix, start), "local_entropy", sigma=0.4, samples=1000)
    assert abs(value.value - expected) < 4 * value.stderr
    assert 0 < value.stderr < 0.05


def test_it_is_close_to_minus_the_mean_loss_where_the_loss_varies_little() -> None:
    """Jensen: never below it."""
    objective = relu_objective()
    mean, entropy = (found(objective, name).value for name in ("lpf", "local_entropy"))
    assert -mean < entropy < -mean + 1e-3


def test_losses_that_no_exponential_holds() -> None:
    """exp(-1e4) is 0 in float64; its logarithm is -1e4."""
    high = quadratic(torch.zeros(2, 2).double(), drawn(2), transform=lambda loss: loss + 1e4)
    assert found(high, "local_entropy", samples=5).value == pytest.approx(-1e4)
    assert found(high, "local_entropy_along_gradient").value == pytest.approx(-1e4 + math.log(2), rel=1e-5)


def test_infinite_losses() -> None:
    infinite = quadratic(torch.eye(2).double(), drawn(2), transform=lambda loss: loss * torch.inf)
    assert found(infinite, "local_entropy", samples=5).value == -math.inf


def test_as_published_the_loss_has_the_wrong_sign() -> None:
    """The published expression, line by line, with SciPy's logsumexp; gamma is 100."""
    from scipy.special import logsumexp

    matrix, start = spd(6), drawn(6)
    points = start + normals(100, 6) / 100
    losses = ((points @ matrix) * points).sum(1).numpy() / 2
    gamma = 100.0
    expected = -(logsumexp(losses) + np.log(1 / 100) + 6 / 2 * np.log(2 * np.pi) - np.log(gamma**0.5))
    objective = quadratic(matrix, start)
    assert found(objective, "local_entropy", as_published=True).value == pytest.approx(expected, rel=1e-9)
    flatter = quadratic(matrix / 2, start)
    right, wrong = (
        [found(o, "local_entropy", as_published=p).value for o in (objective, flatter)] for p in (False, True)
    )
    assert right[0] < right[1] and wrong[0] < wrong[1]  # both grow with flatness: minus the logarithm, and exp(+L)


# ------------------------------------------------------------------------------------------------ along the gradient


@pytest.mark.parametrize("intervals", [2, 4, 16, 32])
def test_the_rule_is_exact_for_polynomials(intervals: int) -> None:
    points, weights = clenshaw_curtis(intervals)
    for degree in range(intervals + 1):
        exact = 2 / (degree + 1) if degree % 2 == 0 else 0
        assert float(weights @ points**degree) == pytest.approx(exact, abs=1e-13)
    assert np.allclose(points[::2], clenshaw_curtis(intervals // 2)[0]) or intervals == 2


def test_the_error_of_the_rule_is_seen() -> None:
    points, _ = clenshaw_curtis(32)
    assert log_integral(-(points**2)).stderr < 1e-12
    narrow = log_integral(-(points**2) * 1e5)
    true = math.log(math.sqrt(math.pi / 1e5))
    assert abs(narrow.value - true) > 0.1 and narrow.stderr > 0.1


def test_along_the_gradient_of_a_quadratic() -> None:
    """``exp(-L) * integral of exp(-b t - c t^2 / 2)``, by the error function."""
    matrix, start = spd(5), drawn(5)
    g = matrix @ start
    b, c = float(g.norm()), float(g @ matrix @ g / (g @ g)) + 0.1
    inside = math.sqrt(math.pi / (2 * c)) * (erf((c + b) / math.sqrt(2 * c)) - erf((b - c) / math.sqrt(2 * c)))
    expected = -float(start @ g) / 2 + b**2 / (2 * c) + math.log(inside)
    value = found(quadratic(matrix, start), "local_entropy_along_gradient")
    assert value.value == pytest.approx(expected, rel=1e-9) and value.stderr < 1e-6


def test_a_gradient_of_zero_leaves_the_loss_where_it_is() -> None:
    still = found(quadratic(spd(3), torch.zeros(3).double()), "local_entropy_along_gradient")
    expected = math.log(math.sqrt(2 * math.pi / 0.1) * erf(math.sqrt(0.05)))
    assert still.value == pytest.approx(expected, rel=1e-9)


def test_along_the_gradient_as_published() -> None:
    """SciPy's quad, as there; 1e-3: |t| has a kink at 0, and what is published asks quad for 1e-2."""
    objective = relu_objective()
    w = objective.weights()
    pieces = list(objective.layout.named(objective.gradient()).values())
    direction = torch.cat([(p / (p.norm() * len(pieces) ** 0.5)).reshape(-1) for p in pieces])
    assert float(direction.norm()) == pytest.approx(1)
    integral, _ = quad(
        lambda t: math.exp(-objective.evaluate(w + t * direction).loss - 0.05 * abs(t)), -1, 1, epsabs=1e-6, epsrel=1e-6
    )
    published = found(objective, "local_entropy_along_gradient", as_published=True)
    assert published.value == pytest.approx(-math.log(integral), rel=1e-3)
    assert published.value > 0 > found(objective, "local_entropy_along_gradient").value


def test_as_published_a_tensor_without_a_gradient_is_nan() -> None:
    still = quadratic(spd(3), torch.zeros(3).double())
    assert math.isnan(found(still, "local_entropy_along_gradient", as_published=True).value)
