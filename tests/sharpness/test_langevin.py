"""The walk of Entropy-SGD, on a quadratic without noise by hand, and with noise step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from landscape.objective import Objective
from landscape.seeding import generator
from tests.sharpness.problems import drawn, found, quadratic, relu_data, relu_net, relu_objective


def test_without_noise_each_eigenvalue_has_a_geometric_series() -> None:
    """x_k = x* + q^k (w - x*) with q = 1 - 0.1 (a + g) and x* = g w / (a + g); mu is its running mean."""
    a, start, g = torch.tensor([0.5, 2.0, 7.0]).double(), drawn(3), 0.3
    q, rest = 1 - 0.1 * (a + g), g * start / (a + g)
    steps = [rest + q**k * (start - rest) for k in range(21)]
    mean = 0.75**20 * start + 0.25 * sum(0.75 ** (20 - k) * steps[k] for k in range(1, 21))
    value = found(quadratic(torch.diag(a), start), "local_entropy_gradient_norm", noise=0, gamma=g)
    assert value.value == pytest.approx(float((start - mean).norm()), rel=1e-9)
    assert np.isnan(value.stderr)  # one batch


def test_with_noise_as_published() -> None:
    """The published optimizer's lines, with the same draws and batches."""
    net, (inputs, targets) = relu_net(), relu_data()
    objective = Objective(net, (inputs, targets))
    order = torch.randperm(20, generator=generator(4, "minibatches")).tensor_split(3)
    norms = []
    for number, part in enumerate(order):
        batch = Objective(net, (inputs[part], targets[part]))
        noise = generator(4, "langevin", number)
        wc = objective.weights()
        w, mw = wc.clone(), wc.clone()
        for _ in range(20):
            dw = batch.gradient(w)
            eta = torch.randn(len(w), generator=noise, dtype=torch.float64)
            dw = dw - 1e-4 * (wc - w) + 1e-4 / np.sqrt(0.5 * 0.1) * eta
            w = w - 0.1 * dw
            mw = 0.75 * mw + (1 - 0.75) * w
        norms.append(float((wc - mw).norm()))
    value = found(objective, "local_entropy_gradient_norm", seed=4, batch_size=7)
    assert value.value == pytest.approx(np.mean(norms), rel=1e-9)
    assert value.stderr == pytest.approx(np.std(norms, ddof=1) / 3**0.5, rel=1e-6) and value.samples == 3


def test_noise_alone_leads_away() -> None:
    flat = quadratic(torch.zeros(50, 50).double(), drawn(50))
    quiet, loud = (found(flat, "local_entropy_gradient_norm", noise=noise).value for noise in (0, 0.1))
    assert quiet == 0 < loud


def test_steeper_leads_further() -> None:
    gentle = found(relu_objective(), "local_entropy_gradient_norm").value
    steep = found(
        relu_objective(loss_fn=lambda o, t: 3 * torch.nn.functional.cross_entropy(o, t)), "local_entropy_gradient_norm"
    ).value
    assert steep > gentle
