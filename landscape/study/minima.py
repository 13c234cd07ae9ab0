"""One initialization, several optimizers: where did each of them land?"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch

from landscape.curvature import Eigenpairs, Estimate, Hessian, InterruptedWarning, SpectralDensity
from landscape.curvature.unfinished import whole
from landscape.objective import Objective
from landscape.progress import progress_bar
from landscape.sharpness import measure
from landscape.storage import sha256_bytes
from landscape.study.curvature import top_eigenpair
from landscape.study.effort import Effort, choose_effort
from landscape.study.labels import method_label
from landscape.surface import Profile, Surface, evaluate_surface, perturbation_profile, random_plane
from landscape.training import Run, RunConfig


def minima_configs(
    base: RunConfig, *, rho: float = 0.05, rho_asam: float = 0.5, epsilon: float = 0.5, std: float = 5e-4
) -> dict[str, RunConfig]:
    """Return one run per method that differ in the optimizer only: same data, same noise, same initial weights.

    Args:
        base: All other settings; its optimizer must be the plain one, with no method's option set.
        rho: SAM's radius; default of Foret et al. 2021.
        rho_asam: ASAM's radius; default of Kwon et al. 2021.
        epsilon: AMP's radius, per tensor; default of Zheng et al. 2021.
        std: LPF-SGD's noise level; default of Bisla et al. 2022.

    Returns:
        Label to settings, SGD first.

    Raises:
        ConfigError: A radius is negative.

    Example:
        >>> list(minima_configs(RunConfig()))
        ['SGD', 'SAM', 'ASAM', 'AMP', 'LPF-SGD']
    """
    own: dict[str, dict[str, Any]] = {
        "sgd": {},
        "sam": {"rho": rho},
        "asam": {"rho": rho_asam},
        "amp": {"epsilon": epsilon},
        "lpfsgd": {"std": std},
    }
    return {method_label(name): base.replace(optimizer=name, **options) for name, options in own.items()}


@dataclass(frozen=True, kw_only=True)
class Minimum:
    """What was measured at the weights where one run ended.

    Attributes:
        run: The run.
        objective: The training loss as a function of the weights: noisy labels included, no augmentation.
        surface: The loss on a random filter-normalized plane.
        eigenpairs: The largest Hessian eigenvalue and its vector.
        trace: The Hessian's trace with its standard error.
        density: The Hessian's spectral density.
        profile: The loss against the radius of a perturbation.
        lpf: The LPF measure with its standard error.
    """

    run: Run
    objective: Objective
    surface: Surface
    eigenpairs: Eigenpairs
    trace: Estimate
    density: SpectralDensity
    profile: Profile
    lpf: Estimate

    def row(self) -> dict[str, float | Estimate]:
        """Return the numbers of the comparison, with standard errors where they are estimates.

        The standard error of the test error is that of a binomial share over the test examples; it knows nothing of
        other seeds.
        """
        rows = self.run.metrics()
        last = rows[-1]
        error, examples = last["test_error"], self.run.environment()["data"]["test"]
        return {
            "test_error": error,
            "test_error_stderr": math.sqrt(error * (1 - error) / examples),
            "test_nll": last["test_nll"],
            "test_ece": last["test_ece"],
            "train_loss": self.profile.base_loss,
            "top_eigenvalue": float(self.eigenpairs.values[0]),
            "trace": self.trace,
            "lpf": self.lpf,
            "lpf_rise": replace(self.lpf, value=self.lpf.value - self.profile.base_loss),
            "seconds_per_epoch": median(row["seconds"] for row in rows),
        }


def compute(name: str, function: Callable[..., Any], /, **arguments: Any) -> Any:
    """Call a function with its arguments; in its place, what keeps the results of earlier calls may stand."""
    return function(**arguments)


def measure_minimum(
    run: Run, effort: Effort, *, extent: float = 1.0, seed: int = 0, cached: Callable[..., Any] = compute
) -> Minimum:
    """Measure the minimum where a run ended.

    Args:
        run: A finished run.
        effort: Sizes of the analyses.
        extent: Half-width of the surface's plane, in filter norms.
        seed: Seed of the plane, the probes and the random perturbations: the same for runs that are compared.
        cached: ``cached(name, function, **arguments)`` returns what ``function(**arguments)`` does, perhaps without
            computing it again, as :meth:`landscape.notebooks.Suite.cached` does.

    Returns:
        The measurements; the surface's points are kept in the run's folder and not computed twice.

    Raises:
        StorageError: The run has no checkpoint.
        NonFiniteError: The loss at the minimum is NaN or infinite.
        KeyboardInterrupt: Ctrl-C; a minimum is measured as a whole, so that it can be compared.
    """
    objective = run.objective("train", limit=effort.examples)
    plane = random_plane(objective, seed=seed)
    name = repr((run.weights_checksum(), objective.examples, extent, effort.points, seed, torch.get_num_threads()))
    store = run.path / "surfaces" / sha256_bytes(name.encode())[:8]
    surface = evaluate_surface(
        objective, plane, extent=extent, points=(effort.points, effort.points), store=store, progress=False
    )
    probes = {"probes": effort.density_probes, "steps": effort.density_steps}
    return Minimum(
        run=run,
        objective=objective,
        surface=surface,
        eigenpairs=cached("top eigenvalue", _top, objective=objective, seed=seed),
        trace=cached("trace", _trace, objective=objective, probes=effort.trace_probes, seed=seed),
        density=cached("spectral density", _density, objective=objective, **probes, seed=seed),
        profile=cached("perturbations", _profile, objective=objective, draws=effort.random_draws, seed=seed),
        lpf=cached("LPF measure", _lpf, objective=objective, seed=seed),
    )


def _top(objective: Objective, seed: int) -> Eigenpairs:
    return whole(lambda: top_eigenpair(objective, seed=seed))


def _trace(objective: Objective, probes: int, seed: int) -> Estimate:
    return whole(lambda: Hessian(objective).trace(probes=probes, seed=seed, progress=False))


def _density(objective: Objective, probes: int, steps: int, seed: int) -> SpectralDensity:
    return whole(lambda: Hessian(objective).density(probes=probes, steps=steps, seed=seed, progress=False))


def _profile(objective: Objective, draws: int, seed: int) -> Profile:
    return perturbation_profile(objective, draws=draws, seed=seed, progress=False)


def _lpf(objective: Objective, seed: int) -> Estimate:
    return measure(objective, ["lpf"], seed=seed, progress=False)["lpf"]


def measure_minima(
    runs: Mapping[str, Run],
    *,
    seconds: float = 30.0,
    effort: Effort | None = None,
    extent: float = 1.0,
    seed: int = 0,
    progress: bool = True,
    cached: Callable[..., Any] = compute,
) -> dict[str, Minimum]:
    """Measure several runs with one effort.

    Args:
        runs: Label to finished run.
        seconds: About so many for each run on a 2-core machine, from which the effort is chosen without timing; see
            :func:`choose_effort`.
        effort: The sizes themselves, in place of ``seconds``.
        extent: Half-width of every surface's plane, in filter norms.
        seed: Seed of planes, probes and perturbations.
        progress: Say the sizes and show a progress bar.
        cached: As in :func:`measure_minimum`.

    Returns:
        Label to measurements. After Ctrl-C, of the networks done by then.

    Raises:
        KeyboardInterrupt: Ctrl-C came before the first network was done.

    Warns:
        InterruptedWarning: Ctrl-C came later.
    """
    why = ""
    if effort is None:
        first = next(iter(runs.values()))
        examples = len(first.dataset("train"))
        effort = choose_effort(first.objective("train", limit=min(256, examples)), examples=examples, seconds=seconds)
        share = f"{effort.examples:,} of the {examples:,}" if effort.examples < examples else f"all {examples:,}"
        why = f"\nThat is what fits into about {seconds:g} s on two cores: {share} training examples."
    if progress:
        print(f"Each network: {effort}.{why}")
    found: dict[str, Minimum] = {}
    try:
        with progress_bar(len(runs), desc="measure the minima", unit="network", enabled=progress) as bar:
            for label, run in runs.items():
                found[label] = measure_minimum(run, effort, extent=extent, seed=seed, cached=cached)
                bar.update()
    except KeyboardInterrupt:
        if not found:
            raise
        said = f"Interrupted after {len(found)} of {len(runs)} networks: the others are left out."
        warnings.warn(said, InterruptedWarning, stacklevel=2)
    return found
