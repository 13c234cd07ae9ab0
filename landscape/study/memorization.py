"""Does a network learn wrong labels by heart, and when?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from landscape.objective import Objective
from landscape.study.checkpoints import choose_steps
from landscape.study.results import Memorization
from landscape.training import Run


def memorization(run: Run, *, steps: Sequence[int] | None = None) -> Memorization:
    """Say what a network answers on its training examples with wrong and with right labels, along its training.

    Definition: a label is wrong where the label noise changed it (a redrawn label may be the true one again, and then
    is right). At each checkpoint, in evaluation mode and without augmentation, an example counts for the label to which
    the network gives the largest output.

    Args:
        run: With the checkpoints that ``RunConfig(keep_every=...)`` kept.
        steps: Which checkpoints; all by default.

    Returns:
        The shares at each checkpoint, over all training examples. Outputs that are NaN give no answer: such an example
        counts for no label.

    Raises:
        StorageError: The run has no checkpoint of a step.
        MismatchError: The data is not the data of the run.

    References:
        D. Arpit et al., A Closer Look at Memorization in Deep Networks, ICML 2017. C. Zhang et al., Understanding Deep
        Learning Requires Rethinking Generalization, ICLR 2017.
    """
    chosen = choose_steps(run, steps)
    first = run.objective("train", step=chosen[0])
    data = run.dataset("train")
    given, true = data.targets, data.clean_targets
    wrong = given != true
    shares = []
    for step in chosen:
        answers = _answers(first.with_model(run.model(step)))
        kinds = ((given, wrong), (true, wrong), (given, ~wrong))
        shares.append([_share(answers == labels, among) for labels, among in kinds])
    learned, seen_through, right = np.array(shares).T
    rows = run.metrics()
    tested = {row["step"]: row["test_error"] for row in rows if "test_error" in row}
    behind = np.interp(chosen, [0, *(row["step"] for row in rows)], [0, *(row["epoch"] for row in rows)])
    return Memorization(
        steps=np.array(chosen),
        epochs=behind,
        learned=learned,
        seen_through=seen_through,
        right=right,
        test_error=np.array([tested.get(step, np.nan) for step in chosen]),
        wrong=int(wrong.sum()),
        examples=len(data),
        provenance={**first.provenance(), "run": run.path.name, "config_hash": run.config.hash},
    )


def _answers(objective: Objective) -> Tensor:
    """Return the label of each example's largest output, (N,) on the CPU; -1 where an output is NaN."""
    outputs = objective.outputs()
    return torch.where(outputs.isnan().any(1), -1, outputs.argmax(1)).cpu()


def _share(holds: Tensor, among: Tensor) -> float:
    count = int(among.sum())
    return int((holds & among).sum()) / count if count else float("nan")
