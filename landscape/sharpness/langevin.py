"""The gradient of local entropy: how far a short walk of Langevin dynamics leads away from the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landscape.curvature import Estimate
from landscape.seeding import generator
from landscape.sharpness.definitions import Measure, Parameter
from landscape.sharpness.estimates import mean_estimate
from landscape.sharpness.minibatches import Minibatch, Minibatches
from landscape.sharpness.sources import BISLA, BISLA_CODE, CHAUDHARI
from landscape.sharpness.workbench import Workbench


def local_entropy_gradient_norm(
    bench: Workbench, *, batch_size: int, steps: int, step_size: float, noise: float, gamma: float, alpha: float
) -> Estimate:
    """Compute the measure "local_entropy_gradient_norm"."""
    batches = Minibatches(bench.objective, batch_size, bench.seed)
    norms = []
    with bench.bar("local_entropy_gradient_norm", len(batches), "batch") as bar:
        for number, batch in enumerate(batches):
            stream = generator(bench.seed, "langevin", number, device=bench.objective.device)
            mean = _walk(batch, bench.weights, stream, steps, step_size, noise, gamma, alpha)
            norms.append(torch.linalg.vector_norm((bench.weights - mean).double()))
            bar.update()
    return mean_estimate(torch.stack(norms).cpu().numpy())


def _walk(
    batch: Minibatch,
    start: Tensor,
    stream: torch.Generator,
    steps: int,
    step_size: float,
    noise: float,
    gamma: float,
    alpha: float,
) -> Tensor:
    """Return the running mean of a walk from the weights, (P,)."""
    place, mean = start.clone(), start.clone()
    size = noise / math.sqrt(step_size / 2)
    for _ in range(steps):
        _, gradient = batch.value_and_gradient(place)
        drawn = torch.randn(place.shape, generator=stream, device=place.device, dtype=place.dtype)
        place = place - step_size * (gradient - gamma * (start - place) + size * drawn)
        mean = alpha * mean + (1 - alpha) * place
    return mean


MEASURES = (
    Measure(
        name="local_entropy_gradient_norm",
        definition="How far Entropy-SGD's walk leads: for each batch of at most batch_size examples, the distance of "
        "the weights from mu, the running mean of as many steps of stochastic gradient Langevin dynamics from the "
        "weights as steps says, of the size step_size, all on that batch; and its mean over the batches. noise is the "
        "walk's temperature, gamma its pull back, alpha what stays of the mean at each step. The gradient of local "
        "entropy is gamma times this difference. The standard error is over the batches, and NaN for one.",
        formula=r"\frac{1}{B} \sum_b \|\theta - \mu_b\|, \quad x \leftarrow x - \eta' ( \nabla L_b(x) - "
        r"\gamma (\theta - x) + \frac{\varepsilon}{\sqrt{\eta' / 2}} N(0, I) ), \quad "
        r"\mu_b \leftarrow \alpha \mu_b + (1 - \alpha) x",
        unit="weight",
        source=f"{BISLA}, {BISLA_CODE}; after {CHAUDHARI}",
        cost="steps gradients",
        larger="sharper",
        invariances=frozenset({"loss_shift"}),
        parameters={
            "batch_size": Parameter(
                default=256, meaning="The most examples in a batch.", source="the code of Bisla et al. (2022)"
            ),
            "steps": Parameter(default=20, meaning="Steps of the walk.", source="the code of Bisla et al. (2022)"),
            "step_size": Parameter(default=0.1, meaning="Their size, eta'.", source="the code of Bisla et al. (2022)"),
            "noise": Parameter(
                default=1e-4, meaning="Temperature, epsilon.", source="the code of Bisla et al. (2022)", zero=True
            ),
            "gamma": Parameter(
                default=1e-4, meaning="Pull back to the weights.", source="the code of Bisla et al. (2022)", zero=True
            ),
            "alpha": Parameter(
                default=0.75,
                meaning="What stays of the mean.",
                source="the code of Bisla et al. (2022)",
                zero=True,
                below=1.0,
            ),
        },
        compute=local_entropy_gradient_norm,
    ),
)
