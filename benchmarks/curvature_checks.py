"""Whether curvature is right: beside the packages that are right, and against exact figures where they are not.

Agreement: ResNet-20 in float64, where the order of sums does not matter (in float32, networks with kinks differ by 1e-5
to 3e-4 between any two orders). Products with one batch and with a ragged last one, the largest eigenvalue, and the
trace from the very probes that each package draws: ours within 1e-4 of curvlinops, and of the others where they are
right. Mistakes: a network small enough for its dense Hessian, what each package says by its own defaults, and what
ours says. ``tests/curvature/test_known_mistakes.py`` has the formulas of the wrong answers.
"""

from __future__ import annotations

import copy
import importlib
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.func import functional_call

from benchmarks.common import peer
from benchmarks.curvature_peers import Asked, peers, silent
from landscape.curvature import Hessian
from landscape.objective import Objective
from landscape.seeding import generator

BAR_AGREES, BAR_PRODUCTS, BAR_RIGHT = 1e-4, 12, 1e-3
RAGGED_RIGHT = ("PyHessian", "curvlinops-for-pytorch")  # hessian-eigenthings averages batches
TOP_RIGHT = ("curvlinops-for-pytorch", "hessian-eigenthings")  # PyHessian stops where the value changes little
_PROBES, _FEW = 10, 16  # of the trace; images of eigenvalue and trace, which take many products
_SEEDS, _OUR_SEEDS = 3, 20


def relative(found: float, expected: float) -> float:
    """Return how far a number is from another one, relative to it."""
    return abs(found / expected - 1)


# ------------------------------------------------------------------------------------------------------- agreement


def agreement(model: nn.Module, inputs: Tensor, targets: Tensor) -> dict[str, Any]:
    """Compare with all packages on one model, in float64.

    Args:
        model: In evaluation mode; it is not changed.
        inputs: (N, ...) more than 48.
        targets: (N,).
    """
    model, inputs = copy.deepcopy(model).double(), inputs.double()
    results: dict[str, Any] = {}
    for shape, size in (("one batch", len(targets)), ("a ragged last batch", 24)):
        results[shape] = _products(model, inputs, targets, size)
        print(f"  ResNet-20, {shape}: products from ours, relative: {_shown(results[shape])}")
    few, theirs = inputs[:_FEW], targets[:_FEW]
    ours = Hessian(Objective(model, (few, theirs)))
    exact = float(ours.top(1, tol=1e-7).values[0])
    others = peers(copy.deepcopy(model), [(few, theirs)])
    results["top"] = _asked(others, lambda asked: relative(asked.top(), exact))
    pairs = ours.top(1, tol=1e-3)
    results["top"]["landscape"] = relative(float(pairs.values[0]), exact)
    print(f"  ResNet-20, {_FEW} images, top eigenvalue {exact:.5f}: off by {_shown(results['top'])}")
    results["trace"] = _asked(others, lambda asked: _same_trace(asked, ours))
    print(f"  ResNet-20, {_FEW} images, trace from the same {_PROBES} probes: from ours, {_shown(results['trace'])}")
    whole = Hessian(Objective(model, (inputs, targets))).top(1, tol=1e-3)
    results["top_products_resnet20"] = whole.matvecs
    print(f"  ResNet-20, top eigenvalue {whole.values[0]:.3f} in {whole.matvecs} products (bar {BAR_PRODUCTS})")
    return results


def _products(model: nn.Module, inputs: Tensor, targets: Tensor, size: int) -> dict[str, float]:
    batches = list(zip(inputs.split(size), targets.split(size), strict=True))
    ours = Hessian(Objective(model, (inputs, targets), batch_size=size))
    vector = torch.randn(ours.size, generator=generator(0, "vector"), dtype=torch.float64)
    mine = ours @ vector
    others = peers(copy.deepcopy(model), batches)
    return _asked(others, lambda asked: float((asked.product()(vector) - mine).norm() / mine.norm()))


def _asked(others: dict[str, Asked], question: Callable[[Asked], float]) -> dict[str, float]:
    found = {}
    for package, asked in others.items():
        with silent():
            found[package] = question(asked)
    return found


def _same_trace(asked: Asked, ours: Hessian) -> float:
    torch.manual_seed(0)
    theirs = asked.trace(_PROBES)
    forms = [float(signs @ (ours @ signs)) for signs in asked.signs(_PROBES)]
    return relative(theirs, float(np.mean(forms)))


def _shown(errors: dict[str, float]) -> str:
    return ", ".join(f"{package} {error:.1e}" for package, error in errors.items())


def missed_agreement(results: dict[str, Any]) -> list[str]:
    """Name the bars that the comparison misses; NaN does."""
    expected = {
        "one batch": results["one batch"],
        "a ragged last batch": RAGGED_RIGHT,
        "top": (*TOP_RIGHT, "landscape"),
        "trace": results["trace"],
    }
    missed = []
    for what, packages in expected.items():
        found = results[what]
        missed += [f"{what}: {name}" for name in packages if name in found and not found[name] <= BAR_AGREES]
    return missed + (["products on ResNet-20"] if results["top_products_resnet20"] > BAR_PRODUCTS else [])


# -------------------------------------------------------------------------------------------------------- mistakes


def dense_hessian(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the (P, P) Hessian of the mean cross-entropy, by torch's own function."""
    named = {name: p.detach() for name, p in model.named_parameters()}
    sizes = [p.numel() for p in named.values()]

    def loss(flat: Tensor) -> Tensor:
        pieces = zip(named.items(), flat.split(sizes), strict=True)
        weights = {name: piece.view_as(p) for (name, p), piece in pieces}
        return F.cross_entropy(functional_call(model, weights, (inputs,)), targets)

    found = hessian(loss, torch.cat([p.flatten() for p in named.values()]), vectorize=True)
    assert isinstance(found, Tensor)
    return found


def mistakes(model: nn.Module, inputs: Tensor, targets: Tensor) -> dict[str, Any]:
    """Ask each package by its own defaults, and ours, about a network whose dense Hessian is known.

    Args:
        model: With some hundred weights; it is not changed.
        inputs: (N, ...).
        targets: (N,).
    """
    model, inputs = copy.deepcopy(model).double(), inputs.double()
    matrix = dense_hessian(model, inputs, targets)
    values = torch.linalg.eigvalsh(matrix).flip(0)
    top, trace = float(values[0]), float(values.sum())
    print(f"  MLP, P = {len(matrix)}: exact top eigenvalue {top:.5f}, fifth {values[4]:.5f}, trace {trace:.4f}")
    others = peers(copy.deepcopy(model), [(inputs, targets)])
    results: dict[str, Any] = {"exact": {"top": top, "fifth": float(values[4]), "trace": trace}}
    results["ours"] = _ours(model, inputs, targets, matrix, values)
    for package, ask in (
        ("PyHessian", _of_pyhessian),
        ("hessian-eigenthings", _of_eigenthings),
        ("curvlinops-for-pytorch", _of_curvlinops),
    ):
        if package in others:
            with silent():
                results[package] = ask(others[package], values)
    if (module := peer("landscaper")) is not None:
        with silent():
            results["landscaper"] = _of_landscaper(module, copy.deepcopy(model), (inputs, targets))
    ragged = _ragged(model, inputs, targets, matrix)
    for package, found in ragged.items():
        results.setdefault(package, {})["a ragged last batch, product"] = found
    for package, found in results.items():
        if package != "exact":
            said = ", ".join(f"{what} {_figure(number)}" for what, number in found.items())
            print(f"    {package}: {said}")
    return results


def _figure(number: Any) -> str:
    return number if isinstance(number, str) else f"{number:.2g}" if isinstance(number, float) else str(number)


def _ours(model: nn.Module, inputs: Tensor, targets: Tensor, matrix: Tensor, values: Tensor) -> dict[str, Any]:
    operator = Hessian(Objective(model, (inputs, targets)))
    trace = float(values.sum())
    five = operator.top(5)
    estimates = [operator.trace(seed=seed, progress=False) for seed in range(_OUR_SEEDS)]
    density = operator.density(progress=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        two = operator.top(1, max_matvecs=2)
    inside = [low <= trace <= high for low, high in (found.interval() for found in estimates)]
    return {
        "top": relative(float(five.values[0]), float(values[0])),
        "fifth": relative(float(five.values[4]), float(values[4])),
        "trace, in standard errors (rms)": _rms([(e.value - trace) / e.stderr for e in estimates]),
        "intervals of 95 % that hold": f"{sum(inside)} of {len(inside)}",
        "density, sum of weights": float(density.weights.sum(1).max()),
        "two steps, off": relative(float(two.values[0]), float(values[0])),
        "two steps, told": bool(caught) and not bool(two.converged[0]),
        "dense, relative": float((operator.dense() - matrix).norm() / matrix.norm()),
    }


def _rms(numbers: Sequence[float]) -> float:
    return math.sqrt(sum(number**2 for number in numbers) / len(numbers))


def _of_pyhessian(asked: Any, values: Tensor) -> dict[str, Any]:
    torch.manual_seed(0)
    found = asked._built().eigenvalues(top_n=5)[0]
    used, errors = [], []
    for seed in range(_SEEDS):
        torch.manual_seed(seed)
        forms = asked._built().trace(100)
        used.append(len(forms))
        errors.append(relative(float(np.mean(forms)), float(values.sum())))
    try:
        asked.density(1, 10)
        density = "works"
    except Exception as error:  # torch.eig is gone
        density = f"fails ({type(error).__name__})"
    return {
        "top": relative(found[0], float(values[0])),
        "fifth": relative(found[4], float(values[4])),
        "trace(100), probes used": used,
        "trace(100), largest error": max(errors),
        "trace(100), tolerance": 1e-3,
        "density": density,
    }


def _of_eigenthings(asked: Any, values: Tensor) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = asked.module.lanczos(asked._built(), k=1)
    return {
        "lanczos(k=1), off": relative(float(found.eigenvalues[0]), float(values[0])),
        "lanczos(k=1), told by a warning": bool(caught),
        "30 steps": relative(asked.top(), float(values[0])),
    }


def _of_curvlinops(asked: Any, values: Tensor) -> dict[str, Any]:
    torch.manual_seed(0)
    return {
        "eigsh": relative(asked.top(), float(values[0])),
        "trace of 100 probes, no standard error": relative(asked.trace(100), float(values.sum())),
    }


def _of_landscaper(module: Any, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Any]:
    del module  # what is needed is beside it
    kind = importlib.import_module("landscaper.hessian").PyHessian
    built = kind(model.eval(), F.cross_entropy, [batch], "cpu")
    torch.manual_seed(0)
    weights = np.asarray(built.density(iter=30, n_v=1)[1])[0]
    return {"density, shape of weights": str(weights.shape), "density, sum of weights": float(abs(weights.sum()))}


def _ragged(model: nn.Module, inputs: Tensor, targets: Tensor, matrix: Tensor) -> dict[str, float]:
    size = int(0.45 * len(targets))  # 45 %, 45 % and 10 %
    batches = list(zip(inputs.split(size), targets.split(size), strict=True))
    vector = torch.randn(len(matrix), generator=generator(0, "vector"), dtype=torch.float64)
    expected = matrix @ vector
    found = _asked(
        peers(copy.deepcopy(model), batches),
        lambda asked: float((asked.product()(vector) - expected).norm() / expected.norm()),
    )
    ours = Hessian(Objective(model, (inputs, targets), batch_size=size)) @ vector
    return found | {"ours": float((ours - expected).norm() / expected.norm())}


def missed_mistakes(results: dict[str, Any]) -> list[str]:
    """Name what ours gets wrong of what others do; NaN is wrong."""
    ours = results["ours"]
    right = {
        "top eigenvalue": ours["top"] <= BAR_RIGHT,
        "fifth eigenvalue": ours["fifth"] <= BAR_RIGHT,
        "standard error of the trace": 0.5 <= ours["trace, in standard errors (rms)"] <= 1.6,
        "weights of the density": abs(ours["density, sum of weights"] - 1) <= 1e-9,
        "two steps are told": ours["two steps, told"],
        "dense": ours["dense, relative"] <= 1e-8,
        "ragged batches": ours["a ragged last batch, product"] <= 1e-8,
    }
    return [what for what, holds in right.items() if not holds]
