"""What products with the Hessian cost, in gradients, and whole tasks built on them, beside three other packages.

One thread; CPU seconds; interleaved. A gradient is the best plain one: the model's own backward pass, with images in
either layout. Bars: a product costs at most 2.2 gradients in a long task and 2.7 in one of ten products, building
included; PyHessian's product at least 1.3 times as much and curvlinops' 2.3 times (ResNet-20, 64 images). The top
eigenvalue to 1e-3 in at most 12 products. Top eigenvalue, trace of 100 probes and density of 10 x 30 on the digits CNN
each in less time than any other package takes, and as exact. Products, top eigenvalue and trace agree to 1e-4 with
those of the packages that are right, and with the dense Hessian where they are not: :mod:`benchmarks.curvature_checks`.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common import environment, interleaved, ratio, save
from benchmarks.curvature_checks import BAR_PRODUCTS, agreement, missed_agreement, missed_mistakes, mistakes
from benchmarks.curvature_peers import KINDS, Asked, peers, silent
from landscape.curvature import Hessian
from landscape.datasets import load_dataset
from landscape.models import build_model
from landscape.objective import Objective
from landscape.seeding import generator, seeded

LONG, SHORT = 2.2, 2.7
FASTER = {"PyHessian": 1.3, "curvlinops-for-pytorch": 2.3}
OURS, GRADIENT, IN_TEN = "landscape", "gradient", "landscape, ten products with building"
PROBES, STEPS = 10, 30


def trained(model: nn.Module, inputs: Tensor, targets: Tensor, *, epochs: int) -> nn.Module:
    """Train a little, so that there is a minimum with outlying eigenvalues."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(epochs):
        for x, y in zip(inputs.split(64), targets.split(64), strict=True):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    optimizer.zero_grad()
    return model.eval()


def problem(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """Return ResNet-20 with 64 images, or the digits CNN or a small MLP with 512 digits, trained a little."""
    with seeded(0, "curvature benchmark"):
        if name != "resnet20":
            data = load_dataset("digits", split="train")
            inputs, targets = data.normalized()[:512], data.targets[:512]
            model = build_model("smallcnn") if name == "smallcnn" else build_model("mlp", hidden=(12,))
            return trained(model, inputs, targets, epochs=8), inputs, targets
        stream = generator(0, "images")
        targets = torch.randint(10, (64,), generator=stream)
        patterns = torch.randn(10, 3, 32, 32, generator=stream)
        inputs = patterns[targets] + torch.randn(64, 3, 32, 32, generator=stream)
        return trained(build_model("resnet20"), inputs, targets, epochs=10), inputs, targets


def seconds(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of some work."""
    begun = time.process_time()
    with silent():
        work()
    return time.process_time() - begun


def gradients(model: nn.Module, inputs: Tensor, targets: Tensor) -> dict[str, Callable[[], float]]:
    """The plain backward pass, in both layouts of images."""
    calls = {}
    for name, layout in (("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last)):
        own, x = copy.deepcopy(model).to(memory_format=layout), inputs.contiguous(memory_format=layout)

        def backward(own: nn.Module = own, x: Tensor = x) -> None:
            own.zero_grad()
            F.cross_entropy(own(x), targets).backward()

        calls[name] = partial(seconds, backward)
    return calls


# ------------------------------------------------------------------------------------------------------- products


def products(name: str, rounds: int) -> dict[str, Any]:
    """Measure a product in gradients, for all packages."""
    model, inputs, targets = problem(name)
    plain = gradients(model, inputs, targets)
    medians = {layout: statistics.median(its) for layout, its in interleaved(plain, 3).items()}
    best = min(medians, key=medians.__getitem__)
    objective = Objective(copy.deepcopy(model), (inputs, targets), batch_size=len(targets))
    vector = torch.randn(objective.size, generator=generator(0, "vector"))
    ours = Hessian(objective)
    _ = ours @ vector  # the check of its symmetry, once

    def ten() -> None:
        fresh = Hessian(objective)
        fresh._checked = True
        for _ in range(10):
            _ = fresh @ vector

    calls = {GRADIENT: plain[best], OURS: partial(seconds, lambda: ours @ vector)}
    calls[IN_TEN] = lambda: seconds(ten) / 10
    for package, asked in peers(copy.deepcopy(model), [(inputs, targets)]).items():
        with silent():
            multiply = asked.product()
        calls[package] = partial(seconds, partial(multiply, vector))
    found = interleaved(calls, rounds)
    gradient = statistics.median(found[GRADIENT])
    print(f"  {name}, {len(targets)} examples: a gradient takes {1e3 * gradient:.1f} ms ({best})")
    results: dict[str, Any] = {"gradient_seconds": gradient, "layout": best, "gradient_seconds_of": medians}
    for package in calls:
        if package != GRADIENT:
            results[package] = ratio(found, package, GRADIENT)
            times = f", {ratio(found, package, OURS)['median']:.2f} of ours" if package in KINDS else ""
            print(f"    {package}: {results[package]['median']:.2f} gradients a product{times}")
    results["of ours"] = {package: ratio(found, package, OURS) for package in KINDS if package in found}
    return results


def missed_products(results: dict[str, Any], *, peers_too: bool) -> list[str]:
    """Name the bars that a problem's products miss."""
    missed = []
    if results[OURS]["median"] > LONG:
        missed.append("product in a long task")
    if results[IN_TEN]["median"] > SHORT:
        missed.append("product in a short task")
    of_ours = results["of ours"] if peers_too else {}
    return missed + [f"faster than {p}" for p, bar in FASTER.items() if p in of_ours and of_ours[p]["median"] < bar]


# ----------------------------------------------------------------------------------------------------------- tasks


def our_tasks(objective: Objective) -> dict[str, Callable[[], Any]]:
    """Each whole task of ours, building included."""
    return {
        "top": lambda: Hessian(objective).top(1, tol=1e-3),
        "trace": lambda: Hessian(objective).trace(probes=100, progress=False),
        "density": lambda: Hessian(objective).density(probes=PROBES, steps=STEPS, progress=False),
    }


def their_task(asked: Asked, task: str) -> Callable[[], Any]:
    """The same of another package."""
    return {
        "top": asked.top,
        "trace": lambda: asked.trace(100),
        "density": lambda: asked.density(PROBES, STEPS),
    }[task]


def tasks(rounds: int) -> dict[str, Any]:
    """Measure whole tasks on the digits CNN, and how far from the exact top eigenvalue each package ends."""
    model, inputs, targets = problem("smallcnn")
    objective = Objective(copy.deepcopy(model), (inputs, targets), batch_size=len(targets))
    exact = Hessian(Objective(copy.deepcopy(model).double(), (inputs, targets))).top(1, tol=1e-8)
    others = peers(copy.deepcopy(model), [(inputs, targets)])
    results: dict[str, Any] = {"exact_top": float(exact.values[0])}
    for task, work in our_tasks(objective).items():
        calls: dict[str, Callable[[], float]] = {OURS: partial(seconds, work)}
        refused = {}
        for package, asked in others.items():
            theirs = their_task(asked, task)
            try:
                with silent():
                    theirs()
            except Exception as error:  # another project may fail in any way
                refused[package] = f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
                continue
            calls[package] = partial(seconds, theirs)
        found = interleaved(calls, rounds)
        results[task] = {package: statistics.median(its) for package, its in found.items()}
        results[task]["refused"] = refused
        shown = ", ".join(f"{package} {statistics.median(its):.2f} s" for package, its in found.items())
        print(f"  digits CNN, {task}: {shown}" + "".join(f"; {p} fails ({why})" for p, why in refused.items()))
    top = Hessian(objective).top(1, tol=1e-3)
    results["top_products"] = top.matvecs
    with silent():
        tops = {OURS: float(top.values[0]), **{package: asked.top() for package, asked in others.items()}}
    results["top_error"] = {package: abs(value / results["exact_top"] - 1) for package, value in tops.items()}
    errors = ", ".join(f"{package} {error:.0e}" for package, error in results["top_error"].items())
    print(f"  top eigenvalue {results['exact_top']:.4f}: ours in {top.matvecs} products; relative errors {errors}")
    return results


def missed_tasks(results: dict[str, Any]) -> list[str]:
    """Name the bars that whole tasks miss."""
    missed = []
    for task in ("top", "trace", "density"):
        theirs = [value for name, value in results[task].items() if name not in (OURS, "refused")]
        if theirs and results[task][OURS] > min(theirs):
            missed.append(f"{task} in less time")
    errors = results["top_error"]
    if errors[OURS] > max(min((e for p, e in errors.items() if p != OURS), default=1.0), 1e-5):
        missed.append("top as exact")
    return missed + (["products of the top eigenvalue"] if results["top_products"] > BAR_PRODUCTS else [])


def checks() -> tuple[dict[str, Any], list[str]]:
    """Compare figures, not times: with the packages that are right, and with the dense Hessian; name missed bars."""
    found = {"agreement": agreement(*problem("resnet20")), "mistakes": mistakes(*problem("mlp"))}
    missed = [f"agreement, {what}" for what in missed_agreement(found["agreement"])]
    return found, missed + [f"right, {what}" for what in missed_mistakes(found["mistakes"])]


def main(argv: Sequence[str] = ()) -> int:
    """Measure, print and write the result.

    Args:
        argv: ``--rounds N`` (default 7), ``--no-save``, ``--checks`` (no times, only whether figures are right).

    Returns:
        0 where all bars hold, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curvature", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-save", action="store_true")
    parser.add_argument("--checks", action="store_true", help="no times, only whether figures are right; saves nothing")
    options = parser.parse_args(list(argv))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    found, whole, missed = {}, {}, []
    try:
        if not options.checks:
            found = {name: products(name, options.rounds) for name in ("resnet20", "smallcnn")}
            whole = tasks(max(1, options.rounds // 2))
            missed += (f"ResNet-20: {bar}" for bar in missed_products(found["resnet20"], peers_too=True))
            missed += (f"digits CNN: {bar}" for bar in missed_products(found["smallcnn"], peers_too=False))
            missed += missed_tasks(whole)
        checked, wrong = checks()
    finally:
        torch.set_num_threads(before)
    missed += wrong
    print(f"  outside their bar: {', '.join(missed) or 'none'}")
    if not (options.no_save or options.checks):
        result = {
            "benchmark": "curvature",
            "what": "CPU seconds of a product with the Hessian over those of a gradient; seconds of whole tasks",
            "bars": {"long": LONG, "short": SHORT, "faster than": FASTER, "products of the top": BAR_PRODUCTS},
            "rounds": options.rounds,
            "products": found,
            "tasks": whole,
            **checked,
            "missed": missed,
            **environment(*KINDS),
        }
        save("curvature", result)
    return int(bool(missed))


if __name__ == "__main__":
    np.seterr(all="ignore")
    sys.exit(main(sys.argv[1:]))
