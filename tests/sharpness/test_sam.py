"""The rise at SAM's and ASAM's perturbations, on quadratics by hand and against the optimizers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from landscape.optim import SAM
from tests.sharpness.problems import drawn, found, quadratic, relu_data, relu_net, relu_objective, spd


def test_sam_on_a_quadratic() -> None:
    """``rho |g| + rho^2 g.Ag / (2 g.g)``."""
    matrix, start = spd(6), drawn(6)
    g = matrix @ start
    expected = 0.05 * float(g.norm()) + 0.05**2 / 2 * float(g @ matrix @ g / (g @ g))
    value = found(quadratic(matrix, start), "sam_sharpness")
    assert value.value == pytest.approx(expected, rel=1e-9) and value.stderr == 0


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_asam_on_a_quadratic(shape: tuple[int, ...]) -> None:
    """T is 1 for a tensor of one dimension, |w| + 0.01 for one of two."""
    matrix, start = spd(6), drawn(6)
    g = matrix @ start
    t = torch.ones(6).double() if len(shape) == 1 else start.abs() + 0.01
    step = 0.5 * t**2 * g / (t * g).norm()
    expected = float(step @ g + step @ matrix @ step / 2)
    assert found(quadratic(matrix, start.reshape(shape)), "asam_sharpness").value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "rho", "adaptive"), [("sam_sharpness", 0.05, False), ("asam_sharpness", 0.5, "official")]
)
def test_the_point_is_the_optimizers(name: str, rho: float, adaptive: bool | str) -> None:
    """The loss where SAM takes its second gradient, over all data at once. 1e-9: the optimizer adds 1e-12 to norms."""
    net, (inputs, targets) = relu_net(), relu_data()
    optimizer = SAM(net.parameters(), torch.optim.SGD, rho=rho, adaptive=adaptive, lr=0.0)
    losses = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(inputs), targets)
        loss.backward()
        losses.append(loss.item())
        return loss

    optimizer.step(closure)
    assert found(relu_objective(), name).value == pytest.approx(losses[1] - losses[0], rel=1e-9)


@pytest.mark.parametrize("name", ["sam_sharpness", "asam_sharpness"])
def test_a_gradient_of_zero_is_0(name: str) -> None:
    assert found(quadratic(spd(4), torch.zeros(4).double()), name).value == 0
