"""Epsilon-sharpness in a box: the largest rise of the loss near the weights, as Keskar et al. define it."""

from __future__ import annotations

from landscape.curvature import Estimate
from landscape.sharpness.ascent import largest_in_box
from landscape.sharpness.definitions import Measure, Parameter
from landscape.sharpness.estimates import exact
from landscape.sharpness.sources import KESKAR
from landscape.sharpness.workbench import Workbench


def epsilon_sharpness_box(bench: Workbench, *, epsilon: float, steps: int) -> Estimate:
    """Compute the measure "epsilon_sharpness_box"."""
    widths = epsilon * (bench.weights.abs() + 1)
    with bench.bar("epsilon_sharpness_box", steps, "gradient") as bar:
        first, best = largest_in_box(bench.value_and_gradient, bench.weights, widths, steps=steps, bar=bar)
    return exact(float((best - first) / (1 + first)) * 100)


MEASURES = (
    Measure(
        name="epsilon_sharpness_box",
        definition="The largest rise of the loss where no weight moves by more than epsilon times 1 + its size, over "
        "1 + the loss, times 100. The largest loss is looked for by at most so many steps along the sign of the "
        "gradient, which climb from corner to corner of the box and are halved where they do not lead up. The paper "
        "takes 10 iterations of L-BFGS-B; these steps keep all on the device, need no memory of earlier ones, and find "
        "as much or more where the loss is convex within the box. A lower bound, as the paper's.",
        formula=r"100 \cdot \frac{\max_{|\delta_i| \leq \epsilon (|\theta_i| + 1)} L(\theta + \delta) - L(\theta)}"
        r"{1 + L(\theta)}",
        unit="percent",
        source=f"{KESKAR}, metric 2.1 in the full space",
        cost="1 + at most steps gradients",
        larger="sharper",
        parameters={
            "epsilon": Parameter(
                default=1e-3, meaning="Half-width of the box, relative to 1 + the weight.", source="the paper"
            ),
            "steps": Parameter(default=10, meaning="The most steps.", source="the paper's iterations"),
        },
        compute=epsilon_sharpness_box,
    ),
)
