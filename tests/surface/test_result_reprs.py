"""What print() shows of a result: one short line with shapes, ranges and the finite share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from landscape.curvature import Estimate, Hessian
from landscape.objective import Objective
from landscape.sharpness import measure


def test_results_print_as_one_short_line(results):
    surface = results.surfaces["SGD"]
    assert repr(surface) == "Surface(9x7 points, alpha -1 to 1, beta -1 to 0.5, loss 0.05 to 18.05, 100% finite)"
    loss, status = surface.loss.copy(), np.zeros_like(surface.status)
    loss[:, 1:], status[:, 0], loss[0, 0] = np.nan, 1, np.inf
    assert repr(replace(surface, loss=loss, status=status)).endswith("89% finite, 14% computed)")
    empty = replace(surface, loss=np.full_like(loss, np.nan), status=np.zeros_like(status))
    assert "loss none finite, 0% finite, 0% computed" in repr(empty)
    assert repr(results.lines["SGD"]) == "Line(11 points, alpha -1 to 1, loss 0.05 to 6.05, 100% finite)"
    profile = "Profile(random, sam, amp; 3 radii 0.1 to 1, loss 0.05 at 0, 0.06 to 6.05, 100% finite)"
    assert repr(results.profiles["SGD"]) == profile
    spectrum = "SpectralDensity(2 probes of 2 steps, Ritz values 0 to 48.6, 200 points -1 to 60, sigma 1, 100% finite)"
    assert repr(results.spectra["SGD"]) == spectrum


def test_objectives_and_operators_say_what_they_are_of(tiny_problem):
    objective = Objective(tiny_problem.model, tiny_problem.data)
    hessian = Hessian(objective)
    assert repr(objective) == (
        f"Objective({type(tiny_problem.model).__name__}, P = {objective.size}, {objective.examples} examples of tuple, "
        f"cross_entropy, {str(objective.dtype).removeprefix('torch.')}, cpu)"
    )
    assert repr(hessian) == f"Hessian({objective.size} x {objective.size} of {objective!r})"
    pairs = hessian.top(2)
    values = ", ".join(f"{value:.4g}" for value in pairs.values)
    assert repr(pairs).startswith(f"Eigenpairs([{values}], P = {objective.size}, 2 of 2 converged, ")
    many = replace(pairs, vectors=torch.ones(3, 7), values=np.ones(7), residuals=np.ones(7), converged=np.ones(7))
    assert repr(many).startswith("Eigenpairs([1, 1, 1, 1, 1, ...], P = 3, 7 of 7")


def test_a_dictionary_of_estimates_fits_on_a_screen(tiny_problem):
    exact, part = Estimate(value=3.0, stderr=0.0, matvecs=1), Estimate(2.0, 0.25, 40, samples=40, complete=False)
    assert repr({"a": exact, "b": part}) == (
        "{'a': Estimate(3 ± 0, 1 product), 'b': Estimate(2 ± 0.25, 40 products, interrupted)}"
    )
    assert repr(Estimate(float("nan"), float("nan"), 0)) == "Estimate(nan ± unknown)"
    objective = Objective(tiny_problem.model, tiny_problem.data)
    found = [*Hessian(objective).layerwise("trace", probes=3, progress=False).values(), *measure(objective).values()]
    assert len(found) > 20 and max(map(len, map(repr, found))) < 60
