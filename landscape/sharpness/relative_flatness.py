"""Relative flatness: the curvature of the loss in one layer, relative to the layer's weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from landscape.curvature import Estimate, Hessian
from landscape.errors import ConfigError
from landscape.seeding import generator
from landscape.sharpness.definitions import Measure, Parameter
from landscape.sharpness.estimates import mean_estimate
from landscape.sharpness.sources import PETZKA
from landscape.sharpness.workbench import Workbench


def layer_weight(bench: Workbench, layer: str | None) -> str:
    """Return the name of the weight of a linear layer, as the objective's layout has it.

    Args:
        bench: What is measured.
        layer: The module's name, or None for the last linear layer.

    Raises:
        ConfigError: There is no such layer, or its weight does not move.
    """
    names = bench.objective.layout.names
    known = {
        name: weight
        for name, module in bench.objective.model.named_modules()
        if isinstance(module, nn.Linear)
        for weight in (f"{name}.weight".lstrip("."), f"{name}.parametrizations.weight.original".lstrip("."))
        if weight in names
    }
    if not known:
        raise ConfigError(
            "relative_flatness does not apply here.",
            expected="a model with a torch.nn.Linear whose weight moves",
            got=type(bench.objective.model).__name__,
            fix="Leave this measure out.",
        )
    if layer is None:
        return list(known.values())[-1]
    if layer not in known:
        raise ConfigError(
            f"relative_flatness: {layer!r} is no linear layer whose weight moves.",
            expected="one of " + ", ".join(map(repr, known)),
            got=repr(layer),
            fix="Name one of these, or None for the last one.",
        )
    return known[layer]


def relative_flatness(bench: Workbench, *, layer: str | None, probes: int) -> Estimate:
    """Compute the measure "relative_flatness"."""
    part = bench.objective.restricted(layer_weight(bench, layer))
    (weight,) = part.layout.named(part.weights()).values()
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))  # half precision has no such decomposition
    root = torch.linalg.qr(weight.T).R.T  # (d, k), with root root^T = W W^T
    forms = []
    with Hessian(part) as hessian, bench.bar("relative_flatness", probes, "product") as bar:
        for probe in range(probes):
            vector = (root @ _signs(root.shape[1], weight, bench.seed, probe)).reshape(-1)
            forms.append(torch.dot(vector.double(), (hessian @ vector).double()))
            bar.update()
    return mean_estimate(torch.stack(forms).cpu().numpy(), matvecs=probes)


def _signs(rows: int, weight: Tensor, seed: int, probe: int) -> Tensor:
    """Draw independent signs, (rows, inputs of the layer)."""
    drawn = torch.randint(0, 2, (rows, weight.shape[1]), generator=generator(seed, "relative flatness", probe))
    return (2 * drawn - 1).to(device=weight.device, dtype=weight.dtype)


MEASURES = (
    Measure(
        name="relative_flatness",
        definition="The trace of the Hessian of one linear layer's weights w, relative to them: over all pairs of its "
        "outputs s and s', the inner product of their weights times the trace of the block H that couples them. It is "
        "estimated as the mean of z^T H z over as many random z as probes says, z = R E with R R^T = W W^T and E of "
        "independent signs, whose expectation it is. A layer rescaled as a whole, or its outputs each by their own "
        "factor, leaves it as it was; inputs rescaled each by their own factor do not.",
        formula=r"\kappa = \sum_{s, s'} \langle w_s, w_{s'} \rangle \operatorname{tr} H_{s, s'}",
        unit="loss",
        source=PETZKA,
        cost="probes Hessian products with respect to one layer",
        larger="sharper",
        invariances=frozenset({"loss_shift"}),
        needs=("linear_layer",),
        parameters={
            "layer": Parameter(
                default=None,
                meaning="The linear layer's name in the model, or None for the last one.",
                source="the authors' code",
            ),
            "probes": Parameter(default=100, meaning="Random vectors.", source="as for the trace"),
        },
        compute=relative_flatness,
    ),
)
