"""How the largest eigenvalues of the Hessian grow along a training: progressive sharpening."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape.curvature import ConvergenceWarning, Eigenpairs, Hessian, InterruptedWarning
from landscape.curvature.unfinished import whole
from landscape.errors import NonFiniteError
from landscape.objective import Objective
from landscape.progress import progress_bar
from landscape.study.checkpoints import choose_steps
from landscape.study.results import CurvatureHistory
from landscape.training import Run


def curvature_history(
    run: Run,
    *,
    k: int = 1,
    which: str = "LA",
    steps: Sequence[int] | None = None,
    split: str = "train",
    limit: int | None = None,
    tol: float = 1e-3,
    seed: int = 0,
    memory_limit: int | None = None,
    progress: bool = True,
) -> CurvatureHistory:
    """Compute the largest eigenvalues of the Hessian at each checkpoint of a run.

    Each search begins with the eigenvectors of the checkpoint before, which about halves the products where they are
    close.

    Args:
        run: With the checkpoints that ``RunConfig(keep_every=...)`` kept.
        k: How many eigenvalues.
        which: "LA" the largest, "SA" the smallest, "LM" the largest in size.
        steps: Which checkpoints; all by default.
        split: "train" (as trained on, without augmentation) or "test".
        limit: Use a fixed random subset of so many examples; all by default.
        tol: Relative residual of the eigenpairs.
        seed: Names the first start vector.
        memory_limit: Bytes that a product may take; see :class:`landscape.curvature.Hessian`.
        progress: Whether a progress bar is shown.

    Returns:
        The history. After Ctrl-C, that of the checkpoints done by then, with ``complete`` False.

    Raises:
        StorageError: The run has no checkpoint of a step.
        ConfigError: An option is out of range.

    Warns:
        ConvergenceWarning: Once, where some pairs did not converge.
        InterruptedWarning: After Ctrl-C.

    References:
        S. Jastrzebski et al., The Break-Even Point on Optimization Trajectories of Deep Neural Networks, ICLR 2020.
    """
    begun = time.perf_counter()
    chosen = choose_steps(run, steps)
    objective = run.objective(split, limit, step=chosen[0])
    rows: list[_Row] = []
    with progress_bar(len(chosen), desc="curvature history", unit="checkpoint", enabled=progress) as bar:
        known: Eigenpairs | None = None
        try:
            for step in chosen:
                at_step = run.objective(split, limit, step=step)  # with the running statistics of that step
                row, known = _row(step, at_step, known, (k, which, tol, seed, memory_limit))
                rows.append(row)
                bar.update()
        except KeyboardInterrupt:
            if not rows:
                raise
            text = f"Interrupted after {len(rows)} of {len(chosen)} checkpoints."
            warnings.warn(text, InterruptedWarning, stacklevel=2)
    if missed := sum(not row.converged.all() for row in rows):
        warnings.warn(f"At {missed} checkpoints a pair did not converge.", ConvergenceWarning, stacklevel=2)
    settings = {"k": k, "which": which, "tol": tol, "seed": seed, "seconds": round(time.perf_counter() - begun, 3)}
    source = {"run": run.path.name, "config_hash": run.config.hash, "split": split}
    return CurvatureHistory(
        steps=np.array([row.step for row in rows]),
        values=np.stack([row.values for row in rows]),
        residuals=np.stack([row.residuals for row in rows]),
        matvecs=np.array([row.matvecs for row in rows]),
        converged=np.stack([row.converged for row in rows]),
        learning_rate=float(run.config.lr),
        provenance={**objective.provenance(), **source, **settings},
        complete=len(rows) == len(chosen),
    )


@dataclass(frozen=True)
class _Row:
    step: int
    values: np.ndarray
    residuals: np.ndarray
    matvecs: int
    converged: np.ndarray


def _row(step: int, objective: Objective, known: Eigenpairs | None, how: Any) -> tuple[_Row, Eigenpairs | None]:
    k, which, tol, seed, memory_limit = how
    try:
        hessian = Hessian(objective, memory_limit=memory_limit)
    except NonFiniteError:
        nothing = np.full(k, np.nan)
        return _Row(step, nothing, nothing, 0, np.ones(k, dtype=bool)), known
    with hessian, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        pairs = whole(lambda: hessian.top(k, which=which, tol=tol, seed=seed, start=known))
    return _Row(step, pairs.values, pairs.residuals, pairs.matvecs, pairs.converged), pairs
